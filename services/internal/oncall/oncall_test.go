package oncall_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"headwater/services/internal/calendar"
	"headwater/services/internal/oncall"
	"headwater/services/rule"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	place, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func rota(t *testing.T, days, at string) oncall.Rota {
	t.Helper()
	r := oncall.Rota{Name: "duty", Place: zone(t, "Europe/Berlin"), First: time.Date(2026, 3, 23, 0, 0, 0, 0, time.UTC)}
	for _, name := range []string{"Ann", "Ben", "Cleo"} {
		r.Members = append(r.Members, oncall.Member{Name: name, Notify: []string{strings.ToLower(name)}})
	}
	var err error
	if r.Days, err = calendar.ParseDays(days); err != nil {
		t.Fatal(err)
	}
	if r.At, err = calendar.ParseClock(at); err != nil {
		t.Fatal(err)
	}
	return r
}

func said(s oncall.Shift) string {
	return fmt.Sprintf("%s %s %s to %s", s.Name, s.Reason, s.From.UTC().Format("01-02T15:04"), s.Until.UTC().Format("01-02T15:04"))
}

// TestTurns looks at who has a turn, also over the nights in which Berlin changes its clocks
// (2026-03-29 and 2026-10-25) and long before the first.
func TestTurns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ days, clock, at, want string }{
		{"mon", "09:00", "2026-03-23T08:00:00Z", "Ann turn 03-23T08:00 to 03-30T07:00"},
		{"mon", "09:00", "2026-03-23T07:59:59Z", "Cleo turn 03-16T08:00 to 03-23T08:00"},
		{"mon", "09:00", "2026-03-30T06:59:59Z", "Ann turn 03-23T08:00 to 03-30T07:00"},
		{"mon", "09:00", "2026-03-30T07:00:00Z", "Ben turn 03-30T07:00 to 04-06T07:00"},
		{"mon", "09:00", "2026-10-26T07:59:59Z", "Ann turn 10-19T07:00 to 10-26T08:00"},
		{"mon", "09:00", "2023-03-20T12:00:00Z", "Cleo turn 03-20T08:00 to 03-27T07:00"},
		{"sun", "02:30", "2026-03-29T00:59:59Z", "Cleo turn 03-22T01:30 to 03-29T01:00"},
		{"sun", "02:30", "2026-03-29T01:00:00Z", "Ann turn 03-29T01:00 to 04-05T00:30"},
		{"daily", "08:00", "2026-03-29T05:59:59Z", "Cleo turn 03-28T07:00 to 03-29T06:00"},
		{"daily", "08:00", "2026-03-29T06:00:00Z", "Ann turn 03-29T06:00 to 03-30T06:00"},
		{"mon,fri", "17:00", "2026-03-27T16:00:00Z", "Ben turn 03-27T16:00 to 03-30T15:00"},
		{"mon,fri", "17:00", "2026-04-03T15:00:00Z", "Ann turn 04-03T15:00 to 04-06T15:00"},
	} {
		if got := said(oncall.Plans{Rota: rota(t, tc.days, tc.clock)}.At(moment(t, tc.at))); got != tc.want {
			t.Errorf("%s %s at %s: %s, want %s", tc.days, tc.clock, tc.at, got, tc.want)
		}
	}
}

