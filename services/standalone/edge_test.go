package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/internal/certs"
	"headwater/streams/streamtest"
	"headwater/streams/streamtest/ports"
	"headwater/web/edges"
	"headwater/web/ledger"
)

// notified collects the calls of a webhook. A call that is repeated after a crash has the
// same key and counts once.
type notified struct {
	mu    sync.Mutex
	calls map[string]string // guarded by mu
}

func (n *notified) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var message struct{ Title string }
	_ = json.Unmarshal(body, &message)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[r.Header.Get("Idempotency-Key")] = message.Title
}

func (n *notified) titles() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Values(n.calls))
}

// TestEdge has an edge send up over TLS through a link that is cut, while both sides are
// killed. Every acknowledged reading arrives at the centre once, and people are notified of
// each alert once.
func TestEdge(t *testing.T) {
	t.Parallel() // it mostly waits
	hook := &notified{calls: make(map[string]string)}
	listener := httptest.NewServer(hook)
	defer listener.Close()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	addresses, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	centreFolder, edgeFolder := t.TempDir(), t.TempDir()
	centreEnv := []string{
		childFolder + "_HTTP=" + addresses[0], childFolder + "_TLS=1",
		childFolder + "_RULES=" + write("centre.yaml", fmt.Sprintf("grouping: {by: [rule, device], interval: 0s}\nchannels: [{name: hook, type: webhook, url: %q}]\n", listener.URL)),
	}
	centre, centreProcess := startChild(t, centreFolder, centreEnv...)
	c := apiOf(t, centreFolder, centre)
	link := newProxy(t, addresses[0])
	var invited edges.Invited
	c.call(http.MethodPost, "/api/v1/edges", edges.Draft{Name: "attic", Policy: &edges.Policy{Readings: []string{"all"}}, Address: "https://" + link.Listen}, &invited)

	edgeEnv := []string{
		childFolder + "_JOIN=" + invited.Line,
		childFolder + "_RULES=" + write("edge.yaml", "rules: [{name: warm, match: {site: hall}, detector: limit, above: 30}]\n"),
	}
	edge, edgeProcess := startChild(t, edgeFolder, edgeEnv...)
	const perRound = 40
	sent := 0
	publishAll := func(warm string) {
		client := device(t, edge.MQTT, fmt.Sprintf("d-%d", sent))
		for i := range perRound {
			name, value := fmt.Sprintf("d%d", i%4), 20
			if name == warm {
				value = 35
			}
			publish(t, client, "sensors/hall/"+name+"/t", fmt.Sprint(value))
			sent++
		}
	}
	received := func() ledger.Ledger {
		var l ledger.Ledger
		c.call(http.MethodGet, "/api/v1/ledger?from=-24h", nil, &l)
		return l
	}
	publishAll("d1")
	streamtest.Eventually(t, "people are notified of what the edge found", func() bool { return len(hook.titles()) == 1 })

	link.Stop()
	publishAll("d2")
	for _, p := range []*os.Process{edgeProcess.Process, centreProcess.Process} {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = edgeProcess.Wait(), centreProcess.Wait()
	// The line is remembered.
	edge, _ = startChild(t, edgeFolder, edgeEnv[1:]...)
	centre, _ = startChild(t, centreFolder, centreEnv...)
	for range 3 {
		if err := link.Start(); err != nil {
			t.Fatal(err)
		}
		publishAll("d2")
		link.Stop()
	}
	if err := link.Start(); err != nil {
		t.Fatal(err)
	}
	var l ledger.Ledger
	streamtest.Eventually(t, "every reading is at the centre", func() bool {
		l = received()
		return l.Totals.Exact && l.Totals.Received >= uint64(sent)
	})
	if want := (ledger.Figures{Received: uint64(sent), Stored: uint64(sent)}); l.Totals.Figures != want {
		t.Errorf("the ledger of the centre has %+v, want %+v", l.Totals.Figures, want)
	}
	want := []string{"Resolved: warm (d1)", "Warning: warm (d1)", "Warning: warm (d2)"}
	streamtest.Eventually(t, "people are notified", func() bool { return len(hook.titles()) >= len(want) })
	if d := cmp.Diff(want, hook.titles()); d != "" {
		t.Error(d)
	}

	var all struct{ Edges []edges.Edge }
	streamtest.Eventually(t, "the edge has reported what it sent", func() bool {
		c.call(http.MethodGet, "/api/v1/edges", nil, &all)
		return all.Edges[0].Whole.Messages >= uint64(sent)
	})
	if e := all.Edges[0]; e.Name != "attic" || e.State != edges.StateOnline || e.Sent.Messages >= e.Whole.Messages || e.Skipped+e.Refused > 0 || e.Disk.Total == 0 || e.SpentToday == 0 {
		t.Errorf("the edge is shown as %+v", e)
	}
	// Readings of hours that are over are deleted at the centre.
	const lost = 30
	at := time.Now().Add(-3 * time.Hour)
	client := device(t, edge.MQTT, "past")
	for i := range lost {
		publish(t, client, "sensors/hall/past/t", fmt.Sprintf(`{"value":%d,"ts":%d}`, i, at.Add(time.Duration(i)*time.Minute).UnixMilli()))
		sent++
	}
	gaps := func(want edges.Held) func() bool {
		return func() bool {
			var g edges.Gaps
			c.call(http.MethodGet, "/api/v1/edges/attic/gaps", nil, &g)
			var past edges.Held
			for _, h := range g.Hours {
				if h.Start.Before(time.Now().Add(-2 * time.Hour)) {
					past.Edge, past.Here, past.Coming, past.Missing = past.Edge+h.Edge, past.Here+h.Here, past.Coming+h.Coming, past.Missing+h.Missing
				}
			}
			return past == want
		}
	}
	streamtest.Eventually(t, "both sides hold them", gaps(edges.Held{Edge: lost, Here: lost}))
	influxed(t, centre.Influx, `DELETE FROM "t" WHERE "device" = 'past'`)
	streamtest.Eventually(t, "they are missing", gaps(edges.Held{Edge: lost, Missing: lost}))
	c.call(http.MethodPost, "/api/v1/edges/attic/repair", nil, nil)
	streamtest.Eventually(t, "they are repaired", gaps(edges.Held{Edge: lost, Here: lost}))
	streamtest.Eventually(t, "the repair is over", func() bool {
		var g edges.Gaps
		c.call(http.MethodGet, "/api/v1/edges/attic/gaps", nil, &g)
		return g.Repair != nil && g.Repair.Over() && g.Repair.Readings == lost
	})
	sent += lost // the ledger counts them again
	streamtest.Eventually(t, "the ledger has them all", func() bool { return received().Totals.Received == uint64(sent) })

	// Summaries of windows go up beside them.
	c.call(http.MethodPut, "/api/v1/edges/attic/policy", edges.Policy{Readings: []string{"all"}, Summaries: []string{"hall/sum/t=1m"}}, nil)
	counted := func() string {
		return queried(t, centre.Influx, `SELECT "value" FROM "raw"."t_1m_count" WHERE "device" = 'sum'`)
	}
	// One reading a minute: a window that is changed while its device is behind waits for a minute.
	first, count := time.Now().Add(-20*time.Hour).Truncate(time.Minute), 0
	sum := func() {
		publish(t, client, "sensors/hall/sum/t", fmt.Sprintf(`{"value":1,"ts":%d}`, first.Add(time.Duration(count)*time.Minute).UnixMilli()))
		count++
	}
	streamtest.Eventually(t, "the edge knows that it has to send them", func() bool { sum(); return counted() != "" })
	link.Stop()
	for range 5 {
		sum()
	}
	if err := link.Start(); err != nil {
		t.Fatal(err)
	}
	for m := count - 5; m < count; m++ {
		want := fmt.Sprintf("[%d,1]", first.Add(time.Duration(m+1)*time.Minute-1).UnixNano())
		streamtest.Eventually(t, "the centre has the summary", func() bool { return strings.Contains(counted(), want) })
	}

	ofD1 := func() uint64 {
		var l ledger.Ledger
		c.call(http.MethodGet, "/api/v1/ledger?from=-24h&site=hall&device=d1", nil, &l)
		return l.Totals.Received
	}
	before := ofD1() // all of them had arrived above
	c.call(http.MethodPost, "/api/v1/edges/attic/revoke", nil, nil)
	publishAll("")
	streamtest.Eventually(t, "the edge notices that it is revoked", func() bool {
		res, err := http.Get(edge.HTTP + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return bytes.Contains(text, []byte("\nheadwater_edge_link_up{service=\"edge\"} 0\n"))
	})
	if got := ofD1(); got != before || got == 0 {
		t.Errorf("the centre has %d readings, it had %d: a revoked edge sent some", got, before)
	}
}

// influxed runs a statement in an InfluxDB.
func influxed(t *testing.T, at, statement string) {
	t.Helper()
	queried(t, at, statement)
}

// queried runs a statement in an InfluxDB and returns its answer, or nothing if there are no
// points. Times are nanoseconds since the Unix epoch.
func queried(t *testing.T, at, statement string) string {
	t.Helper()
	res, err := http.PostForm(at+"/query", url.Values{"db": {"headwater"}, "q": {statement}, "epoch": {"ns"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || bytes.Contains(text, []byte("error")) {
		t.Fatalf("%s: %s %s", statement, res.Status, text)
	}
	if !bytes.Contains(text, []byte("values")) {
		return ""
	}
	return string(text)
}

// api calls the API of a standalone with an authority of its own.
type api struct {
	t    *testing.T
	base string
	http *http.Client
}

func apiOf(t *testing.T, folder string, at Addresses) api {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, certs.Folder, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return api{t, at.HTTP, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
}

func (a api) call(method, path string, body, into any) {
	a.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.base+path, bytes.NewReader(text))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode > 299 {
		a.t.Fatalf("%s %s: %s %v\n%s", method, path, res.Status, err, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			a.t.Fatalf("%s %s: %v\n%s", method, path, err, answer)
		}
	}
}
