package audit

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"headwater/streams"
	"headwater/streams/natsd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// installation is a nats-server with the streams, on a folder that outlives it.
type installation struct {
	dir    string
	server *natsd.Server
}

func (i *installation) start(t *testing.T) {
	t.Helper()
	var err error
	i.server, err = natsd.Start(t.Context(), natsd.Config{Dir: i.dir, Sync: natsd.SyncAlways, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.server.Shutdown)
	if _, err := streams.Ensure(t.Context(), i.as(t, streams.ServiceProvision), streams.Options{Lanes: 1, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
}

// as returns JetStream with the permissions of a service.
func (i *installation) as(t *testing.T, service string) jetstream.JetStream {
	t.Helper()
	nc, err := i.server.Connect(natsd.UserOf(service))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func read(t *testing.T, js jetstream.JetStream, q Query) Found {
	t.Helper()
	if q.Size == 0 {
		q.Size = 100
	}
	found, err := Read(t.Context(), js, q)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestAuditSurvivesAndCannotBeChanged writes as each service that records changes, tries
// to remove what is recorded with every right that there is, restarts the server and
// reads everything again. A request that is not permitted gets no answer, so it is short.
func TestAuditSurvivesAndCannotBeChanged(t *testing.T) {
	i := &installation{dir: t.TempDir()}
	i.start(t)
	writers := []string{streams.ServiceProvision, streams.ServiceBridge, streams.ServiceGateway, streams.ServiceDashboard}
	for n, service := range writers {
		metrics := prometheus.NewRegistry()
		l := New(i.as(t, service), service, slog.New(slog.DiscardHandler), metrics)
		l.Write(t.Context(), Entry{Who: "anna", From: "192.0.2.7", Action: RuleState, Object: fmt.Sprintf("rule-%d", n), Before: "enabled", After: "muted"})
		if lost := testutil.ToFloat64(l.lost.WithLabelValues(lostFailed)); lost != 0 {
			t.Errorf("%s could not record", service)
		}
	}
	nc, err := i.server.Connect(natsd.UserCore)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	all, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for who, js := range map[string]jetstream.JetStream{"dashboard": i.as(t, streams.ServiceDashboard), "core": all} {
		stream, err := js.Stream(t.Context(), streams.StreamAudit)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := stream.Purge(ctx); err == nil {
			t.Errorf("%s purged the audit", who)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := stream.DeleteMsg(ctx, 1); err == nil {
			t.Errorf("%s deleted an entry", who)
		}
		cancel()
	}
	cfg := streams.Options{Lanes: 1, MaxBytes: 1 << 30}
	i.server.Shutdown()
	i.start(t)
	if _, err := streams.Ensure(t.Context(), i.as(t, streams.ServiceProvision), cfg); err != nil {
		t.Error(err)
	}
	got := read(t, i.as(t, streams.ServiceDashboard), Query{})
	if len(got.Entries) != len(writers) {
		t.Fatalf("%d entries after a restart, want %d", len(got.Entries), len(writers))
	}
	for n, e := range got.Entries {
		want := len(writers) - 1 - n
		if e.Service != writers[want] || e.Object != fmt.Sprintf("rule-%d", want) || e.Who != "anna" || e.From != "192.0.2.7" ||
			e.Before != "enabled" || e.After != "muted" || e.Result != Done || e.At.IsZero() {
			t.Errorf("entry %d: %+v", n, e)
		}
	}
}

// TestServicesRecordAsThemselvesOnly has a service write in the name of another one, and
// one that records nothing write at all.
func TestServicesRecordAsThemselvesOnly(t *testing.T) {
	i := &installation{dir: t.TempDir()}
	i.start(t)
	for service, as := range map[string]string{streams.ServiceBridge: streams.ServiceDashboard, streams.ServiceWriter: streams.ServiceWriter} {
		var log strings.Builder
		l := New(i.as(t, service), as, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		l.Write(t.Context(), Entry{Who: "mallory", Action: RuleDelete, Object: "all"})
		if testutil.ToFloat64(l.lost.WithLabelValues(lostFailed)) != 1 || !strings.Contains(log.String(), "mallory") {
			t.Errorf("%s as %s: it is not counted or logged that nothing was recorded: %s", service, as, log.String())
		}
	}
	if got := read(t, i.as(t, streams.ServiceDashboard), Query{}); len(got.Entries) != 0 {
		t.Errorf("recorded: %+v", got.Entries)
	}
}

func TestReadPagesAndFilters(t *testing.T) {
	i := &installation{dir: t.TempDir()}
	i.start(t)
	js := i.as(t, streams.ServiceDashboard)
	if got := read(t, js, Query{}); len(got.Entries) != 0 || got.Next != 0 {
		t.Errorf("of an empty stream: %+v", got)
	}
	l := New(js, streams.ServiceDashboard, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	const total = 3*firstReach + 7
	for n := range total {
		e := Entry{Who: "anna", Action: RuleSave, Object: fmt.Sprintf("r%03d", n)}
		if n%50 == 0 {
			e.Who, e.Action = "bob", SilenceAdd
		}
		l.Write(t.Context(), e)
	}
	seen, pages := 0, 0
	for q := (Query{Size: 10}); ; pages++ {
		got := read(t, js, q)
		for _, e := range got.Entries {
			seen++
			if want := fmt.Sprintf("r%03d", total-seen); e.Object != want {
				t.Fatalf("entry %d is %s, want %s", seen, e.Object, want)
			}
		}
		if q.Before = got.Next; got.Next == 0 {
			break
		}
	}
	if seen != total || pages != (total-1)/10 {
		t.Errorf("%d entries on %d pages", seen, pages)
	}
	for _, test := range []struct {
		q    Query
		want int
	}{
		{Query{Who: "bob"}, 4},
		{Query{Action: string(SilenceAdd)}, 4},
		{Query{Who: "bob", Action: string(RuleSave)}, 0},
		{Query{Text: "R01"}, 10},
		{Query{Text: "nothing"}, 0},
		{Query{Who: "bo"}, 0},
	} {
		if got := read(t, js, test.q); len(got.Entries) != test.want || got.Next != 0 {
			t.Errorf("%+v: %d entries, next %d, want %d", test.q, len(got.Entries), got.Next, test.want)
		}
	}
}

// TestHostileTextStaysInItsEntry writes texts that would forge a line, or another field.
func TestHostileTextStaysInItsEntry(t *testing.T) {
	evil := "anna\r\n{\"who\":\"bob\"}\x1b[2J\u202eevil\xff"
	e := Entry{Who: evil, From: evil, Object: evil, Detail: evil, Action: Action(evil), Before: evil, After: strings.Repeat("x", 10_000)}.clean()
	for name, text := range map[string]string{"who": e.Who, "from": e.From, "object": e.Object, "detail": e.Detail, "action": string(e.Action), "before": strings.ReplaceAll(e.Before, "\n", "")} {
		if strings.ContainsAny(text, "\r\n\x1b\u202e") {
			t.Errorf("%s: %q", name, text)
		}
	}
	if len(e.After) > maxText+len("…") || len(Entry{Who: strings.Repeat("x", 10_000)}.clean().Who) > maxName+len("…") {
		t.Error("a long text is not cut")
	}
}

// TestRefusalsAreBounded has somebody guess passwords for a day: what people did stays
// the greater part, and how much was left out is recorded.
func TestRefusalsAreBounded(t *testing.T) {
	l := New(nil, streams.ServiceDashboard, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	stored := 0
	for range 86_400 {
		now = now.Add(time.Second)
		if _, ok := l.admit(Refused, now); ok {
			stored++
		}
	}
	if most := refusedBurst + 86_400/10; stored < most-1 || stored > most+1 {
		t.Errorf("%d refusals of a day are stored, want %d", stored, most)
	}
	omitted, ok := l.admit(Done, now)
	if !ok || omitted == 0 {
		t.Errorf("a change after them: stored %v, %d omitted", ok, omitted)
	}
	if omitted, _ := l.admit(Done, now); omitted != 0 {
		t.Errorf("they are counted twice: %d", omitted)
	}
	if _, ok := l.admit(Refused, now.Add(time.Hour)); !ok {
		t.Error("a refusal an hour later is not stored")
	}
}

// TestNothingIsRecordedWithoutALog shows that parts may work without one.
func TestNothingIsRecordedWithoutALog(t *testing.T) {
	var l *Log
	l.Write(t.Context(), Entry{})
}
