package trust

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"headwater/web/app"
)

// Addresses of the page and of the certificate.
const (
	Path          = "/trust"
	CertificateAt = "/trust/ca.crt"
)

// Pages are the page and the certificate.
type Pages struct {
	shell  *app.Shell
	source Source
}

// New returns the pages.
func New(shell *app.Shell, source Source) *Pages { return &Pages{shell: shell, source: source} }

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Public, Handle: p.page},
		{Method: "GET", Path: CertificateAt, Role: app.Public, Handle: p.certificate},
	}
}

// ServedPlain reports whether a path is served without TLS too: the page, the certificate,
// and the styles and scripts of the page.
func ServedPlain(path string) bool {
	return path == Path || path == CertificateAt || strings.HasPrefix(path, "/static/")
}

func (p *Pages) page(w http.ResponseWriter, r *http.Request) {
	a := p.source.Authority()
	if len(a.PEM) == 0 {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Certificate", Section: "trust"}, None())
		return
	}
	f := Facts{Authority: a, Host: host(r, a.Address), Reader: readerOf(r.UserAgent())}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: "Trust this Headwater", Section: "trust"}, Page(f))
}

// host returns where other machines reach this server: as this browser did, unless it is on
// the same machine.
func host(r *http.Request, address string) string {
	_, host, _ := strings.Cut(app.BaseURL(r), "://")
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); name == "localhost" || err == nil && addr.IsLoopback() {
		return address
	}
	return host
}

// certificate serves the certificate in the form that phones and tools take.
func (p *Pages) certificate(w http.ResponseWriter, r *http.Request) {
	a := p.source.Authority()
	if len(a.PEM) == 0 {
		p.shell.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Content-Disposition", `attachment; filename="`+fileName+`"`)
	_, _ = w.Write(a.PEM) // a client that has left needs no answer
}
