package influxd

import (
	"compress/gzip"
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"strings"
)

// paths are those that are served. InfluxDB has more, for other protocols and for
// diagnosis.
var paths = map[string]bool{
	"/ping": true, "/health": true, "/query": true, "/write": true, "/api/v2/write": true,
}

// guard protects an InfluxDB on this machine. It refuses browsers, because InfluxDB
// answers foreign origins and any page could send it statements. It refuses requests
// without the token, if there is one. It also bounds compressed bodies, which InfluxDB
// does not.
func guard(next http.Handler, token string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !paths[r.URL.Path]:
			http.Error(w, "not served by the embedded InfluxDB", http.StatusNotFound)
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" || !loopback(r.Host):
			http.Error(w, "the embedded InfluxDB serves programs on this machine, not browsers", http.StatusForbidden)
		case token != "" && r.URL.Path != "/ping" && !authorized(r, token):
			w.Header().Set("WWW-Authenticate", `Basic realm="InfluxDB"`)
			http.Error(w, "the token is missing or wrong", http.StatusUnauthorized)
		default:
			if !unpack(w, r) {
				http.Error(w, "the body is not gzip", http.StatusBadRequest)
				return
			}
			next.ServeHTTP(w, r)
		}
	})
}

// loopback reports whether a Host header names this machine by a name that no foreign
// name server can give out.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func authorized(r *http.Request, token string) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "basic") {
		_, given, _ = r.BasicAuth()
	} else if !strings.EqualFold(scheme, "token") && !strings.EqualFold(scheme, "bearer") {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1
}

// unpack replaces a compressed body by its contents, with a bound on the compressed
// size. It reports whether the body could be read.
func unpack(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return true
	}
	packed := r.Body
	contents, err := gzip.NewReader(http.MaxBytesReader(w, packed, maxBody))
	if err != nil {
		return false
	}
	r.Header.Del("Content-Encoding")
	r.ContentLength = -1
	r.Body = struct {
		io.Reader
		io.Closer
	}{contents, packed}
	return true
}
