// Package counter computes what was consumed from the readings of a meter that counts up:
// kWh, m³, pulses. It is pure: event times, and the time at which a reading arrived, are
// arguments.
//
// The consumption between two readings is their difference. Meters do more than count:
//
//   - A value that falls, and stays below on the next reading, is a roll-over if the meter
//     has one and less than half of its range would have been consumed; otherwise the meter
//     began again at 0. What it counted between its last reading and then is unknown.
//   - A value that falls and is back on the next reading never happened, and so did any
//     number of zeros before a value that is not below the last one.
//   - If a greatest rate is known, a step above it consumes nothing: the meter was
//     replaced.
//   - Time without readings is consumed evenly. The consumption is divided at each hour of the
//     place and at each change of the tariff, and each part has the last moment of its time, so
//     that what was consumed up to a full hour lies in the hour before it. A longer gap than a
//     week is consumed when it ends.
//
// A State keeps the readings that a late reading can still be put among, so its points depend
// on the order of event times and not on that of the arrival; the last value of a time is the
// valid one. Later readings are left out, which changes when something was consumed and not
// how much. The sum of all points is what was consumed.
package counter

import (
	"cmp"
	"math"
	"slices"
	"time"

	"headwater/services/internal/calendar"
	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
	"headwater/services/processor/window"
)

const (
	// MaxReadings is how many readings are kept. A meter that is faster than that within the
	// lateness loses lateness.
	MaxReadings = 2048
	// maxGap is the longest time that consumption is divided over.
	maxGap = int64(7 * 24 * time.Hour)

	past = math.MinInt64 / 4
	hour = float64(time.Hour)
)

// Price is what a unit costs at some times of the week.
type Price struct {
	calendar.Weekly
	Price float64
}

// Spec says how one meter counts. It must not be used by two goroutines at a time.
type Spec struct {
	// Rollover is the value at which the meter is at 0 again; 0: it has none.
	Rollover float64
	// MaxRate is the most that can be consumed in an hour; 0 if that is unknown.
	MaxRate float64
	// Lateness is how far a reading may be behind the latest one and still count.
	Lateness time.Duration
	// Place is where the meter is.
	Place *time.Location
	// Cost is set if the points are costs: the consumption times Price, or the first of Prices
	// that is in force.
	Cost   bool
	Price  float64
	Prices []Price

	calendar *window.Calendar
}

// Start returns the state before the first reading.
func (s *Spec) Start() *State {
	s.calendar = window.NewCalendar(s.Place)
	return &State{spec: s, base: derive.Reading{Time: past}, newest: past}
}

// State is the state of one meter. It is for one goroutine.
type State struct {
	spec *Spec
	// base is the valid reading before those that are kept; past without one.
	base derive.Reading
	// kept are the readings in the order of event times, and points the values that they gave.
	kept, points []derive.Reading
	// newest is the latest event time of a reading, at most when it arrived.
	newest int64
	// stale is set if points must be computed again.
	stale bool
	// valid is scratch space: which of the kept readings are valid.
	valid []bool
}

// Stale reports whether points must be computed again.
func (x *State) Stale() bool { return x.stale }

// Due returns when Flush has something to do.
func (x *State) Due() int64 {
	if x.stale {
		return past
	}
	return derive.Never
}

// Tick does nothing: a meter does not wait for the clock.
func (x *State) Tick(_ int64, out []derive.Reading) []derive.Reading { return out }

// Add takes a reading, which must be finite, and appends the points that are new or changed
// to out. Now is when it arrived. After a late reading, or if full is set, points are stale
// instead. It reports false for a reading that is too late.
func (x *State) Add(_ int, r derive.Reading, now int64, full bool, out []derive.Reading) ([]derive.Reading, bool) {
	if r.Time < x.newest-int64(x.spec.Lateness) || r.Time <= x.base.Time {
		return out, false
	}
	late := r.Time < x.newest
	if !x.put(r) {
		return out, true
	}
	x.newest = max(x.newest, min(r.Time, now))
	if x.stale = x.stale || late || full; x.stale {
		return out, true
	}
	return x.Flush(0, out), true
}

