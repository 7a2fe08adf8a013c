package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge"
	"headwater/services/dashboard"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
	"headwater/web/deadletters"
)

const within = streamtest.Patience

// world is a dashboard, a bridge and the streams behind them.
type world struct {
	js  jetstream.JetStream
	url string
}

func newWorld(t *testing.T, withBridge bool) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	w := &world{js: s.JS(t)}
	log := slog.New(slog.DiscardHandler)
	cfg := dashboard.DefaultConfig()
	pages, err := dashboard.New(cfg, dashboard.Deps{JS: s.JS(t), Log: log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pages.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	if !withBridge {
		return w
	}
	b, err := bridge.New(bridge.DefaultConfig(), bridge.Deps{
		JS: s.JS(t), Devices: s.DevicesJS(t), Devices0: s.Conn(t, natsd.UserDevices0), Log: log, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	streamtest.Eventually(t, "the bridge redrives", func() bool {
		_, err := w.js.Conn().Request(streams.RedriveSubject(streams.ServiceBridge), nil, within)
		return err == nil
	})
	return w
}

// bury stores a dead letter and returns its sequence.
func (w *world) bury(t *testing.T, service, reason, origin, payload string) uint64 {
	t.Helper()
	ack, err := w.js.PublishMsg(t.Context(), streams.DeadLetter{
		Service: service, Reason: reason, Detail: "why \x1b[31mnot", Origin: origin, Arrived: time.Unix(1_700_000_000, 0), Payload: []byte(payload),
	}.Msg())
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// headwater runs one command line; a person types the answer, if there is one.
func (w *world) headwater(t *testing.T, answer string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	env := environment{out: &out, err: &errs, in: strings.NewReader(answer), interactive: answer != ""}
	code := run(t.Context(), env, append([]string{"deadletters", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

// audit runs a command about the audit.
func (w *world) audit(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"audit", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

// TestAuditLs changes something and lists it.
func TestAuditLs(t *testing.T) {
	w := newWorld(t, false)
	w.audit(t, "ls").want(t, exitDone, "No entries")
	for range 3 {
		w.bury(t, "bridge", streams.ReasonTopic, "a/b", "x")
		w.headwater(t, "", "purge", "--reason", "topic", "--yes").want(t, exitDone, "1 purged")
	}
	w.audit(t, "ls").want(t, exitDone, "letters.purge", "topic, up to № 3", "127.0.0.1", "1 letter", "done")
	w.audit(t, "ls", "--size", "2").want(t, exitDone, "older ones: --before 2")
	w.audit(t, "ls", "--before", "2", "--json").want(t, exitDone, `"sequence": 1`)
	w.audit(t, "ls", "--action", "rule.save").want(t, exitDone, "No entries")
	w.audit(t, "ls", "--action", "no action").want(t, exitFailed, "action must be")
}

func (r result) want(t *testing.T, code int, holds ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, text := range holds {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("no word of %q", text)
		}
	}
	if strings.Contains(r.out+r.err, "\x1b") {
		t.Error("a device writes to the terminal")
	}
	if t.Failed() {
		t.Fatalf("out:\n%s\nerr:\n%s", r.out, r.err)
	}
}

// TestColumnsAreAligned has names with letters of several bytes.
func TestColumnsAreAligned(t *testing.T) {
	w := newWorld(t, false)
	w.bury(t, streams.ServiceBridge, streams.ReasonTopic, "sensors/Kühlhaus/Tür-1/größe", "1")
	w.bury(t, streams.ServiceBridge, streams.ReasonTopic, "sensors/hall/door-1", "1")
	r := w.headwater(t, "", "ls")
	r.want(t, exitDone, "Kühlhaus")
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	for _, line := range lines {
		at := func(line, word string) int { return utf8.RuneCountInString(line[:strings.LastIndex(line, word)]) }
		if word := map[bool]string{true: "WHY", false: "why"}[line == lines[0]]; at(line, word) != at(lines[0], "WHY") {
			t.Fatalf("the last column is not aligned:\n%s", r.out)
		}
	}
}

func TestLsAndShow(t *testing.T) {
	w := newWorld(t, false)
	w.headwater(t, "", "ls").want(t, exitDone, "No dead letters")
	w.bury(t, "bridge", streams.ReasonTopic, "plant/\x1b[2J/m", "21.5")
	w.bury(t, "writer", streams.ReasonRejected, "telemetry", "\x00\xff")
	w.headwater(t, "", "ls").want(t, exitDone, "SEQUENCE", "plant/", "2023-11-14 22:13:20", "writer")
	if r := w.headwater(t, "", "ls", "--service", "writer"); strings.Contains(r.out, "bridge") {
		t.Errorf("the filter let pass:\n%s", r.out)
	}
	w.headwater(t, "", "ls", "--size", "1").want(t, exitDone, "2 in all; older ones: --before 2")
	var page deadletters.Letters
	if r := w.headwater(t, "", "ls", "--json", "--reason", streams.ReasonTopic); json.Unmarshal([]byte(r.out), &page) != nil || len(page.Items) != 1 || page.Last != 2 {
		t.Errorf("as JSON: %+v\n%s", page, r.out)
	}
	w.headwater(t, "", "show", "1").want(t, exitDone, "Reason:", "topic", "4 bytes", "21.5", "2023-11-14T22:13:20Z")
	w.headwater(t, "", "show", "2").want(t, exitDone, "00 ff", "not possible")
	if r := w.headwater(t, "", "show", "2", "--raw"); r.out != "\x00\xff" {
		t.Errorf("raw: %q", r.out)
	}
	var l deadletters.Letter
	if r := w.headwater(t, "", "show", "2", "--json"); json.Unmarshal([]byte(r.out), &l) != nil || string(l.Payload) != "\x00\xff" {
		t.Errorf("as JSON: %s", r.out)
	}
	w.headwater(t, "", "show", "3").want(t, exitFailed, "There is no such dead letter")
	w.headwater(t, "", "ls", "--service", "a.b").want(t, exitFailed, "service must be")
	w.headwater(t, "", "redrive", "1").want(t, exitFailed, "no bridge runs")
}

func TestRedrive(t *testing.T) {
	w := newWorld(t, true)
	w.headwater(t, "", "redrive", "--all").want(t, exitDone, "0 redriven")
	good := w.bury(t, "bridge", streams.ReasonTopic, "sensors/hall/d/m", "21.5")
	bad := w.bury(t, "bridge", streams.ReasonValue, "sensors/hall/d/m", "NaN")
	foreign := w.bury(t, "writer", streams.ReasonRejected, "telemetry", "m v=1")
	w.headwater(t, "", "redrive", fmt.Sprint(good)).want(t, exitDone, "1 redriven (1 reading)")
	w.headwater(t, "", "redrive", fmt.Sprint(foreign), "999").want(t, exitPartly, "cannot be redriven", "1 gone", "not every letter")
	// More than one request takes in.
	const many = streams.MaxRedrive + 20
	for i := range many {
		w.bury(t, "bridge", streams.ReasonTopic, "sensors/hall/d/m", fmt.Sprintf(`{"value":1,"ts":%d}`, 1_700_000_000-i))
	}
	r := w.headwater(t, "", "redrive", "--all")
	r.want(t, exitPartly, fmt.Sprintf("%d redriven (%d readings), 1 refused again, 1 cannot be redriven, 0 failed", many, many), fmt.Sprintf("%d refused: ", bad))
	var all deadletters.Redrive
	r = w.headwater(t, "", "redrive", "--service", "bridge", "--json")
	if json.Unmarshal([]byte(r.out), &all) != nil || r.code != exitPartly || all.Refused != 1 || len(all.Letters) != 1 || all.Letters[0].Reason != streams.ReasonValue {
		t.Errorf("only the bad one is left: %+v\n%s", all, r.out)
	}
	telemetry, err := w.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	info, err := telemetry.Info(t.Context(), jetstream.WithSubjectFilter(streams.TelemetrySubject(streams.Lane("hall", "d", 2), streams.SourceRedrive)))
	if err != nil {
		t.Fatal(err)
	}
	for subject, n := range info.State.Subjects {
		if n != many+1 {
			t.Errorf("%d batches on %s, want %d", n, subject, many+1)
		}
	}
}

func TestPurge(t *testing.T) {
	w := newWorld(t, false)
	for range 3 {
		w.bury(t, "bridge", streams.ReasonTopic, "x", "1")
		w.bury(t, "bridge", streams.ReasonValue, "x", "1")
	}
	w.headwater(t, "", "purge", "--all").want(t, exitUsage, "not a terminal: pass --yes")
	w.headwater(t, "no\n", "purge", "--all").want(t, exitFailed, "Delete 6 dead letters", "nothing was done")
	w.headwater(t, "y\n", "purge", "1", "99").want(t, exitFailed, "1 purged", "99: There is no such dead letter")
	w.headwater(t, "", "purge", "--yes", "--reason", streams.ReasonValue).want(t, exitDone, "3 purged")
	w.headwater(t, "", "purge", "-y", "--all", "--json").want(t, exitDone, `"purged": 2`)
	w.headwater(t, "", "purge", "-y", "--all").want(t, exitDone, "0 purged")
	w.headwater(t, "", "ls").want(t, exitDone, "No dead letters")
}

func TestUsage(t *testing.T) {
	w := &world{url: "http://127.0.0.1:1"}
	for _, c := range []struct {
		args  []string
		code  int
		holds string
	}{
		{[]string{"redrive"}, exitUsage, "say which letters"},
		{[]string{"purge", "1", "--all"}, exitUsage, "say either"},
		{[]string{"purge", "--service", "bridge", "--all"}, exitUsage, "say either"},
		{[]string{"purge", "0"}, exitUsage, "from 1"},
		{[]string{"show", "x"}, exitUsage, "--help lists"},
		{[]string{"show", "1", "--raw", "--json"}, exitUsage, "raw"},
		{[]string{"burn"}, exitUsage, "--help lists"},
		{[]string{"ls", "--server", "localhost"}, exitUsage, "not a URL"},
		{[]string{"ls"}, exitFailed, "does not answer"},
		{[]string{"ls", "--help"}, exitDone, "HEADWATER_SERVER"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) { w.headwater(t, "", c.args...).want(t, c.code, c.holds) })
	}
}

// TestServerFromTheEnvironment also shows what is said when something else
// answers.
func TestServerFromTheEnvironment(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	t.Setenv("HEADWATER_SERVER", other.URL)
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, []string{"deadletters", "ls"})
	if code != exitFailed || !strings.Contains(errs.String(), "is that a dashboard") {
		t.Errorf("%d: %s", code, &errs)
	}
}
