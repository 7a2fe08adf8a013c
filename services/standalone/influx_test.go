package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInfluxIsClosedToOthers sends requests to the InfluxDB of a standalone as another
// user of the machine could: nothing is read, written or dropped. The owner of the folder
// finds the token there, even after a restart.
func TestInfluxIsClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(dir)
	at, stop := start(t, cfg)
	ask := func(method, path, body, token string) (int, string) {
		t.Helper()
		to, err := url.Parse(at.Influx)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+to.Host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Token "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	statement := func(q string) string { return "/query?q=" + url.QueryEscape(q) }
	for _, token := range []string{"", "admin", "headwater"} {
		for _, request := range []struct{ method, path, body string }{
			{http.MethodGet, statement("SHOW DATABASES"), ""},
			{http.MethodPost, statement("DROP DATABASE headwater"), ""},
			{http.MethodPost, statement("CREATE DATABASE other"), ""},
			{http.MethodGet, "/query?db=headwater&u=admin&p=admin&q=" + url.QueryEscape("SELECT * FROM /.*/"), ""},
			{http.MethodPost, "/write?db=headwater", "m v=1"},
			{http.MethodPost, "/api/v2/write?org=headwater&bucket=headwater/raw", "m v=1"},
		} {
			if status, text := ask(request.method, request.path, request.body, token); status != http.StatusUnauthorized {
				t.Errorf("%s %s with token %q: %d %s", request.method, request.path, token, status, text)
			}
		}
	}
	path := filepath.Join(dir, influxTokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file of the token: %v, %v", info, err)
	}
	token, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	databases := func() {
		t.Helper()
		status, text := ask(http.MethodGet, statement("SHOW DATABASES"), "", strings.TrimSpace(string(token)))
		if status != http.StatusOK || !strings.Contains(text, `"headwater"`) || strings.Contains(text, `"other"`) {
			t.Errorf("with the token: %d %s", status, text)
		}
	}
	databases()
	stop()
	at, _ = start(t, cfg)
	databases()
	other, err := openFolder(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if drawn, err := other.influxToken(); err != nil || len(drawn) < 26 || drawn == strings.TrimSpace(string(token)) {
		t.Errorf("another folder has the token %q (%v)", drawn, err)
	}
}
