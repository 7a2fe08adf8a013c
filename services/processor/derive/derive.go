// Package derive computes series of a device from other series of the same device: a
// number made of the latest values, and the change, sum or integral of one series over a
// span of event time. It is pure: event times, and the time at which a reading arrived, are
// arguments.
//
// A State keeps the readings that a late reading can still be put among. Its values depend
// on them in the order of their event times and on nothing else:
//
//  1. There is a value for each event time at which one of the inputs has a reading.
//  2. A time is evaluated when all inputs have a reading of it, when a later one comes, or
//     a second after it came. So metrics that are sent together are taken together.
//  3. A reading that comes after later ones, within the lateness, makes the values that it
//     concerns stale. Flush evaluates them again; the last value of a time is the valid one.
//
// When nothing is pending or stale, the last values of all times are those of the sorted,
// de-duplicated readings. This holds within three limits: readings later than the lateness
// change nothing, MaxReadings are kept of each input, and a value that can no longer be
// computed, like a division by zero after a correction, stays what it was.
package derive

import (
	"fmt"
	"math"
	"slices"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/rule"
	"headwater/services/rule/expression"
)

const (
	// MaxReadings is how many readings of an input are kept. A series faster than that within
	// its lateness and span has no sums and integrals over it.
	MaxReadings = 4096
	// Never is a time that never comes.
	Never = math.MaxInt64

	// settleAfter is how long a time waits for the other inputs.
	settleAfter = int64(time.Second)
	past        = math.MinInt64 / 4
	hour        = float64(time.Hour)
)

// Reading is a number at an event time, in nanoseconds since the Unix epoch.
type Reading struct {
	Time  int64
	Value float64
}

// Spec says how one series is derived. It must not be used by two goroutines at a time.
type Spec struct {
	// Inputs are the metrics that it is made from.
	Inputs []string

	lateness, maxAge, over int64
	at                     func(*Spec, *State, int64) (float64, bool)
	// touches returns up to when a reading at the time changes values, if the next one of
	// its input is at next.
	touches func(s *Spec, at, next int64) int64

	program *expression.Program
	metrics []int // the input of each value of the program
	scratch expression.Scratch
	values  []float64
}

// New returns the specification of a declaration without problems. Lateness is how far a
// reading may be behind the latest one and still change values.
func New(d rule.Derived, lateness time.Duration) (*Spec, error) {
	s := &Spec{Inputs: d.Inputs(), lateness: int64(lateness), maxAge: int64(d.MaxAge), over: int64(d.Over)}
	switch {
	case d.Expression != "":
		p, err := expression.CompileNumber(d.Expression)
		if err != nil {
			return nil, fmt.Errorf("derive %s: %w", d.Metric, err)
		}
		s.program = p
		names := p.Names()
		for _, c := range p.Calls() {
			names = append(slices.Clip(names), c.Metric)
		}
		for _, name := range names {
			s.metrics = append(s.metrics, slices.Index(s.Inputs, name))
		}
		s.values = make([]float64, len(names))
		s.at = (*Spec).expression
		s.touches = func(_ *Spec, at, next int64) int64 { return max(at, next-1) }
	case d.Difference != "" && d.Over == 0:
		s.at = (*Spec).step
		s.touches = func(_ *Spec, _, next int64) int64 { return next }
	case d.Difference != "":
		s.at = (*Spec).change
		s.touches = func(s *Spec, _, next int64) int64 { return next + s.over }
	case d.Sum != "":
		s.at = (*Spec).sum
		s.touches = func(s *Spec, at, _ int64) int64 { return at + s.over }
	case d.Integral != "":
		s.at = (*Spec).integral
		s.touches = func(s *Spec, _, next int64) int64 { return next + s.over }
	default:
		return nil, fmt.Errorf("derive %s: nothing says from what", d.Metric)
	}
	return s, nil
}

// State is the state of one derived series. It is for one goroutine.
type State struct {
	spec *Spec
	// inputs are the readings that are kept, by input, in the order of event times.
	inputs [][]Reading
	// newest is the latest event time of a reading, at most when it arrived.
	newest int64
	// settled is the latest time that has been evaluated, and pending a later one that waits
	// since its reading arrived; past if none does.
	settled, pending, since int64
	// staleFrom and staleTo bound the times that must be evaluated again.
	staleFrom, staleTo int64
	// floors are the latest times of readings that were dropped because there were too many,
	// by input.
	floors []int64
}

