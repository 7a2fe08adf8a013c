package detect

import (
	"math"
	"reflect"
	"slices"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// changed begins the sentence of an episode that ends because its rule changed.
const changed = "the rule was changed: "

// overdue does what is due by now under the new parameters. It happens at the
// time of the change.
func overdue(s State, now int64, unit string, out []Verdict) []Verdict {
	n := len(out)
	out = s.Tick(now, unit, out)
	for i := n; i < len(out); i++ {
		out[i].Time = max(out[i].Time, now)
	}
	return out
}

// Adopt continues a state under other limits. It judges the last reading by
// them, unless that reading is too old.
func (l *Limit) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	s, ok := old.(*limitState)
	if !ok {
		return nil, out
	}
	bound := s.bound()
	s.limit = l
	if s.last.Time == noTime || s.quiet() <= now {
		return s, overdue(s, now, unit, out)
	}
	side := l.side(s.last.Value)
	switch {
	case s.emitted > 0 && s.side != side && (l.side(s.peak) != s.side || s.back(s.last.Value)):
		out = append(out, s.closed(now, changed+s.inside(unit)))
		s.end(now)
	case s.emitted > 0:
		if bound != s.bound() {
			out = append(out, s.rebound(now, unit))
		}
		return s, out
	case s.side != side:
		s.clear()
	}
	if side == 0 {
		return s, out
	}
	if s.side == 0 {
		now = s.begin(side, now)
	}
	if l.For == 0 || s.opens() < now {
		out = append(out, s.beyond(Open, now, unit))
	}
	return s, out
}

// inside explains why the last reading is no longer beyond the limit.
func (s *limitState) inside(unit string) string {
	if math.IsInf(s.bound(), 0) {
		return "the limit " + s.where() + " was removed"
	}
	value, bound := beside(s.last.Value, s.bound(), unit)
	return value + " is not " + s.where() + " the limit of " + bound
}

// rebound returns an update of an open episode whose limit changed.
func (s *limitState) rebound(now int64, unit string) Verdict {
	v := s.beyond(Update, now, unit)
	if s.limit.side(s.last.Value) == 0 {
		v.Evidence.Sentence = quantity(s.last.Value, unit) + ": not yet " + quantity(s.limit.Hysteresis, unit) +
			" inside the limit of " + quantity(s.bound(), unit)
	}
	return v
}

// Adopt continues a state under other changes. It judges the last change by
// them.
func (p *Rate) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	s, ok := old.(*rateState)
	if !ok {
		return nil, out
	}
	was := *s.rate
	s.rate = p
	if s.last.Time == noTime {
		return p.Start(), out
	}
	switch {
	case p.Fall == 0:
		s.highest = nil
	case s.highest == nil:
		s.highest = &candidates{s.last}
	}
	switch {
	case p.Rise == 0:
		s.lowest = nil
	case was.Rise == 0:
		s.lowest = candidates{s.last}
	}
	switch {
	case s.episode != nil:
		s.clear()
		return s, s.reconsider(&was, now, unit, out)
	case now-s.last.Time < int64(p.Silence):
		return s, s.review(unit, out)
	}
	return s, out
}

// reconsider ends an open episode unless its change is still enough.
func (s *rateState) reconsider(was *Rate, now int64, unit string, out []Verdict) []Verdict {
	out = overdue(s, now, unit, out)
	if s.episode == nil {
		return out
	}
	e := s.episode
	threshold, longer := s.threshold(e.sign), 1.0
	if s.rate.Within < was.Within {
		longer = max(1, float64(e.peak.Time-e.base.Time)/float64(s.rate.Within))
	}
	switch {
	case threshold == 0:
		out = append(out, s.closed(now, changed+"changes in this direction no longer count"))
		s.restart(s.last)
	case (e.peak.Value-e.base.Value)*e.sign < threshold*longer:
		went := "a rise of "
		if e.sign < 0 {
			went = "a fall of "
		}
		change, limit := beside(s.change(e.peak), threshold, unit)
		out = append(out, s.closed(now, changed+went+change+" in "+figure.Duration(time.Duration(e.peak.Time-e.base.Time))+
			" is within the limit of "+limit+" in "+figure.Duration(s.rate.Within)))
		s.restart(s.last)
	case s.rate.Rise != was.Rise || s.rate.Fall != was.Fall || s.rate.Within != was.Within:
		e.emitted = ratio((e.peak.Value-e.base.Value)*e.sign, threshold)
		v := s.verdict(Update, now, distinct(e.base, s.last))
		v.Evidence.Score, v.Evidence.Sentence = e.emitted, s.sentence("has risen", "has fallen", s.last, unit)
		out = append(out, v)
	}
	return out
}

