// Package group computes a series from the latest values of several devices. It is pure:
// event times, and the clock, are arguments.
//
//  1. There is a value for each multiple of Every since the epoch. It is made of the latest
//     reading of each device at or before that time, if it is not older than MaxAge.
//  2. It is computed when the clock has come two seconds further, so that readings that are on
//     their way are in it.
//  3. A reading that comes later, within the lateness behind the clock, makes the values that
//     it concerns stale. The next tick computes them again; the last value of a time is the
//     valid one.
//
// So the last values of all times are those of the sorted, de-duplicated readings: of the
// readings between two times only the latest counts, and of those of one event time the one
// that came last. A time of which nothing can be said, because no device has a valid reading or
// a division by zero, has no value; one that had a value before a correction keeps it.
package group

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
	"headwater/services/rule"
	"headwater/services/rule/expression"
)

const (
	// MaxMembers is how many devices a group has at most.
	MaxMembers = 1000
	// settleAfter is how long a time waits, by the clock, for readings that are on their way.
	settleAfter = int64(2 * time.Second)
	past        = math.MinInt64 / 4
)

// Spec says how one series is computed. It must not be used by two goroutines at a time.
type Spec struct {
	// Inputs are the metrics that it is made from.
	Inputs []string

	every, maxAge, lateness int64
	program                 *expression.Program
	inputs                  []int // the input of each call
	scratch                 expression.Scratch
	values, all             []float64
}

// New returns the specification of a declaration without problems. Lateness is how far a
// reading may be behind the clock and still change values.
func New(g rule.Group, lateness time.Duration) (*Spec, error) {
	p, err := expression.CompileGroup(g.Expression)
	if err != nil {
		return nil, fmt.Errorf("group %s %s: %w", g.Name, g.Metric, err)
	}
	s := &Spec{
		Inputs: p.Metrics(), every: int64(g.Every), maxAge: int64(g.MaxAge), lateness: int64(lateness),
		program: p, values: make([]float64, len(p.Calls())),
	}
	for _, c := range p.Calls() {
		s.inputs = append(s.inputs, slices.Index(s.Inputs, c.Metric))
	}
	return s, nil
}

// member is what is kept of one device: of each input, in rising order, the latest reading
// before each time that can still change, and one before these.
type member struct {
	name   string
	inputs [][]derive.Reading
}

// State is the state of one group. It is for one goroutine.
type State struct {
	spec *Spec
	// members are in the order of their names.
	members []member
	// clock is the latest tick, and settled the latest time that has been computed.
	clock, settled int64
	// staleFrom and staleTo bound the times that must be computed again.
	staleFrom, staleTo int64
}

// Lateness is how far a reading may be behind the clock and still change values.
func (s *Spec) Lateness() time.Duration { return time.Duration(s.lateness) }

// Start returns the state before the first reading.
func (s *Spec) Start() *State {
	return &State{spec: s, clock: past, settled: past, staleFrom: derive.Never, staleTo: past}
}

// until returns the first time whose value a reading is in.
func (s *Spec) until(at int64) int64 {
	rest := at % s.every
	switch {
	case rest > 0:
		return at - rest + s.every
	default:
		return at - rest
	}
}