// Start returns the state before the first reading.
func (s *Spec) Start() *State {
	x := &State{
		spec: s, inputs: make([][]Reading, len(s.Inputs)), floors: make([]int64, len(s.Inputs)),
		newest: past, settled: past, pending: past, staleFrom: Never, staleTo: past,
	}
	for i := range x.floors {
		x.floors[i] = past
	}
	return x
}

// Stale reports whether values must be evaluated again.
func (x *State) Stale() bool { return x.staleFrom <= x.staleTo }

// Due returns when Tick has something to do, by the clock of the lane; Never if it has
// not. Values that are stale are due at once.
func (x *State) Due() int64 {
	switch {
	case x.Stale():
		return past
	case x.pending > past:
		return x.since + settleAfter
	}
	return Never
}

// Add takes a reading of an input, which must be finite, and appends the new values to out.
// Now is when it arrived. If full is set, values are stale instead. It reports false for a
// reading that is too late to count.
func (x *State) Add(input int, r Reading, now int64, full bool, out []Reading) ([]Reading, bool) {
	if r.Time < x.newest-x.spec.lateness || r.Time <= x.floors[input] {
		return out, false
	}
	if !x.put(input, r) {
		return out, true // nothing new
	}
	x.newest = max(x.newest, min(r.Time, now))
	x.trim(input)
	if r.Time <= x.settled {
		x.touch(r.Time, x.spec.touches(x.spec, r.Time, x.next(input, r.Time)))
		return out, true
	}
	switch {
	case x.pending > past && x.pending < r.Time:
		out = x.settle(full, out)
		fallthrough
	case x.pending == past:
		x.pending, x.since = r.Time, now
	case x.pending > r.Time:
		return x.evaluate(r.Time, full, out), true // before another that waits
	}
	if x.complete() {
		out = x.settle(full, out)
	}
	return out, true
}

// Tick appends the value of the time that has waited long enough by the clock of the lane.
func (x *State) Tick(clock int64, out []Reading) []Reading {
	if x.pending > past && clock >= x.since+settleAfter {
		return x.settle(false, out)
	}
	return out
}

// Flush evaluates up to most of the stale times again, and appends their values.
func (x *State) Flush(most int, out []Reading) []Reading {
	for range most {
		if !x.Stale() {
			break
		}
		t := x.following(x.staleFrom)
		if t > min(x.staleTo, x.settled) {
			x.staleFrom, x.staleTo = Never, past
			break
		}
		if v, ok := x.spec.at(x.spec, x, t); ok {
			out = append(out, Reading{t, v})
		}
		x.staleFrom = t + 1
	}
	return out
}

// settle evaluates the time that waits.
func (x *State) settle(full bool, out []Reading) []Reading {
	t := x.pending
	x.pending = past
	return x.evaluate(t, full, out)
}

// evaluate appends the value of a time after all that have been evaluated.
func (x *State) evaluate(t int64, full bool, out []Reading) []Reading {
	x.settled = t
	if full {
		x.touch(t, t)
		return out
	}
	if v, ok := x.spec.at(x.spec, x, t); ok {
		out = append(out, Reading{t, v})
	}
	return out
}

func (x *State) touch(from, to int64) {
	x.staleFrom, x.staleTo = min(x.staleFrom, from), max(x.staleTo, to)
}

// complete reports whether all inputs have a reading of the time that waits.
func (x *State) complete() bool {
	for i := range x.inputs {
		if all := x.inputs[i]; len(all) == 0 || all[max(0, search(all, x.pending+1)-1)].Time != x.pending {
			return false
		}
	}
	return true
}

// search returns the index of the first reading at the time or later.
func search(all []Reading, t int64) int {
	if n := len(all); n == 0 || all[n-1].Time < t {
		return n
	}
	i, _ := slices.BinarySearchFunc(all, t, func(r Reading, t int64) int {
		switch {
		case r.Time < t:
			return -1
		case r.Time > t:
			return 1
		}
		return 0
	})
	return i
}

// put inserts a reading, or replaces that of its time. It reports false if nothing has
// changed.
func (x *State) put(input int, r Reading) bool {
	all := x.inputs[input]
	i := search(all, r.Time)
	if i < len(all) && all[i].Time == r.Time {
		if all[i].Value == r.Value {
			return false
		}
		all[i].Value = r.Value
		return true
	}
	x.inputs[input] = slices.Insert(all, i, r)
	return true
}

// trimAfter is how many readings that nobody needs are dropped at a time.
const trimAfter = 64

