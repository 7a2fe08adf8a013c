package writer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/streams"
)

// fetchWait is how long one fetch of a lane waits for a message. Without anything to
// store, stopping or handing a lane to another writer takes no longer.
const fetchWait = 250 * time.Millisecond

// errNotOurs ends a request when another writer may own the lane.
var errNotOurs = errors.New("the lease on the lane has run out")

// lane moves the summaries of one lane of DERIVED into their buckets, strictly one
// message after the other, while this writer holds the lease on the lane.
type lane struct {
	s        *Service
	consumer jetstream.Consumer
	// until returns when the lease ends at the latest, as known now.
	until func() time.Time
}

// run works until ctx ends: the writer stops, another one gets the lane, or the lease
// is lost. In the last case requests in flight are cut off too.
func (l *lane) run(ctx, hard context.Context) {
	hard, cancel := l.leased(hard)
	defer cancel()
	for ctx.Err() == nil {
		err := fetch(l.consumer, 1, fetchWait, func(m jetstream.Msg) { l.step(ctx, hard, m) })
		l.s.input(ctx, streams.StreamDerived, err)
	}
}

// leased returns a context that ends with the lease. InfluxDB has no compare-and-set
// with which it could refuse the points of a writer that has lost the lane, so this
// writer must stop writing before the next owner starts:
//
//  1. A timer cuts off requests in flight when the lease ends.
//  2. After a pause of the whole process, code may run before the timers do. So the
//     guard looks at the clock before each request is sent.
func (l *lane) leased(hard context.Context) (context.Context, context.CancelFunc) {
	hard, cancel := context.WithCancel(hard)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for {
			timer := time.NewTimer(time.Until(l.until()))
			select {
			case <-hard.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			if l.check() != nil {
				return
			}
		}
	}()
	return influx.Guard(hard, l.check), func() { cancel(); <-done }
}

// check returns errNotOurs when another writer may own the lane.
func (l *lane) check() error {
	if !time.Now().Before(l.until()) {
		return errNotOurs
	}
	return nil
}

func (l *lane) step(ctx, hard context.Context, m jetstream.Msg) {
	commit, err := streams.DecodeDerived(m.Data())
	if err != nil {
		l.s.malformed(ctx, hard, m, err)
		return
	}
	release := l.s.inProgress.add([]jetstream.Msg{m})
	defer release()
	for _, r := range requests(l.s.cfg, commit, m) {
		if err := l.s.store(ctx, hard, r); err != nil {
			l.s.giveBack(m)
			return
		}
	}
	if err := l.backfill(ctx, hard, commit, m); err != nil {
		l.s.giveBack(m)
		return
	}
	if len(commit.GetReadings().GetSeries()) > 0 {
		l.s.registry.See(commit.GetReadings())
	}
	l.confirm(ctx, hard, m)
}

// requests returns the points of a commit. The readings of derived series come here in the
// order in which they replace each other, and before roll-ups are recomputed from them.
func requests(cfg Config, commit *derivedv1.Commit, m jetstream.Msg) []request {
	letter := func(site, device string) streams.DeadLetter {
		d := streams.DeadLetter{Origin: m.Subject(), Site: site, Device: device}
		if meta, err := m.Metadata(); err == nil {
			d.Arrived = meta.Timestamp
		}
		return d
	}
	var out []request
	for _, w := range encodeSummaries(commit) {
		out = append(out, request{
			bucket: cfg.bucket(w.policy), lines: &w.lines,
			deadLetter: func(line int) streams.DeadLetter {
				series := w.summaries[line].GetSeries()
				return letter(series.GetSite(), series.GetDevice())
			},
		})
	}
	if readings := commit.GetReadings(); len(readings.GetSeries()) > 0 {
		all := new(lines)
		new(encoder).append(all, readings)
		out = append(out, request{
			bucket: cfg.bucket(raw), lines: all,
			deadLetter: func(line int) streams.DeadLetter {
				series := readings.Dictionary()[readings.GetSeries()[line]]
				return letter(series.Site, series.Device)
			},
		})
	}
	return append(out, request{
		bucket: cfg.ledger(), lines: encodeLedger(commit),
		deadLetter: func(line int) streams.DeadLetter {
			e := commit.GetLedger()[line]
			return letter(e.GetSite(), e.GetDevice())
		},
	})
}

// confirm acknowledges the message until nats-server confirms it. If the
// acknowledgement was lost, the message would be delivered again, after later ones.
func (l *lane) confirm(ctx, hard context.Context, m jetstream.Msg) {
	for {
		limited, cancel := context.WithTimeout(hard, maxPause)
		err := m.DoubleAck(limited)
		cancel()
		if err == nil || ctx.Err() != nil || hard.Err() != nil {
			return
		}
		l.s.log.Warn("acknowledgement is not confirmed; trying again", "stream", streams.StreamDerived, "subject", m.Subject(), "err", err)
		process.Sleep(ctx, retryPause)
	}
}