// Add takes a reading, which must be finite, of an input of a device, whose name may be a part
// of a batch. It reports false for one that is too late, or of one device too many.
func (x *State) Add(name string, input int, r derive.Reading) bool {
	if r.Time < x.clock-x.spec.lateness {
		return false
	}
	i, known := slices.BinarySearchFunc(x.members, name, func(m member, name string) int { return cmp.Compare(m.name, name) })
	if !known {
		if len(x.members) >= MaxMembers {
			return false
		}
		x.members = slices.Insert(x.members, i, member{name: strings.Clone(name), inputs: make([][]derive.Reading, len(x.spec.Inputs))})
	}
	all := x.members[i].inputs[input]
	to := x.spec.until(r.Time)
	j, _ := slices.BinarySearchFunc(all, to, func(k derive.Reading, to int64) int { return cmp.Compare(x.spec.until(k.Time), to) })
	switch {
	case j < len(all) && x.spec.until(all[j].Time) == to:
		if r.Time < all[j].Time || all[j] == r {
			return true // another one counts
		}
		all[j] = r
	default:
		all = slices.Insert(all, j, r)
		x.members[i].inputs[input] = all
	}
	switch {
	case x.settled == past || x.clock == past && to <= x.settled:
		x.settled = to - x.spec.every
		if x.clock > past { // the reading may be ahead of its time, and the next one not
			x.settled = min(x.settled, x.spec.until(x.clock)-x.spec.every)
		}
	}
	if to > x.settled {
		return true
	}
	// It counts until the next reading does, or it is too old.
	last := x.spec.until(r.Time+x.spec.maxAge+1) - x.spec.every
	if j+1 < len(all) {
		last = max(to, x.spec.until(all[j+1].Time)-x.spec.every)
	}
	x.staleFrom, x.staleTo = min(x.staleFrom, to), max(x.staleTo, min(last, x.settled))
	return true
}

// Keep leaves out the devices that do not belong to the group any more. Values that were
// computed stay.
func (x *State) Keep(belongs func(device string) bool) {
	x.members = slices.DeleteFunc(x.members, func(m member) bool { return !belongs(m.name) })
}

// Due returns when Tick has something to do, by the clock; derive.Never if nothing is known.
func (x *State) Due() int64 {
	switch {
	case x.staleFrom <= x.staleTo:
		return past
	case x.settled == past:
		return derive.Never
	}
	return x.settled + x.spec.every + settleAfter
}

// Tick moves the clock, and appends up to most of the values that are due to out.
func (x *State) Tick(clock int64, most int, out []derive.Reading) []derive.Reading {
	if x.clock == past && x.settled > past { // the first readings may have been ahead of their time
		x.settled = min(x.settled, x.spec.until(clock)-x.spec.every)
	}
	x.clock = max(x.clock, clock)
	for ; x.staleFrom <= x.staleTo && most > 0; x.staleFrom += x.spec.every {
		if v, ok, _ := x.value(x.staleFrom); ok {
			out = append(out, derive.Reading{Time: x.staleFrom, Value: v})
		}
		most--
	}
	if x.staleFrom > x.staleTo {
		x.staleFrom, x.staleTo = derive.Never, past
	}
	for x.settled > past && most > 0 && x.clock >= x.settled+x.spec.every+settleAfter {
		x.settled += x.spec.every
		v, ok, known := x.value(x.settled)
		if ok {
			out = append(out, derive.Reading{Time: x.settled, Value: v})
		}
		if !known { // nor is anything until the next reading
			x.settled = max(x.settled, min(x.following(x.settled), x.spec.until(x.clock-settleAfter))-x.spec.every)
		}
		most--
	}
	x.trim()
	return out
}

// following returns the first time after a time whose value another reading is in;
// derive.Never if there is none.
func (x *State) following(after int64) int64 {
	first := int64(derive.Never)
	for _, m := range x.members {
		for _, all := range m.inputs {
			if i, _ := slices.BinarySearchFunc(all, after+1, func(r derive.Reading, t int64) int { return cmp.Compare(r.Time, t) }); i < len(all) {
				first = min(first, x.spec.until(all[i].Time))
			}
		}
	}
	return first
}

