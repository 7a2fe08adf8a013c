package coach_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/coach"
	"headwater/services/rule"
)

// episodes returns that many, each a minute longer than the previous one.
func episodes(n int, value float64) []coach.Episode {
	out := make([]coach.Episode, n)
	for i := range out {
		out[i] = coach.Episode{Length: time.Duration(i+1) * time.Minute, Value: value}
	}
	return out
}

// words writes trials in a line.
func words(trials []coach.Trial) string {
	var out []string
	for _, t := range trials {
		var settings []string
		for _, s := range t.Settings {
			settings = append(settings, fmt.Sprintf("%s %s>%s", s.Field, s.Was, s.Now))
		}
		out = append(out, strings.Join(settings, "+"))
	}
	return strings.Join(out, ", ")
}

func TestTrials(t *testing.T) {
	for _, c := range []struct {
		name     string
		rule     rule.Rule
		episodes []coach.Episode
		want     string
	}{
		{"upper limit", rule.Rule{Detector: rule.Limit, Above: new(30.0)}, episodes(8, 31), "above 30>31, above 30>32, above 30>34, for 0s>10m"},
		{"lower limit", rule.Rule{Detector: rule.Limit, Below: new(-18.0)}, episodes(8, -20), "below -18>-18.5, below -18>-19, below -18>-20, for 0s>10m"},
		{"both limits, above", rule.Rule{Detector: rule.Limit, Above: new(8.0), Below: new(2.0)}, episodes(8, 9), "above 8>8.2, above 8>8.4, above 8>8.8, for 0s>10m"},
		{"both limits, below", rule.Rule{Detector: rule.Limit, Above: new(8.0), Below: new(2.0)}, episodes(8, 1), "below 2>1.95, below 2>1.9, below 2>1.8, for 0s>10m"},
		{"no less than the hysteresis", rule.Rule{Detector: rule.Limit, Above: new(30.0), Hysteresis: 2}, episodes(8, 31), "above 30>32, above 30>34, above 30>38, for 0s>10m"},
		{"limit of 0", rule.Rule{Detector: rule.Limit, Above: new(0.0)}, episodes(8, 1), "above 0>1, above 0>2, above 0>4, for 0s>10m"},
		{"it waits already", rule.Rule{Detector: rule.Limit, Above: new(30.0), For: 5 * time.Minute}, episodes(8, 31), "above 30>31, above 30>32, above 30>34, for 5m>15m"},
		{"rate", rule.Rule{Detector: rule.Rate, Rise: 3}, episodes(8, 31), "rise 3>3.8, rise 3>4.5, rise 3>6"},
		{"rate, both ways", rule.Rule{Detector: rule.Rate, Rise: 3, Fall: 10}, episodes(8, 31), "rise 3>3.8+fall 10>13, rise 3>4.5+fall 10>15, rise 3>6+fall 10>20"},
		{"one that learns", rule.Rule{Detector: rule.Auto, FalseAlarms: 0.1}, episodes(8, 31), "false_alarms 0.1>0.05, false_alarms 0.1>0.02, false_alarms 0.1>0.01, for 0s>10m"},
		{"silence", rule.Rule{Detector: rule.Silence, FalseAlarms: 0.1}, episodes(8, 31), "false_alarms 0.1>0.05, false_alarms 0.1>0.02, false_alarms 0.1>0.01"},
		{"expression", rule.Rule{Detector: rule.Expression}, episodes(8, 31), "for 0s>10m"},
		{"unreadable", rule.Rule{Detector: rule.Unreadable}, episodes(8, 31), ""},
		{"episodes of days", rule.Rule{Detector: rule.Expression}, episodes(3000, 31), ""},
		{"too few", rule.Rule{Detector: rule.Limit, Above: new(30.0)}, episodes(4, 31), ""},
	} {
		if got := words(coach.Trials(c.rule, c.episodes)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestPropose(t *testing.T) {
	tried := func(kind coach.Kind, alerts ...int) []coach.Tried {
		var out []coach.Tried
		for i, n := range alerts {
			out = append(out, coach.Tried{Trial: coach.Trial{Settings: []coach.Setting{{Field: fmt.Sprint(kind, i)}}, Kind: kind}, Alerts: n})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		tried  []coach.Tried
		want   string
		enough bool
	}{
		{"the first that is quiet", tried(coach.Threshold, 9, 3, 0), "threshold1", true},
		{"the quietest if none is", tried(coach.Threshold, 12, 9, 8), "threshold2", false},
		{"none that is hardly quieter", tried(coach.Threshold, 14, 13, 12), "", false},
		{"one of each kind", append(tried(coach.Threshold, 2), tried(coach.Longer, 3)...), "threshold0 longer0", true},
		{"nothing was tried", nil, "", false},
	} {
		var got []string
		for _, p := range coach.Propose(14, c.tried) {
			got = append(got, p.Settings[0].Field)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
		if enough := coach.Enough(14, c.tried, coach.Threshold); enough != c.enough {
			t.Errorf("%s: enough is %v", c.name, enough)
		}
	}
}
