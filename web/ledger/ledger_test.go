package ledger

import (
	"testing"
	"time"
)

func TestLedgerVerdict(t *testing.T) {
	to := time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC)
	from := to.Add(-time.Hour)
	for name, c := range map[string]struct {
		change  func(*Facts)
		verdict Verdict
		summary string
	}{
		"all is stored": {
			func(f *Facts) { f.Ledger.Totals.Received, f.Ledger.Totals.Exact = 5, true },
			Closed, "Balanced: nothing missing.",
		},
		"nothing came": {
			func(f *Facts) { f.Ledger.Totals.Exact = true },
			Closed, "Nothing arrived in the last hour.",
		},
		"the last minute is on its way": {
			func(f *Facts) {
				f.Ledger.OnTheWay = OnTheWay{Counting: 5, Since: to.Add(-time.Minute)}
			},
			Closed, "Balanced: nothing missing.",
		},
		"all of the range may be on its way": {
			func(f *Facts) {
				f.Ledger.OnTheWay = OnTheWay{Counting: 6, Entering: 7, Since: from}
			},
			Open, "13 on their way.",
		},
		"what is entered is not stored": {
			func(f *Facts) {
				f.Ledger.Totals.InFlight = 3
				f.Ledger.OnTheWay = OnTheWay{Counting: 5, Since: to.Add(-time.Minute)}
			},
			Open, "8 on their way.",
		},
		"something is missing, whatever else": {
			func(f *Facts) { f.Ledger.Totals.Missing, f.Ledger.OnTheWay.Unknown = 2, "no stream" },
			Broken, "Not balanced: 2 readings are missing.",
		},
		"a part is unknown": {
			func(f *Facts) { f.Ledger.OnTheWay.Unknown = "no stream" },
			Unknown, "Not known right now.",
		},
		"InfluxDB does not answer": {
			func(f *Facts) { f.Problem = "away" },
			Unknown, "Not known right now.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Range: Ranges[0], Ledger: Ledger{From: from, To: to}}
			c.change(&f)
			if v, s := f.Verdict(), f.summary(); v != c.verdict || s != c.summary {
				t.Errorf("%s, %q; want %s, %q", v, s, c.verdict, c.summary)
			}
		})
	}
}
