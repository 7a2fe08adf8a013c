// Package coach finds settings of a rule with which it would raise fewer alerts: which ones
// to try, and which of those that were tried to propose. It is pure; that a setting helps is
// shown by replaying it over stored readings, which the caller does.
package coach

import (
	"math"
	"slices"
	"strconv"
	"time"

	"headwater/proto/figure"
	"headwater/services/rule"
)

// Episode is an alert that the rule as it is would have raised.
type Episode struct {
	// Length is how long it lasted.
	Length time.Duration
	// Value is a value of it.
	Value float64
}

// Setting is one field of a rule with another value, as people write them.
type Setting struct {
	Field, Was, Now string
}

// Trial is a change to try.
type Trial struct {
	Settings []Setting
	// Kind groups trials: of one kind, those that come later are bolder, and the first one
	// that is quiet enough will do.
	Kind Kind
}

// Kind is what a trial changes.
type Kind string

// The kinds of trials.
const (
	// Threshold moves the bound further out, or asks a detector that learns for fewer
	// alarms.
	Threshold Kind = "threshold"
	// Longer waits longer before there is an alert.
	Longer Kind = "longer"
)

// Least is the number of alerts below which nothing is proposed.
const Least = 5

// longest bounds for how long a proposal waits.
const longest = 6 * time.Hour

// Quiet reports whether a trial leaves few enough alerts: a quarter or less.
func Quiet(before, after int) bool { return after*4 <= before }

// Better reports whether a trial that is not quiet is worth a proposal: at least a third of
// the alerts is gone.
func Better(before, after int) bool { return after*3 <= before*2 }

// Trials returns what to try for a rule, given the episodes that it raises as it is; nothing
// if the rule has no setting that could help, or there are too few episodes.
func Trials(r rule.Rule, episodes []Episode) []Trial {
	if len(episodes) < Least {
		return nil
	}
	out := thresholds(r, episodes)
	if t, ok := longer(r, episodes); ok {
		out = append(out, t)
	}
	return out
}

// thresholds are the trials with bounds further out.
func thresholds(r rule.Rule, episodes []Episode) []Trial {
	var out []Trial
	add := func(settings ...Setting) { out = append(out, Trial{settings, Threshold}) }
	switch {
	case r.Detector == rule.Limit:
		high := 0
		for _, e := range episodes {
			if r.Above != nil && e.Value > *r.Above {
				high++
			}
		}
		for _, n := range []float64{1, 2, 4} {
			if r.Above != nil && (r.Below == nil || 2*high >= len(episodes)) {
				add(number("above", *r.Above, *r.Above+n*step(*r.Above, r.Hysteresis)))
			} else if r.Below != nil {
				add(number("below", *r.Below, *r.Below-n*step(*r.Below, r.Hysteresis)))
			}
		}
	case r.Detector == rule.Rate:
		for _, n := range []float64{1.25, 1.5, 2} {
			var settings []Setting
			if r.Rise > 0 {
				settings = append(settings, number("rise", r.Rise, tidy(r.Rise*n)))
			}
			if r.Fall > 0 {
				settings = append(settings, number("fall", r.Fall, tidy(r.Fall*n)))
			}
			add(settings...)
		}
	case r.Detector.Learns():
		for _, n := range []float64{2, 5, 10} {
			add(number("false_alarms", r.FalseAlarms, tidy(r.FalseAlarms/n)))
		}
	}
	return out
}

// step is how far a bound moves at first: about 3 % of it, as a round number, and no less
// than the hysteresis.
func step(bound, hysteresis float64) float64 {
	s := math.Abs(bound) * 0.03
	if s == 0 {
		s = 1
	}
	return max(round(s), hysteresis)
}

// round returns the number of the form 1, 2 or 5 with zeros that is nearest.
func round(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	best := power
	for _, m := range []float64{2, 5, 10} {
		if math.Abs(m*power-v) < math.Abs(best-v) {
			best = m * power
		}
	}
	return best
}

// tidy returns a number with two digits that count.
func tidy(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-1)
	return clean(math.Round(v/power) * power)
}

// clean removes what adding binary fractions leaves behind.
func clean(v float64) float64 { return math.Round(v*1e9) / 1e9 }

func number(field string, was, now float64) Setting {
	return Setting{field, text(was), text(clean(now))}
}

// waits are the times that people choose.
var waits = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 20 * time.Minute, 30 * time.Minute, 45 * time.Minute,
	time.Hour, 90 * time.Minute, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, longest,
}

// longer is the trial that waits until a quarter of the episodes or fewer are left.
func longer(r rule.Rule, episodes []Episode) (Trial, bool) {
	takes := slices.ContainsFunc(rule.Fields(), func(f rule.Field) bool { return f.Name == "for" && f.TakenBy(r.Detector) })
	if !takes {
		return Trial{}, false
	}
	lengths := make([]time.Duration, len(episodes))
	for i, e := range episodes {
		lengths[i] = e.Length
	}
	slices.Sort(lengths)
	need := r.For + lengths[len(lengths)-1-len(lengths)/4]
	i := slices.IndexFunc(waits, func(d time.Duration) bool { return d > need })
	if i < 0 || waits[i] <= r.For {
		return Trial{}, false
	}
	return Trial{[]Setting{{"for", span(r.For), span(waits[i])}}, Longer}, true
}

func span(d time.Duration) string { return figure.FormatDuration(d) }

// Tried is a trial with the number of alerts that it leaves.
type Tried struct {
	Trial

	Alerts int
}

// Enough reports whether later trials of the kind need not be made.
func Enough(before int, tried []Tried, kind Kind) bool {
	return slices.ContainsFunc(tried, func(t Tried) bool { return t.Kind == kind && Quiet(before, t.Alerts) })
}

// Propose returns the trials to propose, at most one of each kind: the first that is quiet,
// else the one that leaves the fewest alerts if it is better.
func Propose(before int, tried []Tried) []Tried {
	var out []Tried
	for _, kind := range []Kind{Threshold, Longer} {
		best := -1
		for i, t := range tried {
			if t.Kind != kind || !Better(before, t.Alerts) {
				continue
			}
			if best < 0 || !Quiet(before, tried[best].Alerts) && t.Alerts < tried[best].Alerts {
				best = i
			}
		}
		if best >= 0 {
			out = append(out, tried[best])
		}
	}
	return out
}

// text writes a number as people write it in a rule.
func text(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
