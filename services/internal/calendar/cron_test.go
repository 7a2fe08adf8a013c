package calendar_test

import (
	"strings"
	"testing"
	"time"

	"headwater/services/internal/calendar"
)

// TestCron looks at times around changes of the clock in Berlin: from 02:00 to 03:00 on
// 2026-03-29 and from 03:00 to 02:00 on 2026-10-25.
func TestCron(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cron, after, want string }{
		{"0 7 * * *", "2026-01-01T06:59:59+01:00", "2026-01-01T07:00:00+01:00"},
		{"0 7 * * *", "2026-01-01T07:00:00+01:00", "2026-01-02T07:00:00+01:00"},
		{"30 6,18 * * mon-fri", "2026-01-02T18:30:00+01:00", "2026-01-05T06:30:00+01:00"},
		{"0 0 1 * *", "2026-01-31T00:00:00+01:00", "2026-02-01T00:00:00+01:00"},
		{"0 0 29 2 *", "2026-01-01T00:00:00+01:00", "2028-02-29T00:00:00+01:00"},
		// Either day fits.
		{"0 0 13 * fri", "2026-01-01T00:00:00+01:00", "2026-01-02T00:00:00+01:00"},
		{"0 0 13 * 5", "2026-01-09T00:00:00+01:00", "2026-01-13T00:00:00+01:00"},
		{"0 0 * * 7", "2026-01-01T00:00:00+01:00", "2026-01-04T00:00:00+01:00"},
		{"*/20 * * * *", "2026-01-01T10:41:00+01:00", "2026-01-01T11:00:00+01:00"},
		{"5/20 10-12/2 * * *", "2026-01-01T10:45:00+01:00", "2026-01-01T12:05:00+01:00"},
		// The clock skips this, and shows that twice.
		{"30 2 * * *", "2026-03-29T01:59:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		{"30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"30 * * * *", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"},
	} {
		c, err := calendar.ParseCron(tc.cron)
		if err != nil {
			t.Fatalf("%s: %v", tc.cron, err)
		}
		got, ok := c.Next(moment(t, tc.after), zone(t, "Europe/Berlin"))
		if !ok || !got.Equal(moment(t, tc.want)) {
			t.Errorf("%s after %s: %s, want %s", tc.cron, tc.after, got.Format(time.RFC3339), tc.want)
		}
	}
	for cron, want := range map[string]string{
		"": "needs minute", "0 7 * *": "needs minute", "60 7 * * *": "minute from 0 to 59", "0 24 * * *": "hour", "0 0 0 * *": "day of the month",
		"0 0 * 13 *": "month", "0 0 * * 8": "day of the week", "0 0 * * moon": "day of the week", "*/0 * * * *": "minute", "9-5 * * * *": "minute",
		"0 0 31 2 *": "no year", "1, * * * *": "minute", "mon * * * *": "minute",
	} {
		if _, err := calendar.ParseCron(cron); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", cron, err, want)
		}
	}
}
