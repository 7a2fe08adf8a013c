package consumption

import (
	"math"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"

	"headwater/services/rule"
	"headwater/web/consumption"
)

func place(tb rapid.TB, name string) *time.Location {
	l, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return l
}

func date(text string) time.Time {
	t, err := time.Parse(consumption.DateForm, text)
	if err != nil {
		panic(err)
	}
	return t
}

func moment(tb rapid.TB, text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return t
}

// TestShown looks at days, months and years, also those in which the clock is changed.
func TestShown(t *testing.T) {
	for name, tc := range map[string]struct {
		per               consumption.Per
		on, zone          string
		periods, before   int
		from, to, earlier string
	}{
		"a day":                {consumption.Hour, "2026-01-05", "Europe/Berlin", 24, 24, "2026-01-05T00:00:00+01:00", "2026-01-06T00:00:00+01:00", "2026-01-04"},
		"a day of 23 hours":    {consumption.Hour, "2026-03-29", "Europe/Berlin", 23, 24, "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", "2026-03-28"},
		"a day of 25 hours":    {consumption.Hour, "2026-10-25", "Europe/Berlin", 25, 24, "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", "2026-10-24"},
		"the day after it":     {consumption.Hour, "2026-10-26", "Europe/Berlin", 24, 25, "2026-10-26T00:00:00+01:00", "2026-10-27T00:00:00+01:00", "2026-10-25"},
		"half an hour more":    {consumption.Hour, "2026-04-05", "Australia/Lord_Howe", 25, 24, "2026-04-05T00:00:00+11:00", "2026-04-06T00:00:00+10:30", "2026-04-04"},
		"no midnight":          {consumption.Hour, "2026-09-06", "America/Santiago", 23, 24, "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00", "2026-09-05"},
		"a month":              {consumption.Day, "2026-03-31", "Europe/Berlin", 31, 28, "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", "2026-02-01"},
		"January":              {consumption.Day, "2024-01-01", "Asia/Kolkata", 31, 31, "2024-01-01T00:00:00+05:30", "2024-02-01T00:00:00+05:30", "2023-12-01"},
		"53 weeks":             {consumption.Week, "2026-12-31", "UTC", 53, 52, "2025-12-29T00:00:00Z", "2027-01-04T00:00:00Z", "2025-07-01"},
		"weeks of the year on": {consumption.Week, "2027-01-03", "UTC", 53, 52, "2025-12-29T00:00:00Z", "2027-01-04T00:00:00Z", "2025-07-01"},
		"52 weeks":             {consumption.Week, "2027-01-04", "UTC", 52, 53, "2027-01-04T00:00:00Z", "2028-01-03T00:00:00Z", "2026-07-01"},
		"a year":               {consumption.Month, "2026-07-09", "Europe/Berlin", 12, 12, "2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00", "2025-07-01"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Show(tc.per, date(tc.on), place(t, tc.zone))
			if n, m := len(s.Bounds)-1, len(s.Before)-1; n != tc.periods || m != tc.before {
				t.Errorf("%d periods after %d, want %d after %d", n, m, tc.periods, tc.before)
			}
			if !s.Bounds[0].Equal(moment(t, tc.from)) || !s.To().Equal(moment(t, tc.to)) {
				t.Errorf("from %v to %v", s.Bounds[0], s.To())
			}
			if last := s.Before[len(s.Before)-1]; !last.Equal(s.Bounds[0]) {
				t.Errorf("the time before ends at %v, not %v", last, s.Bounds[0])
			}
			if got := s.Earlier.Format(consumption.DateForm); got != tc.earlier {
				t.Errorf("earlier is %s", got)
			}
		})
	}
}

// TestStep shows the steps of which hours and tariffs consist.
func TestStep(t *testing.T) {
	half := []rule.Tariff{{Price: 1, Days: "daily", From: "06:30", To: "22:00"}}
	odd := []rule.Tariff{{Price: 1, Days: "daily", From: "06:31", To: "22:00"}}
	for name, tc := range map[string]struct {
		per      consumption.Per
		zone     string
		tariff   []rule.Tariff
		want     time.Duration
		byTariff bool
	}{
		"hours":                  {consumption.Month, "Europe/Berlin", nil, time.Hour, false},
		"half past":              {consumption.Month, "Asia/Kolkata", nil, 30 * time.Minute, false},
		"a quarter to":           {consumption.Day, "Asia/Kathmandu", nil, 15 * time.Minute, false},
		"a tariff at half past":  {consumption.Month, "Europe/Berlin", half, 30 * time.Minute, true},
		"an odd one for a day":   {consumption.Hour, "Europe/Berlin", odd, time.Minute, true},
		"an odd one for a month": {consumption.Day, "Europe/Berlin", odd, time.Minute, true},
		"an odd one for years":   {consumption.Week, "Europe/Berlin", odd, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := Meter{Counter: rule.Counter{Tariff: tc.tariff}, Place: place(t, tc.zone)}
			s := Show(tc.per, date("2026-05-05"), m.Place)
			if step, byTariff := m.Step(s); step != tc.want || byTariff != tc.byTariff {
				t.Errorf("%v %v, want %v %v", step, byTariff, tc.want, tc.byTariff)
			}
		})
	}
}

