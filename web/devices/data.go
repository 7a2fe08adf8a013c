package devices

import (
	"context"
	"errors"
	"time"
)

// ErrDraft is returned for a draft that does not fit; the details say why.
var ErrDraft = errors.New("it does not fit")

// Source keeps the credentials. Errors wrap view.ErrUnavailable when they cannot be reached,
// view.ErrNotFound for a credential that does not exist, view.ErrConflict for a name or a
// client id that is taken, and ErrDraft.
type Source interface {
	// Credentials returns all of them, by name, and the rules for unknown devices.
	Credentials() (List, error)
	// AddCredential makes a credential. The token is empty if the draft wants none.
	AddCredential(ctx context.Context, d Draft) (Issued, error)
	// RotateToken gives a credential a new token. The old one ends after the overlap.
	RotateToken(ctx context.Context, name string, overlap time.Duration) (Issued, error)
	// SetRevoked revokes a credential, or lets its owner in again.
	SetRevoked(ctx context.Context, name string, revoked bool) (Credential, error)
	// MakeClaim makes the code with which the person who sets a device up fetches a token of
	// it, once, within ClaimValid. It replaces an earlier one.
	MakeClaim(ctx context.Context, name string) (Claim, error)
	// Claimable returns the credential of a code; view.ErrNotFound if the code is not good.
	Claimable(code string) (Credential, error)
	// TakeClaim gives a new token for a code, which is over then.
	TakeClaim(ctx context.Context, code string) (Issued, error)
	// Waiting returns the devices that wait for approval, those first that were heard last.
	Waiting(ctx context.Context) ([]Waiting, error)
	// SetUnknown decides about devices that no credential covers.
	SetUnknown(ctx context.Context, rules []UnknownRule) error
}

// List is all credentials.
type List struct {
	Credentials []Credential  `json:"credentials"`
	Unknown     []UnknownRule `json:"unknown"`
}

// Credential is who may connect as which devices. It holds no secret.
type Credential struct {
	Name string `json:"name"`
	// Kind is device or gateway, State allowed or revoked.
	Kind  string `json:"kind"`
	State string `json:"state"`
	// Devices are site/device each, with * for all.
	Devices   []string `json:"devices"`
	ClientIDs []string `json:"client_ids,omitempty"`
	// URI and Fingerprint name its certificate of TLS.
	URI         string `json:"uri,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	// Tokens is how many tokens are good now: 2 during a rotation, until OldEnds.
	Tokens  int       `json:"tokens"`
	OldEnds time.Time `json:"old_token_ends,omitzero"`
	// ClaimEnds is until when a claim code is good; zero if there is none.
	ClaimEnds time.Time `json:"claim_ends,omitzero"`
	Created   time.Time `json:"created"`
	Changed   time.Time `json:"changed"`
}

// Draft is a credential that is to be made.
type Draft struct {
	// Name may be empty for one device: then it is that of the device.
	Name        string   `json:"name"`
	Gateway     bool     `json:"gateway"`
	Devices     []string `json:"devices"`
	ClientIDs   []string `json:"client_ids"`
	URI         string   `json:"uri"`
	Fingerprint string   `json:"fingerprint"`
	// Claim says that the token is to be fetched with a claim code.
	Claim bool `json:"claim,omitempty"`
	// NoToken makes none: for a device with a certificate, or one that is approved and
	// connects as before.
	NoToken bool `json:"no_token"`
}

// Issued is a credential with its new token, which nobody can see again.
type Issued struct {
	Credential Credential `json:"credential"`
	Token      string     `json:"token,omitempty"`
}

// UnknownRule says what becomes of the devices of a pattern that no credential covers.
type UnknownRule struct {
	Devices string `json:"devices"`
	// Standing is allowed, quarantined or refused.
	Standing string `json:"standing"`
}

// ClaimValid is how long a claim code is good.
const ClaimValid = 24 * time.Hour

// Claim is a claim code.
type Claim struct {
	Name  string    `json:"name"`
	Code  string    `json:"code"`
	Until time.Time `json:"until"`
}

// Waiting is a device that nobody has approved yet.
type Waiting struct {
	Site   string
	Device string
	// Letters counts the latest of its messages, which are dead letters, and Last is when the
	// last one arrived.
	Letters int
	Last    time.Time
}
