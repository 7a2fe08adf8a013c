package machine

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	telemetryv1 "headwater/proto/telemetry/v1"
)

// TestLedgerCountsEachOnce puts readings and rejected messages into a lane, in
// any batches, with clocks, commits and restarts in between: the entries sum up
// to what was put in, for each device, each with a key of its own.
func TestLedgerCountsEachOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, doorRules)
		want, got := make(map[string]uint64), make(map[string]uint64)
		keys := make(map[string]bool)
		now, total := int64(0), uint64(0)
		take := func() {
			c := r.take()
			for _, e := range c.Ledger {
				key := fmt.Sprintf("%s %d %d", e.Device, e.Minute, e.Last)
				if keys[key] {
					t.Fatalf("two entries with the key %s", key)
				}
				keys[key] = true
				got[e.Device] += e.Readings
				got["rejected "+e.Device] += e.Rejected
				got["missing"] += e.Missing
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 20).Draw(t, "pause") * second
			for range rapid.IntRange(0, 5).Draw(t, "readings") {
				k := thermometer
				k.Device = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "device")
				r.read(k, now, 20)
				want[k.Device]++
			}
			if rapid.Bool().Draw(t, "reject") {
				r.builder.Reject("", "")
				want["rejected "]++
			}
			b := r.builder.Take(epoch + now)
			if lost := rapid.SampledFrom([]uint64{0, 0, 0, 7}).Draw(t, "lost"); total > 0 {
				total += lost
				want["missing"] += lost
			}
			before := total
			b.TotalBefore = &before
			total += b.Total()
			if rapid.Bool().Draw(t, "clock") {
				b.Clock = &telemetryv1.Clock{CaughtUp: epoch + now}
			}
			r.apply(b)
			if rapid.Bool().Draw(t, "commit") {
				take()
				if rapid.Bool().Draw(t, "restart") {
					r.reload()
				}
			}
		}
		r.tick(now + 2*minute)
		take()
		if open := r.machine.ledger.pending; open != 0 {
			t.Fatalf("%d are open", open)
		}
		for name := range want {
			if got[name] != want[name] {
				t.Fatalf("%q: %d, want %d", name, got[name], want[name])
			}
		}
	})
}