// TestOverrides plans a week in which people and a channel stand in, one after the other and
// at the same time.
func TestOverrides(t *testing.T) {
	t.Parallel()
	override := func(id, who, from, until string) oncall.Override {
		return oncall.Override{ID: id, Rota: "duty", Who: who, From: moment(t, from), Until: moment(t, until)}
	}
	p := oncall.Plans{Rota: rota(t, "mon", "09:00"), IsChannel: func(name string) bool { return name == "office" }, Overrides: []oncall.Override{
		override("a", "Cleo", "2026-03-24T00:00:00Z", "2026-03-25T00:00:00Z"),
		override("b", "office", "2026-03-24T12:00:00Z", "2026-03-24T13:00:00Z"),
		override("c", "Dora", "2026-03-26T00:00:00Z", "2026-03-27T00:00:00Z"),
		{ID: "d", Rota: "other", Who: "Ben", From: moment(t, "2026-03-23T00:00:00Z"), Until: moment(t, "2026-03-30T00:00:00Z")},
		override("e", "Ann", "2026-03-30T00:00:00Z", "2026-03-31T00:00:00Z"),
	}}
	var got []string
	for _, s := range p.Plan(moment(t, "2026-03-23T10:00:00Z"), moment(t, "2026-04-01T10:00:00Z")) {
		got = append(got, said(s)+" "+strings.Join(s.Notify, ","))
	}
	want := []string{
		"Ann turn 03-23T10:00 to 03-24T00:00 ann",
		"Cleo override 03-24T00:00 to 03-24T12:00 cleo",
		"office override 03-24T12:00 to 03-24T13:00 office",
		"Cleo override 03-24T13:00 to 03-25T00:00 cleo",
		"Ann turn 03-25T00:00 to 03-26T00:00 ann",
		"Ann gone 03-26T00:00 to 03-27T00:00 ann",
		"Ann turn 03-27T00:00 to 03-30T00:00 ann",
		"Ann override 03-30T00:00 to 03-31T00:00 ann",
		"Ben turn 03-31T00:00 to 04-01T10:00 ben",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// What At says holds for the whole shift.
	for at := moment(t, "2026-03-23T00:00:00Z"); at.Before(moment(t, "2026-04-02T00:00:00Z")); at = at.Add(37 * time.Minute) {
		s := p.At(at)
		for _, other := range []time.Time{s.From, s.Until.Add(-time.Nanosecond)} {
			if again := p.At(other); said(again) != said(s) {
				t.Fatalf("at %s: %s, but at %s: %s", at, said(s), other, said(again))
			}
		}
	}
}

func TestValidateOverride(t *testing.T) {
	t.Parallel()
	from := moment(t, "2026-03-24T00:00:00Z")
	good := oncall.Override{ID: "a", Rota: "duty", Who: "Ann", From: from, Until: from.Add(time.Hour), Author: "jo"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*oncall.Override){
		"no id":         func(o *oncall.Override) { o.ID = "" },
		"nobody":        func(o *oncall.Override) { o.Who = "" },
		"two lines":     func(o *oncall.Override) { o.Who = "Ann\nBen" },
		"the wrong way": func(o *oncall.Override) { o.Until = from },
		"too long":      func(o *oncall.Override) { o.Until = from.Add(oncall.Longest + 1) },
		"no time":       func(o *oncall.Override) { o.From = time.Time{} },
		"a comment":     func(o *oncall.Override) { o.Comment = strings.Repeat("x", 201) },
	} {
		bad := good
		spoil(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	body, err := oncall.Encode([]oncall.Override{good})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := oncall.Decode(body); err != nil || again[0] != good {
		t.Errorf("%v %v", again, err)
	}
	if _, err := oncall.Decode([]byte("[" + strings.Trim(string(body), "[]") + "," + strings.Trim(string(body), "[]") + "]")); err == nil {
		t.Error("an id may occur twice")
	}
}

// TestResting looks at what quiet hours do, by channel, severity and time.
func TestResting(t *testing.T) {
	t.Parallel()
	clock := func(text string) calendar.Clock {
		c, err := calendar.ParseClock(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	all := []oncall.Quiet{
		{Severity: rule.Info, Weekly: calendar.Weekly{Days: calendar.EveryDay, Start: clock("20:00"), End: clock("08:00")}, Channels: []string{"phone"}},
		{Severity: rule.Warning, Weekly: calendar.Weekly{Days: calendar.EveryDay, Start: clock("22:00"), End: clock("07:00")}, Instead: []string{"log"}, Place: time.UTC},
	}
	berlin := zone(t, "Europe/Berlin")
	for _, tc := range []struct {
		channel  string
		severity rule.Severity
		at, want string
	}{
		{"phone", rule.Info, "2026-03-28T18:59:59Z", "none"},
		{"phone", rule.Info, "2026-03-28T19:00:00Z", "waits until 03-29T06:00"},
		{"phone", rule.Warning, "2026-03-28T19:00:00Z", "severe"},
		{"phone", rule.Warning, "2026-03-28T22:00:00Z", "instead until 03-29T07:00 log"},
		{"phone", rule.Critical, "2026-03-28T22:00:00Z", "severe"},
		{"mail", rule.Info, "2026-03-28T21:00:00Z", "none"},
		{"mail", rule.Info, "2026-03-29T06:59:59Z", "instead until 03-29T07:00 log"},
		{"mail", rule.Info, "2026-03-29T07:00:00Z", "none"},
		{"log", rule.Info, "2026-03-28T22:00:00Z", "none"},
	} {
		rest := oncall.Resting(all, tc.channel, tc.severity, moment(t, tc.at), berlin)
		got := string(rest.Hush)
		if !rest.Until.IsZero() {
			got += " until " + rest.Until.UTC().Format("01-02T15:04")
		}
		if got = strings.TrimSpace(got + " " + strings.Join(rest.Instead, ",")); got != tc.want {
			t.Errorf("%s, %s, %s: %s, want %s", tc.channel, tc.severity, tc.at, got, tc.want)
		}
	}
}
