package writer

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// answer is what a fake InfluxDB does with one write.
type answer struct {
	status int // 0 is 204
	header map[string]string
	body   string
	store  []string // the lines that it stores
	cut    bool     // closes the connection instead of answering
}

// fake is an InfluxDB with moods.
type fake struct {
	*httptest.Server

	mu       sync.Mutex
	mood     func(bucket string, lines []string) answer // guarded by mu, as all below
	points   map[string]string                          // fields by bucket, series, time and name of the first field
	writes   []time.Time
	policies map[string]bool
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{points: make(map[string]string), policies: make(map[string]bool)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	f.be(well)
	return f
}

func well(_ string, lines []string) answer { return answer{store: lines} }

func says(status int, header map[string]string, body string) func(string, []string) answer {
	return func(string, []string) answer { return answer{status: status, header: header, body: body} }
}

// be changes the mood.
func (f *fake) be(mood func(bucket string, lines []string) answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mood = mood
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Influxdb-Version", "1.8.10")
	switch r.URL.Path {
	case "/ping":
		w.WriteHeader(http.StatusNoContent)
	case "/query":
		f.query(w, r.FormValue("q"))
	default:
		f.write(w, r)
	}
}

func (f *fake) query(w http.ResponseWriter, q string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rows []string
	switch words := strings.Fields(q); {
	case q == "SHOW DATABASES":
		if len(f.policies) > 0 {
			rows = append(rows, `["headwater"]`)
		}
	case strings.HasPrefix(q, "SHOW RETENTION"):
		for p := range f.policies {
			rows = append(rows, fmt.Sprintf("[%q]", p))
		}
	case strings.HasPrefix(q, "CREATE DATABASE"):
		f.policies[strings.Trim(words[len(words)-1], `"`)] = true
	case strings.HasPrefix(q, "CREATE RETENTION"):
		f.policies[strings.Trim(words[3], `"`)] = true
	}
	fmt.Fprintf(w, `{"results":[{"series":[{"columns":["name"],"values":[%s]}]}]}`, strings.Join(rows, ","))
}

func (f *fake) write(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bucket := r.URL.Query().Get("bucket")
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	f.mu.Lock()
	f.writes = append(f.writes, time.Now())
	mood := f.mood
	f.mu.Unlock()
	a := mood(bucket, lines) // may take its time
	f.mu.Lock()
	for _, line := range a.store {
		first, last := strings.IndexByte(line, ' '), strings.LastIndexByte(line, ' ')
		field, _, _ := strings.Cut(line[first+1:last], "=")
		f.points[bucket+" "+line[:first]+line[last:]+" "+field] = line[first+1 : last]
	}
	f.mu.Unlock()
	if a.cut {
		panic(http.ErrAbortHandler)
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.status == 0 {
		a.status = http.StatusNoContent
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// stored returns a copy of the points.
func (f *fake) stored() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]string, len(f.points))
	maps.Copy(out, f.points)
	return out
}

func (f *fake) requests() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.writes...)
}
