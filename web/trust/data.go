package trust

import "time"

// Source is what the page shows.
type Source interface {
	// Authority returns the authority of this Headwater. It has no certificate if there is
	// none: TLS is off, or its certificate comes from elsewhere.
	Authority() Authority
}

// Authority is what others are to trust.
type Authority struct {
	// PEM is its certificate, Name the name in it, and Fingerprint its SHA-256 as browsers
	// and phones show it.
	PEM         []byte
	Name        string
	Fingerprint string
	Until       time.Time
	// Address is host:port under which other machines reach this server.
	Address string
}
