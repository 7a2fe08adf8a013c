package silence_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/internal/silence"
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
		got, found := silence.Find(all, from.Add(tc.at), tc.rule, tc.site, tc.device, "t", from.Add(tc.opened))
		if got.ID != tc.want || found != (tc.want != "") {
			t.Errorf("%s: %q, want %q", name, got.ID, tc.want)
		}
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	from := time.Unix(1000, 5).UTC()
	all := []silence.Silence{
		{ID: "a", Match: silence.Match{Rule: "warm", Site: "s", Device: "d", Metric: "m"}, From: from, Until: from.Add(time.Hour), Author: "Ana Ruíz"},
		{ID: "b", Match: silence.Match{Device: "d"}, From: from},
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
	many := make([]silence.Silence, silence.Max+1)
	for i := range many {
		many[i] = silence.Silence{ID: fmt.Sprint(i), Match: silence.Match{Rule: "r"}, From: from}
	}
	for name, bad := range map[string][]silence.Silence{
		"too many": many, "twice": {all[0], all[0]}, "no id": {{Match: all[0].Match, From: from}}, "of everything": {{ID: "a", From: from}},
		"no beginning": {{ID: "a", Match: all[0].Match}}, "ends before": {{ID: "a", Match: all[0].Match, From: from, Until: from}},
		"too long": {{ID: "a", Match: all[0].Match, From: from, Until: from.Add(silence.Longest + 1)}},
		"no token": {{ID: "a", Match: silence.Match{Rule: "a b"}, From: from}},
	} {
		body, err := silence.Encode(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := silence.Decode(body); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	if _, err := silence.Decode([]byte("x")); err == nil {
		t.Error("decoded nonsense")
	}
}
