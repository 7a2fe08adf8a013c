package uplink

import (
	"fmt"
	"slices"
	"strings"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

// windows are the windows whose summaries may go up: the roll-ups, which every series has.
var windows = []string{"1m", "1h", "1d"}

// figures are the parts of a summary that go up. Each is a series of its own.
var figures = []struct {
	name string
	of   func(*derivedv1.WindowSummary) float64
}{
	{"min", (*derivedv1.WindowSummary).GetMin},
	{"mean", (*derivedv1.WindowSummary).GetMean},
	{"max", (*derivedv1.WindowSummary).GetMax},
	{"count", func(s *derivedv1.WindowSummary) float64 { return float64(s.GetCount()) }},
}

// SummarySelection is a pattern of series and a window whose summaries go up.
type SummarySelection struct {
	// Series is site/device/metric, each a name or *.
	Series string `json:"series"`
	// Window is 1m, 1h or 1d.
	Window string `json:"window"`
}

// ParseSummary reads site/device/metric with "=1m", "=1h" or "=1d" behind. The word all stands
// for every series.
func ParseSummary(text string) (SummarySelection, error) {
	pattern, window, _ := strings.Cut(text, "=")
	s := SummarySelection{Series: strings.TrimSpace(pattern), Window: strings.TrimSpace(window)}
	if s.Series == "all" {
		s.Series = "*/*/*"
	}
	return s, s.validate()
}

// String is what ParseSummary reads.
func (s SummarySelection) String() string { return s.Series + "=" + s.Window }

func (s SummarySelection) validate() error {
	if !slices.Contains(windows, s.Window) {
		return fmt.Errorf("summaries are those of a window: %q needs one of =1m, =1h and =1d behind it", clip(s.Series))
	}
	return validatePattern(s.Series)
}

// summarizes reports whether the summaries of a series and window go up.
func (p Policy) summarizes(k telemetryv1.Key, window string) bool {
	return slices.ContainsFunc(p.Summaries, func(s SummarySelection) bool { return s.Window == window && matches(s.Series, k) })
}

// summaryMetric is the metric under which the centre has one part of the summaries of a metric.
func summaryMetric(metric, window, figure string) string { return metric + "_" + window + "_" + figure }

// isSummary reports whether the centre has a metric from summaries, which are not counted among
// the readings that go up.
func (p Policy) isSummary(k telemetryv1.Key) bool {
	for _, w := range windows {
		for _, f := range figures {
			k := k
			var ok bool
			if k.Metric, ok = strings.CutSuffix(k.Metric, summaryMetric("", w, f.name)); ok && p.summarizes(k, w) {
				return true
			}
		}
	}
	return false
}

// summaryFrame bounds the readings of a frame of summaries.
const summaryFrame = 900

// SelectSummaries returns the summaries of the commit at a place that go up, as frames of readings
// whose time is the last nanosecond of the window. A summary that replaces another one becomes
// readings of the same time, which replace those. Unnamed counts the summaries that cannot go
// because the name of their metric is too long.
//
// The frames of one commit have places that rise to that of the commit, by the nanosecond: the
// centre may store one of them without the next, and a place covers those before it.
func (p Policy) SelectSummaries(c *derivedv1.Commit, at Place) (frames []*telemetryv1.Batch, unnamed int) {
	if len(p.Summaries) == 0 {
		return nil, 0
	}
	var out telemetryv1.Builder
	for _, s := range c.GetSummaries() {
		k := telemetryv1.Key{Site: s.GetSeries().GetSite(), Device: s.GetSeries().GetDevice(), Metric: s.GetSeries().GetMetric(), Unit: s.GetUnit()}
		if s.GetCount() == 0 || !p.summarizes(k, s.GetWindow()) {
			continue
		}
		if !streams.ValidToken(summaryMetric(k.Metric, s.GetWindow(), "count")) {
			unnamed++
			continue
		}
		for _, f := range figures {
			k := k
			k.Metric = summaryMetric(k.Metric, s.GetWindow(), f.name)
			if f.name == "count" {
				k.Unit = ""
			}
			out.Value(k, s.GetStart()+s.GetWidth()-1, f.of(s))
		}
		if out.Len()+len(figures) > summaryFrame {
			frames = append(frames, out.Take(0))
		}
	}
	if !out.Empty() {
		frames = append(frames, out.Take(0))
	}
	for i, f := range frames {
		f.Origin = &telemetryv1.Origin{Incarnation: at.Incarnation, Sequence: at.Sequence, Stored: at.Stored - int64(len(frames)-1-i)}
	}
	return frames, unnamed
}
