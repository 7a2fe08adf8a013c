package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/process"
)

// request sends one request under a name of the sender's choice.
func request(t *testing.T, method, base, path, host, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Origin", "http://"+host)
	// A live stream that is served by mistake would never end.
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestForeignNames sends requests under a foreign name that points to this machine.
// Nothing may be read, changed or accepted.
func TestForeignNames(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Hosts.AllowedHosts = []string{"headwater.lan"}
	cfg.Notifier.PublicURL = "https://public.example.org"
	at, _ := start(t, cfg)
	reading := `{"site":"hall","device":"door","metric":"temperature","value":20}`
	for _, r := range []struct{ method, path, body string }{
		{http.MethodGet, "/", ""},
		{http.MethodGet, "/static/app.css", ""},
		{http.MethodGet, "/api/v1/devices", ""},
		{http.MethodGet, "/live/overview", ""},
		{http.MethodGet, "/metrics", ""},
		{http.MethodPost, "/api/v1/telemetry", reading},
		{http.MethodPut, "/api/v1/rules/rebound?revision=0", `{"detector":"limit","above":1}`},
		{http.MethodPost, "/deadletters/purge", ""},
	} {
		status, text := request(t, r.method, at.HTTP, r.path, "evil.example:8080", r.body)
		if status != http.StatusMisdirectedRequest || !strings.Contains(text, "--allowed-host evil.example") {
			t.Errorf("%s %s: %d %s", r.method, r.path, status, text)
		}
	}
	for _, host := range []string{"headwater.lan", "public.example.org", "localhost:1", "127.0.0.1:1"} {
		if status, text := request(t, http.MethodPost, at.HTTP, "/api/v1/telemetry", host, reading); status != http.StatusAccepted {
			t.Errorf("a reading under %s: %d %s", host, status, text)
		}
		if status, text := request(t, http.MethodGet, at.HTTP, "/alerts", host, ""); status != http.StatusOK || strings.Contains(text, "No log-in") {
			t.Errorf("a page under %s: %d, or it says that there is no log-in", host, status)
		}
	}
	if status, text := request(t, http.MethodGet, at.HTTP, "/api/v1/rules", "localhost", ""); status != http.StatusOK || strings.Contains(text, "rebound") {
		t.Errorf("the rules: %d %s", status, text)
	}
}

// TestExposureIsSaid opens a standalone to other machines. The log and every page must say
// what is open.
func TestExposureIsSaid(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.HTTP, cfg.MQTT, cfg.Bridge.Anonymous, cfg.Profiles, cfg.Mode = "0.0.0.0:0", "0.0.0.0:0", "any", true, process.ModeDev
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	at, _ := startIn(t, process.New("standalone", process.Defaults[process.Base](), log), cfg)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(at.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/alerts", "/rules", "/rules/new", "/pipeline", "/ledger", "/deadletters", "/nowhere"} {
		if _, text := request(t, http.MethodGet, "http://127.0.0.1:"+port, path, "127.0.0.1", ""); !strings.Contains(text, "No log-in") {
			t.Errorf("%s does not say that there is no log-in", path)
		}
	}
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	warning := ""
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "WARN") && strings.Contains(lines.Text(), "no log-in") {
			warning = lines.Text()
		}
	}
	for _, want := range []string{"dashboard", "metrics", "profiles", "MQTT without a password", port} {
		if !strings.Contains(warning, want) {
			t.Errorf("the warning does not name %s: %q", want, warning)
		}
	}
}
