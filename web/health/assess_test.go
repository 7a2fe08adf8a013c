package health

import (
	"strings"
	"testing"
	"time"

	"headwater/web/view"
)

var now = time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// number is a metric whose latest value came a while ago.
func number(name string, v float64, came time.Duration, about view.MetricAbout) view.Metric {
	return view.Metric{Name: name, Unit: "°C", Kind: view.KindNumber, Value: view.Number(v), Time: ago(came), About: about}
}

func with(metrics ...view.Metric) view.Device {
	return view.Device{Site: "hall", Device: "d", State: view.StateOK, LastSeen: ago(time.Minute), Metrics: metrics}
}

func in(unit string, m view.Metric) view.Metric {
	m.Unit = unit
	return m
}

// episodes are anomalies that began so long ago.
func episodes(rule string, began ...time.Duration) (out []view.Episode) {
	for _, d := range began {
		out = append(out, view.Episode{Rule: rule, Metric: "t", Start: ago(d), Sentence: rule + " says so"})
	}
	return out
}

func ended(in []view.Episode) []view.Episode {
	for i := range in {
		in[i].End = in[i].Start.Add(time.Minute)
	}
	return in
}

func TestAssess(t *testing.T) {
	expected := view.MetricAbout{Interval: view.Span(time.Minute)}
	bounded := view.MetricAbout{Low: new(-40.0), High: new(60.0), Precision: new(1)}
	silent := with(number("t", 1, time.Hour, expected))
	silent.State, silent.LastSeen = view.StateSilent, ago(time.Hour)
	odd := number("t", 1, time.Hour, view.MetricAbout{})
	odd.Odd = &view.Odd{Kind: view.KindText, Value: view.Text("unavailable"), Time: ago(time.Minute)}
	out := number("t", 85, 0, bounded)
	for i := 4; i >= 0; i-- { // for 40 s now, after 10 s in range
		v := 85.0
		if i == 4 {
			v = 20
		}
		out.Spark = append(out.Spark, view.Slot{Start: ago(time.Duration(i) * 10 * time.Second), Min: v, Max: v, Last: v})
	}
	flag := func(name string, v bool) view.Metric {
		return view.Metric{Name: name, Kind: view.KindFlag, Value: view.Flag(v), Time: ago(time.Second)}
	}
	letters := func(reason string, arrived ...time.Duration) (all []Letter) {
		for _, d := range arrived {
			all = append(all, Letter{Reason: reason, Detail: "it is not a number", Arrived: ago(d)})
		}
		return all
	}
	for name, test := range map[string]struct {
		facts Known
		// want is kind, metric, and how long ago it began; part is part of the evidence.
		want []string
		part string
	}{
		"well":                       {Known{Device: with(number("t", 20, 0, bounded))}, nil, ""},
		"silent":                     {Known{Device: silent}, []string{"silent  1h0m0s"}, "stopped reporting"},
		"a metric is silent":         {Known{Device: with(number("t", 1, 5*time.Minute, expected))}, []string{"silent t 5m0s"}, "expected every 1m"},
		"a metric comes":             {Known{Device: with(number("t", 1, 2*time.Minute, expected))}, nil, ""},
		"unreadable":                 {Known{Device: with(odd)}, []string{"unreadable t 1m0s"}, `"unavailable" among numbers`},
		"above the range":            {Known{Device: with(out)}, []string{"range t 30s"}, "85.0\u00a0°C, and a working sensor gives at most 60"},
		"below the range":            {Known{Device: with(number("t", -41, 0, bounded))}, []string{"range t 0s"}, "at least −40"},
		"at its edge":                {Known{Device: with(number("t", 60, 0, bounded))}, nil, ""},
		"stuck":                      {Known{Device: with(), Episodes: episodes("stuck", time.Hour)}, []string{"stuck t 1h0m0s"}, "stuck says so"},
		"drifting":                   {Known{Device: with(), Episodes: episodes("drift", time.Hour)}, []string{"drifting t 1h0m0s"}, ""},
		"was stuck":                  {Known{Device: with(), Episodes: ended(episodes("stuck", time.Hour))}, nil, ""},
		"too warm":                   {Known{Device: with(), Episodes: episodes("limit", time.Hour)}, nil, ""},
		"flapping":                   {Known{Device: with(), Episodes: ended(episodes("limit", 10*time.Minute, 20*time.Minute, 30*time.Minute, 40*time.Minute))}, []string{"flapping t 40m0s"}, "began 4 times within 2 h"},
		"three times":                {Known{Device: with(), Episodes: ended(episodes("limit", 10*time.Minute, 20*time.Minute, 30*time.Minute))}, nil, ""},
		"long ago":                   {Known{Device: with(), Episodes: ended(episodes("limit", 10*time.Minute, 3*time.Hour, 4*time.Hour, 5*time.Hour))}, nil, ""},
		"ahead":                      {Known{Device: with(), Lag: -42 * time.Second, LagKnown: true}, []string{"clock  -"}, "42 s before"},
		"behind":                     {Known{Device: with(), Lag: time.Hour, LagKnown: true}, []string{"clock  -"}, "1 h after"},
		"a little late":              {Known{Device: with(), Lag: time.Minute, LagKnown: true}, nil, ""},
		"not known":                  {Known{Device: with(), Lag: time.Hour}, nil, ""},
		"letters of a clock":         {Known{Device: with(), Letters: letters("clock", 30*time.Minute, time.Minute)}, []string{"clock  30m0s"}, "2 messages"},
		"letters that are no values": {Known{Device: with(), Letters: append(letters("payload", 2*time.Hour), letters("value", time.Minute)...)}, []string{"unreadable  1m0s"}, "1 message could not be read in the last hour: it is not a number"},
		"other letters":              {Known{Device: with(), Letters: letters("topic", time.Minute)}, nil, ""},
		"a low battery":              {Known{Device: with(in("%", number("battery", 14, time.Minute, view.MetricAbout{})))}, []string{"battery battery 1m0s"}, "14 %, below 15 %"},
		"a good battery":             {Known{Device: with(in("%", number("battery", 15, 0, view.MetricAbout{})))}, nil, ""},
		"a battery in volts":         {Known{Device: with(in("V", number("battery", 2.9, 0, view.MetricAbout{})))}, nil, ""},
		"without a unit":             {Known{Device: with(in("", number("battery", 14, time.Minute, view.MetricAbout{})))}, []string{"battery battery 1m0s"}, ""},
		"maybe volts":                {Known{Device: with(in("", number("battery", 3.1, time.Minute, view.MetricAbout{})))}, nil, ""},
		"a flag":                     {Known{Device: with(flag("battery_low", true))}, []string{"battery battery_low 1s"}, ""},
		"no flag":                    {Known{Device: with(flag("battery_low", false), flag("battery_ok", true))}, nil, ""},
		"the worst first": {
			Known{Device: with(in("%", number("battery", 3, 0, view.MetricAbout{})), odd), Episodes: episodes("drift", time.Hour)},
			[]string{"unreadable t 1m0s", "drifting t 1h0m0s", "battery battery 0s"},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.facts.Detector = func(rule string) string { return rule }
			var got []string
			evidence := ""
			for _, f := range Assess(test.facts, now) {
				since := "-"
				if !f.Since.IsZero() {
					since = now.Sub(f.Since).String()
				}
				got = append(got, string(f.Kind)+" "+f.Metric+" "+since)
				evidence += f.Evidence
				if !strings.HasPrefix(f.Link, "/") {
					t.Errorf("the link is %q", f.Link)
				}
			}
			if strings.Join(got, "; ") != strings.Join(test.want, "; ") || !strings.Contains(evidence, test.part) {
				t.Errorf("found %q, want %q; evidence %q, want %q", got, test.want, evidence, test.part)
			}
		})
	}
}
