package trust_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/trust"
)

// TestAddressForAPhone opens the page under several names. The code must lead a phone to
// this machine, without TLS.
func TestAddressForAPhone(t *testing.T) {
	server := webtest.Server(t, fixture.Warehouse)
	for host, want := range map[string]string{
		"headwater.local:8080": "http://headwater.local:8080/trust",
		"10.0.0.5:8080":        "http://10.0.0.5:8080/trust",
		"[fd00::1]:8080":       "http://[fd00::1]:8080/trust",
		"localhost:8080":       "http://192.168.1.20:8080/trust",
		"127.0.0.1:8080":       "http://192.168.1.20:8080/trust",
		"[::1]:8080":           "http://192.168.1.20:8080/trust",
		`a"><script>`:          "http://192.168.1.20:8080/trust",
	} {
		r := httptest.NewRequest(http.MethodGet, trust.Path, nil)
		r.Host = host
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), `href="`+want+`"`) {
			t.Errorf("%s does not lead to %s", host, want)
		}
	}
}

func TestStepsOfTheReaderAreOpen(t *testing.T) {
	server := webtest.Server(t, fixture.Warehouse)
	for agent, want := range map[string]string{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)":             "iphone",
		"Mozilla/5.0 (Linux; Android 16; Pixel 9) Chrome/140":                "android",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140":               "windows",
		"Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140": "firefox",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605":         "macos",
		"curl/8": "",
	} {
		_, body := webtest.Get(t, server, http.MethodGet, trust.Path, "User-Agent", agent)
		for _, id := range []string{"iphone", "android", "windows", "macos", "linux", "firefox"} {
			if open := strings.Contains(body, `id="`+id+`" open`); open != (id == want) {
				t.Errorf("%s: the steps of %s are open: %t", agent, id, open)
			}
		}
	}
}

func TestCertificate(t *testing.T) {
	res, body := webtest.Get(t, webtest.Server(t, fixture.Warehouse), http.MethodGet, trust.CertificateAt)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-x509-ca-cert" || !strings.HasPrefix(body, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("%s, %v: %s", res.Status, res.Header, body)
	}
	for _, path := range []string{trust.Path, trust.CertificateAt} {
		if res, _ := webtest.Get(t, webtest.Server(t, fixture.Empty), http.MethodGet, path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s without an authority: %s", path, res.Status)
		}
	}
}

func TestServedPlain(t *testing.T) {
	for path, want := range map[string]bool{
		"/trust": true, "/trust/ca.crt": true, "/static/app.css": true,
		"/": false, "/trusted": false, "/trust/../alerts": false, "/api/v1/devices": false, "/log-in": false,
	} {
		if trust.ServedPlain(path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
