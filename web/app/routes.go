package app

import (
	"fmt"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
)

// Route is the one declaration of an address.
type Route struct {
	// Method is the method that the address answers to; empty means any.
	Method string
	// Path is a pattern of net/http without the method.
	Path   string
	Handle http.HandlerFunc
}

// Pattern returns the route as net/http writes it.
func (r Route) Pattern() string {
	if r.Method == "" {
		return r.Path
	}
	return r.Method + " " + r.Path
}

// Handler serves the routes: compressed, with the headers that keep a page to
// itself, and without the changes that other sites ask for.
func Handler(routes []Route) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.Pattern(), r.Handle)
	}
	// Pages, files, answers and live streams alike; a stream is flushed after each
	// event, whose repetitions then cost next to nothing.
	compress, err := gzhttp.NewWrapper()
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return secure(http.NewCrossOriginProtection().Handler(compress(mux))), nil
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
