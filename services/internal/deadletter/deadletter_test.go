package deadletter

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/streams"
	"headwater/streams/streamtest"
)

var arrived = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func letter(device, reason string) streams.DeadLetter {
	return streams.DeadLetter{
		Service: "bridge", Reason: reason, Detail: "the payload is empty", Origin: "sensors/s/" + device + "/m",
		Site: "s", Device: device, Arrived: arrived, Payload: []byte("\x00\xff"),
	}
}

func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func TestPublishStoresBeforeItReturns(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	p := New(js, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err := p.Publish(t.Context(), letter("d", streams.ReasonPayload)); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), streams.StreamDeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(letter("d", streams.ReasonPayload), got); diff != "" {
		t.Errorf("dead letter (-want +got):\n%s", diff)
	}
	if n := testutil.ToFloat64(p.published.WithLabelValues(streams.ReasonPayload)); n != 1 {
		t.Errorf("%v counted as published", n)
	}
}

func TestPublishDropsAndCountsOverTheQuota(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	var log strings.Builder
	p := New(js, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	const over = 30
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for range (quota + over) / 10 {
				if err := p.Publish(t.Context(), letter("noisy", streams.ReasonValue)); err != nil {
					t.Errorf("worker %d: %v", worker, err)
				}
			}
		})
	}
	wg.Wait()
	if err := p.Publish(t.Context(), letter("quiet", streams.ReasonValue)); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, js); n != quota+1 {
		t.Errorf("%d dead letters stored, want %d of the noisy device and 1 of the quiet one", n, quota)
	}
	if n := testutil.ToFloat64(p.dropped.WithLabelValues(streams.ReasonValue)); n != over {
		t.Errorf("%v counted as dropped, want %d", n, over)
	}
	if n := strings.Count(log.String(), "over its quota"); n != 1 {
		t.Errorf("the quota is logged %d times:\n%s", n, log.String())
	}
}

func TestPublishReportsWhatIsNotStored(t *testing.T) {
	s := streamtest.Run(t)
	p := New(s.JS(t), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	// There is no stream yet.
	if err := p.Publish(ctx, letter("d", streams.ReasonClock)); err == nil || !strings.Contains(err.Error(), "sensors/s/d/m") {
		t.Errorf("error is %v", err)
	}
	if n := p.used[device{"s", "d"}]; n != 0 {
		t.Errorf("a dead letter that was not stored took %d of the quota", n)
	}
}

func TestQuotaIsPerDeviceAndHour(t *testing.T) {
	p := New(nil, nil, prometheus.NewRegistry())
	start := arrived
	for range quota {
		if _, _, ok := p.take(letter("a", "x"), start); !ok {
			t.Fatal("refused within the quota")
		}
	}
	if _, first, ok := p.take(letter("a", "x"), start); ok || !first {
		t.Errorf("over the quota: ok %v, first %v", ok, first)
	}
	if _, first, ok := p.take(letter("a", "x"), start.Add(period-1)); ok || first {
		t.Errorf("over the quota again: ok %v, first %v", ok, first)
	}
	if _, _, ok := p.take(letter("b", "x"), start); !ok {
		t.Error("another device has no quota")
	}
	if _, _, ok := p.take(letter("a", "x"), start.Add(period)); !ok {
		t.Error("the next hour has no quota")
	}
}

func TestInventedDevicesShareOneQuota(t *testing.T) {
	p := New(nil, nil, prometheus.NewRegistry())
	refused := 0
	for i := range maxDevices + 3*quota {
		if _, _, ok := p.take(letter(fmt.Sprint("d", i), "x"), arrived); !ok {
			refused++
		}
	}
	if len(p.used) > maxDevices+1 {
		t.Errorf("%d quotas in memory", len(p.used))
	}
	if refused != 2*quota {
		t.Errorf("%d refused, want %d", refused, 2*quota)
	}
}
