package window_test

import (
	"fmt"
	"time"

	"headwater/services/processor/window"
)

// A window is emitted when the watermark of its device passes its end. A late reading
// within the lateness makes Revise emit it again, with a higher revision.
func Example() {
	spec := &window.Spec{
		Windows:     []window.Window{{Name: "1m", Width: time.Minute, Lateness: 5 * time.Minute}},
		MaxReadings: 1000,
	}
	series := window.New()
	begin := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC).UnixNano()
	progress := window.Progress{Watermark: begin, Lane: begin}
	add := func(second int, v float64) {
		t := begin + int64(second)*int64(time.Second)
		progress.Watermark = max(progress.Watermark, t)
		result, summaries := series.Add(spec, progress, window.Reading{Time: t, Value: v}, nil)
		summaries = series.Revise(spec, progress, summaries)
		fmt.Printf("at %d s: %v\n", second, result)
		for _, s := range summaries {
			fmt.Printf("  %s: %d readings, mean %v, revision %d\n", s.Window, s.Count, s.Mean, s.Revision)
		}
	}
	add(0, 20)
	add(30, 22)
	add(60, 23) // closes the first minute
	add(45, 24) // is late for it
	add(45, 24)
	// Output:
	// at 0 s: counted
	// at 30 s: counted
	// at 60 s: counted
	//   1m: 2 readings, mean 21, revision 1
	// at 45 s: late
	//   1m: 3 readings, mean 22, revision 2
	// at 45 s: duplicate
}
