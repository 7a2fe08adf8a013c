package view

import (
	"testing"
	"time"
)

func TestLedgerVerdict(t *testing.T) {
	to := time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC)
	from := to.Add(-time.Hour)
	for name, c := range map[string]struct {
		change  func(*LedgerFacts)
		verdict LedgerVerdict
		summary string
	}{
		"all is stored": {
			func(f *LedgerFacts) { f.Ledger.Totals.Received, f.Ledger.Totals.Exact = 5, true },
			LedgerClosed, "Balanced: nothing missing.",
		},
		"nothing came": {
			func(f *LedgerFacts) { f.Ledger.Totals.Exact = true },
			LedgerClosed, "Nothing arrived in the last hour.",
		},
		"the last minute is on its way": {
			func(f *LedgerFacts) {
				f.Ledger.OnTheWay = LedgerOnTheWay{Counting: 5, Since: to.Add(-time.Minute)}
			},
			LedgerClosed, "Balanced: nothing missing.",
		},
		"all of the range may be on its way": {
			func(f *LedgerFacts) {
				f.Ledger.OnTheWay = LedgerOnTheWay{Counting: 6, Entering: 7, Since: from}
			},
			LedgerOpen, "13 on their way.",
		},
		"what is entered is not stored": {
			func(f *LedgerFacts) {
				f.Ledger.Totals.InFlight = 3
				f.Ledger.OnTheWay = LedgerOnTheWay{Counting: 5, Since: to.Add(-time.Minute)}
			},
			LedgerOpen, "8 on their way.",
		},
		"something is missing, whatever else": {
			func(f *LedgerFacts) { f.Ledger.Totals.Missing, f.Ledger.OnTheWay.Unknown = 2, "no stream" },
			LedgerBroken, "Not balanced: 2 readings are missing.",
		},
		"a part does not tell": {
			func(f *LedgerFacts) { f.Ledger.OnTheWay.Unknown = "no stream" },
			LedgerUntold, "Cannot be told now.",
		},
		"InfluxDB does not tell": {
			func(f *LedgerFacts) { f.Problem = "away" },
			LedgerUntold, "Cannot be told now.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := LedgerFacts{Range: LedgerRanges[0], Ledger: Ledger{From: from, To: to}}
			c.change(&f)
			if v, s := f.Verdict(), f.summary(); v != c.verdict || s != c.summary {
				t.Errorf("%s, %q; want %s, %q", v, s, c.verdict, c.summary)
			}
		})
	}
}
