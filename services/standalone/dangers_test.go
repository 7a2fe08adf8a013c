package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/services/bridge/login"
	"headwater/services/internal/process"
)

// secretFile writes a file with a password and returns its path.
func secretFile(t *testing.T, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnsafeStartIsRefused starts with what would let strangers in, on a new data folder:
// each danger is refused with what to do. On loopback none of it is one.
func TestUnsafeStartIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		says   []string
	}{
		"anonymous":       {func(c *Config) { c.Bridge.Anonymous = login.AnonymousAny }, []string{"--mqtt-anonymous any", "--mqtt-password-file"}},
		"sample password": {func(c *Config) { c.Bridge.User, c.Bridge.PasswordFile = "hall", secretFile(t, "changeme") }, []string{"everybody tries", "openssl rand"}},
		"user as password": {func(c *Config) {
			c.Bridge.Reader, c.Bridge.ReaderPasswordFile = "hall-reader", secretFile(t, "Hall-Reader")
		}, []string{"everybody tries"}},
		"plain HTTP": {func(*Config) {}, []string{"unencrypted", "--tls auto", "--public-url https://"}},
		"profiles":   {func(c *Config) { c.Profiles = true }, []string{"--profiles", "leave it out"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			test.change(&cfg)
			if found, err := cfg.dangers(); err != nil || len(found) != 0 {
				t.Errorf("on loopback: %v, %v", found, err)
			}
			cfg.HTTP, cfg.MQTT = "0.0.0.0:0", "0.0.0.0:0"
			for _, mode := range []process.Mode{process.ModeAuto, process.ModeProduction} {
				cfg.Mode = mode
				err := Run(t.Context(), process.New("standalone", process.Defaults[process.Base](), t.Output()), cfg)
				if !errors.Is(err, process.ErrUnsafe) {
					t.Fatalf("%s: it started, or failed with %v", mode, err)
				}
				for _, want := range append(test.says, "--mode dev") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: no word of %q in %v", mode, want, err)
					}
				}
			}
		})
	}
}

// TestUpgradeKeepsRunning opens a data folder of an earlier version to other machines: it
// starts as before, and the pages say what is dangerous and what to do. With --mode
// production it does not.
func TestUpgradeKeepsRunning(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.HTTP, cfg.MQTT, cfg.Bridge.Anonymous = "0.0.0.0:0", "0.0.0.0:0", login.AnonymousAny
	if err := os.MkdirAll(filepath.Join(cfg.Data, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	strict := cfg
	strict.Mode = process.ModeProduction
	if err := Run(t.Context(), process.New("standalone", process.Defaults[process.Base](), t.Output()), strict); !errors.Is(err, process.ErrUnsafe) {
		t.Fatalf("in production: %v", err)
	}
	at, _ := start(t, cfg)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(at.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, text := request(t, http.MethodGet, "http://127.0.0.1:"+port, "/api/v1/pipeline", "127.0.0.1", ""); !strings.Contains(text, "--mqtt-anonymous any") || !strings.Contains(text, "To be safe") {
		t.Errorf("the problems do not name the danger: %.2000s", text)
	}
}