// review opens an episode if the last reading is too far from its baseline.
func (s *rateState) review(unit string, out []Verdict) []Verdict {
	for _, sign := range [...]float64{1, -1} {
		threshold, c := s.threshold(sign), s.candidates(sign)
		if threshold == 0 {
			continue
		}
		*c = c.expire(s.last.Time - int64(s.rate.Within))
		if len(*c) == 0 {
			continue
		}
		base := (*c)[0]
		if change := (s.last.Value - base.Value) * sign; change >= threshold {
			*c = slices.DeleteFunc(*c, func(r Sample) bool { return r.Time == s.last.Time })
			return append(out, s.open(base, s.last, s.last.Time, sign, change, unit))
		}
	}
	return out
}

// Adopt continues a state under another share or time. An episode opens with
// the next reading at the earliest.
func (d *Unreadable) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	s, ok := old.(*unreadableState)
	if !ok {
		return nil, out
	}
	was := *s.of
	s.of = d
	if was.Within != d.Within && s.last != noTime {
		// Counts in parts of the old time move to parts of the new one.
		parts, newest, last, deaf := s.parts, s.index, s.last, s.deaf
		s.deaf = 0
		s.parts, s.last = [shareParts]sharePart{}, noTime
		for i := newest - shareParts + 1; i <= newest; i++ {
			from := parts[(i%shareParts+shareParts)%shareParts]
			to := s.reach(min(i*int64(was.Within/shareParts)+s.lost, last))
			to.numbers += from.numbers
			to.others += from.others
		}
		s.reach(last)
		s.deaf = deaf
	}
	if numbers, others := s.counts(); s.emitted > 0 && (was.Within != d.Within || was.Share != d.Share) && !s.beyond(numbers, others, 1) {
		out = append(out, s.close(max(now, s.last), changed+s.sentence(numbers, others)+"; up to "+figure.Number(d.Share)+" % is allowed"))
	}
	return s, overdue(s, now, unit, out)
}

// Adopt continues a state under another number of false alarms.
func (d *Silence) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	s, ok := old.(*silenceState)
	if !ok {
		return nil, out
	}
	s.silence = d
	if allowed := s.allowed(); s.open && s.pace.last+int64(s.deaf)+allowed > now {
		out = append(out, s.closed(max(now, s.start), Sample{Time: s.pace.last, Value: s.value},
			changed+"no reading for "+elapsed(s.pace.last, now)+"; up to "+figure.Duration(time.Duration(allowed))+" is allowed"))
	}
	n, began := len(out), s.start
	out = overdue(s, now, unit, out)
	if len(out) > n && s.start == began {
		// The episode that began then has ended with a change.
		s.start, out[n].Start = now, now
	}
	return s, out
}

// Adopt continues a state under other alarms.
func (d *Auto) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, d.core(), old, now, unit, out)
}

// Adopt continues a state under other alarms.
func (d *Range) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, new(rangeCore), old, now, unit, out)
}

// Adopt continues a state under other alarms.
func (d *Season) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, d.core(), old, now, unit, out)
}

// Adopt continues a state under other alarms.
func (d *Shift) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, newShiftCore(), old, now, unit, out)
}

// Adopt continues a state under other alarms.
func (d *Stuck) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, new(stuckCore), old, now, unit, out)
}

// Adopt continues a state under other alarms.
func (d *Drift) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, d.core(), old, now, unit, out)
}

