// Package consumption adds up what a meter has counted by the hours, days, weeks and months
// of a place. It is pure.
//
// The history is asked for sums of steps of time. Step is such that each hour of the place,
// and each tariff, begins and ends with a step, so that every sum here is one of whole steps.
package consumption

import (
	"time"

	"headwater/services/internal/calendar"
	"headwater/services/rule"
	"headwater/web/consumption"
)

// Meter is what is known of a meter.
type Meter struct {
	Counter rule.Counter
	Place   *time.Location
}

// Shown is the time that is shown, and the previous one.
type Shown struct {
	// Bounds are the begins of the periods, and the end of the last one; Before likewise.
	Bounds, Before []time.Time
	// Earlier and Later are dates in what comes before and after.
	Earlier, Later time.Time
	place          *time.Location
	per            consumption.Per
}

// Show returns what is shown about a date at a place.
func Show(per consumption.Per, on time.Time, place *time.Location) Shown {
	y, m, d := on.Date()
	date := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	s := Shown{place: place, per: per}
	switch per {
	case consumption.Hour:
		s.Earlier, s.Later = date(y, m, d-1), date(y, m, d+1)
	case consumption.Day:
		s.Earlier, s.Later = date(y, m-1, 1), date(y, m+1, 1)
	case consumption.Week:
		year, _ := date(y, m, d).ISOWeek()
		on = date(year, 7, 1) // a date that is in that year by either calendar
		s.Earlier, s.Later = date(year-1, 7, 1), date(year+1, 7, 1)
	default:
		s.Earlier, s.Later = date(y-1, m, 1), date(y+1, m, 1)
	}
	s.Bounds, s.Before = bounds(per, on, place), bounds(per, s.Earlier, place)
	return s
}

// bounds divides the day, month or year of a date.
func bounds(per consumption.Per, on time.Time, place *time.Location) []time.Time {
	y, m, d := on.Date()
	begin := func(m time.Month, d int) time.Time { return calendar.Moment(y, m, d, 0, place) }
	var out []time.Time
	switch per {
	case consumption.Hour:
		// Hours are counted from midnight, as those of the windows and of the counters.
		end := begin(m, d+1)
		for t := begin(m, d); t.Before(end); t = t.Add(time.Hour) {
			out = append(out, t)
		}
		out = append(out, end)
	case consumption.Day:
		days := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
		for i := range days + 1 {
			out = append(out, begin(m, i+1))
		}
	case consumption.Week:
		// The first week is that of January 4.
		monday := 4 - (int(time.Date(y, time.January, 4, 0, 0, 0, 0, time.UTC).Weekday())+6)%7
		weeks := 52
		if year, _ := time.Date(y, time.January, monday+7*52, 0, 0, 0, 0, time.UTC).ISOWeek(); year == y {
			weeks++
		}
		for i := range weeks + 1 {
			out = append(out, begin(time.January, monday+7*i))
		}
	default:
		for i := range 13 {
			out = append(out, begin(time.January+time.Month(i), 1))
		}
	}
	return out
}

// From and To bound all that is shown, with the time before.
func (s Shown) From() time.Time { return s.Before[0] }

// To is the end of what is shown.
func (s Shown) To() time.Time { return s.Bounds[len(s.Bounds)-1] }

// counterpart returns the moment of the time before that a moment is compared with: the same
// time of day on the day, the date or the week and day before.
func (s Shown) counterpart(now time.Time) time.Time {
	local := now.In(s.place)
	y, m, d := local.Date()
	clock := calendar.Clock(60*local.Hour() + local.Minute())
	switch s.per {
	case consumption.Hour:
		d--
	case consumption.Day:
		// A month that is too short for the date is over.
		if last := time.Date(y, m, 0, 0, 0, 0, 0, time.UTC).Day(); d > last {
			return s.Bounds[0]
		}
		m--
	case consumption.Week:
		d -= 7 * (len(s.Before) - 1)
	default:
		y--
	}
	return calendar.Moment(y, m, d, clock, s.place)
}

const (
	// Longest is the longest step.
	Longest = time.Hour
	// MostSteps bounds the steps of an answer.
	MostSteps = 100_000
)