// trim drops the readings that no value within the lateness depends on: all but one before
// it and the span.
func (x *State) trim(input int) {
	all := x.inputs[input]
	if n := search(all, x.newest-x.spec.lateness-x.spec.over) - 1; n >= trimAfter {
		all = slices.Delete(all, 0, n)
	}
	if len(all) > MaxReadings {
		x.floors[input] = all[0].Time
		all = slices.Delete(all, 0, 1)
	}
	x.inputs[input] = all
}

// next returns the time of the reading of an input after a time; far in the future if there
// is none.
func (x *State) next(input int, t int64) int64 {
	all := x.inputs[input]
	if i := search(all, t+1); i < len(all) {
		return all[i].Time
	}
	return -past
}

// following returns the earliest time at or after t at which an input has a reading.
func (x *State) following(t int64) int64 {
	first := int64(Never)
	for _, all := range x.inputs {
		if i := search(all, t); i < len(all) {
			first = min(first, all[i].Time)
		}
	}
	return first
}

// latest returns the latest reading at or before a time, if it is still valid then.
func (x *State) latest(input int, t int64) (Reading, bool) {
	all := x.inputs[input]
	i := search(all, t+1) - 1
	if i < 0 || t-all[i].Time > x.spec.maxAge {
		return Reading{}, false
	}
	return all[i], true
}

// expression is the number made of the latest values.
func (s *Spec) expression(x *State, t int64) (float64, bool) {
	for i, input := range s.metrics {
		r, ok := x.latest(input, t)
		if !ok {
			return 0, false
		}
		s.values[i] = r.Value
	}
	v, err := s.program.Number(&s.scratch, s.values)
	return v, err == nil
}

// step is the change from the previous reading.
func (s *Spec) step(x *State, t int64) (float64, bool) {
	now, ok := x.latest(0, t)
	before, known := x.latest(0, t-1)
	return finite(now.Value-before.Value, ok && known)
}

// change is the change over the span.
func (s *Spec) change(x *State, t int64) (float64, bool) {
	now, ok := x.latest(0, t)
	before, known := x.latest(0, t-s.over)
	return finite(now.Value-before.Value, ok && known)
}

// sum adds up the readings of the span, in their order.
func (s *Spec) sum(x *State, t int64) (float64, bool) {
	all := x.inputs[0]
	total := 0.0
	for _, r := range all[search(all, t-s.over+1):search(all, t+1)] {
		total += r.Value
	}
	return finite(total, x.floors[0] <= t-s.over)
}

// integral is the value times hours within the span, with straight lines between readings
// that are not further apart than the greatest age.
func (s *Spec) integral(x *State, t int64) (float64, bool) {
	all := x.inputs[0]
	from := t - s.over
	total := 0.0
	for i := max(1, search(all, from+1)); i < search(all, t+1); i++ {
		a, b := all[i-1], all[i]
		if b.Time-a.Time > s.maxAge {
			continue
		}
		if a.Time < from { // the part of the line within the span
			a.Value += (b.Value - a.Value) * (float64(from-a.Time) / float64(b.Time-a.Time))
			a.Time = from
		}
		total += (a.Value + b.Value) / 2 * (float64(b.Time-a.Time) / hour)
	}
	return finite(total, x.floors[0] <= from)
}

// finite returns the value if it is known and a finite number.
func finite(v float64, known bool) (float64, bool) {
	return v, known && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// Append appends the state.
func (x *State) Append(b []byte) []byte {
	for _, t := range []int64{x.newest, x.settled, x.pending, x.since, x.staleFrom, x.staleTo} {
		b = codec.Int(b, t)
	}
	for i, all := range x.inputs {
		b = codec.Int(b, x.floors[i])
		b = codec.Times(b, len(all), func(i int) int64 { return all[i].Time })
		b = codec.Values(b, len(all), func(i int) float64 { return all[i].Value })
	}
	return b
}

// Read reads what Append wrote.
func (s *Spec) Read(r *codec.Reader) *State {
	x := s.Start()
	for _, t := range []*int64{&x.newest, &x.settled, &x.pending, &x.since, &x.staleFrom, &x.staleTo} {
		*t = r.Int()
	}
	for i := range x.inputs {
		x.floors[i] = r.Int()
		times := r.Times()
		values := r.Values(len(times))
		if len(times) > MaxReadings || !slices.IsSorted(times) || r.Err() != nil {
			r.Fail()
			return x
		}
		x.inputs[i] = make([]Reading, len(times))
		for j := range times {
			x.inputs[i][j] = Reading{times[j], values[j]}
		}
	}
	return x
}
