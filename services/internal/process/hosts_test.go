package process

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	cfg := HostConfig{AllowedHosts: []string{"headwater.lan", "Front.Example.org."}}
	handler := cfg.Guard("https://public.example.org:8443/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "served")
	}))
	for host, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.0.0.1": true, "[::1]:8080": true, "192.168.1.20:8080": true, "[fe80::1]": true,
		"localhost:8080": true, "LOCALHOST": true, "localhost.:80": true, "headwater.localhost:8080": true,
		"headwater.lan:8080": true, "HEADWATER.LAN": true, "front.example.org": true, "public.example.org": true,
		machine + ":8080": true, "": true,
		"evil.example": false, "evil.example:8080": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
		"notlocalhost": false, "headwater.lan.evil.example": false, "xheadwater.lan": false, "2130706433": false, "0x7f.1": false,
		"evil.example:127.0.0.1": false, "[::1].evil.example": false, "127.0.0.1@evil.example": false,
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			r := httptest.NewRequest(method, "/api/v1/rules", nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if served := w.Body.String() == "served"; served != want {
				t.Errorf("%s under %q: %d %s", method, host, w.Code, w.Body)
			}
			if !want && (w.Code != http.StatusMisdirectedRequest || !strings.Contains(w.Body.String(), "--allowed-host")) {
				t.Errorf("%s under %q: %d %s", method, host, w.Code, w.Body)
			}
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/readyz", nil)
	r.Host = "anything.example"
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("a probe gets %d", w.Code)
	}
}

func TestAllowedHostsAreNames(t *testing.T) {
	for name, want := range map[string]bool{
		"headwater.lan": true, "a": true, "": false, "http://a": false, "a:80": false, "*.lan": false, "a/b": false,
	} {
		if err := (HostConfig{AllowedHosts: []string{name}}).Validate(); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestExposedListenersAreNamed(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8080": false, "127.8.8.8:1": false, "[::1]:8080": false, "localhost:8080": false,
		"0.0.0.0:8080": true, "[::]:8080": true, ":8080": true, "192.168.1.2:8080": true, "headwater.lan:80": true,
	} {
		if Exposed(address) != want {
			t.Errorf("%s: want %t", address, want)
		}
	}
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	WarnExposed(log, Open{"the dashboard", "127.0.0.1:8080"})
	if out.Len() > 0 {
		t.Errorf("a listener on loopback is warned of: %s", &out)
	}
	WarnExposed(log, Open{"the dashboard", "[::]:8080"}, Open{"MQTT", "127.0.0.1:1883"})
	if text := out.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "the dashboard on port 8080 of this machine") || strings.Contains(text, "MQTT") {
		t.Errorf("the log says %s", text)
	}
}
