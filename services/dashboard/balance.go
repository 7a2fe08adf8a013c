package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/internal/process"
	"headwater/web/ledger"
	"headwater/web/view"
)

// The ledger of the last balanceSpan is read every balanceEvery, so that the metrics cost
// the same however often they are scraped.
const (
	balanceEvery = 30 * time.Second
	balanceSpan  = time.Hour
	// balanceWithin bounds one reading.
	balanceWithin = 20 * time.Second
)

// balance reads the ledger at intervals and keeps the result for the metrics.
type balance struct {
	ledger ledger.Source
	log    *slog.Logger

	mu sync.Mutex // guards what follows
	// inFlight and missing are NaN while they are not known.
	inFlight, missing float64
}

func newBalance(source ledger.Source, log *slog.Logger, registry prometheus.Registerer) *balance {
	b := &balance{ledger: source, log: log, inFlight: math.NaN(), missing: math.NaN()}
	factory := promauto.With(registry)
	for _, g := range []struct {
		name, help string
		value      *float64
	}{
		{"headwater_ledger_in_flight_readings", "Readings that have arrived and may not be stored yet, read every 30 s; NaN while not known.", &b.inFlight},
		{"headwater_ledger_missing_readings", "Readings of the last hour that were stored and then gone, read every 30 s; NaN while never known.", &b.missing},
	} {
		factory.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 {
			b.mu.Lock()
			defer b.mu.Unlock()
			return *g.value
		})
	}
	return b
}

func (b *balance) run(ctx context.Context) {
	for ctx.Err() == nil {
		b.look(ctx, time.Now())
		process.Sleep(ctx, balanceEvery)
	}
}

// look reads the account up to now. While InfluxDB is unavailable, the last known
// number of missing readings is kept.
func (b *balance) look(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, balanceWithin)
	defer cancel()
	to := now.Truncate(time.Minute).Add(time.Minute)
	account, err := b.ledger.Ledger(ctx, ledger.Query{
		From: to.Add(-balanceSpan), To: to, Group: ledger.ByDevice, Page: 1, Size: 1,
	})
	if err != nil && !errors.Is(err, view.ErrUnavailable) && ctx.Err() == nil {
		b.log.Warn("ledger was not read", "err", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight = math.NaN()
	if account.OnTheWay.Unknown == "" {
		b.inFlight = float64(account.Totals.InFlight + account.OnTheWay.Received())
	}
	if err != nil {
		return
	}
	missing := float64(account.Totals.Missing)
	if missing > 0 && missing != b.missing {
		b.log.Error("ledger does not balance: stored readings are gone", "missing", account.Totals.Missing, "since", account.From)
	}
	b.missing = missing
}
