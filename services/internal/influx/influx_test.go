package influx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newClient(t *testing.T, h http.HandlerFunc, change func(*Config)) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	cfg := Config{URL: s.URL, Org: "org", Database: "headwater", Timeout: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestConfigNamesEveryProblem(t *testing.T) {
	err := Config{URL: "localhost:8086", Token: "a", TokenFile: "b", Database: "a/b"}.Validate()
	for _, flag := range []string{"influx-url", "influx-token-file", "influx-database", "influx-timeout"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named in %v", flag, err)
		}
	}
	if s := fmt.Sprintf("%v %+v", Config{Token: "t0psecret"}, Config{Token: "t0psecret"}); strings.Contains(s, "t0psecret") {
		t.Errorf("the token is shown: %s", s)
	}
}

func TestBind(t *testing.T) {
	tests := map[string]struct {
		query  string
		params Params
		want   string
		err    string
	}{
		"every type": {
			query: "SELECT $f FROM $m WHERE site = $s AND v > $x AND n = $n AND time >= $t GROUP BY time($w) LIMIT $i OFFSET $b",
			params: Params{
				"f": Ident("value"), "m": Ident(`a"b`), "s": "it's", "x": 1e21, "n": int64(7), "i": 10, "b": true,
				"t": time.Unix(1, 2), "w": time.Minute,
			},
			want: `SELECT "value" FROM "a\"b" WHERE site = 'it\'s' AND v > 1000000000000000000000 AND n = 7 AND time >= 1000000002 GROUP BY time(60000000000ns) LIMIT 10 OFFSET true`,
		},
		"no way out of the quotes":   {query: "a = $s", params: Params{"s": `\' OR 1=1 --` + "\n"}, want: `a = '\\\' OR 1=1 --\n'`},
		"quoted names are left":      {query: `'$a \' $a' "$a" $a`, params: Params{"a": 1}, want: `'$a \' $a' "$a" 1`},
		"values are not bound again": {query: "$a $b", params: Params{"a": "$b", "b": 2}, want: "'$b' 2"},
		"regular expression":         {query: "m =~ /^a$/ AND b = $b", params: Params{"b": 1}, want: "m =~ /^a$/ AND b = 1"},
		"missing":                    {query: "a = $s", err: "no value for $s"},
		"surplus":                    {query: "a", params: Params{"s": 1}, err: "there is no $s"},
		"not a number":               {query: "$s", params: Params{"s": math.NaN()}, err: "cannot write NaN"},
		"unknown type":               {query: "$s", params: Params{"s": []byte("a")}, err: "cannot write a []uint8"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Bind(tt.query, tt.params)
			if got != tt.want || tt.err == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestQueryDecodes(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/query" || q.Get("db") != "headwater" || q.Get("rp") != "raw" || q.Get("epoch") != "ns" {
			t.Errorf("asked %s", r.URL)
		}
		fmt.Fprint(w, `{"results":[{"statement_id":0,"series":[{"name":"temperature","tags":{"device":"door-1"},"columns":["time","value","text"],
			"values":[[1700000000000000001,1.5,"a"],[1700000000000000002,null,null],[1700000000000000003,7,"b"]]}]},{"statement_id":1}]}`)
	}, nil)
	got, err := c.Query(t.Context(), "headwater", "raw", "SELECT 1; SELECT 2", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Series{{
		Name: "temperature", Tags: map[string]string{"device": "door-1"},
		Times:   []int64{1700000000000000001, 1700000000000000002, 1700000000000000003},
		Columns: []string{"value", "text"},
		Values:  [][]any{{1.5, "a"}, {nil, nil}, {7.0, "b"}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if f := got[0].Floats("value"); len(f) != 3 || f[0] != 1.5 || !math.IsNaN(f[1]) || f[2] != 7 {
		t.Errorf("floats %v", f)
	}
	if f := got[0].Floats("none"); f != nil {
		t.Errorf("floats of no column %v", f)
	}
}

func TestQueryErrorsSayWhatToDo(t *testing.T) {
	tests := map[string]struct {
		status int
		header string
		body   string
		want   []string
	}{
		"in a result":   {200, "", `{"results":[{"statement_id":0,"error":"database not found: headwater"}]}`, []string{"database not found", "--influx-database"}},
		"1.x":           {400, "error parsing query", `{"error":"error parsing query"}`, []string{"400 Bad Request", "error parsing query"}},
		"2.x":           {401, "", `{"code":"unauthorized","message":"unauthorized access"}`, []string{"401", "unauthorized access", "--influx-token-file"}},
		"3":             {400, "", `{"error":"partial write of line protocol occurred","data":[{"line_number":2,"error_message":"no fields"}]}`, []string{"partial write", "line 2: no fields"}},
		"a proxy":       {404, "", "<h1>not\nhere</h1>", []string{"404", "<h1>not here</h1>", "--influx-url"}},
		"not an Influx": {200, "", "<html>", []string{"read the answer"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("X-Influxdb-Error", tt.header)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}, nil)
			_, err := c.Query(t.Context(), "headwater", "raw", "SELECT 1", nil)
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %v", w, err)
				}
			}
		})
	}
}

