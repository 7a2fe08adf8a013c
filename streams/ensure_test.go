package streams_test

import (
	"errors"
	"testing"

	"headwater/streams"
	"headwater/streams/streamtest"
)

func TestEnsureIsIdempotent(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	if _, err := streams.Check(t.Context(), js); !errors.Is(err, streams.ErrNotReady) {
		t.Fatalf("Check before Ensure: %v", err)
	}
	first, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 3})
	if err != nil {
		t.Fatal(err)
	}
	second, err := streams.Ensure(t.Context(), js, streams.Options{MaxBytes: 2 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if first != second || first.Lanes != 3 || first.Telemetry.IsZero() {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 4}); !errors.Is(err, streams.ErrLanes) {
		t.Errorf("other number of lanes: %v", err)
	}
	for range 2 {
		if err := streams.EnsureDevices(t.Context(), s.DevicesJS(t), streams.DeviceOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEnsureGivesTheWriterTheGroups has the consumer of the first lane from before there were
// groups: it continues where it was, with what the lane of groups commits.
func TestEnsureGivesTheWriterTheGroups(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	s.Ensure(t, 2)
	name := streams.WriterDerivedConsumer(0)
	consumer, err := js.Consumer(t.Context(), streams.StreamDerived, name)
	if err != nil {
		t.Fatal(err)
	}
	old := consumer.CachedInfo().Config
	old.FilterSubject, old.FilterSubjects = streams.DerivedSubject(0), nil
	if _, err := js.UpdateConsumer(t.Context(), streams.StreamDerived, old); err != nil {
		t.Fatal(err)
	}
	publish := func(subject, text string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(want string) {
		t.Helper()
		if consumer, err = js.Consumer(t.Context(), streams.StreamDerived, name); err != nil {
			t.Fatal(err)
		}
		m, err := consumer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.Data()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	publish(streams.DerivedSubject(0), "before")
	next("before")
	s.Ensure(t, 2)
	publish(streams.DerivedGroups, "of groups")
	publish(streams.DerivedSubject(1), "of the other lane")
	publish(streams.DerivedSubject(0), "after")
	next("of groups")
	next("after")
}

// TestEnsureLeases loses the buckets that are in memory, as a server does that
// restarts, and leaves one that is there as it is.
func TestEnsureLeases(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	js := server.JS(t)
	if err := js.DeleteKeyValue(t.Context(), streams.BucketLeases); err != nil {
		t.Fatal(err)
	}
	workers, err := js.KeyValue(t.Context(), streams.BucketWorkers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workers.PutString(t.Context(), "a.b", "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Check(t.Context(), js); !errors.Is(err, streams.ErrNotReady) {
		t.Errorf("Check: %v", err)
	}
	for range 2 {
		if err := streams.EnsureLeases(t.Context(), js); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := streams.Check(t.Context(), js); err != nil {
		t.Error(err)
	}
	if _, err := workers.Get(t.Context(), "a.b"); err != nil {
		t.Error(err)
	}
}

func TestKeysOfLeases(t *testing.T) {
	for _, lane := range []int{0, 7, 31} {
		if got, err := streams.ParseLeaseKey(streams.LeaseKey(streams.ServiceBridge, lane)); err != nil || got != lane {
			t.Errorf("lane %d comes back as %d, %v", lane, got, err)
		}
	}
	if got, err := streams.ParseWorkerKey(streams.WorkerKey(streams.ServiceBridge, "w1")); err != nil || got != "w1" {
		t.Errorf("worker w1 comes back as %q, %v", got, err)
	}
	for _, key := range []string{"", "bridge", "bridge.", "bridge.x", "bridge.-1"} {
		if _, err := streams.ParseLeaseKey(key); err == nil {
			t.Errorf("%q is taken for the key of a lease", key)
		}
	}
	for _, key := range []string{"", "bridge", "bridge."} {
		if _, err := streams.ParseWorkerKey(key); err == nil {
			t.Errorf("%q is taken for the key of a worker", key)
		}
	}
}
