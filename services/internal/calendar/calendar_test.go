package calendar_test

import (
	"encoding/json"
	"testing"
	"time"
	_ "time/tzdata"

	"headwater/services/internal/calendar"
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

// TestMoment looks at days on which clocks are changed: in Berlin from 02:00 to 03:00 on
// 2026-03-29 and from 03:00 to 02:00 on 2026-10-25, on Lord Howe by half an hour, in
// Santiago at midnight.
func TestMoment(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ zone, date, clock, want string }{
		{"Europe/Berlin", "2026-01-05", "22:30", "2026-01-05T22:30:00+01:00"},
		{"Europe/Berlin", "2026-01-05", "24:00", "2026-01-06T00:00:00+01:00"},
		{"Europe/Berlin", "2026-03-29", "01:59", "2026-03-29T01:59:00+01:00"},
		{"Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-03-29", "03:30", "2026-03-29T03:30:00+02:00"},
		{"Europe/Berlin", "2026-10-25", "01:30", "2026-10-25T01:30:00+02:00"},
		{"Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T02:30:00+02:00"},
		{"Europe/Berlin", "2026-10-25", "03:00", "2026-10-25T03:00:00+01:00"},
		{"Europe/Berlin", "2026-10-25", "24:00", "2026-10-26T00:00:00+01:00"},
		{"Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-04T02:30:00+11:00"},
		{"America/Santiago", "2026-09-06", "00:00", "2026-09-06T01:00:00-03:00"},
		{"Asia/Kolkata", "2026-06-01", "09:00", "2026-06-01T09:00:00+05:30"},
		{"UTC", "2026-12-31", "24:00", "2027-01-01T00:00:00Z"},
	} {
		date, err := time.Parse(time.DateOnly, tc.date)
		if err != nil {
			t.Fatal(err)
		}
		clock, err := calendar.ParseClock(tc.clock)
		if err != nil {
			t.Fatal(err)
		}
		got := calendar.Moment(date.Year(), date.Month(), date.Day(), clock, zone(t, tc.zone)).Format(time.RFC3339)
		if got != tc.want {
			t.Errorf("%s %s in %s is %s, want %s", tc.date, tc.clock, tc.zone, got, tc.want)
		}
	}
}

func TestWeekly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ zone, text, at, start, end string }{
		{"Europe/Berlin", `{"days":"mon","start":"08:00","end":"17:00"}`, "2026-01-05T07:59:59+01:00", "", ""},
		{"Europe/Berlin", `{"days":"mon","start":"08:00","end":"17:00"}`, "2026-01-05T08:00:00+01:00", "2026-01-05T08:00:00+01:00", "2026-01-05T17:00:00+01:00"},
		{"Europe/Berlin", `{"days":"mon","start":"08:00","end":"17:00"}`, "2026-01-05T17:00:00+01:00", "", ""},
		{"Europe/Berlin", `{"days":"mon","start":"08:00","end":"17:00"}`, "2026-01-06T08:00:00+01:00", "", ""},
		// It is Monday in Auckland while it is Sunday elsewhere.
		{"Pacific/Auckland", `{"days":"mon","start":"08:00","end":"17:00"}`, "2026-01-04T20:00:00Z", "2026-01-05T08:00:00+13:00", "2026-01-05T17:00:00+13:00"},
		// Over midnight, it belongs to the day on which it begins.
		{"Europe/Berlin", `{"days":"sat","start":"22:00","end":"06:00"}`, "2026-01-11T05:59:00+01:00", "2026-01-10T22:00:00+01:00", "2026-01-11T06:00:00+01:00"},
		{"Europe/Berlin", `{"days":"sat","start":"22:00","end":"06:00"}`, "2026-01-10T05:59:00+01:00", "", ""},
		{"Europe/Berlin", `{"days":"sat","start":"00:00","end":"24:00"}`, "2026-01-10T23:59:00+01:00", "2026-01-10T00:00:00+01:00", "2026-01-11T00:00:00+01:00"},
		{"Europe/Berlin", `{"days":"sat","start":"06:00","end":"06:00"}`, "2026-01-11T03:00:00+01:00", "2026-01-10T06:00:00+01:00", "2026-01-11T06:00:00+01:00"},
		// A night is 7 h or 9 h long when clocks are changed.
		{"Europe/Berlin", `{"days":"daily","start":"22:00","end":"06:00"}`, "2026-03-29T00:30:00Z", "2026-03-28T22:00:00+01:00", "2026-03-29T06:00:00+02:00"},
		{"Europe/Berlin", `{"days":"daily","start":"22:00","end":"06:00"}`, "2026-10-25T04:30:00Z", "2026-10-24T22:00:00+02:00", "2026-10-25T06:00:00+01:00"},
		// A span that the clock leaves out does not take place, one in the hour that
		// comes twice takes place once.
		{"Europe/Berlin", `{"days":"sun","start":"02:00","end":"03:00"}`, "2026-03-29T01:00:00Z", "", ""},
		{"Europe/Berlin", `{"days":"sun","start":"02:30","end":"02:45"}`, "2026-10-25T00:40:00Z", "2026-10-25T02:30:00+02:00", "2026-10-25T02:45:00+02:00"},
		{"Europe/Berlin", `{"days":"sun","start":"02:30","end":"02:45"}`, "2026-10-25T01:40:00Z", "", ""},
		{"Europe/Berlin", `{"days":"sun","start":"02:00","end":"03:00"}`, "2026-10-25T01:40:00Z", "2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00"},
	} {
		var w calendar.Weekly
		if err := json.Unmarshal([]byte(tc.text), &w); err != nil {
			t.Fatal(err)
		}
		if back, err := json.Marshal(w); err != nil || string(back) != tc.text || w.Validate() != nil {
			t.Errorf("%s is %s, %v, %v", tc.text, back, err, w.Validate())
		}
		start, end, ok := w.In(moment(t, tc.at), zone(t, tc.zone))
		if ok != (tc.start != "") || ok && (start.Format(time.RFC3339) != tc.start || end.Format(time.RFC3339) != tc.end) {
			t.Errorf("%s %s at %s: %t, %s to %s; want %s to %s", tc.zone, w, tc.at, ok, start.Format(time.RFC3339), end.Format(time.RFC3339), tc.start, tc.end)
		}
	}
	for _, bad := range []string{
		`{"days":"","start":"02:00","end":"03:00"}`, `{"days":"someday","start":"02:00","end":"03:00"}`, `{"days":"mon","start":"2","end":"03:00"}`,
		`{"days":"mon","start":"-1:00","end":"03:00"}`, `{"days":"mon","start":"01:60","end":"03:00"}`, `{"days":"mon","start":"01:00","end":"24:01"}`,
		`{"start":"01:00","end":"02:00"}`, `{"days":"mon","start":"24:00","end":"02:00"}`,
	} {
		var w calendar.Weekly
		if err := json.Unmarshal([]byte(bad), &w); err == nil && w.Validate() == nil {
			t.Errorf("took %s", bad)
		}
	}
}