// Flush computes the points again and appends those that have changed. It does so at once,
// whatever most is.
func (x *State) Flush(_ int, out []derive.Reading) []derive.Reading {
	x.stale = false
	points := x.compute()
	i := 0
	for _, p := range points {
		for i < len(x.points) && x.points[i].Time < p.Time {
			out = zeroed(out, x.points[i])
			i++
		}
		if i < len(x.points) && x.points[i].Time == p.Time {
			i++
			if x.points[i-1].Value == p.Value {
				continue
			}
		}
		out = append(out, p)
	}
	for ; i < len(x.points); i++ {
		out = zeroed(out, x.points[i])
	}
	x.points = points
	x.trim()
	return out
}

// zeroed appends the point that takes back one which is not there any more.
func zeroed(out []derive.Reading, p derive.Reading) []derive.Reading {
	if p.Value == 0 {
		return out
	}
	return append(out, derive.Reading{Time: p.Time})
}

// put inserts a reading, or replaces that of its time. It reports false if nothing has
// changed.
func (x *State) put(r derive.Reading) bool {
	i, found := slices.BinarySearchFunc(x.kept, r.Time, func(k derive.Reading, t int64) int { return cmp.Compare(k.Time, t) })
	if found {
		changed := x.kept[i].Value != r.Value
		x.kept[i].Value = r.Value
		return changed
	}
	x.kept = slices.Insert(x.kept, i, r)
	return true
}

// compute returns the points of the kept readings, and notes which of these are valid.
func (x *State) compute() []derive.Reading {
	base, zero := x.base, int64(past)
	points := make([]derive.Reading, 0, len(x.kept)+1)
	x.valid = append(x.valid[:0], make([]bool, len(x.kept))...)
	after := 0 // the index of the reading after this one, apart from zeros
	for i, r := range x.kept {
		after = x.following(max(after, i+1))
		var next derive.Reading
		known := after < len(x.kept)
		if known {
			next = x.kept[after]
		}
		switch {
		case base.Time == past: // nothing to compare it with
		case r.Value == 0 && base.Value > 0:
			zero = r.Time
			points = add(points, derive.Reading{Time: r.Time})
			continue
		case r.Value >= base.Value:
			points = x.consume(points, base.Time, r.Time, x.plausible(r.Value-base.Value, r.Time-base.Time))
		case !known || next.Value >= base.Value && !(x.spec.MaxRate > 0 && x.plausible(next.Value-r.Value, next.Time-r.Time) > 0):
			// It is decided with the next reading, or was a slip.
			points = add(points, derive.Reading{Time: r.Time})
			continue
		default:
			from, amount := base.Time, x.spec.Rollover-base.Value+r.Value
			if base.Value >= x.spec.Rollover || amount > x.spec.Rollover/2 {
				from, amount = max(from, zero), r.Value
			}
			points = x.consume(points, from, r.Time, x.plausible(amount, r.Time-base.Time))
		}
		base, zero = r, past
		x.valid[i] = true
	}
	return inOrder(points)
}

// inOrder returns the points in the order of time: what was consumed across a slip has parts
// before it.
func inOrder(points []derive.Reading) []derive.Reading {
	byTime := func(a, b derive.Reading) int { return cmp.Compare(a.Time, b.Time) }
	if slices.IsSortedFunc(points, byTime) {
		return points
	}
	slices.SortStableFunc(points, byTime)
	merged := points[:0]
	for _, p := range points {
		merged = add(merged, p)
	}
	return merged
}

// following returns the index of the first reading from i on that is not zero.
func (x *State) following(i int) int {
	for i < len(x.kept) && x.kept[i].Value == 0 {
		i++
	}
	return i
}

// plausible returns the amount, or 0 if so much can't have been consumed in the time.
func (x *State) plausible(amount float64, span int64) float64 {
	if x.spec.MaxRate > 0 && amount > x.spec.MaxRate*(float64(span)/hour) {
		return 0
	}
	return amount
}

