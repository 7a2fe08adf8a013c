// Package derivedv1 defines the messages on derived.<lane>: what the processor
// derives from the readings of one lane.
package derivedv1

// Time returns the time that identifies the summary within its series and
// window: the start of the window, or of the step that a sliding window belongs
// to, in nanoseconds since the Unix epoch.
func (s *WindowSummary) Time() int64 {
	if at := s.GetAt(); at != 0 {
		return at
	}
	return s.GetStart()
}

// Sum returns the sum of the readings.
func (s *WindowSummary) Sum() float64 { return s.GetMean() * float64(s.GetCount()) }
