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
