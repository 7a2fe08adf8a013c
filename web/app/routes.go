package app

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"headwater/web/ui"
	"headwater/web/view"
)

// Route is the one declaration of an address.
type Route struct {
	// Method is the method that the address answers to; empty means any.
	Method string
	// Path is a pattern of net/http without the method.
	Path string
	// Role is what the sender of a request must be at least. Every route must declare
	// one.
	Role   Role
	Handle http.HandlerFunc
}

// Pattern returns the route as net/http writes it.
func (r Route) Pattern() string {
	if r.Method == "" {
		return r.Path
	}
	return r.Method + " " + r.Path
}

// LogInPath is the address of the page on which people log in.
const LogInPath = "/log-in"

// Handler serves the routes: to those who have their role, compressed, with the headers
// that keep a page to itself, and without the changes that other sites ask for. It
// fails if a route declares no role.
func (s *Shell) Handler(routes []Route) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		if !r.Role.Declared() {
			return nil, fmt.Errorf("route %s declares no role", r.Pattern())
		}
		mux.Handle(r.Pattern(), s.admit(r))
	}
	// Pages, files, answers and live streams alike; a stream is flushed after each
	// event, whose repetitions then cost next to nothing.
	compress, err := gzhttp.NewWrapper()
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return secure(http.NewCrossOriginProtection().Handler(compress(mux))), nil
}

// admit serves a route to those who have its role. The handler finds the sender in the
// context of the request.
func (s *Shell) admit(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.gate.Authenticate(r)
		if err != nil {
			p = Principal{}
		}
		r = r.WithContext(view.WithPrincipal(r.Context(), p))
		switch {
		case p.May(route.Role):
			route.Handle(w, r)
		case err == nil:
			s.Forbid(w, r, route.Role)
		case errors.Is(err, ErrNobody):
			s.askToLogIn(w, r)
		default:
			s.cannotTell(w, r, err)
		}
	})
}

// refuse answers a request of a program. A script leaves the page as it is.
func (s *Shell) refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("HX-Reswap", "none")
	s.Fail(w, status, detail)
}

// program reports whether a request comes from a script or another program, which
// cannot show a page.
func program(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/live/") || r.Header.Get("Hx-Request") != ""
}

// askToLogIn answers a request of nobody. A page leads to the log-in and back.
func (s *Shell) askToLogIn(w http.ResponseWriter, r *http.Request) {
	const detail = "Log in first, or send a token as \"Authorization: Bearer …\"."
	switch {
	case program(r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="Headwater"`)
		s.refuse(w, http.StatusUnauthorized, detail)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		to := LogInPath
		if at := r.URL.RequestURI(); at != "/" {
			to += "?" + url.Values{"next": {at}}.Encode()
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	default:
		s.Page(w, r, http.StatusUnauthorized, Page{Title: "Log in"},
			ui.NotFound("Nothing was changed: your session has expired.", []ui.Link{{Href: LogInPath, Text: "Log in"}}))
	}
}

// Forbid answers a request whose sender has too little a role.
func (s *Shell) Forbid(w http.ResponseWriter, r *http.Request, role Role) {
	detail := "This needs the role " + role.String() + "; you have the role " + PrincipalOf(r.Context()).Role.String() + "."
	if program(r) {
		s.refuse(w, http.StatusForbidden, detail)
		return
	}
	s.Page(w, r, http.StatusForbidden, Page{Title: "Not allowed"}, ui.NotFound(detail, []ui.Link{{Href: "/", Text: "Overview"}}))
}

// cannotTell answers a request while it cannot be known who sends it.
func (s *Shell) cannotTell(w http.ResponseWriter, r *http.Request, err error) {
	detail := "It cannot be checked who you are: " + err.Error() + ". Try again in a moment."
	if program(r) {
		s.refuse(w, http.StatusServiceUnavailable, detail)
		return
	}
	w.Header().Set("Retry-After", "5")
	s.Page(w, r, http.StatusServiceUnavailable, Page{Title: "Not available"}, ui.NotFound(detail, nil))
}

// secure sets the headers that keep a page to itself: no code and no style but
// the dashboard's own files, no frame around it, no guessing of types.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}
