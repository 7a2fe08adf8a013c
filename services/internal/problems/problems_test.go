package problems_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headwater/services/internal/problems"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"

	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFromAServiceToTheDashboard reports with the permissions of a service and
// reads with those of the dashboard.
func TestFromAServiceToTheDashboard(t *testing.T) {
	server, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	as := func(service string) jetstream.JetStream {
		nc, err := server.Connect(natsd.UserOf(service))
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
	if _, err := streams.Ensure(t.Context(), as(streams.ServiceProvision), streams.Options{Lanes: 2, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	kv, err := as(streams.ServiceDashboard).KeyValue(t.Context(), streams.BucketProblems)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	board := problems.NewBoard()
	shown := func() string {
		for {
			select {
			case e := <-watch.Updates():
				if e != nil {
					value := e.Value()
					if e.Operation() != jetstream.KeyValuePut {
						value = nil
					}
					board.Take(e.Key(), value, e.Created())
				}
				continue
			default:
			}
			var parts []string
			for _, p := range board.Problems(time.Now()) {
				parts = append(parts, p.Part+": "+p.Text)
			}
			return strings.Join(parts, "; ")
		}
	}
	await := func(want string) {
		t.Helper()
		streamtest.Eventually(t, want, func() bool { return shown() == want })
	}
	for _, service := range []string{streams.ServiceProvision, streams.ServiceNotifier, streams.ServiceBridge} {
		r := problems.New(as(service), service, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		r.Set("a", problems.Problem{Part: service, Text: "is broken"})
		await(service + ": is broken")
		since := board.Problems(time.Now())[0].Since
		r.Set("a", problems.Problem{Part: service, Text: "is worse"})
		await(service + ": is worse")
		if got := board.Problems(time.Now())[0].Since; !got.Equal(since) {
			t.Errorf("it began at %v, and then at %v", since, got)
		}
		r.Clear("a")
		await("")
		r.Set("b", problems.Problem{Part: service, Text: "is broken again"})
		await(service + ": is broken again")
		cancel() // a process that ends withdraws its report
		<-done
		await("")
	}
}

func TestBounds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	b := problems.NewBoard()
	b.Take("bridge.a", []byte(`[{"part":"x","text":"y"},{"part":"a","text":"b"}]`), now)
	b.Take("bridge.b", []byte(`[{"part":"x","text":"y"}]`), now.Add(30*time.Second))
	b.Take("bridge.c", []byte(`{`), now)
	if got := b.Problems(now.Add(40 * time.Second)); len(got) != 2 || got[0].Part != "a" {
		t.Errorf("problems are %+v", got)
	}
	if got := b.Problems(now.Add(80 * time.Second)); len(got) != 1 || got[0].Part != "x" {
		t.Errorf("when one process has died, problems are %+v", got)
	}
	if got := b.Problems(now.Add(10 * time.Minute)); len(got) != 0 {
		t.Errorf("when both have died, problems are %+v", got)
	}
	for i := range 1000 {
		b.Take(fmt.Sprintf("bridge.%d", i), fmt.Appendf(nil, `[{"part":"x%d"}]`, i), now)
	}
	if got := len(b.Problems(now)); got > 200 {
		t.Errorf("%d processes are remembered", got)
	}
}
