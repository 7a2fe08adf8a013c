package influxd_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headwater/services/standalone/influxd"
)

// TestDamagedListOfDatabases starts on a list of databases that can't be read:
// the start ends with what people can do. What they do helps.
func TestDamagedListOfDatabases(t *testing.T) {
	for name, content := range map[string]string{
		"rubbish": strings.Repeat("\xff\x00rubbish", 20), "text": "not a database", "cut": "\x08",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "influxdb")
			s, err := influxd.Start(influxd.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "meta", "meta.db"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = influxd.Start(influxd.Config{Dir: dir})
			if err == nil {
				t.Fatal("it runs, without its databases", s.Close())
			}
			for _, want := range []string{"meta.db", "backup", "move it away"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no word of %q in: %v", want, err)
				}
			}
			if err := os.Rename(dir, dir+"-damaged"); err != nil {
				t.Fatal(err)
			}
			s, err = influxd.Start(influxd.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCloseDoesNotWaitForUnusedConnections has a connection that sends nothing.
func TestCloseDoesNotWaitForUnusedConnections(t *testing.T) {
	s, err := influxd.Start(influxd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(s.URL(), "http://")
	unused, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer unused.Close()
	// The server takes connections in their order: once this one is answered, it
	// has the other.
	resp, err := http.Get(s.URL() + "/ping")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	// What the server closes can be read to its end, long before Shutdown gives
	// the connection up.
	if err := unused.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := unused.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the unused connection: %v, want its end", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
