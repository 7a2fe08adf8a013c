package detect_test

import (
	"testing"
	"time"

	"headwater/services/processor/detect"
)

// TestUnreadableIgnoresDowntime has a sensor send too many texts before and after hours
// in which Headwater did not listen. That is one episode, unless Headwater listened in
// between and could have received good readings.
func TestUnreadableIgnoresDowntime(t *testing.T) {
	t.Parallel()
	for _, listened := range []bool{false, true} {
		s := (&detect.Unreadable{Share: 10, Within: 12 * time.Minute, Silence: 6 * time.Hour}).Start()
		var emitted []detect.Verdict
		at := epoch
		give := func(text bool) {
			at += minute
			if text {
				emitted = s.(detect.Misreader).Misread(at, "ERR", "°C", emitted)
			} else {
				emitted = s.Observe(detect.Sample{Time: at, Value: 20}, "°C", emitted)
			}
		}
		for range 40 {
			give(false)
		}
		for i := range 12 {
			give(i%2 == 0)
		}
		at += 2 * 60 * minute
		if !listened {
			s.Listen(at)
			s = reload(t, &detect.Unreadable{Share: 10, Within: 12 * time.Minute, Silence: 6 * time.Hour}, s)
		}
		for i := range 12 {
			give(i%2 == 1)
		}
		episodes := len(opened(emitted))
		if want := map[bool]int{false: 1, true: 2}[listened]; episodes != want {
			t.Errorf("somebody listened: %v: %d episodes, want %d", listened, episodes, want)
		}
	}
}
