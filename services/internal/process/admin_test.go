package process

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestMetricsAreForOperators asks for what a separate service answers on its own address, from
// this machine and from another one.
func TestMetricsAreForOperators(t *testing.T) {
	const token, here, elsewhere = "0123456789abcdef", "127.0.0.1:4", "192.0.2.7:4"
	for _, test := range []struct {
		name, token string
		open        bool
		from, given string
		// probes, metrics, profiles are the statuses.
		metrics, profiles int
	}{
		{"this machine", "", false, here, "", 200, 200},
		{"this machine over IPv6", "", false, "[::1]:4", "", 200, 200},
		{"this machine, mapped", "", false, "[::ffff:127.0.0.1]:4", "", 200, 200},
		{"this machine needs no token", token, false, here, "", 200, 200},
		{"another one in dev", "", true, elsewhere, "", 200, 403},
		{"another one in production", "", false, elsewhere, "", 403, 403},
		{"another one with a token that nobody has set", "", false, elsewhere, "Bearer ", 403, 403},
		{"another one without the token", token, false, elsewhere, "", 401, 401},
		{"another one with a wrong token", token, false, elsewhere, "Bearer " + token + "0", 401, 401},
		{"another one with the token", token, false, elsewhere, "Bearer " + token, 200, 200},
		{"what is no address", "", false, "", "", 403, 403},
	} {
		mux := newProcess().adminMux(test.token, test.open)
		for path, want := range map[string]int{"/livez": 200, "/metrics": test.metrics, "/debug/pprof/cmdline": test.profiles, "/debug/pprof/": test.profiles} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr = test.from
			r.Header.Set("Authorization", test.given)
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s: %s is answered %d, want %d", test.name, path, w.Code, want)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s does not say what is needed", test.name, path)
			}
		}
	}
}

// TestTokenOfTheMetricsIsLong refuses one that could be guessed.
func TestTokenOfTheMetricsIsLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newProcess().Admin(AdminConfig{Admin: "127.0.0.1:0", MetricsToken: file}); err == nil {
		t.Error("it is taken")
	}
}
