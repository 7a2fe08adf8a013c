package machine

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/processor/internal/machinetest"
)

// changingRules are the configurations that people change between.
var changingRules = []string{
	"rules:\n  - {name: warm, detector: limit, above: 30}\n  - {name: rise, detector: rate, rise: 3, within: 5m}\n",
	"rules:\n  - {name: warm, detector: limit, above: 27, for: 10s}\n  - {name: rise, detector: rate, rise: 3, within: 5m}\n",
	"rules:\n  - {name: hot, detector: limit, above: 33}\n" +
		"windows: [10s, {kind: hopping, width: 3m, every: 1m, delay: 5s}, {kind: session, gap: 20s, max: 5m}, {kind: sliding, width: 1m, every: 15s}]\n" +
		"lateness: 1m\ntime_zone: Asia/Kolkata\n",
}

// TestSnapshotsAndChangesOfWindows has people change the windows, the lateness
// and the time zone while readings come, some of them late, and compares what is
// emitted with and without a snapshot at every message: what a snapshot leaves out
// must matter to no configuration that comes later.
func TestSnapshotsAndChangesOfWindows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type event struct {
			at, back int64
			v        float64
			// config is what changes with it, 0 for nothing.
			config int
			clock  bool
		}
		now := int64(0)
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
			e := event{
				back:  rapid.SampledFrom([]int64{0, 0, 0, 1, 30, 90, 200, 400}).Draw(t, "back") * second,
				v:     rapid.SampledFrom([]float64{20, 21, 31}).Draw(t, "value"),
				clock: rapid.IntRange(0, 2).Draw(t, "clock") == 0,
			}
			if rapid.IntRange(0, 20).Draw(t, "changes") == 0 {
				e.config = rapid.IntRange(1, len(changingRules)).Draw(t, "config")
			}
			e.at = rapid.SampledFrom([]int64{1, 5, 20, 60, 600}).Draw(t, "pause") * second
			return e
		}), 20, 120).Draw(rt, "events")
		run := func(reload bool) *derivedv1.Commit {
			now = 0
			r := newRig(rt, changingRules[0])
			all := new(derivedv1.Commit)
			for i, e := range events {
				now += e.at
				if e.config > 0 {
					r.configure(uint64(i)+2, changingRules[e.config-1])
				}
				if r.read(thermometer, now-e.back, e.v); e.clock {
					r.tick(now)
				} else {
					r.send(now)
				}
				machinetest.Add(all, r.take())
				if reload {
					r.reload()
				}
			}
			r.tick(now + 2*day)
			machinetest.Add(all, r.take())
			return all
		}
		if diff := cmp.Diff(run(false), run(true), protocmp.Transform()); diff != "" {
			rt.Fatalf("a snapshot changes what is emitted (-without +with):\n%s", diff)
		}
	})
}
