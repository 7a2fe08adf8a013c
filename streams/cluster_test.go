package streams_test

import (
	"errors"
	"os"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

func TestMain(m *testing.M) { os.Exit(streamtest.Main(m)) }

// TestNoProfileTakesCopiesAway shows that a process with another
// durability than the rest leaves the copies where they are.
func TestNoProfileTakesCopiesAway(t *testing.T) {
	cluster := streamtest.RunCluster(t, natsd.SyncAlways)
	made := cluster.Ensure(t)
	if made.Lanes != streams.ClusterLanes {
		t.Errorf("%d lanes, want %d", made.Lanes, streams.ClusterLanes)
	}
	core, devices := cluster.JS(t, natsd.UserCore), cluster.JS(t, natsd.UserDevices)
	for _, d := range []streams.Durability{streams.PowerSafe, streams.Fast, ""} {
		if _, err := streams.Ensure(t.Context(), core, streams.Options{Durability: d, MaxBytes: 1 << 30}); !errors.Is(err, streams.ErrCopies) {
			t.Errorf("Ensure with %q: %v", d, err)
		}
		err := streams.EnsureDevices(t.Context(), devices, streams.DeviceOptions{Durability: d, MaxBytes: 64 << 20})
		if !errors.Is(err, streams.ErrCopies) {
			t.Errorf("EnsureDevices with %q: %v", d, err)
		}
	}
	for _, js := range []jetstream.JetStream{core, devices} {
		all := js.ListStreams(t.Context())
		for info := range all.Info() {
			if info.Config.Replicas != streamtest.ClusterSize {
				t.Errorf("%s has %d copies, want %d", info.Config.Name, info.Config.Replicas, streamtest.ClusterSize)
			}
		}
		if err := all.Err(); err != nil {
			t.Error(err)
		}
	}
	if again := cluster.Ensure(t); again != made {
		t.Errorf("made again: %+v, was %+v", again, made)
	}
}