// Adopt continues a state under other alarms or another direction.
func (d *Surge) Adopt(old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	return adopt(d.Alarms, &surgeCore{direction: d.Direction}, old, now, unit, out)
}

// adopt continues a watch under other alarms. What its core has learned stays.
// An episode that is not pending opens with the next reading at the earliest,
// because the state does not hold how unusual the last reading was.
func adopt(a Alarms, c core, old State, now int64, unit string, out []Verdict) (State, []Verdict) {
	w, ok := old.(*watch)
	if !ok || reflect.TypeOf(w.core) != reflect.TypeOf(c) {
		return nil, out
	}
	c.read(codec.NewReader(w.core.append(nil)))
	was := w.threshold()
	turned := turned(w.core, c)
	w.alarms, w.core = a, c
	e := &w.episode
	if by := was / w.threshold(); e.most > 0 && by > 0 {
		e.emitted, e.most = e.emitted*by, e.most*by
	}
	switch {
	case e.emitted > 0 && turned(e.peak.Value-e.baseline):
		out = append(out, w.close(max(now, w.pace.last), w.recent[w.n-1], changed+"changes in this direction no longer count"))
	case e.emitted > 0 && e.most < 1:
		out = append(out, w.close(max(now, w.pace.last), w.recent[w.n-1],
			changed+quantity(e.peak.Value, unit)+" is not unusual enough for "+figure.Number(a.FalseAlarms)+" false alarms a week"))
	case e.emitted > 0:
		e.emitted, e.most = min(max(e.emitted, 1), MaxScore), min(e.most, MaxScore)
		out = overdue(w, now, unit, out)
	case e.most >= 1 && e.bounded() && !e.holds(e.peak.Value) && w.pace.last-e.start >= int64(a.For):
		out = append(out, w.lasted(Sample{Time: w.pace.last, Value: e.peak.Value}, opinion{}, unit))
	case e.most > 0 && (e.most < 1 || a.For == 0):
		*e = episode{}
	}
	return w, out
}

// turned returns a function that reports whether a change counted for the old
// core and does not for the new one.
func turned(from, to core) func(change float64) bool {
	was, surge := from.(*surgeCore)
	return func(change float64) bool {
		return surge && was.counts(change) && !to.(*surgeCore).counts(change)
	}
}

// counts reports whether a change in a direction counts.
func (c *surgeCore) counts(change float64) bool {
	return !(c.direction == Up && change < 0 || c.direction == Down && change > 0)
}

// Adopt continues a state of other conditions, or nil for none, and evaluates
// the new conditions at once.
func (e *Expression) Adopt(old *ExpressionState, now int64, unit string, out []Verdict) (*ExpressionState, []Verdict) {
	s := e.Start()
	s.now, s.looked, s.since, s.pending, s.open = old.now, old.looked, old.since, old.pending, old.open
	for i, name := range e.metrics {
		if j := slices.Index(old.of.metrics, name); j >= 0 {
			s.latest[i], s.from[i], s.holes[i] = old.latest[j], old.from[j], old.holes[j]
		}
	}
	for i, to := range e.rolls {
		for j, from := range old.of.rolls {
			if from.span == to.span && old.of.metrics[from.metric] == e.metrics[to.metric] {
				s.rolls[i] = old.rolls[j]
			}
		}
	}
	if now < s.now || s.now == noTime {
		return s, out
	}
	n := len(out)
	out = s.until(now, unit, out)
	for i := n; i < len(out); i++ {
		out[i].Time = now // what is overdue happens with the change
	}
	s.now = now
	if !s.open {
		return s, s.look(now, unit, out)
	}
	switch holds, known := s.eval(e.opens, now); {
	case known && !holds:
		s.open = false
		out = append(out, s.verdict(Close, now, changed+s.values(e.opens, now, unit)+": not "+e.opens.Text()))
	case known && e.opens.Text() != old.of.opens.Text():
		v := s.verdict(Update, now, s.sentence(e.opens, now, unit))
		v.Evidence.Score = 1
		out = append(out, v)
	}
	return s, out
}
