package devices

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Pages are the page of credentials, the page on which one is claimed, and the same in the
// API.
type Pages struct {
	shell  *app.Shell
	source Source
	mqtt   string
}

// New returns the pages. MQTT is host:port of the MQTT listener, after mqtts:// if it takes
// TLS; empty means the usual port of the host of the page.
func New(shell *app.Shell, source Source, mqtt string) *Pages {
	return &Pages{shell: shell, source: source, mqtt: mqtt}
}

// Addresses of the pages.
const (
	Path      = "/credentials"
	ClaimPath = "/claim"
)

// Routes are the addresses of the pages.
func (p *Pages) Routes() []app.Route {
	return []app.Route{
		{Method: "GET", Path: Path, Role: app.Operator, Handle: p.page},
		{Method: "POST", Path: Path, Role: app.Administrator, Handle: p.addForm},
		{Method: "POST", Path: Path + "/{name}/rotate", Role: app.Administrator, Handle: p.rotateForm},
		{Method: "POST", Path: Path + "/{name}/claim", Role: app.Administrator, Handle: p.claimForm},
		{Method: "POST", Path: Path + "/{name}/revoke", Role: app.Administrator, Handle: p.revokeForm},
		{Method: "POST", Path: Path + "/{name}/approve", Role: app.Administrator, Handle: p.approveForm},
		{Method: "POST", Path: "/unknown-devices", Role: app.Administrator, Handle: p.unknownForm},
		{Method: "GET", Path: ClaimPath, Role: app.Public, Handle: p.claimPage},
		{Method: "POST", Path: ClaimPath, Role: app.Public, Handle: p.takeClaim},
		{Method: "GET", Path: "/api/v1/credentials", Role: app.Operator, Handle: p.list},
		{Method: "POST", Path: "/api/v1/credentials", Role: app.Administrator, Handle: p.add},
		{Method: "POST", Path: "/api/v1/credentials/{name}/rotate", Role: app.Administrator, Handle: p.rotate},
		{Method: "POST", Path: "/api/v1/credentials/{name}/claim", Role: app.Administrator, Handle: p.claim},
		{Method: "POST", Path: "/api/v1/credentials/{name}/revoke", Role: app.Administrator, Handle: p.revoke},
		{Method: "POST", Path: "/api/v1/credentials/{name}/approve", Role: app.Administrator, Handle: p.approve},
		{Method: "PUT", Path: "/api/v1/unknown-devices", Role: app.Administrator, Handle: p.unknown},
	}
}

// Facts are what the page of credentials shows.
type Facts struct {
	List List
	// Waiting are the devices that wait for approval; WaitingProblem says why they are not
	// known.
	Waiting        []Waiting
	WaitingProblem string
	// Issued is a new token, Claim a new claim code with its Link.
	Issued *Access
	Claim  *Claim
	Link   string
	// Far reports whether a phone can open the Link.
	Far     bool
	Problem string
}

// Access is what a person types into a device.
type Access struct {
	Issued
	// Host and Port are where the device connects, with TLS if Secure.
	Host, Port string
	Secure     bool
}

// server says where the device connects.
func (a Access) server() string {
	text := a.Host + ", port " + a.Port
	if a.Secure {
		text += ", with TLS"
	}
	return text
}

// Topic is where the device publishes, empty if it is one of several.
func (a Access) Topic() string {
	if len(a.Credential.Devices) != 1 || strings.Contains(a.Credential.Devices[0], "*") {
		return ""
	}
	return "sensors/" + a.Credential.Devices[0] + "/temperature"
}

// access returns how a device connects that has a new token.
func (p *Pages) access(r *http.Request, i Issued) *Access {
	a := &Access{Issued: i, Port: "1883"}
	_, base, _ := strings.Cut(app.BaseURL(r), "://")
	a.Host = hostOf(base)
	address, secure := strings.CutPrefix(p.mqtt, "mqtts://")
	a.Secure = secure
	if host, port, err := net.SplitHostPort(address); err == nil {
		a.Port = port
		if addr, err := netip.ParseAddr(host); host != "" && (err != nil || !addr.IsUnspecified()) {
			a.Host = host
		}
	}
	return a
}

// hostOf returns the host of host:port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

// claimURL is the page that gives the token for a code, as this browser reaches it.
func claimURL(r *http.Request, code string) string {
	return app.BaseURL(r) + ClaimPath + "?" + url.Values{"code": {code}}.Encode()
}

// far reports whether other machines reach this server by the name that this browser uses.
func far(r *http.Request) bool {
	_, base, _ := strings.Cut(app.BaseURL(r), "://")
	host := hostOf(base)
	addr, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !addr.IsLoopback())
}

func shellPage() app.Page { return app.Page{Title: "Credentials of devices", Section: "credentials"} }

func (p *Pages) page(w http.ResponseWriter, r *http.Request) { p.show(w, r, http.StatusOK, Facts{}) }

// show renders the page of credentials.
func (p *Pages) show(w http.ResponseWriter, r *http.Request, code int, f Facts) {
	var err error
	f.List, err = p.source.Credentials()
	if err != nil {
		p.shell.Page(w, r, status(err), shellPage(), ui.Failure("The credentials cannot be read: "+err.Error()+"."))
		return
	}
	f.Waiting, err = p.source.Waiting(r.Context())
	if err != nil {
		f.WaitingProblem = "It is not known which devices wait: " + err.Error() + "."
	}
	p.shell.Page(w, r, code, shellPage(), Page(f))
}

