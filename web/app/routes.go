package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

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
	Role Role
	// BySite reports whether the route shows and changes only what belongs to the sites of
	// its sender. Who is limited to sites is refused every other route that is not public,
	// and gets 404 where {site} of the path is another site.
	BySite bool
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
	return s.HandlerBySite(func([]string) []Route { return routes })
}

// maxSiteHandlers bounds the handlers that are kept for those who are limited to sites.
const maxSiteHandlers = 100

// HandlerBySite is Handler with routes for each set of sites that a sender may be limited
// to; without sites they are for those who may see all. All sets have the same routes.
func (s *Shell) HandlerBySite(routes func(sites []string) []Route) (http.Handler, error) {
	declared := routes(nil)
	all, err := s.mux(declared)
	if err != nil {
		return nil, err
	}
	for _, r := range declared {
		if r.Method == http.MethodGet {
			s.pages[strings.TrimSuffix(r.Path, "{$}")] = r
		}
	}
	var mu sync.Mutex
	bySites := make(map[string]http.Handler)
	of := func(sites []string) http.Handler {
		if len(sites) == 0 {
			return all
		}
		mu.Lock()
		defer mu.Unlock()
		key := strings.Join(sites, " ")
		if bySites[key] == nil {
			mux, err := s.mux(routes(sites))
			if err != nil {
				panic(err) // the same routes were taken above
			}
			if len(bySites) >= maxSiteHandlers {
				clear(bySites)
			}
			bySites[key] = mux
		}
		return bySites[key]
	}
	// Pages, files, answers and live streams alike; a stream is flushed after each
	// event, whose repetitions then cost next to nothing.
	compress, err := gzhttp.NewWrapper()
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return secure(http.NewCrossOriginProtection().Handler(compress(s.identify(func(p Principal) http.Handler { return of(p.Sites) })))), nil
}

// mux serves routes to those who have their role.
func (s *Shell) mux(routes []Route) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		if !r.Role.Declared() {
			return nil, fmt.Errorf("route %s declares no role", r.Pattern())
		}
		mux.Handle(r.Pattern(), s.admit(r))
	}
	return mux, nil
}

// Protect serves what is no page to those who have the role and are not limited to sites.
func (s *Shell) Protect(role Role, next http.Handler) http.Handler {
	admitted := s.admit(Route{Role: role, Handle: next.ServeHTTP})
	return s.identify(func(Principal) http.Handler { return admitted })
}

// unknownKey is the key under which the context of a request has the error of the gate.
type unknownKey struct{}

// identify finds out who sends a request, once, and notes it in the context.
func (s *Shell) identify(next func(Principal) http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.gate.Authenticate(r)
		ctx := r.Context()
		if err != nil {
			p = Principal{}
			ctx = context.WithValue(ctx, unknownKey{}, err)
		}
		next(p).ServeHTTP(w, r.WithContext(view.WithPrincipal(ctx, p)))
	})
}

// admit serves a route to those who have its role. The handler finds the sender in the
// context of the request.
func (s *Shell) admit(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := PrincipalOf(r.Context())
		err, _ := r.Context().Value(unknownKey{}).(error)
		site := r.PathValue("site")
		switch {
		case !p.May(route.Role) && err == nil:
			s.Forbid(w, r, route.Role)
		case !p.May(route.Role) && errors.Is(err, ErrNobody):
			s.askToLogIn(w, r)
		case !p.May(route.Role):
			s.cannotTell(w, r, err)
		case route.Role != Public && p.Limited() && !route.BySite:
			s.forbid(w, r, "This is about all sites; you are limited to "+strings.Join(p.Sites, ", ")+".")
		case site != "" && !p.SeesSite(site):
			s.noSuch(w, r)
		default:
			route.Handle(w, r)
		}
	})
}

// noSuch answers a request about a site that its sender may not see, as if it were not
// there.
func (s *Shell) noSuch(w http.ResponseWriter, r *http.Request) {
	if program(r) {
		s.refuse(w, http.StatusNotFound, "There is no "+Clip(r.URL.Path)+".")
		return
	}
	s.NotFound(w, r)
}

// refuse answers a request of a program. A script leaves the page as it is.
func (s *Shell) refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("HX-Reswap", "none")
	s.Fail(w, status, detail)
}

// program reports whether a request comes from a script or another program, which
// cannot show a page.
func program(r *http.Request) bool {
	for _, prefix := range []string{"/api/", "/live/", "/metrics", "/debug/"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return true
		}
	}
	return r.Header.Get("Hx-Request") != ""
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
	s.forbid(w, r, "This needs the role "+role.String()+"; you have the role "+PrincipalOf(r.Context()).Role.String()+".")
}

func (s *Shell) forbid(w http.ResponseWriter, r *http.Request, detail string) {
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
