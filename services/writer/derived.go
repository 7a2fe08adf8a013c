package writer

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// fetchWait is how long a lane waits for its next message in one go; stopping
// takes no longer than that.
const fetchWait = 500 * time.Millisecond

// lane moves the summaries of one lane of DERIVED into their buckets, strictly
// one message after the other.
type lane struct {
	s        *Service
	consumer jetstream.Consumer
}

func (l *lane) run(stop, work context.Context) {
	for stop.Err() == nil {
		err := fetch(l.consumer, 1, fetchWait, func(m jetstream.Msg) { l.step(stop, work, m) })
		l.s.input(stop, streams.StreamDerived, err)
	}
}

func (l *lane) step(stop, work context.Context, m jetstream.Msg) {
	commit, err := streams.DecodeDerived(m.Data())
	if err != nil {
		l.s.malformed(stop, work, m, err)
		return
	}
	release := l.s.holds.add([]jetstream.Msg{m})
	defer release()
	for _, w := range encodeSummaries(commit) {
		err := l.s.store(stop, work, request{
			bucket: l.s.cfg.bucket(w.width), lines: &w.lines,
			deadLetter: func(line int) streams.DeadLetter {
				series := w.summaries[line].GetSeries()
				d := streams.DeadLetter{Origin: m.Subject(), Site: series.GetSite(), Device: series.GetDevice()}
				if meta, err := m.Metadata(); err == nil {
					d.Arrived = meta.Timestamp
				}
				return d
			},
		})
		if err != nil {
			l.s.giveBack(m)
			return
		}
	}
	l.confirm(stop, work, m)
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
