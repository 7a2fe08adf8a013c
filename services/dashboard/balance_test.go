package dashboard

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/web/ledger"
	"headwater/web/view"
)

// told is a ledger that returns what it is given.
type told struct {
	ledger ledger.Ledger
	err    error
	query  ledger.Query
}

func (l *told) Ledger(_ context.Context, q ledger.Query) (ledger.Ledger, error) {
	l.query = q
	return l.ledger, l.err
}

// TestBalanceIsMeasured shows what the gauges are as the parts come and go; how
// often they are asked for costs nothing.
func TestBalanceIsMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	source := new(told)
	a := newBalance(source, slog.New(slog.DiscardHandler), registry)
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	expect := func(when, inFlight, missing string) {
		t.Helper()
		want := fmt.Sprintf(`# HELP headwater_ledger_in_flight_readings Readings that have arrived and may not be stored yet, read every 30 s; NaN while not known.
# TYPE headwater_ledger_in_flight_readings gauge
headwater_ledger_in_flight_readings %s
# HELP headwater_ledger_missing_readings Readings of the last hour that were stored and then gone, read every 30 s; NaN while never known.
# TYPE headwater_ledger_missing_readings gauge
headwater_ledger_missing_readings %s
`, inFlight, missing)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	expect("before the first look", "NaN", "NaN")

	source.ledger.Totals.InFlight, source.ledger.Totals.Missing = 3, 2
	source.ledger.OnTheWay = ledger.OnTheWay{Counting: 30, Entering: 30, Storing: 1000}
	a.look(t.Context(), now)
	expect("all parts tell", "63", "2")
	from, to := time.Date(2026, 3, 14, 8, 27, 0, 0, time.UTC), time.Date(2026, 3, 14, 9, 27, 0, 0, time.UTC)
	if !source.query.From.Equal(from) || !source.query.To.Equal(to) {
		t.Errorf("it asked for %s to %s, want the last hour in whole minutes", source.query.From, source.query.To)
	}

	source.ledger.Totals = ledger.Totals{}
	source.err = fmt.Errorf("%w: InfluxDB", view.ErrUnavailable)
	a.look(t.Context(), now)
	expect("InfluxDB is away", "60", "2")

	source.ledger.OnTheWay = ledger.OnTheWay{Unknown: "NATS does not tell"}
	a.look(t.Context(), now)
	expect("NATS is away", "NaN", "2")

	source.ledger, source.err = ledger.Ledger{}, nil
	a.look(t.Context(), now)
	expect("all is well again", "0", "0")
}
