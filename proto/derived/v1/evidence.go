package derivedv1

// Expected returns the baseline for a chart, or nil if it adds nothing to the
// band: there is no band, or the baseline is one of its ends.
func (e *Evidence) Expected() *float64 {
	if e == nil || e.Low == nil && e.High == nil || e.Low != nil && *e.Low == e.Baseline || e.High != nil && *e.High == e.Baseline {
		return nil
	}
	return new(e.Baseline)
}
