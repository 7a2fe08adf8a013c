package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
	"headwater/streams/streamtest"
)

var arrived = time.Date(2026, 3, 14, 15, 9, 26, 5, time.UTC)

func batch(at time.Time, keys ...telemetryv1.Key) *telemetryv1.Batch {
	var b telemetryv1.Builder
	for _, k := range keys {
		b.Value(k, at.UnixNano(), 1)
	}
	return b.Take(at.UnixNano())
}

// start runs a Registry until the test or the returned function ends it.
func start(t *testing.T, js jetstream.JetStream) (*Registry, func()) {
	t.Helper()
	r := New(js, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return r, stop
}

func load(t *testing.T, js jetstream.JetStream, key string) (Device, bool) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), key)
	if err != nil {
		return Device{}, false
	}
	var d Device
	if err := json.Unmarshal(entry.Value(), &d); err != nil {
		t.Fatal(err)
	}
	return d, true
}

func TestSeenDevicesAreInTheBucket(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	r, stop := start(t, js)
	r.See(batch(arrived,
		telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C"},
		telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "humidity"},
		telemetryv1.Key{Site: "hall", Device: "door-2", Metric: "temperature"}))
	var flags telemetryv1.Builder
	flags.Flag(telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "humidity"}, 1, true)
	flags.Text(telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "state"}, 1, "x")
	r.See(flags.Take(arrived.Add(time.Hour).UnixNano()))
	stop()
	got, _ := load(t, js, Key("hall", "door-1"))
	want := Device{Site: "hall", Device: "door-1", FirstSeen: arrived, Metrics: []Metric{
		{Name: "humidity", Kind: "flag"},
		{Name: "humidity", Kind: "value"},
		{Name: "state", Kind: "text"},
		{Name: "temperature", Unit: "°C", Kind: "value"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if _, ok := load(t, js, Key("hall", "door-2")); !ok {
		t.Error("the second device is missing")
	}
}

func TestKnownDevicesCostNoWrites(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	key := telemetryv1.Key{Site: "s", Device: "d", Metric: "m", Unit: "u"}
	first, stop := start(t, js)
	first.See(batch(arrived, key))
	stop()
	again, stop := start(t, js)
	for i := range 10 {
		again.See(batch(arrived.Add(time.Duration(i)*time.Second), key))
	}
	stop()
	if n := testutil.ToFloat64(again.writes); n != 0 {
		t.Errorf("a restarted process wrote %v entries", n)
	}
}

// TestWritersMerge has many processes see different metrics of one device.
func TestWritersMerge(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	const writers, metrics = 4, 10
	var stops []func()
	for w := range writers {
		r, stop := start(t, js)
		stops = append(stops, stop)
		for m := range metrics {
			r.See(batch(arrived.Add(time.Duration(w)*time.Second), telemetryv1.Key{Site: "s", Device: "d", Metric: fmt.Sprintf("m-%d-%d", w, m)}))
		}
	}
	for _, stop := range stops {
		stop()
	}
	d, _ := load(t, js, Key("s", "d"))
	if len(d.Metrics) != writers*metrics {
		t.Errorf("%d metrics, want %d", len(d.Metrics), writers*metrics)
	}
	if !d.FirstSeen.Equal(arrived) {
		t.Errorf("first seen %s, want the earliest", d.FirstSeen)
	}
}

func TestDeletedDeviceComesBack(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	r, _ := start(t, js)
	seen := batch(arrived, telemetryv1.Key{Site: "s", Device: "d", Metric: "m"})
	r.See(seen)
	streamtest.Eventually(t, "the device is in the bucket", func() bool { _, ok := load(t, js, "s.d"); return ok })
	kv, err := js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "s.d"); err != nil {
		t.Fatal(err)
	}
	// The watch may begin after the first deletion, so the deletion is repeated.
	streamtest.Eventually(t, "the device comes back after it was deleted", func() bool {
		if _, ok := load(t, js, "s.d"); ok {
			return true
		}
		if err := kv.Delete(t.Context(), "s.d"); err != nil {
			t.Fatal(err)
		}
		r.See(seen)
		return false
	})
}

func TestSeenBeforeThereIsABucket(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	r, _ := start(t, js)
	r.See(batch(arrived, telemetryv1.Key{Site: "s", Device: "d", Metric: "m"}))
	s.Ensure(t, 2)
	streamtest.Eventually(t, "the device is in the bucket", func() bool { _, ok := load(t, js, "s.d"); return ok })
}

func TestUnreadableEntryIsReplaced(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	kv, err := js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "s.d", "{"); err != nil {
		t.Fatal(err)
	}
	r, stop := start(t, js)
	r.See(batch(arrived, telemetryv1.Key{Site: "s", Device: "d", Metric: "m"}))
	stop()
	if d, _ := load(t, js, "s.d"); d.Device != "d" || len(d.Metrics) != 1 {
		t.Errorf("entry is %+v", d)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := New(nil, nil, prometheus.NewRegistry())
	for i := range maxMetrics + 10 {
		r.See(batch(arrived, telemetryv1.Key{Site: "s", Device: "d", Metric: fmt.Sprint("m", i)}))
	}
	for i := range maxDevices + 10 {
		r.See(batch(arrived, telemetryv1.Key{Site: "s", Device: fmt.Sprint("d", i), Metric: "m"}))
	}
	if len(r.known) != maxDevices || len(r.known[device{"s", "d"}]) != maxMetrics {
		t.Errorf("%d devices, %d metrics of one", len(r.known), len(r.known[device{"s", "d"}]))
	}
	if n := testutil.ToFloat64(r.dropped.WithLabelValues("metrics")); n != 10 {
		t.Errorf("%v metrics counted as dropped", n)
	}
	if n := testutil.ToFloat64(r.dropped.WithLabelValues("devices")); n != 11 {
		t.Errorf("%v devices counted as dropped", n)
	}
}

func TestMerge(t *testing.T) {
	have := Device{Site: "s", Device: "d", FirstSeen: arrived, Metrics: []Metric{{Name: "b", Unit: "u", Kind: "value"}}}
	for _, test := range []struct {
		name    string
		news    news
		want    []Metric
		changed bool
	}{
		{"the same", news{arrived, []Metric{{Name: "b", Unit: "u", Kind: "value"}}}, []Metric{{Name: "b", Unit: "u", Kind: "value"}}, false},
		{"without the unit", news{arrived, []Metric{{Name: "b", Kind: "value"}}}, []Metric{{Name: "b", Unit: "u", Kind: "value"}}, false},
		{"another unit", news{arrived, []Metric{{Name: "b", Unit: "v", Kind: "value"}}}, []Metric{{Name: "b", Unit: "v", Units: []string{"u", "v"}, Kind: "value"}}, true},
		{"another kind", news{arrived, []Metric{{Name: "b", Kind: "text"}}}, []Metric{{Name: "b", Kind: "text"}, {Name: "b", Unit: "u", Kind: "value"}}, true},
		{"another metric", news{arrived, []Metric{{Name: "a", Kind: "flag"}}}, []Metric{{Name: "a", Kind: "flag"}, {Name: "b", Unit: "u", Kind: "value"}}, true},
		{"later", news{arrived.Add(1), nil}, have.Metrics, false},
		{"earlier", news{arrived.Add(-1), nil}, have.Metrics, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, changed := have.merge(test.news)
			if diff := cmp.Diff(test.want, got.Metrics); diff != "" || changed != test.changed {
				t.Errorf("changed %v, want %v; metrics (-want +got):\n%s", changed, test.changed, diff)
			}
			if have.Metrics[0].Unit != "u" {
				t.Fatal("merge changed its argument")
			}
		})
	}
}
