package detect_test

import (
	"fmt"
	"math"
	"time"

	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// A detector holds the parameters of a rule; each series has a state of its own.
// Readings and the clock drive a state, which emits the transitions of episodes.
func Example() {
	limit := &detect.Limit{
		Above: 8, Below: math.Inf(-1), Hysteresis: 1,
		For: 10 * time.Minute, Silence: time.Hour,
	}
	if err := limit.Validate(); err != nil {
		fmt.Println(err)
	}
	state := limit.Start()
	begin := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	var verdicts []detect.Verdict
	for i, v := range []float64{5, 9, 9.5, 9.2, 7.5, 6.5} {
		at := begin.Add(time.Duration(i) * 5 * time.Minute).UnixNano()
		verdicts = state.Observe(detect.Sample{Time: at, Value: v}, "°C", verdicts)
	}
	for _, v := range verdicts {
		fmt.Println(time.Unix(0, v.Time).UTC().Format("15:04"), v.Phase, v.Evidence.Sentence)
	}
	// Output:
	// 15:15 open 9.2 °C: above the limit of 8 °C for 10 min
	// 15:25 close 6.5 °C: no longer above the limit of 8 °C after 20 min, highest 9.5 °C
}

// Silence opens an episode by the clock alone. It has learned how often the series
// reports.
func ExampleSilence() {
	silence := &detect.Silence{FalseAlarms: rule.DefaultFalseAlarms}
	state := silence.Start()
	begin := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC).UnixNano()
	for i := range 20 {
		state.Observe(detect.Sample{Time: begin + int64(i)*int64(time.Minute), Value: 21}, "°C", nil)
	}
	now := begin + int64(time.Hour)
	for _, v := range state.Tick(now, "°C", nil) {
		fmt.Println(v.Phase, v.Evidence.Sentence)
	}
	// Output:
	// open no reading for 3 min; the last was 21 °C; one every 1 min is usual
}
