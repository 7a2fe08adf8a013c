package machine

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
)

const unreadableRules = `
auto: off
rules:
  - {name: garbled, detector: unreadable, within: 10m}
  - {name: too-warm, detector: limit, above: 30}
`

// TestTextsAmongNumbersAreAnAnomaly has one sensor that sends texts, flags and NaN among its
// numbers, and another one whose texts are normal. The machine restarts in between.
func TestTextsAmongNumbersAreAnAnomaly(t *testing.T) {
	t.Parallel()
	r := newRig(t, unreadableRules)
	state := telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "state"}
	var got []string
	for i := range int64(90) {
		at := i * 20 * second
		r.builder.Text(state, epoch+at, "closed")
		switch {
		case i == 40 || i == 47:
			r.builder.Text(thermometer, epoch+at, "unavailable")
		case i == 43:
			r.builder.Flag(thermometer, epoch+at, true)
		case i == 46:
			r.read(thermometer, at, math.NaN())
		default:
			r.read(thermometer, at, 20)
		}
		r.tick(at)
		got = append(got, brief(r.take())...)
		if i%9 == 0 {
			r.reload()
		}
	}
	expect(t, "emitted", got, []string{
		"garbled v1 hall/door-1/temperature warning open from 15m20s at 15m20s, learned 15m20s: 3 of 29 readings within 10 min " +
			"are not numbers (10.34 %), the last one \"NaN\"; the last number was 20 °C",
		"garbled v1 hall/door-1/temperature warning close from 15m20s at 25m0s, learned 25m0s: 20 °C: all of 28 readings within 10 min are numbers",
	})
}

// TestTextsChangeNothingElse compares what is emitted for numbers alone with what is emitted
// for them among texts and flags, however all that is packed into messages.
func TestTextsChangeNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type event struct {
			v    float64
			text bool
		}
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
			return event{rapid.SampledFrom([]float64{20, 25, 31}).Draw(t, "value"), rapid.IntRange(0, 3).Draw(t, "text") == 0}
		}), 40, 120).Draw(rt, "events")
		run := func(texts bool, cut func() bool) (*derivedv1.Commit, []*derivedv1.Anomaly) {
			r := newRig(rt, unreadableRules)
			all := new(derivedv1.Commit)
			var garbled []*derivedv1.Anomaly
			gather := func() {
				c := r.take()
				all.Summaries = append(all.Summaries, c.Summaries...)
				for _, a := range c.Anomalies {
					a.Learned = 0
					if a.Rule == "garbled" {
						garbled = append(garbled, a)
					} else {
						all.Anomalies = append(all.Anomalies, a)
					}
				}
			}
			for i, e := range events {
				at := int64(i) * 10 * second
				if e.text && texts {
					r.builder.Text(thermometer, epoch+at, "ERR")
				} else if !e.text {
					r.read(thermometer, at, e.v)
				}
				if cut() {
					r.send(at)
					gather()
					r.reload()
				}
			}
			r.tick(day)
			gather()
			return all, garbled
		}
		coin := func() bool { return rapid.IntRange(0, 9).Draw(rt, "cut") == 0 }
		without, _ := run(false, always(false))
		with, want := run(true, always(false))
		if diff := cmp.Diff(without, with, protocmp.Transform()); diff != "" {
			rt.Fatalf("texts change what is emitted for numbers (-without +with):\n%s", diff)
		}
		cut, got := run(true, coin)
		if diff := cmp.Diff(with, cut, protocmp.Transform()); diff != "" {
			rt.Fatalf("packed at random (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			rt.Fatalf("other readings, packed at random (-want +got):\n%s", diff)
		}
	})
}
