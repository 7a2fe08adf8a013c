package silence_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "time/tzdata"

	"headwater/services/internal/calendar"
	"headwater/services/internal/silence"
	"headwater/services/rule"
)

func TestFind(t *testing.T) {
	t.Parallel()
	from := time.Unix(1000, 0).UTC()
	hour := silence.Silence{ID: "hour", Match: silence.Match{Rule: "warm", Device: "d1"}, From: from, Until: from.Add(time.Hour)}
	day := silence.Silence{ID: "day", Match: silence.Match{Site: "s"}, From: from.Add(time.Minute), Until: from.Add(24 * time.Hour)}
	resolved := silence.Silence{ID: "resolved", Match: silence.Match{Rule: "warm"}, From: from.Add(2 * time.Minute)}
	all := []silence.Silence{hour, day, resolved}
	for name, tc := range map[string]struct {
		at, opened time.Duration
		rule, site string
		device     string
		want       string
	}{
		"before":                      {at: -1, rule: "warm", site: "s", device: "d1"},
		"at its beginning":            {rule: "warm", site: "s", device: "d1", want: "hour"},
		"another rule":                {rule: "cold", site: "s", device: "d1"},
		"another device":              {rule: "warm", site: "s", device: "d2"},
		"the longer":                  {at: time.Minute, rule: "warm", site: "s", device: "d1", want: "day"},
		"until resolved is longest":   {at: 2 * time.Minute, rule: "warm", site: "s", device: "d1", want: "resolved"},
		"but not of what came later":  {at: 2 * time.Hour, opened: 3 * time.Minute, rule: "warm", site: "s", device: "d1", want: "day"},
		"at its end":                  {at: 24 * time.Hour, opened: time.Hour, rule: "warm", site: "s", device: "d1"},
		"of what fired it holds long": {at: 48 * time.Hour, rule: "warm", site: "other", device: "d9", want: "resolved"},
	} {
		a := silence.Alert{Rule: tc.rule, Site: tc.site, Device: tc.device, Metric: "t", Opened: from.Add(tc.opened)}
		got, _, found := silence.Find(all, from.Add(tc.at), a)
		if got.ID != tc.want || found != (tc.want != "") {
			t.Errorf("%s: %q, want %q", name, got.ID, tc.want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	alert := silence.Alert{
		Rule: "too-warm", Site: "hall", Device: "door-07", Metric: "temperature", Severity: rule.Critical,
		Labels: map[string]string{"team": "cold chain", "shift": "night"},
		Tags: func(site, device string) map[string]string {
			return map[string]map[string]string{"hall/door-07": {"zone": "cold-2"}}[site+"/"+device]
		},
	}
	for name, tc := range map[string]struct {
		match silence.Match
		want  bool
	}{
		"equal":                      {silence.Match{Rule: "too-warm", Site: "hall", Device: "door-07", Metric: "temperature"}, true},
		"patterns":                   {silence.Match{Rule: "too-*", Site: "h?ll", Device: "door-0[5-9]", Metric: "*"}, true},
		"another device":             {silence.Match{Device: "door-0[1-3]"}, false},
		"a part is not enough":       {silence.Match{Device: "door"}, false},
		"severity":                   {silence.Match{Severity: rule.Critical}, true},
		"another severity":           {silence.Match{Severity: rule.Warning}, false},
		"label":                      {silence.Match{Labels: map[string]string{"team": "cold chain"}}, true},
		"pattern of a label":         {silence.Match{Labels: map[string]string{"team": "cold*", "shift": "n*"}}, true},
		"one label differs":          {silence.Match{Labels: map[string]string{"team": "cold*", "shift": "day"}}, false},
		"a label that it is without": {silence.Match{Labels: map[string]string{"floor": "*"}}, false},
		"tag of its device":          {silence.Match{Labels: map[string]string{"tag:zone": "cold-*"}}, true},
		"another tag":                {silence.Match{Labels: map[string]string{"tag:zone": "warm"}}, false},
		"a label is no tag":          {silence.Match{Labels: map[string]string{"tag:team": "*"}}, false},
		"all must match":             {silence.Match{Device: "door-*", Severity: rule.Info}, false},
	} {
		if got := tc.match.Has(alert); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestWeeklySilence follows a maintenance window of Sunday 01:00 to 04:00 at two sites
// over a change of clocks.
func TestWeeklySilence(t *testing.T) {
	t.Parallel()
	begins := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	s := silence.Silence{
		ID: "m", Match: silence.Match{Site: "*"}, From: begins, Until: time.Date(2026, 10, 25, 2, 15, 0, 0, time.UTC),
		Weekly: &calendar.Weekly{Days: 1 << time.Sunday, Start: 60, End: 240},
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	places := map[string]*time.Location{}
	for _, name := range []string{"Europe/Berlin", "America/New_York"} {
		place, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		places[name] = place
	}
	for _, tc := range []struct{ at, zone, until string }{
		{"2026-09-27T00:00:00Z", "Europe/Berlin", ""},                     // before From
		{"2026-10-03T23:00:00Z", "Europe/Berlin", "2026-10-04T02:00:00Z"}, // 01:00 summer time
		{"2026-10-03T22:59:59Z", "Europe/Berlin", ""},
		{"2026-10-04T02:00:00Z", "Europe/Berlin", ""},
		{"2026-10-03T23:00:00Z", "America/New_York", ""},
		{"2026-10-04T05:00:00Z", "America/New_York", "2026-10-04T08:00:00Z"},
		{"2026-10-24T23:00:00Z", "Europe/Berlin", "2026-10-25T02:15:00Z"}, // 04:00 winter time would be 03:00 UTC; Until comes first
		{"2026-10-25T02:15:00Z", "Europe/Berlin", ""},
	} {
		at, err := time.Parse(time.RFC3339, tc.at)
		if err != nil {
			t.Fatal(err)
		}
		a := silence.Alert{Site: "hall", Opened: begins, Place: places[tc.zone]}
		_, until, ok := silence.Find([]silence.Silence{s}, at, a)
		if ok != (tc.until != "") || ok && until.UTC().Format(time.RFC3339) != tc.until {
			t.Errorf("%s at %s: %t until %s, want %q", tc.zone, tc.at, ok, until.UTC().Format(time.RFC3339), tc.until)
		}
		// Nothing changes before Next says so.
		next, more := silence.Next([]silence.Silence{s}, at)
		for step := time.Duration(1); more && step < 2*time.Hour; step *= 4 {
			if then := at.Add(step); then.Before(next) {
				if _, _, still := silence.Find([]silence.Silence{s}, then, a); still != ok {
					t.Errorf("%s at %s: changes at %s, before %s", tc.zone, tc.at, then, next)
				}
			}
		}
	}
	if _, more := silence.Next([]silence.Silence{s}, s.Until); more {
		t.Error("what has ended begins again")
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	from := time.Unix(1000, 0)
	all := []silence.Silence{{From: from, Until: from.Add(time.Hour)}, {From: from.Add(time.Minute)}}
	for at, want := range map[time.Duration]time.Duration{-time.Second: 0, 0: time.Minute, time.Minute: time.Hour} {
		if next, ok := silence.Next(all, from.Add(at)); !ok || !next.Equal(from.Add(want)) {
			t.Errorf("after %s: %s, %t", at, next.Sub(from), ok)
		}
	}
	if _, ok := silence.Next(all, from.Add(time.Hour)); ok {
		t.Error("nothing changes any more")
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	from := time.Unix(1000, 5).UTC()
	all := []silence.Silence{
		{ID: "a", Match: silence.Match{Rule: "warm", Site: "s", Device: "d", Metric: "m"}, From: from, Until: from.Add(time.Hour), Author: "Ana Ruíz"},
		{ID: "b", Match: silence.Match{Device: "d"}, From: from},
		{
			ID: "c", Match: silence.Match{Device: "d-*", Severity: rule.Info, Labels: map[string]string{"team": "*"}}, From: from,
			Weekly: &calendar.Weekly{Days: calendar.EveryDay, Start: 60, End: 90}, Comment: "Filter is cleaned.",
		},
	}
	for _, want := range [][]silence.Silence{all, {}, nil} {
		body, err := silence.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := silence.Decode(body)
		if diff := cmp.Diff(append([]silence.Silence{}, want...), got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	}
	old := `[{"id":"a","rule":"warm","site":"s","device":"d","metric":"m","from":"1970-01-01T00:16:40.000000005Z","until":"1970-01-01T01:16:40.000000005Z","author":"Ana Ruíz"}]`
	if got, err := silence.Decode([]byte(old)); err != nil || cmp.Diff(all[:1], got) != "" {
		t.Errorf("what earlier versions stored is %v, %v", got, err)
	}
	many := make([]silence.Silence, silence.Max+1)
	for i := range many {
		many[i] = silence.Silence{ID: fmt.Sprint(i), Match: silence.Match{Rule: "r"}, From: from}
	}
	of := silence.Match{Rule: "r"}
	for name, bad := range map[string][]silence.Silence{
		"too many": many, "twice": {all[0], all[0]}, "no id": {{Match: all[0].Match, From: from}}, "of everything": {{ID: "a", From: from}},
		"no beginning": {{ID: "a", Match: all[0].Match}}, "ends before": {{ID: "a", Match: all[0].Match, From: from, Until: from}},
		"too long": {{ID: "a", Match: all[0].Match, From: from, Until: from.Add(silence.Longest + 1)}},
		"no glob":  {{ID: "a", Match: silence.Match{Rule: "a["}, From: from}}, "a line too many": {{ID: "a", Match: silence.Match{Rule: "a\nb"}, From: from}},
		"no severity": {{ID: "a", Match: silence.Match{Severity: "bad"}, From: from}},
		"no label":    {{ID: "a", Match: silence.Match{Labels: map[string]string{"A b": "x"}}, From: from}},
		"no days":     {{ID: "a", Match: of, From: from, Weekly: &calendar.Weekly{Start: 1, End: 2}}},
		"long words":  {{ID: "a", Match: of, From: from, Comment: strings.Repeat("x", silence.MaxComment+1)}},
		"two lines":   {{ID: "a", Match: of, From: from, Comment: "a\nb"}},
	} {
		body, err := silence.Encode(bad)
		if err != nil {
			continue
		}
		if _, err := silence.Decode(body); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	if _, err := silence.Decode([]byte("x")); err == nil {
		t.Error("decoded nonsense")
	}
}