// Step returns the greatest step of which every hour of the place consists, and, if byTariff is
// set, every span of the tariff. It reports false if there would be too many steps; then they
// are those without the tariff.
func (m Meter) Step(s Shown) (step time.Duration, byTariff bool) {
	minutes := 60
	for t := s.From(); t.Before(s.To()); {
		local := t.In(m.Place)
		_, offset := local.Zone()
		minutes = divisor(minutes, offset/60)
		_, end := local.ZoneBounds()
		if end.IsZero() {
			break
		}
		t = end
	}
	hours := minutes
	for _, t := range m.Counter.Tariff {
		w := t.Weekly()
		minutes = divisor(divisor(minutes, int(w.Start)), int(w.End))
	}
	step = time.Duration(minutes) * time.Minute
	if s.To().Sub(s.From())/step > MostSteps {
		return time.Duration(hours) * time.Minute, false
	}
	return step, len(m.Counter.Tariff) > 0
}

// divisor returns the greatest common divisor of a, which is above 0, and b.
func divisor(a, b int) int {
	b = max(b, -b)
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Sums are the sums of steps, by their start in nanoseconds since the Unix epoch.
type Sums map[int64]float64

// total adds up the steps in [from, to). Of a step that is cut by to it takes that part. It
// returns nil if there is no step.
func (x Sums) total(from, to time.Time, step time.Duration) *float64 {
	var sum *float64
	for t := from; t.Before(to); t = t.Add(step) {
		v, known := x[t.UnixNano()]
		if !known {
			continue
		}
		if rest := to.Sub(t); rest < step {
			v *= float64(rest) / float64(step)
		}
		if sum == nil {
			sum = new(float64)
		}
		*sum += v
	}
	return sum
}

// Add returns what was consumed, of the sums of the steps of its consumption and its costs.
func (m Meter) Add(s Shown, used, cost Sums, step time.Duration, byTariff bool, now time.Time) consumption.Consumption {
	amount := func(from, to time.Time) consumption.Amount {
		return consumption.Amount{Used: used.total(from, to, step), Cost: cost.total(from, to, step)}
	}
	from, to := s.Bounds[0], s.To()
	out := consumption.Consumption{
		Metric: m.Counter.Metric, Unit: m.Counter.Unit, Currency: m.Counter.Currency, Zone: m.Place.String(), Per: s.per,
		From: from, To: to, Earlier: s.Earlier.Format(consumption.DateForm), Running: now.Before(to),
		Total: amount(from, to), Before: amount(s.Before[0], from), Tariffs: []consumption.Tariff{},
	}
	out.SoFar = out.Before
	if out.Running {
		out.SoFar = amount(s.Before[0], s.counterpart(now))
	} else {
		out.Later = s.Later.Format(consumption.DateForm)
	}
	before := make(map[string]consumption.Amount)
	for i, key := range s.keys(s.Before) {
		before[key] = amount(s.Before[i], s.Before[i+1])
	}
	for i, key := range s.keys(s.Bounds) {
		out.Periods = append(out.Periods, consumption.Period{
			Start: s.Bounds[i], End: s.Bounds[i+1], Amount: amount(s.Bounds[i], s.Bounds[i+1]), Before: before[key],
		})
	}
	if byTariff {
		out.Tariffs = m.tariffs(from, to, used, cost, step)
	}
	return out
}

// keys returns what the periods and their counterparts have in common: the time of day, of
// which the second one on a day of 25 hours has none, or the number.
func (s Shown) keys(bounds []time.Time) []string {
	keys := make([]string, len(bounds)-1)
	for i := range keys {
		if s.per == consumption.Hour {
			keys[i] = bounds[i].In(s.place).Format("15:04")
			if i > 0 && keys[i] == keys[i-1] {
				keys[i] += " again"
			}
			continue
		}
		keys[i] = string(rune('A' + i))
	}
	return keys
}

// tariffs divides the time by the tariffs.
func (m Meter) tariffs(from, to time.Time, used, cost Sums, step time.Duration) []consumption.Tariff {
	usual := len(m.Counter.Tariff)
	all := make([]consumption.Tariff, usual+1)
	weekly := make([]calendar.Weekly, usual)
	for i, t := range m.Counter.Tariff {
		weekly[i] = t.Weekly()
		all[i] = consumption.Tariff{Name: weekly[i].String(), Price: t.Price}
	}
	all[usual] = consumption.Tariff{Name: "otherwise", Price: m.Counter.Price}
	add := func(sum **float64, x Sums, at int64) {
		if v, known := x[at]; known {
			if *sum == nil {
				*sum = new(float64)
			}
			**sum += v
		}
	}
	for t := from; t.Before(to); t = t.Add(step) {
		at := usual
		for i, w := range weekly {
			if _, _, in := w.In(t, m.Place); in {
				at = i
				break
			}
		}
		add(&all[at].Used, used, t.UnixNano())
		add(&all[at].Cost, cost, t.UnixNano())
	}
	return all
}
