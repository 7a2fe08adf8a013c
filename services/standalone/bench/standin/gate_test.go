package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/influx"
)

// client returns a client of a gate with the token.
func client(t *testing.T, url, token string) *influx.Client {
	t.Helper()
	c, err := influx.New(influx.Config{URL: url, Org: "org", Token: influx.Secret(token), Database: "headwater", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func running(t *testing.T, dir string) string {
	t.Helper()
	s, err := openGate(context.Background(), gateConfig{dir: dir, org: "org", token: "right", bucket: "setup", log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler())
	t.Cleanup(func() {
		server.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL
}

// TestClientOfTheServices has the client that writers and the dashboard use take
// the path of version 2.
func TestClientOfTheServices(t *testing.T) {
	ctx := t.Context()
	url := running(t, t.TempDir())
	c := client(t, url, "right")
	if version, err := c.Ping(ctx); err != nil || !strings.HasPrefix(version, "2.7") {
		t.Fatalf("version %q, error %v", version, err)
	}
	bucket := influx.Bucket{Database: "headwater", Policy: "raw", Retention: 24 * time.Hour}
	line := fmt.Sprintf("temperature,site=s,device=d value=21.5 %d\n", time.Now().UnixNano())
	if err := c.Write(ctx, bucket.Name(), line); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a bucket that was not made was written to: %v", err)
	}
	for range 2 {
		if err := c.Ensure(ctx, bucket); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Write(ctx, bucket.Name(), line); err != nil {
		t.Fatal(err)
	}
	series, err := c.Query(ctx, "headwater", "raw", `SELECT "value" FROM "temperature"`, nil)
	if err != nil || len(series) != 1 || len(series[0].Values) != 1 {
		t.Errorf("%d series, error %v", len(series), err)
	}
}

func TestTokenIsEnforced(t *testing.T) {
	url := running(t, t.TempDir())
	bucket := influx.Bucket{Database: "headwater", Policy: "raw"}
	for _, token := range []string{"", "wrong"} {
		c := client(t, url, token)
		for what, err := range map[string]error{
			"make a bucket": c.Ensure(t.Context(), bucket),
			"write":         c.Write(t.Context(), "setup", "m v=1 1\n"),
		} {
			if err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("%s with token %q: %v", what, token, err)
			}
		}
	}
}

func TestBucketsAreThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) {
		if err := client(t, running(t, dir), "right").Ensure(t.Context(), influx.Bucket{Database: "headwater", Policy: "1m"}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("second", func(t *testing.T) {
		if err := client(t, running(t, dir), "right").Write(t.Context(), "headwater/1m", fmt.Sprintf("m v=1 %d\n", time.Now().UnixNano())); err != nil {
			t.Error(err)
		}
	})
}
