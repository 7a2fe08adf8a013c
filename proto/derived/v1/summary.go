// Package derivedv1 is what travels on derived.<lane>: what the processor made of the
// readings of one lane.
package derivedv1

// Time returns what tells the summary from others of its series and window: the
// start of the window, or of the step that a sliding window belongs to, in
// nanoseconds since the Unix epoch.
func (s *WindowSummary) Time() int64 {
	if at := s.GetAt(); at != 0 {
		return at
	}
	return s.GetStart()
}

// Sum returns the sum of the readings.
func (s *WindowSummary) Sum() float64 { return s.GetMean() * float64(s.GetCount()) }
