package lane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/services/internal/simulation"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// outputsOf returns the number of outputs of each input from first on.
func (f *fixture) outputsOf(t *testing.T, first int) map[int]int {
	t.Helper()
	times := make(map[int]int)
	for _, o := range f.sums(t) {
		if o.Input >= first {
			times[o.Input]++
		}
	}
	return times
}

// TestNothingNewIsSkipped removes the end of the input, or of the output, or of both,
// while the snapshots and commits made from it stay. The lane works, was killed, or was
// stopped in order at that time. The stream may have grown beyond its old length before the
// lane checks it. Every input that arrives after the cut must have exactly one output.
func TestNothingNewIsSkipped(t *testing.T) {
	for seed := range uint64(150) {
		err := simulation.Run(t, func(t *testing.T) error {
			rng := rand.New(rand.NewPCG(seed, 13))
			cluster := simulation.NewCluster()
			js := cluster.Connect(1, "worker", nil)
			if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 1}); err != nil {
				return err
			}
			f := fixtureOf(js, 0)
			f.configure(t, 1)
			next := 0
			publish := func(n int) {
				f.publishAll(t, next+1, next+n)
				next += n
			}
			unwritable := &unwritable{JetStream: js}
			start := func() (stop func()) {
				// A lane that can't write a snapshot is as good as killed.
				f.deps.JS = js
				if rng.IntN(2) == 0 {
					f.deps.JS = unwritable
				}
				return f.start(t, never)
			}
			stop := start()
			first := 0
			for range 1 + rng.IntN(3) {
				publish(3 * (1 + rng.IntN(10)))
				f.await(t, next)
				works := rng.IntN(3) == 0
				if !works {
					stop()
				}
				cut := rng.IntN(20)
				if which := rng.IntN(4); which > 0 {
					cluster.Cut(streams.StreamTelemetry, cut)
					if which == 1 {
						cluster.Cut(streams.StreamDerived, rng.IntN(4))
					}
				} else {
					cluster.Cut(streams.StreamDerived, rng.IntN(4))
				}
				first = next + 1
				publish(3 * (1 + rng.IntN(10)))
				if !works {
					stop = start()
				}
				// A lane that works checks its input now and then.
				time.Sleep(2 * checkEvery) //nolint:forbidigo // the clock of the bubble
				publish(3)
				f.await(t, next)
				for n := first; n <= next; n++ {
					if times := f.outputsOf(t, first)[n]; n%3 == 0 && times != 1 {
						stop()
						return fmt.Errorf("input %d, which came after the cut, has %d outputs; all: %v", n, times, f.sums(t))
					}
				}
			}
			stop()
			return nil
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestInputLostItsEnd replaces the files of TELEMETRY of a real nats-server with an earlier
// state, as a power cut does. Then more messages arrive than were lost. The lane raises the
// alarm in the log, in a metric, and where the dashboard finds it.
func TestInputLostItsEnd(t *testing.T) {
	for name, stopped := range map[string]bool{"snapshot": true, "commits": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server := streamtest.RunIn(t, dir)
			server.Ensure(t, 1)
			f := fixtureOf(server.JS(t), 0)
			f.configure(t, 1)
			f.deps.JS = f.js
			if !stopped {
				f.deps.JS = &unwritable{f.js}
			}
			stop := f.start(t, never)
			f.publishAll(t, 1, 9)
			f.await(t, 9)
			files := telemetryFiles(t, dir)
			image := t.TempDir()
			if err := os.CopyFS(image, os.DirFS(files)); err != nil {
				t.Fatal(err)
			}
			f.publishAll(t, 10, 30)
			f.await(t, 30)
			stop()
			server.Shutdown()
			if err := os.RemoveAll(files); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(files, os.DirFS(image)); err != nil {
				t.Fatal(err)
			}

			server = streamtest.RunIn(t, dir)
			f.js = server.JS(t)
			f.deps.JS = f.js
			stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
			if err != nil {
				t.Fatal(err)
			}
			kept := stream.CachedInfo().State.LastSeq
			if kept >= 30 {
				t.Fatalf("nothing is gone: the last message is %d", kept)
			}
			log := f.listen()
			f.publishAll(t, 31, 90)
			defer f.start(t, never)()
			f.await(t, 90)
			for n := 33; n <= 90; n += 3 {
				if times := f.outputsOf(t, 31)[n]; times != 1 {
					t.Errorf("input %d, which came after the cut, has %d outputs", n, times)
				}
			}
			if n := testutil.ToFloat64(f.deps.Metrics.incarnations); n == 0 || !log.has("has lost its end") {
				t.Errorf("the metric is %v, or the log says nothing", n)
			}
			loss := f.loss(t, streams.StreamTelemetry)
			if loss.Recreated || loss.Kept != kept || loss.Until != 30 || loss.Before.IsZero() || loss.Noticed.IsZero() {
				t.Errorf("the loss is recorded as %+v, with %d kept", loss, kept)
			}
		})
	}
}

func telemetryFiles(t *testing.T, dir string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == streams.StreamTelemetry {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("folders of %s: %v, %v", streams.StreamTelemetry, found, err)
	}
	return found[0]
}

// loss returns the loss that is recorded for a stream.
func (f *fixture) loss(t *testing.T, stream string) streams.Loss {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	bucket, err := f.js.KeyValue(ctx, streams.BucketManifests)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bucket.Keys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(keys, streams.IsLossKey)
	if i < 0 {
		t.Fatalf("keys %v", keys)
	}
	entry, err := bucket.Get(ctx, keys[i])
	if err != nil {
		t.Fatal(err)
	}
	loss, err := streams.DecodeLoss(entry.Value())
	if err != nil || loss.Stream != stream {
		t.Fatalf("loss %+v, %v", loss, err)
	}
	return loss
}
