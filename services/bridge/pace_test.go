package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headwater/services/bridge"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// slow lets each device send 300 readings a second.
func slow(cfg *bridge.Config, _ *bridge.Deps) { cfg.DeviceRate = 300 }

// load250 is a payload of 250 readings, which a device that has sent too much pays for in
// less than a second.
var load250 = manyMetrics(250)

// TestADeviceThatSendsTooMuchWaits sends until the front holds up the device. Everything that it
// sends is stored, other devices continue, and the dashboard says which one it is.
func TestADeviceThatSendsTooMuchWaits(t *testing.T) {
	w := newWorld(t)
	r := w.start(t, slow)
	w.through(t, r, "")
	loud, quiet := w.device(t, "loud"), w.device(t, "quiet")
	sent := 0
	limited := func() float64 { return r.value(t, "headwater_bridge_limited_total", "device-rate") }
	for ; limited() == 0; sent++ {
		publish(t, loud, 1, "sensors/hall/loud", load250)
		publish(t, quiet, 1, "sensors/hall/quiet/n", fmt.Sprint(sent))
	}
	// With QoS 0 it waits as well.
	was := limited()
	for ; limited() == was; sent++ {
		publish(t, loud, 0, "sensors/hall/loud", load250)
		publish(t, quiet, 1, "sensors/hall/quiet/n", fmt.Sprint(sent))
	}
	streamtest.Eventually(t, "everything is stored", func() bool {
		return r.value(t, "headwater_bridge_readings_total", "") == float64(sent*251)
	})
	if lost := r.value(t, "headwater_bridge_dropped_total", "") + r.value(t, "headwater_bridge_refused_total", ""); lost != 0 {
		t.Errorf("%v messages are refused or lost", lost)
	}
	streamtest.Eventually(t, "the dashboard says so", func() bool { return strings.Contains(w.problems(t), `"site":"hall","device":"loud"`) })
	if all := w.problems(t); strings.Contains(all, `"quiet"`) {
		t.Errorf("the other device is limited: %s", all)
	}
}

// TestADeviceThatInventsMetrics begins too many: the readings of the others are dead letters,
// beside those in the same message that are stored, and can be redriven once it may begin more.
func TestADeviceThatInventsMetrics(t *testing.T) {
	w := newWorld(t)
	few := func(cfg *bridge.Config, _ *bridge.Deps) { cfg.NewSeries = 3 }
	r := w.start(t, few)
	c := w.device(t, "inventor")
	publish(t, c, 1, "sensors/hall/inventor", `{"a":1,"b":2}`)
	publish(t, c, 2, "sensors/hall/inventor/c", "3")
	publish(t, c, 1, "sensors/hall/inventor/d", "4")
	publish(t, c, 1, "sensors/hall/inventor", `{"e":5,"a":6,"f":7}`)
	publish(t, c, 1, "sensors/hall/honest", `{"d":8,"e":9,"f":10}`)
	publish(t, c, 1, "zigbee2mqtt/lamp", `{"a":1,"b":2,"c":3,"d":4}`)
	want := []string{
		"mqtt hall/inventor/a 1", "mqtt hall/inventor/b 2", "mqtt2 hall/inventor/c 3", "mqtt hall/inventor/a 6",
		"mqtt hall/honest/d 8", "mqtt hall/honest/e 9", "mqtt hall/honest/f 10",
		"mqtt home/lamp/a 1", "mqtt home/lamp/b 2", "mqtt home/lamp/c 3",
	}
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("stored is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var letters []uint64
	for _, m := range stored(t, w.js, streams.StreamDeadLetters) {
		d, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
		if err != nil || d.Reason != streams.ReasonNewSeries || d.Device != "inventor" && d.Device != "lamp" {
			t.Errorf("letter %+v %v", d, err)
		}
		letters = append(letters, m.Sequence)
	}
	if len(letters) != 3 {
		t.Fatalf("%d letters, want 3: %+v", len(letters), w.deadLetters(t))
	}
	if got := w.redrive(t, letters[0]); got.Results[0].Outcome != streams.OutcomeRefused || got.Results[0].Reason != streams.ReasonNewSeries {
		t.Errorf("redriven before it may begin more: %+v", got)
	}
	streamtest.Eventually(t, "the dashboard says so", func() bool { return strings.Contains(w.problems(t), `"site":"hall","device":"inventor"`) })
	if all := w.problems(t); strings.Contains(all, "honest") {
		t.Errorf("the other device is limited: %s", all)
	}
	r.stop(t)
	w.start(t)
	letters = letters[:0]
	for _, m := range stored(t, w.js, streams.StreamDeadLetters) {
		letters = append(letters, m.Sequence)
	}
	for _, result := range w.redrive(t, letters...).Results {
		if result.Outcome != streams.OutcomeRedriven {
			t.Errorf("redriven when it may begin more: %+v", result)
		}
	}
	want = append(want, "redrive hall/inventor/d 4", "redrive hall/inventor/e 5", "redrive hall/inventor/f 7", "redrive home/lamp/d 4")
	slices.Sort(want)
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("stored is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