// TestComparison shows what the running day, month and year are compared with.
func TestComparison(t *testing.T) {
	m := Meter{Place: place(t, "Europe/Berlin")}
	used := make(Sums)
	for at := moment(t, "2024-12-01T00:00:00Z"); at.Year() < 2028; at = at.Add(time.Hour) {
		used[at.UnixNano()] = 1
	}
	for name, tc := range map[string]struct {
		per                  consumption.Per
		now                  string
		total, before, soFar float64
	}{
		"a day":                      {consumption.Hour, "2026-01-05T09:30:00+01:00", 24, 24, 9.5},
		"the day of 25 hours":        {consumption.Hour, "2026-10-25T09:30:00+01:00", 25, 24, 9.5},
		"after the day of 23 hours":  {consumption.Hour, "2026-03-30T09:30:00+02:00", 24, 23, 8.5},
		"a month":                    {consumption.Day, "2026-02-03T12:00:00+01:00", 28 * 24, 31 * 24, 2*24 + 12},
		"a date that was not before": {consumption.Day, "2026-03-31T12:00:00+02:00", 31*24 - 1, 28 * 24, 28 * 24},
		"a year":                     {consumption.Month, "2026-01-03T12:00:00+01:00", 365 * 24, 365 * 24, 2*24 + 12},
		"a year of weeks":            {consumption.Week, "2026-01-07T12:00:00+01:00", 53 * 7 * 24, 52 * 7 * 24, 9*24 + 12},
	} {
		t.Run(name, func(t *testing.T) {
			now := moment(t, tc.now)
			s := Show(tc.per, now.In(m.Place), m.Place)
			c := m.Add(s, used, nil, time.Hour, false, now)
			if c.Later != "" || !c.Running {
				t.Error("it is not running")
			}
			if *c.Total.Used != tc.total || *c.Before.Used != tc.before || *c.SoFar.Used != tc.soFar {
				t.Errorf("%v, before %v, so far %v", *c.Total.Used, *c.Before.Used, *c.SoFar.Used)
			}
		})
	}
}

// TestSumsAddUp draws steps with gaps: periods and tariffs add up to the whole, and a time
// without steps is not known.
func TestSumsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Meter{Place: place(t, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago"}).Draw(t, "zone"))}
		m.Counter.Price = 3
		if rapid.Bool().Draw(t, "tariff") {
			m.Counter.Tariff = []rule.Tariff{
				{Price: 1, Days: "daily", From: "22:00", To: "06:30"},
				{Price: 2, Days: "sat,sun", From: "00:00", To: "24:00"},
			}
		}
		on := date("2025-12-28").AddDate(0, 0, rapid.IntRange(0, 400).Draw(t, "day"))
		s := Show(rapid.SampledFrom([]consumption.Per{consumption.Hour, consumption.Day, consumption.Week}).Draw(t, "per"), on, m.Place)
		step, byTariff := m.Step(s)
		used, cost, want := make(Sums), make(Sums), 0.0
		from := s.Bounds[0]
		last := int(s.To().Sub(from)/step) - 1
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			at := from.Add(time.Duration(rapid.IntRange(0, last).Draw(t, "step")) * step)
			v := float64(rapid.IntRange(0, 100).Draw(t, "used"))
			want += v - used[at.UnixNano()]
			used[at.UnixNano()], cost[at.UnixNano()] = v, 2*v
		}
		c := m.Add(s, used, cost, step, byTariff, s.To())
		sum := func(amounts []consumption.Amount) (u, p float64) {
			for _, a := range amounts {
				if (a.Used == nil) != (a.Cost == nil) {
					t.Fatal("the cost of a time is known, and not what it is of")
				}
				if a.Used != nil {
					u, p = u+*a.Used, p+*a.Cost
				}
			}
			return u, p
		}
		var periods, tariffs []consumption.Amount
		for i, p := range c.Periods {
			if i > 0 && !p.Start.Equal(c.Periods[i-1].End) {
				t.Fatalf("%v begins after %v", p.Start, c.Periods[i-1].End)
			}
			periods = append(periods, p.Amount)
		}
		for _, x := range c.Tariffs {
			tariffs = append(tariffs, x.Amount)
		}
		if (c.Total.Used == nil) != (len(used) == 0) || c.Running {
			t.Fatalf("total %v of %d steps, running %v", c.Total.Used, len(used), c.Running)
		}
		if u, p := sum(periods); u != want || p != 2*want {
			t.Fatalf("periods add up to %v and %v, not %v", u, p, want)
		}
		if u, _ := sum(tariffs); byTariff && math.Abs(u-want) > 1e-9 {
			t.Fatalf("tariffs add up to %v, not %v", u, want)
		}
	})
}
