package influxd_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"

	"headwater/services/internal/influx"
	"headwater/services/standalone/influxd"
)

// buffer is a log that may be written by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a server until the test ends; what it logs fails the test.
func start(t *testing.T, cfg influxd.Config) *influxd.Server {
	t.Helper()
	log := new(buffer)
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	s, err := influxd.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if log.String() != "" {
			t.Errorf("logged %s", log)
		}
	})
	return s
}

func connect(t *testing.T, s *influxd.Server) *influx.Client {
	t.Helper()
	c, err := influx.New(influx.Config{URL: s.URL(), Database: "headwater", Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var raw = influx.Bucket{Database: "headwater", Policy: "raw", Retention: 90 * 24 * time.Hour}

func ensure(t *testing.T, c *influx.Client, b influx.Bucket) {
	t.Helper()
	if err := c.Ensure(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, c *influx.Client) int {
	t.Helper()
	series, err := c.Query(t.Context(), "headwater", "raw", "SELECT count(value) FROM temperature", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(series) == 0 {
		return 0
	}
	return int(series[0].Floats("count")[0])
}

func TestOfficialClientWritesAndInfluxQLReadsAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := influxd.Start(influxd.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, first)
	ensure(t, c, raw)

	const batches, size = 20, 5000
	now := time.Now().UnixNano()
	official := influxdb2.NewClient(first.URL(), "")
	defer official.Close()
	write := official.WriteAPIBlocking("", raw.Name())
	for b := range batches {
		var lines strings.Builder
		for i := range size {
			n := b*size + i
			fmt.Fprintf(&lines, "temperature,device=door-%d,site=w value=%d %d\n", n%20, n, now-int64(n)*1e6)
		}
		if err := write.WriteRecord(t.Context(), lines.String()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, c); n != batches*size {
		t.Errorf("%d points of %d", n, batches*size)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := start(t, influxd.Config{Dir: dir})
	c = connect(t, second)
	if n := count(t, c); n != batches*size {
		t.Errorf("after a restart: %d points of %d", n, batches*size)
	}
	series, err := c.Query(t.Context(), "headwater", "raw",
		"SELECT value FROM temperature WHERE device = $d AND time = $t", influx.Params{"d": "door-7", "t": now - 7e6})
	if err != nil || len(series) != 1 || series[0].Times[0] != now-7e6 || series[0].Floats("value")[0] != 7 {
		t.Errorf("got %v, %v", series, err)
	}
}

func TestEnsureMakesBucketsAndLeavesThemAlone(t *testing.T) {
	s := start(t, influxd.Config{Dir: t.TempDir()})
	c := connect(t, s)
	minutes := influx.Bucket{Database: "headwater", Policy: "1m"}
	ensure(t, c, raw)
	ensure(t, c, minutes)
	if err := c.Exec(t.Context(), "", "ALTER RETENTION POLICY raw ON headwater DURATION 30d", nil); err != nil {
		t.Fatal(err)
	}
	ensure(t, c, raw)
	var all sync.WaitGroup
	for range 8 { // as many writers would at once
		all.Go(func() { ensure(t, c, influx.Bucket{Database: "headwater", Policy: "10s", Retention: time.Hour}) })
	}
	all.Wait()
	series, err := c.Query(t.Context(), "", "", "SHOW RETENTION POLICIES ON headwater", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, row := range series[0].Values {
		got[row[0].(string)] = fmt.Sprint(row[1], " ", row[4])
	}
	want := map[string]string{"raw": "720h0m0s true", "1m": "0s false", "10s": "1h0m0s false"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("policies %v, not %v", got, want)
	}
	if v, err := c.Ping(t.Context()); v != influxd.Version || err != nil {
		t.Errorf("version %q, %v", v, err)
	}
	if _, err := c.Query(t.Context(), "", "", "SHOW STATS", nil); err != nil {
		t.Error(err)
	}
}

// TestStatementsWithoutADatabase asks before anything was written, as the pages do
// at the first start: the reason is given, whichever statement it kept.
func TestStatementsWithoutADatabase(t *testing.T) {
	c := connect(t, start(t, influxd.Config{Dir: t.TempDir()}))
	const statement = `SELECT "value" FROM "a;b"`
	ask := func(n int) error {
		_, err := c.Query(t.Context(), "headwater", "ledger", strings.Repeat(statement+"; ", n-1)+statement, nil)
		return err
	}
	for n := 1; n <= 4; n++ {
		if err := ask(n); err == nil || !strings.Contains(err.Error(), "database not found: headwater") {
			t.Errorf("%d statements: %v", n, err)
		}
	}
	ensure(t, c, influx.Bucket{Database: "headwater", Policy: "raw"})
	for n := 1; n <= 4; n++ {
		if err := ask(n); err == nil || !strings.Contains(err.Error(), "retention policy not found: ledger") {
			t.Errorf("%d statements, without the retention policy: %v", n, err)
		}
	}
}

func TestTwoServersDoNotShareAFolderOrAPort(t *testing.T) {
	dir := t.TempDir()
	s := start(t, influxd.Config{Dir: dir})
	tests := map[string]struct {
		cfg  influxd.Config
		want string
	}{
		"folder":   {influxd.Config{Dir: dir}, "another process uses it"},
		"port":     {influxd.Config{Dir: t.TempDir(), Addr: strings.TrimPrefix(s.URL(), "http://")}, "address already in use"},
		"not here": {influxd.Config{Dir: t.TempDir(), Addr: "0.0.0.0:0"}, "only a loopback address"},
		"no port":  {influxd.Config{Dir: t.TempDir(), Addr: "127.0.0.1"}, "missing port"},
		"no dir":   {influxd.Config{}, "no data folder"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			other, err := influxd.Start(tt.cfg)
			if err == nil {
				t.Fatalf("started: %v", other.Close())
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
		})
	}
	if count(t, connectEnsured(t, s)) != 0 {
		t.Error("the first server does not answer")
	}
}

func connectEnsured(t *testing.T, s *influxd.Server) *influx.Client {
	t.Helper()
	c := connect(t, s)
	ensure(t, c, raw)
	return c
}

func TestUnusableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := influxd.Start(influxd.Config{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	// A list of databases that cannot be read must not be replaced by an empty one.
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "meta"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "meta", "meta.db"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and the lock is freed
		if _, err := influxd.Start(influxd.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "another process") {
			t.Errorf("got %v", err)
		}
	}
}

func TestRequestsThatMayEnter(t *testing.T) {
	s := start(t, influxd.Config{Dir: t.TempDir(), Token: "s3cret"})
	drop := "/query?q=DROP+DATABASE+headwater"
	tests := map[string]struct {
		method, path string
		header       map[string]string
		host         string
		want         int
	}{
		"token":            {"POST", drop, map[string]string{"Authorization": "Token s3cret"}, "", 200},
		"bearer":           {"POST", drop, map[string]string{"Authorization": "Bearer s3cret"}, "", 200},
		"password":         {"POST", drop, map[string]string{"Authorization": "Basic YTpzM2NyZXQ="}, "", 200},
		"no token":         {"POST", drop, nil, "", 401},
		"wrong token":      {"POST", drop, map[string]string{"Authorization": "Token s3cre"}, "", 401},
		"version":          {"GET", "/ping", nil, "", 204},
		"page in browser":  {"POST", drop, map[string]string{"Authorization": "Token s3cret", "Origin": "https://example.org"}, "", 403},
		"image in a page":  {"GET", drop, map[string]string{"Authorization": "Token s3cret", "Sec-Fetch-Site": "cross-site"}, "", 403},
		"rebound name":     {"POST", drop, map[string]string{"Authorization": "Token s3cret"}, "evil.example.org", 403},
		"profiles":         {"GET", "/debug/pprof/heap", map[string]string{"Authorization": "Token s3cret"}, "", 404},
		"other protocols":  {"POST", "/api/v1/prom/write", map[string]string{"Authorization": "Token s3cret"}, "", 404},
		"flux":             {"POST", "/api/v2/query", map[string]string{"Authorization": "Token s3cret"}, "", 404},
		"gzip that is not": {"POST", "/write?db=headwater", map[string]string{"Authorization": "Token s3cret", "Content-Encoding": "gzip"}, "", 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, body := send(t, tt.method, s.URL()+tt.path, tt.host, tt.header, nil); got != tt.want {
				t.Errorf("answered %d %s, not %d", got, body, tt.want)
			}
		})
	}
}

func TestBodyIsBounded(t *testing.T) {
	s := start(t, influxd.Config{Dir: t.TempDir()})
	c := connectEnsured(t, s)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	line := strings.Repeat("temperature value=1 1\n", 1<<16)
	for range 40 << 20 / len(line) {
		if _, err := io.WriteString(z, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	status, body := send(t, "POST", s.URL()+"/write?db=headwater&rp=raw", "", map[string]string{"Content-Encoding": "gzip"}, &packed)
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %d %s", status, body)
	}
	packed.Reset()
	z.Reset(&packed)
	fmt.Fprintf(z, "temperature value=1 %d\n", time.Now().UnixNano())
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	status, body = send(t, "POST", s.URL()+"/write?db=headwater&rp=raw", "", map[string]string{"Content-Encoding": "gzip"}, &packed)
	if status != http.StatusNoContent || count(t, c) != 1 {
		t.Errorf("answered %d %s, %d points", status, body, count(t, c))
	}
}

func send(t *testing.T, method, url, host string, header map[string]string, body io.Reader) (status int, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}