// change shows what came of a change.
func (p *Pages) change(w http.ResponseWriter, r *http.Request, what string, f Facts, err error) {
	switch {
	case err != nil:
		p.show(w, r, status(err), Facts{Problem: what + ": " + err.Error() + "."})
	case f.Issued == nil && f.Claim == nil:
		http.Redirect(w, r, Path, http.StatusSeeOther)
	default: // what is shown once must not be in an address
		p.show(w, r, http.StatusOK, f)
	}
}

// form reads a form. It answers by itself if that fails.
func (p *Pages) form(w http.ResponseWriter, r *http.Request) bool {
	if err := app.Form(w, r, maxBody); err != nil {
		p.shell.BadRequest(w, r, err)
		return false
	}
	return true
}

// words are the parts of a text that commas or white space separate.
func words(text string) []string { return strings.Fields(strings.ReplaceAll(text, ",", " ")) }

// lines are the lines of a text that are not empty.
func lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (p *Pages) addForm(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	v := r.PostForm
	d := Draft{
		Name: strings.TrimSpace(v.Get("name")), Gateway: v.Get("kind") == "gateway", Devices: words(v.Get("devices")),
		ClientIDs: lines(v.Get("client_ids")), Claim: v.Get("give") == "claim", NoToken: v.Get("give") == "none",
	}
	issued, err := p.source.AddCredential(r.Context(), d)
	var f Facts
	switch {
	case err == nil && d.Claim:
		f, err = p.claimFacts(r, issued.Credential.Name)
	case err == nil && !d.NoToken:
		f.Issued = p.access(r, issued)
	}
	p.change(w, r, "The credential was not made", f, err)
}

// claimFacts makes a claim code and returns what shows it.
func (p *Pages) claimFacts(r *http.Request, name string) (Facts, error) {
	c, err := p.source.MakeClaim(r.Context(), name)
	return Facts{Claim: &c, Link: claimURL(r, c.Code), Far: far(r)}, err
}

func (p *Pages) rotateForm(w http.ResponseWriter, r *http.Request) {
	issued, err := p.source.RotateToken(r.Context(), r.PathValue("name"), defaultOverlap)
	p.change(w, r, "The password was not changed", Facts{Issued: p.access(r, issued)}, err)
}

func (p *Pages) claimForm(w http.ResponseWriter, r *http.Request) {
	f, err := p.claimFacts(r, r.PathValue("name"))
	p.change(w, r, "No claim code was made", f, err)
}

func (p *Pages) revokeForm(w http.ResponseWriter, r *http.Request) {
	_, err := p.source.SetRevoked(r.Context(), r.PathValue("name"), true)
	p.change(w, r, "It was not revoked", Facts{}, err)
}

func (p *Pages) approveForm(w http.ResponseWriter, r *http.Request) {
	_, err := p.source.SetRevoked(r.Context(), r.PathValue("name"), false)
	p.change(w, r, "It was not let in", Facts{}, err)
}

// everyDevice is the pattern of all devices.
const everyDevice = "*/*"

// unknownForm reads one standing for all unknown devices, and exceptions, one a line.
func (p *Pages) unknownForm(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	var rules []UnknownRule
	var err error
	for _, line := range lines(r.PostForm.Get("exceptions")) {
		devices, standing, found := strings.Cut(line, "=")
		if !found {
			err = fmt.Errorf("%w: %q is not an exception such as hall/*=allowed", ErrDraft, app.Clip(line))
		}
		rules = append(rules, UnknownRule{Devices: strings.TrimSpace(devices), Standing: strings.TrimSpace(standing)})
	}
	if others := r.PostForm.Get("others"); others != "allowed" {
		rules = append(rules, UnknownRule{Devices: everyDevice, Standing: others})
	}
	if err == nil {
		err = p.source.SetUnknown(r.Context(), rules)
	}
	p.change(w, r, "Nothing was changed", Facts{}, err)
}

// unknownWords returns the rules for unknown devices as the form has them.
func unknownWords(rules []UnknownRule) (exceptions, others string) {
	others = "allowed"
	if n := len(rules); n > 0 && rules[n-1].Devices == everyDevice {
		others, rules = rules[n-1].Standing, rules[:n-1]
	}
	for _, u := range rules {
		exceptions += u.Devices + "=" + u.Standing + "\n"
	}
	return exceptions, others
}

// ClaimFacts are what the page shows to the person who sets a device up.
type ClaimFacts struct {
	Code string
	// Credential is that of the code.
	Credential Credential
	// Access is nil until the person asks for it.
	Access  *Access
	Problem string
}

func (p *Pages) claimPage(w http.ResponseWriter, r *http.Request) {
	f := ClaimFacts{Code: r.URL.Query().Get("code")}
	var err error
	f.Credential, err = p.source.Claimable(f.Code)
	p.showClaim(w, r, f, err)
}

// takeClaim gives the token. A link that is only looked at, as messengers do, gives nothing.
func (p *Pages) takeClaim(w http.ResponseWriter, r *http.Request) {
	if !p.form(w, r) {
		return
	}
	issued, err := p.source.TakeClaim(r.Context(), r.PostForm.Get("code"))
	p.showClaim(w, r, ClaimFacts{Credential: issued.Credential, Access: p.access(r, issued)}, err)
}

func (p *Pages) showClaim(w http.ResponseWriter, r *http.Request, f ClaimFacts, err error) {
	page, code := app.Page{Title: "Set up a device"}, http.StatusOK
	switch {
	case errors.Is(err, view.ErrNotFound):
		code, f.Problem = http.StatusNotFound, "The code was used already or has expired. Ask for a new one."
	case err != nil:
		code, f.Problem = status(err), "The code cannot be checked now. Try again in a moment."
	}
	p.shell.Page(w, r, code, page, ClaimPage(f))
}
