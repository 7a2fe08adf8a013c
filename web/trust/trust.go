package trust

import (
	"net"
	"net/netip"
	"strings"

	"headwater/web/view"
)

// fileName is the name under which browsers store the certificate.
const fileName = "headwater-ca.crt"

// Facts are what the page shows.
type Facts struct {
	Authority Authority
	// Host is host:port under which other machines reach this server.
	Host string
	// Reader is the system of the reader, whose steps are open.
	Reader string
}

// PlainURL is the address of the page for those who do not trust the authority yet.
func (f Facts) PlainURL() string { return "http://" + f.Host + Path }

// SecureURL is the address of the dashboard for those who do.
func (f Facts) SecureURL() string { return "https://" + f.Host + "/" }

// Local reports whether only this machine can reach the server.
func (f Facts) Local() bool {
	host, _, err := net.SplitHostPort(f.Host)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Fetch downloads the certificate on a command line.
func (f Facts) Fetch() string { return "curl -o " + fileName + " http://" + f.Host + CertificateAt }

// Until is the last day of the certificate.
func (f Facts) Until() string { return f.Authority.Until.UTC().Format("2 January 2006") }

// Name is the name in the certificate.
func (f Facts) Name() string { return view.Plain(f.Authority.Name) }

// Systems that have steps of their own.
const (
	iPhone  = "iphone"
	android = "android"
	windows = "windows"
	mac     = "macos"
	linux   = "linux"
	firefox = "firefox"
)

// readerOf guesses the system of a reader. Nothing depends on it but which steps are open
// at first.
func readerOf(agent string) string {
	for _, s := range []struct{ mark, system string }{
		{"iPhone", iPhone}, {"iPad", iPhone}, {"Android", android}, {"Firefox/", firefox}, {"Windows", windows}, {"Macintosh", mac}, {"Linux", linux},
	} {
		if strings.Contains(agent, s.mark) {
			return s.system
		}
	}
	return ""
}