// consume appends the points of an amount that was consumed in (from, to].
func (x *State) consume(points []derive.Reading, from, to int64, amount float64) []derive.Reading {
	if amount == 0 || to-from > maxGap {
		return add(points, derive.Reading{Time: to, Value: amount * x.price(to)})
	}
	done := 0.0
	for t := from; t < to; {
		change := x.changes(t)
		end := min(to, change)
		part, at := amount-done, end
		if end < to {
			part = amount*(float64(end-from)/float64(to-from)) - done
		}
		if end == change {
			at = end - 1
		}
		done += part
		points = add(points, derive.Reading{Time: at, Value: part * x.price(t)})
		t = end
	}
	return points
}

// add appends a point, or adds it to the last one if that has its time.
func add(points []derive.Reading, p derive.Reading) []derive.Reading {
	if n := len(points); n > 0 && points[n-1].Time == p.Time {
		points[n-1].Value += p.Value
		return points
	}
	return append(points, p)
}

// changes returns when the hour or the tariff of a time ends.
func (x *State) changes(t int64) int64 {
	_, end := x.spec.calendar.Hour(t)
	at := time.Unix(0, t)
	for _, p := range x.spec.Prices {
		// It begins or ends on a minute, so one look at each minute of the hour would do; its
		// spans say it at once.
		if _, until, now := p.In(at, x.spec.Place); now {
			end = min(end, until.UnixNano())
			continue
		}
		if from, _, soon := p.In(time.Unix(0, end-1), x.spec.Place); soon && from.UnixNano() > t {
			end = min(end, from.UnixNano())
		}
	}
	return end
}

// price returns what a unit costs at a time; 1 if the points are no costs.
func (x *State) price(t int64) float64 {
	if !x.spec.Cost {
		return 1
	}
	for _, p := range x.spec.Prices {
		if _, _, now := p.In(time.Unix(0, t), x.spec.Place); now {
			return p.Price
		}
	}
	return x.spec.Price
}

// trim drops the readings that no late reading can change: up to a valid one before the
// lateness whose next reading is before it, too.
func (x *State) trim() {
	horizon := x.newest - int64(x.spec.Lateness)
	last, after := -1, 0
	for i := range x.kept {
		after = x.following(max(after, i+1))
		if after == len(x.kept) || x.kept[after].Time >= horizon && len(x.kept)-last-1 <= MaxReadings {
			break
		}
		if x.valid[i] {
			last = i
		}
	}
	if last >= 0 {
		x.base = x.kept[last]
		x.kept = slices.Delete(x.kept, 0, last+1)
		n := 0
		for n < len(x.points) && x.points[n].Time <= x.base.Time {
			n++
		}
		x.points = slices.Delete(x.points, 0, n)
	}
	// Of zeros in a row the last one tells when they ended.
	for i := 0; i+1 < len(x.kept) && (x.kept[i+1].Time < horizon || len(x.kept) > MaxReadings); i++ {
		if x.kept[i].Value == 0 && x.kept[i+1].Value == 0 {
			x.kept = slices.Delete(x.kept, i, i+1)
			i--
		}
	}
}

// Append appends the state.
func (x *State) Append(b []byte) []byte {
	b = codec.Float(codec.Int(b, x.base.Time), x.base.Value)
	b = codec.Bool(codec.Int(b, x.newest), x.stale)
	for _, all := range [][]derive.Reading{x.kept, x.points} {
		b = codec.Times(b, len(all), func(i int) int64 { return all[i].Time })
		b = codec.Values(b, len(all), func(i int) float64 { return all[i].Value })
	}
	return b
}

// Read reads what Append wrote.
func (s *Spec) Read(r *codec.Reader) *State {
	x := s.Start()
	x.base = derive.Reading{Time: r.Int(), Value: r.Float()}
	x.newest, x.stale = r.Int(), r.Bool()
	for _, all := range []*[]derive.Reading{&x.kept, &x.points} {
		times := r.Times()
		values := r.Values(len(times))
		if r.Err() != nil || !slices.IsSorted(times) {
			r.Fail()
			return x
		}
		for i := range times {
			*all = append(*all, derive.Reading{Time: times[i], Value: values[i]})
		}
	}
	return x
}
