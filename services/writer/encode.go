package writer

import (
	"slices"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"

	"headwater/proto/units"
	"headwater/services/writer/point"
)

// seriesOf returns the series of numbers in a unit.
func seriesOf(s *derivedv1.Series, unit string) point.Series {
	return point.Series{Site: s.GetSite(), Device: s.GetDevice(), Metric: s.GetMetric(), Unit: units.Name(unit)}
}

// lines are points as line protocol, one line each.
type lines struct {
	text []byte
	ends []int // where each line ends in text
}

func (l *lines) reset() { l.text, l.ends = emptied(l.text), emptied(l.ends) }

// maxSpare bounds the capacity of a slice that is kept, in times its length.
const maxSpare = 4

// emptied returns the slice without its elements, or nil when its capacity is far
// larger than they needed.
func emptied[T any](s []T) []T {
	if cap(s) > maxSpare*len(s) {
		return nil
	}
	return s[:0]
}

func (l *lines) count() int { return len(l.ends) }

// slice returns the lines from index from to before index to.
func (l *lines) slice(from, to int) []byte {
	start := 0
	if from > 0 {
		start = l.ends[from-1]
	}
	return l.text[start:l.ends[to-1]]
}

func (l *lines) end() { l.ends = append(l.ends, len(l.text)) }

// encoder appends batches of readings to lines. One goroutine only.
type encoder struct {
	prefixes []byte // of the series of one batch, one after the other
	ends     []int
}

// append appends one line for each reading of the batch, in its order.
func (e *encoder) append(l *lines, b *telemetryv1.Batch) {
	e.prefixes, e.ends = e.prefixes[:0], e.ends[:0]
	for _, s := range b.Dictionary() {
		series := point.Series{Site: s.Site, Device: s.Device, Metric: s.Metric, Unit: units.Name(s.Unit)}
		switch s.Kind {
		case telemetryv1.Kind_KIND_FLAG:
			e.prefixes = point.AppendFlagPrefix(e.prefixes, series)
		case telemetryv1.Kind_KIND_TEXT:
			e.prefixes = point.AppendTextPrefix(e.prefixes, series)
		default:
			e.prefixes = point.AppendValuePrefix(e.prefixes, series)
		}
		e.ends = append(e.ends, len(e.prefixes))
	}
	l.ends = slices.Grow(l.ends, len(b.GetSeries()))
	for r := range b.Readings() {
		start := 0
		if r.Series > 0 {
			start = e.ends[r.Series-1]
		}
		prefix := e.prefixes[start:e.ends[r.Series]]
		switch r.Kind {
		case telemetryv1.Kind_KIND_FLAG:
			l.text = point.AppendFlag(l.text, prefix, r.Flag, r.Time)
		case telemetryv1.Kind_KIND_TEXT:
			l.text = point.AppendText(l.text, prefix, r.Text, r.Time)
		default:
			l.text = point.AppendValue(l.text, prefix, r.Value, r.Time)
		}
		l.end()
	}
}

// windows are the summaries of one commit for one bucket.
type windows struct {
	policy    string
	lines     lines
	summaries []*derivedv1.WindowSummary // one for each line
}

// encodeSummaries returns the summaries of a commit by bucket, in their order.
func encodeSummaries(c *derivedv1.Commit) []*windows {
	var out []*windows
	for _, s := range c.GetSummaries() {
		policy, tag := policyOf(s)
		i := slices.IndexFunc(out, func(w *windows) bool { return w.policy == policy })
		if i < 0 {
			i = len(out)
			out = append(out, &windows{policy: policy})
		}
		w := out[i]
		series := s.GetSeries()
		w.lines.text = point.AppendSummary(w.lines.text, &point.Summary{
			Series: seriesOf(series, s.GetUnit()),
			Window: tag, Time: s.Time(), Count: s.GetCount(), Min: s.GetMin(), Max: s.GetMax(), Mean: s.GetMean(),
			First: s.GetFirst(), Last: s.GetLast(), Deviation: s.GetDeviation(), Revision: s.GetRevision(),
			TimeMean: s.GetTimeMean(), Rate: s.GetRate(), P50: s.GetP50(), P90: s.GetP90(), P95: s.GetP95(), P99: s.GetP99(),
		})
		w.lines.end()
		w.summaries = append(w.summaries, s)
	}
	return out
}
