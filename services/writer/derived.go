package writer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/streams"
)

// fetchWait is how long a lane waits for its next message in one go; stopping,
// and giving a lane to another writer, takes no longer than that when there is
// nothing to store.
const fetchWait = 250 * time.Millisecond

// errNotOurs ends a request when the lane may be another writer's.
var errNotOurs = errors.New("the lease on the lane has run out")

// lane moves the summaries of one lane of DERIVED into their buckets, strictly
// one message after the other, while this writer has the lease on it.
type lane struct {
	s        *Service
	consumer jetstream.Consumer
	// until is when the lease certainly ends, as of now.
	until func() time.Time
}

// run works until stop ends: the writer stops, another one gets the lane, or
// the lease is lost. In the last case requests under way end as well.
func (l *lane) run(stop, work context.Context) {
	work, cancel := l.leased(work)
	defer cancel()
	for stop.Err() == nil {
		err := fetch(l.consumer, 1, fetchWait, func(m jetstream.Msg) { l.step(stop, work, m) })
		l.s.input(stop, streams.StreamDerived, err)
	}
}

// leased returns a context that ends with the lease. InfluxDB has no
// compare-and-set by which it could refuse the points of a writer that has lost
// the lane, so that writer must fall silent before another one speaks. A timer
// ends what is under way. A process that was stopped in its tracks may go on
// before its timers do; hence the guard looks at the clock before anything is
// sent.
func (l *lane) leased(work context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(work)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for {
			timer := time.NewTimer(time.Until(l.until()))
			select {
			case <-work.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			if l.check() != nil {
				return
			}
		}
	}()
	return influx.Guard(work, l.check), func() { cancel(); <-done }
}

// check returns errNotOurs when the lane may be another writer's.
func (l *lane) check() error {
	if !time.Now().Before(l.until()) {
		return errNotOurs
	}
	return nil
}

func (l *lane) step(stop, work context.Context, m jetstream.Msg) {
	commit, err := streams.DecodeDerived(m.Data())
	if err != nil {
		l.s.malformed(stop, work, m, err)
		return
	}
	release := l.s.holds.add([]jetstream.Msg{m})
	defer release()
	for _, r := range requests(l.s.cfg, commit, m) {
		if err := l.s.store(stop, work, r); err != nil {
			l.s.giveBack(m)
			return
		}
	}
	if err := l.mend(stop, work, commit, m); err != nil {
		l.s.giveBack(m)
		return
	}
	l.confirm(stop, work, m)
}

// requests returns what a commit has for InfluxDB.
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
	return append(out, request{
		bucket: cfg.ledger(), lines: encodeLedger(commit),
		deadLetter: func(line int) streams.DeadLetter {
			e := commit.GetLedger()[line]
			return letter(e.GetSite(), e.GetDevice())
		},
	})
}

// confirm acknowledges until nats-server confirms it. A message whose
// acknowledgement was lost would come again, after later ones.
func (l *lane) confirm(stop, work context.Context, m jetstream.Msg) {
	for {
		ctx, cancel := context.WithTimeout(work, maxPause)
		err := m.DoubleAck(ctx)
		cancel()
		if err == nil || stop.Err() != nil || work.Err() != nil {
			return
		}
		l.s.log.Warn("acknowledgement is not confirmed; trying again", "stream", streams.StreamDerived, "subject", m.Subject(), "err", err)
		select {
		case <-stop.Done():
		case <-time.After(maxPause / 10):
		}
	}
}
