package functions

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/functions/guest/guesttest"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// TestTriggers runs functions on everything but readings.
func TestTriggers(t *testing.T) {
	b := newBench(t)
	// The schedule is in UTC, the zone of an installation that declares none.
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var clock atomic.Int64
	var service *Service
	b.run(func(s *Service) {
		service = s
		s.now = func() time.Time { return start.Add(time.Duration(clock.Load())) }
	})
	deploy := func(name string, v function.Version) {
		t.Helper()
		v.Kind, v.Limits = function.Wasm, function.Limits{Memory: 16, Time: 20 * time.Second}
		if _, err := b.store.Deploy(t.Context(), name, v, guesttest.Code(t), function.Live); err != nil {
			t.Fatal(err)
		}
	}
	deploy("sums", function.Version{On: function.Summaries, Match: []string{"s/a/*"}})
	deploy("odd", function.Version{On: function.Anomalies, Match: []string{"s/a/*"}})
	deploy("circle", function.Version{On: function.Anomalies, Match: []string{"s/b/*", "s/counter/*"}})
	deploy("alarm", function.Version{On: function.Alerts, Match: []string{"s/a/*"}})
	deploy("daily", function.Version{On: function.Schedule, Cron: "0 7 * * *"})
	deploy("hook", function.Version{On: function.HTTP})
	consumers := map[string]string{
		"sums": streams.StreamDerived, "odd": streams.StreamDerived, "circle": streams.StreamDerived, "alarm": streams.StreamAlerting,
	}
	for name, stream := range consumers {
		b.awaitConsumerOf(stream, streams.FunctionConsumer(name))
	}

	t.Run("streams", func(t *testing.T) {
		series := func(device string) *derivedv1.Series {
			return &derivedv1.Series{Site: "s", Device: device, Metric: "m"}
		}
		// What does not match would be counted too.
		now := time.Now().UnixNano()
		derived, err := streams.DerivedMsg(1, &derivedv1.Commit{
			Summaries: []*derivedv1.WindowSummary{
				{Series: series("b"), Unit: "do count", Start: now}, {Series: series("a"), Unit: "do count", Start: now, Width: 1e9, Count: 2, Mean: 3},
			},
			Anomalies: []*derivedv1.Anomaly{{Series: series("a"), Unit: "do count", Time: now, Phase: derivedv1.Phase_PHASE_OPEN}},
		})
		if err != nil {
			t.Fatal(err)
		}
		alerting, err := streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{{Id: "1", Series: series("a"), Unit: "do count", Updated: now}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*nats.Msg{derived, derived, alerting} {
			if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for name, stream := range consumers {
			streamtest.Eventually(t, name+" has acknowledged everything", func() bool {
				s, err := b.js.Stream(t.Context(), stream)
				if err != nil {
					t.Fatal(err)
				}
				c, err := s.Consumer(t.Context(), streams.FunctionConsumer(name))
				return err == nil && c.CachedInfo().AckFloor.Stream >= s.CachedInfo().State.LastSeq
			})
		}
		// A function of anomalies watches the series that the others would make.
		for _, name := range []string{"sums", "odd", "alarm"} {
			b.once(name, 0)
		}
		if err := b.store.Remove(t.Context(), "circle"); err != nil {
			t.Fatal(err)
		}
		streamtest.Eventually(t, "its consumer is removed", func() bool {
			_, err := b.js.Consumer(t.Context(), streams.StreamDerived, streams.FunctionConsumer("circle"))
			return err != nil
		})
		for _, m := range []*nats.Msg{derived, alerting} {
			if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"sums", "odd", "alarm"} {
			streamtest.Eventually(t, name+" has run", func() bool { return b.stored(name) == 1 })
			b.once(name, 1)
		}
		if _, err := b.store.Deploy(t.Context(), "sums", function.Version{Kind: function.Worker, Match: []string{"*/*/*"}}, nil, function.Draft); err == nil {
			t.Error("a version runs on something else than version 1 of it")
		}
	})

	t.Run("schedule", func(t *testing.T) {
		bucket, err := b.store.Bucket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		streamtest.Eventually(t, "the schedule has begun", func() bool {
			_, err := bucket.Get(t.Context(), streams.FunctionRecordKey("daily"))
			return err == nil
		})
		if b.stored("daily") != 0 {
			t.Fatal("it ran at once")
		}
		// Of three times that have passed, the last one counts.
		for i, hours := range []int{2*24 + 20, 3*24 + 20} {
			clock.Store(int64(time.Duration(hours) * time.Hour))
			streamtest.Eventually(t, "it has run", func() bool { return b.stored("daily") == uint64(i+1) })
		}
		b.once("daily", 2)
		_, origins := b.outputs("daily")
		for i, at := range origins {
			if want := start.Add(time.Duration(2+i)*24*time.Hour + 19*time.Hour).Unix(); at != uint64(want) {
				t.Errorf("it ran at %s", time.Unix(int64(at), 0).UTC())
			}
		}
	})

	t.Run("requests", func(t *testing.T) {
		nc := b.server.Conn(t, natsd.UserOf(streams.ServiceDashboard))
		ask := func(body, key string) (r contract.Reply) {
			t.Helper()
			call, err := json.Marshal(contract.Call{Body: []byte(body), Key: key, Until: start.Add(1000 * time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			streamtest.Eventually(t, "an answer", func() bool {
				answer, err := nc.Request(streams.CallSubject("hook"), call, 30*time.Second)
				return err == nil && json.Unmarshal(answer.Data, &r) == nil
			})
			return r
		}
		for _, c := range []struct {
			body, key string
			status    int
			says      string
		}{
			{"do count", "", 204, ""},
			{"do count", "k", 204, ""},
			{"do count", "k", 204, ""},
			{"do reply", "r", 201, "hi"},
			{"do reply", "r", 201, "hi"},
			{"do fail", "f", 500, "returned 7"},
			{"do reply", "f", 201, "hi"},
			{"do x", "", 500, "not the JSON"},
		} {
			if r := ask(c.body, c.key); r.Status != c.status || !strings.Contains(r.Body, c.says) {
				t.Errorf("%s %s: %+v, want %d with %q", c.body, c.key, r, c.status, c.says)
			}
		}
		// Nobody waits for this one any more.
		late, err := json.Marshal(contract.Call{Body: []byte("do count"), Until: start})
		if err == nil {
			err = nc.Publish(streams.CallSubject("hook"), late)
		}
		if err != nil {
			t.Fatal(err)
		}
		ask("do reply", "")
		if n := testutil.ToFloat64(service.metrics.dropped.WithLabelValues("hook", droppedLate)); n != 1 {
			t.Errorf("%v late requests are counted as dropped, want 1", n)
		}
		b.once("hook", 2)
	})
}
