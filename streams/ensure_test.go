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