// value returns the value of a time, and whether it has one. Known is set if a device has a
// valid reading.
func (x *State) value(at int64) (v float64, ok, known bool) {
	missing := false
	for i, c := range x.spec.program.Calls() {
		all := x.spec.all[:0]
		for _, m := range x.members {
			if c.Device != "" && c.Device != m.name {
				continue
			}
			readings := m.inputs[x.spec.inputs[i]]
			j, _ := slices.BinarySearchFunc(readings, at+1, func(r derive.Reading, t int64) int { return cmp.Compare(r.Time, t) })
			if j > 0 && at-readings[j-1].Time <= x.spec.maxAge {
				all = append(all, readings[j-1].Value)
			}
		}
		x.spec.all = all
		known = known || len(all) > 0
		if x.spec.values[i], ok = summarise(c.Function, all); !ok {
			missing = true
		}
	}
	if !known || missing {
		return 0, false, known
	}
	v, err := x.spec.program.Number(&x.spec.scratch, x.spec.values)
	return v, err == nil, true
}

// summarise returns the result of a function of the values of several devices, whose order it
// changes; false if it has none.
func summarise(f expression.Function, all []float64) (float64, bool) {
	n := float64(len(all))
	if f == expression.Count {
		return n, true
	}
	if len(all) == 0 {
		return 0, false
	}
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	slices.Sort(all)
	low, high := all[0], all[len(all)-1]
	median := all[len(all)/2]
	if len(all)%2 == 0 {
		median = all[len(all)/2-1] + (median-all[len(all)/2-1])/2
	}
	var v float64
	switch f {
	case expression.Sum:
		v = sum
	case expression.Mean:
		v = sum / n
	case expression.Median:
		v = median
	case expression.Min, expression.Of:
		v = low
	case expression.Max:
		v = high
	case expression.Spread:
		v = high - low
	case expression.Odd:
		v = max(high-median, median-low)
	}
	return v, !math.IsNaN(v) && !math.IsInf(v, 0)
}

// trim drops the readings that no value depends on any more, and the devices without readings.
func (x *State) trim() {
	if x.settled == past {
		return
	}
	// The first time that can still be computed.
	first := min(x.spec.until(x.clock-x.spec.lateness), x.settled+x.spec.every, x.staleFrom)
	x.members = slices.DeleteFunc(x.members, func(m member) bool {
		empty := true
		for i, all := range m.inputs {
			// The latest at or before that time counts, unless it is too old.
			n, _ := slices.BinarySearchFunc(all, first+1, func(r derive.Reading, t int64) int { return cmp.Compare(r.Time, t) })
			if n > 0 && first-all[n-1].Time <= x.spec.maxAge {
				n--
			}
			if n > 0 {
				all = slices.Delete(all, 0, n)
				m.inputs[i] = all
			}
			empty = empty && len(all) == 0
		}
		return empty
	})
	if len(x.members) == 0 {
		x.settled = past // it begins again with the next reading
	}
}

// Append appends the state.
func (x *State) Append(b []byte) []byte {
	for _, t := range []int64{x.clock, x.settled, x.staleFrom, x.staleTo} {
		b = codec.Int(b, t)
	}
	b = codec.Uint(b, uint64(len(x.members)))
	for _, m := range x.members {
		b = codec.String(b, m.name)
		for _, all := range m.inputs {
			b = codec.Times(b, len(all), func(i int) int64 { return all[i].Time })
			b = codec.Values(b, len(all), func(i int) float64 { return all[i].Value })
		}
	}
	return b
}

// Read reads what Append wrote.
func (s *Spec) Read(r *codec.Reader) *State {
	x := s.Start()
	for _, t := range []*int64{&x.clock, &x.settled, &x.staleFrom, &x.staleTo} {
		*t = r.Int()
	}
	last := ""
	for i := range r.Count() {
		m := member{name: r.String(), inputs: make([][]derive.Reading, len(s.Inputs))}
		if i > 0 && m.name <= last || i >= MaxMembers {
			r.Fail()
			return x
		}
		last = m.name
		for j := range m.inputs {
			times := r.Times()
			values := r.Values(len(times))
			if r.Err() != nil || !slices.IsSorted(times) {
				r.Fail()
				return x
			}
			for k := range times {
				m.inputs[j] = append(m.inputs[j], derive.Reading{Time: times[k], Value: values[k]})
			}
		}
		x.members = append(x.members, m)
	}
	return x
}
