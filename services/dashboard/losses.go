package dashboard

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"headwater/streams"
	"headwater/web/view"
)

// lossShown is how long the pages show that a stream has lost its end.
const lossShown = 24 * time.Hour

// lossBefore is how long before its last known message a stream may have lost
// messages that no service had read: the profile fast syncs once a second.
const lossBefore = time.Minute

// losses are the messages of streams that services found lost.
type losses struct {
	log *slog.Logger

	mu  sync.Mutex // guards what follows
	all map[string]streams.Loss
}

// on applies an entry of the bucket.
func (l *losses) on(key string, value []byte, _ time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if value == nil {
		delete(l.all, key)
		return
	}
	loss, err := streams.DecodeLoss(value)
	if err != nil {
		l.log.Debug("entry was ignored", "subject", key, "err", err)
		return
	}
	if l.all == nil {
		l.all = make(map[string]streams.Loss)
	}
	l.all[key] = loss
}

// list returns the losses in a fixed order.
func (l *losses) list() []streams.Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []streams.Loss
	for _, loss := range l.all {
		out = append(out, loss)
	}
	slices.SortFunc(out, func(a, b streams.Loss) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), a.Noticed.Compare(b.Noticed))
	})
	return out
}

// problems returns the recent losses, in words.
func (l *losses) problems(now time.Time) []view.Problem {
	var out []view.Problem
	for _, loss := range l.list() {
		if now.Sub(loss.Noticed) < lossShown {
			out = append(out, view.Problem{
				Part: "Streams", Since: loss.Noticed,
				Text: "The stream " + loss.String() + ". Acknowledged readings of that time may be missing; later readings are complete.",
			})
		}
	}
	return out
}

// within returns in words the losses of the streams that the ledger counts by, if
// they may have arrived in [from, to).
func (l *losses) within(from, to time.Time) (unknown []string) {
	for _, loss := range l.list() {
		if loss.Stream != streams.StreamTelemetry && loss.Stream != streams.StreamDerived {
			continue
		}
		begin := loss.After
		if begin.IsZero() {
			begin = loss.Noticed
		}
		if begin.Add(-lossBefore).Before(to) && loss.Noticed.After(from) {
			unknown = append(unknown, loss.String())
		}
	}
	return unknown
}