func TestQueryBoundsTheAnswer(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"results":[{"series":[{"name":"`)
		_, _ = w.Write(bytes.Repeat([]byte("a"), 1<<16))
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"results":[{"series":[{"columns":["time"],"values":[[1]],"partial":true}]}]}`)
	}
	for name, h := range map[string]http.HandlerFunc{"endless": endless, "cut off by InfluxDB": cut} {
		c := newClient(t, h, nil)
		c.maxAnswer = 1 << 12
		if _, err := c.Query(t.Context(), "headwater", "raw", "SELECT 1", nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestErrorOfTheNetwork(t *testing.T) {
	c := newClient(t, func(http.ResponseWriter, *http.Request) {}, func(c *Config) { c.URL = "http://127.0.0.1:1" })
	err := c.Write(t.Context(), "headwater/raw", "a v=1 1")
	var e *Error
	if !errors.As(err, &e) || e.Status != 0 || !strings.Contains(err.Error(), "is InfluxDB running") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Write(ctx, "headwater/raw", "a v=1 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWriteReportsStatusAndRetryAfter(t *testing.T) {
	date := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, after := range []string{"7", date, "soon"} {
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			if q := r.URL.Query(); r.URL.Path != "/api/v2/write" || q.Get("bucket") != "headwater/raw" || q.Get("precision") != "ns" {
				t.Errorf("asked %s", r.URL)
			}
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusServiceUnavailable)
		}, nil)
		err := c.Write(t.Context(), "headwater/raw", "a v=1 1")
		var e *Error
		if !errors.As(err, &e) || e.Status != 503 {
			t.Fatalf("got %v", err)
		}
		ok := map[string]bool{
			"7":    e.RetryAfter == 7*time.Second,
			date:   e.RetryAfter > 58*time.Minute && e.RetryAfter <= time.Hour,
			"soon": e.RetryAfter == 0,
		}
		if !ok[after] {
			t.Errorf("%q: wait %v", after, e.RetryAfter)
		}
	}
}

func TestTokenFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	valid := "one"
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Token "+valid {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}, func(c *Config) { c.TokenFile = file })
	write := func() error { return c.Write(t.Context(), "headwater/raw", "a v=1 1") }
	if err := write(); err == nil || !strings.Contains(err.Error(), "--influx-token-file") || strings.Contains(err.Error(), "--influx-url") {
		t.Errorf("without a file: %v", err)
	}
	for _, valid = range []string{"one", "two"} {
		if err := write(); err == nil {
			t.Errorf("%s: the previous token works", valid)
		}
		if err := os.WriteFile(file, []byte(valid+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil {
			t.Errorf("%s: %v", valid, err)
		}
	}
}

func TestEnsureInVersion2(t *testing.T) {
	bucket := Bucket{Database: "headwater", Policy: "raw", Retention: 24 * time.Hour}
	var made map[string]any
	exists, allowed := false, true
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/ping":
			w.Header().Set("X-Influxdb-Version", "v2.7.11")
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/api/v2/buckets" && r.Method == http.MethodGet && exists:
			fmt.Fprint(w, `{"buckets":[{"id":"1"}]}`)
		case r.URL.Path == "/api/v2/buckets" && r.Method == http.MethodGet:
			http.Error(w, `{"code":"not found","message":"bucket not found"}`, http.StatusNotFound)
		case r.URL.Path == "/api/v2/orgs" && r.URL.Query().Get("org") == "org":
			fmt.Fprint(w, `{"orgs":[{"id":"0123"}]}`)
		case r.URL.Path == "/api/v2/buckets" && r.Method == http.MethodPost && allowed:
			if err := json.NewDecoder(r.Body).Decode(&made); err != nil {
				t.Error(err)
			}
			exists = true
			w.WriteHeader(http.StatusCreated)
		default:
			http.Error(w, `{"code":"forbidden","message":"insufficient permissions"}`, http.StatusForbidden)
		}
	}, nil)

	allowed = false
	err := c.Ensure(t.Context(), bucket)
	for _, w := range []string{"headwater/raw", "--influx-token-file", "insufficient permissions"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in %v", w, err)
		}
	}
	allowed = true
	for range 2 {
		if err := c.Ensure(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]any{
		"orgID": "0123", "name": "headwater/raw",
		"retentionRules": []any{map[string]any{"type": "expire", "everySeconds": 86400.0}},
	}
	if d := cmp.Diff(want, made); d != "" {
		t.Error(d)
	}
}

func TestEnsureInVersion3DoesNothing(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ping" {
			t.Errorf("asked %s", r.URL)
		}
		w.Header().Set("X-Influxdb-Version", "3.2.0")
	}, nil)
	if err := c.Ensure(t.Context(), Bucket{Database: "headwater", Policy: "raw"}); err != nil {
		t.Error(err)
	}
}

func TestErase(t *testing.T) {
	before := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for version, want := range map[string][]string{
		"1.8.10": {`DELETE FROM /.*/ WHERE "site" = 'hall' AND "device" = 'door-1' AND time < 1773500966000000000`},
		"v2.7.11": {
			`headwater/raw {"predicate":"site=\"hall\" AND device=\"door-1\"","start":"1970-01-01T00:00:00Z","stop":"2026-03-14T15:09:26Z"}`,
			`headwater/1d {"predicate":"site=\"hall\" AND device=\"door-1\"","start":"1970-01-01T00:00:00Z","stop":"2026-03-14T15:09:26Z"}`,
		},
		"3.2.0": nil,
	} {
		var got []string
		c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/ping":
				w.Header().Set("X-Influxdb-Version", version)
			case "/query":
				got = append(got, r.FormValue("q"))
				fmt.Fprint(w, `{"results":[{"statement_id":0}]}`)
			case "/api/v2/buckets":
				fmt.Fprint(w, `{"buckets":[{"name":"headwater/raw"},{"name":"other"},{"name":"headwater/1d"}]}`)
			case "/api/v2/delete":
				body, _ := io.ReadAll(r.Body)
				got = append(got, r.FormValue("bucket")+" "+string(body))
			default:
				t.Errorf("asked %s", r.URL)
			}
		}, nil)
		if err := c.Erase(t.Context(), "hall", "door-1", before); (want == nil) != errors.Is(err, ErrKeeps) || want != nil && err != nil {
			t.Errorf("%s: %v", version, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", version, d)
		}
	}
}

func FuzzBindQuotes(f *testing.F) {
	f.Add(`'; DROP DATABASE "headwater" --`)
	f.Add(`\`)
	f.Fuzz(func(t *testing.T, s string) {
		for q, v := range map[string]any{"'": s, `"`: Ident(s)} {
			got, err := Bind("$a", Params{"a": v})
			if err != nil || got[:1] != q || quoted(got) != len(got) || strings.Contains(got, "\n") {
				t.Errorf("%q became %q, %v", s, got, err)
			}
		}
	})
}

func TestFirstStatement(t *testing.T) {
	for q, want := range map[string]string{
		`SELECT 1; SELECT 2`: `SELECT 1`, `SELECT 1`: `SELECT 1`,
		`SELECT ';' FROM "a;\"b"; SELECT 2`: `SELECT ';' FROM "a;\"b"`, `SELECT ';`: `SELECT ';`,
	} {
		if got := firstStatement(q); got != want {
			t.Errorf("%s: %s", q, got)
		}
	}
}

func TestReasonWinsOverNotExecuted(t *testing.T) {
	for _, results := range []string{
		`[{"statement_id":0,"error":"not executed"},{"statement_id":1,"error":"retention policy not found: ledger"}]`,
		`[{"statement_id":0,"error":"retention policy not found: ledger"},{"statement_id":1,"error":"not executed"}]`,
	} {
		_, err := decode(strings.NewReader(`{"results":` + results + `}`))
		if err == nil || !strings.Contains(err.Error(), "retention policy not found") {
			t.Errorf("%s: %v", results, err)
		}
	}
}
