// Package oracle judges a run with faults. It knows every reading that was issued and
// which readings were acknowledged, and finds where the history, the summaries, the
// alerts and the messages to people contradict them. It does no I/O, and computes what it
// expects by itself, in the simplest way.
package oracle

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Series names one metric of one device of the site that is judged.
type Series struct{ Device, Metric string }

// Point is a value at an event time in nanoseconds since the Unix epoch.
type Point struct {
	Time  int64
	Value float64
}

// ID names an issued reading.
type ID struct {
	series *series
	index  int
}

type series struct {
	points []Point
	acked  []bool
}

// Book records what was issued and acknowledged. Several goroutines may call its methods
// at once.
type Book struct {
	mu     sync.Mutex
	series map[Series]*series
	acked  int
	issued int
}

// NewBook returns an empty book.
func NewBook() *Book { return &Book{series: make(map[Series]*series)} }

// Issue records a reading that is about to be sent. If its time is not later than that of
// the previous reading of the series, Issue moves it. It returns the time.
func (b *Book) Issue(key Series, at time.Time, value float64) (ID, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.series[key]
	if s == nil {
		s = new(series)
		b.series[key] = s
	}
	t := at.UnixNano()
	if n := len(s.points); n > 0 && t <= s.points[n-1].Time {
		t = s.points[n-1].Time + 1
	}
	s.points = append(s.points, Point{t, value})
	s.acked = append(s.acked, false)
	b.issued++
	return ID{s, len(s.points) - 1}, t
}

// Ack records that a reading was acknowledged. It may be called more than once.
func (b *Book) Ack(id ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !id.series.acked[id.index] {
		id.series.acked[id.index] = true
		b.acked++
	}
}

// Totals returns how many readings were issued, and how many of those were acknowledged.
func (b *Book) Totals() (issued, acked int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.issued, b.acked
}

// Series lists the series of all issued readings, in order.
func (b *Book) Series() []Series {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Series, 0, len(b.series))
	for s := range b.series {
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Series) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Metric, y.Metric))
	})
	return out
}

// Issued returns the readings of a series in the order of their times.
func (b *Book) Issued(key Series) []Point {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.series[key]; s != nil {
		return slices.Clone(s.points)
	}
	return nil
}

// Verdict is what is wrong with the stored readings.
type Verdict struct {
	// Stored counts the readings that were checked.
	Stored int
	// Lost readings were acknowledged and are not stored, Unknown readings are stored and
	// were never issued, Altered readings have another value, Twice are stored more than
	// once.
	Lost, Unknown, Altered, Twice int
	// Examples describe the first violations.
	Examples []string
}

// maxExamples bounds how many examples are kept.
const maxExamples = 10

// Wrong is the number of all violations.
func (v Verdict) Wrong() int { return v.Lost + v.Unknown + v.Altered + v.Twice }

// Add adds another verdict.
func (v *Verdict) Add(o Verdict) {
	v.Stored += o.Stored
	v.Lost, v.Unknown, v.Altered, v.Twice = v.Lost+o.Lost, v.Unknown+o.Unknown, v.Altered+o.Altered, v.Twice+o.Twice
	for _, e := range o.Examples {
		v.example("%s", e)
	}
}

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Judge compares the stored readings of a series with the issued ones. Readings that were
// not acknowledged may be stored or not.
func (b *Book) Judge(key Series, stored []Point) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := Verdict{Stored: len(stored)}
	s := b.series[key]
	if s == nil {
		s = new(series)
	}
	name := key.Device + " " + key.Metric
	seen := make([]bool, len(s.points))
	for _, p := range stored {
		i, found := slices.BinarySearchFunc(s.points, p.Time, func(q Point, t int64) int { return cmp.Compare(q.Time, t) })
		switch {
		case !found:
			v.Unknown++
			v.example("unknown: %s at %d is %v", name, p.Time, p.Value)
		case seen[i]:
			v.Twice++
			v.example("twice: %s at %d", name, p.Time)
		case s.points[i].Value != p.Value:
			v.Altered++
			v.example("altered: %s at %d is %v, was %v", name, p.Time, p.Value, s.points[i].Value)
		}
		if found {
			seen[i] = true
		}
	}
	for i, p := range s.points {
		if s.acked[i] && !seen[i] {
			v.Lost++
			v.example("lost: %s at %d (%s), %v", name, p.Time, time.Unix(0, p.Time).Format(time.TimeOnly), p.Value)
		}
	}
	return v
}

// Summary summarises a series in the window that begins at Start, in nanoseconds since
// the Unix epoch.
type Summary struct {
	Start                                  int64
	Count                                  int
	Min, Max, Mean, First, Last, Deviation float64
}

// Summaries returns the summaries of all windows of one width that contain points, in
// order.
func Summaries(points []Point, width time.Duration) []Summary {
	points = slices.Clone(points)
	slices.SortFunc(points, func(a, b Point) int { return cmp.Compare(a.Time, b.Time) })
	var out []Summary
	for len(points) > 0 {
		start := points[0].Time - points[0].Time%int64(width)
		n := 0
		for n < len(points) && points[n].Time < start+int64(width) {
			n++
		}
		out = append(out, summary(start, points[:n]))
		points = points[n:]
	}
	return out
}

func summary(start int64, points []Point) Summary {
	s := Summary{
		Start: start, Count: len(points), Min: math.Inf(1), Max: math.Inf(-1),
		First: points[0].Value, Last: points[len(points)-1].Value,
	}
	sum := 0.0
	for _, p := range points {
		s.Min, s.Max, sum = min(s.Min, p.Value), max(s.Max, p.Value), sum+p.Value
	}
	s.Mean = sum / float64(s.Count)
	squares := 0.0
	for _, p := range points {
		squares += (p.Value - s.Mean) * (p.Value - s.Mean)
	}
	s.Deviation = math.Sqrt(squares / float64(s.Count))
	return s
}

// rounding is how much, relative to the value, sums in different orders may differ.
const rounding = 1e-9

func (s Summary) equal(o Summary) bool {
	near := func(a, b float64) bool { return math.Abs(a-b) <= rounding*max(1, math.Abs(a), math.Abs(b)) }
	return s.Start == o.Start && s.Count == o.Count && s.Min == o.Min && s.Max == o.Max && s.First == o.First && s.Last == o.Last &&
		near(s.Mean, o.Mean) && near(s.Deviation, o.Deviation)
}

// JudgeSummaries lists each window whose summary is missing, wrong or should not exist.
func JudgeSummaries(want, got []Summary) []string {
	var wrong []string
	stored := make(map[int64]Summary, len(got))
	for _, s := range got {
		if _, twice := stored[s.Start]; twice {
			wrong = append(wrong, fmt.Sprintf("the window at %d has two summaries", s.Start))
		}
		stored[s.Start] = s
	}
	for _, w := range want {
		s, found := stored[w.Start]
		switch {
		case !found:
			wrong = append(wrong, fmt.Sprintf("the window at %d has no summary, want %+v", w.Start, w))
		case !w.equal(s):
			wrong = append(wrong, fmt.Sprintf("the window at %d is %+v, want %+v", w.Start, s, w))
		}
		delete(stored, w.Start)
	}
	for start := range stored {
		wrong = append(wrong, fmt.Sprintf("the window at %d has a summary, but no readings", start))
	}
	return wrong
}
