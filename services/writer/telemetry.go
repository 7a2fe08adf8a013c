package writer

import (
	"context"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/writer/point"
	"headwater/streams"
)

const (
	// maxBatchBytes bounds the text of a batch in addition to its points, because
	// readings that are texts are long.
	maxBatchBytes = 4 << 20
	// maxBatchMessages bounds the messages of a batch, because all writers together
	// may hold a bounded number of unacknowledged messages.
	maxBatchMessages = 1000
	maxFetch         = 512
)

// batch holds the readings of some messages until InfluxDB has stored them.
type batch struct {
	lines    lines
	messages []jetstream.Msg
	starts   []int // the first line of each message
	since    time.Time
}

// reset empties the batch and keeps its memory for the next one, unless it has far
// more than this one needed: after a backlog, batches are small again.
func (b *batch) reset() {
	b.lines.reset()
	clear(b.messages)
	b.messages, b.starts = emptied(b.messages), emptied(b.starts)
}

// telemetry moves TELEMETRY into the bucket of the readings. The free batches bound
// its memory: one fills while the others are in flight. While InfluxDB is unavailable
// none becomes free, and nothing is fetched.
type telemetry struct {
	s        *Service
	consumer jetstream.Consumer
	encoder  encoder
	free     chan *batch
	slots    chan struct{} // one token for each batch in flight
	// perMessage is the recent average of readings per message, 0 before the first.
	perMessage float64
}

// run reads until ctx ends, and returns when what it read is stored or given back.
func (t *telemetry) run(ctx, hard context.Context) {
	t.slots = make(chan struct{}, t.s.cfg.InFlight)
	t.free = make(chan *batch, t.s.cfg.InFlight+1)
	for range cap(t.free) {
		t.free <- new(batch)
	}
	var flights sync.WaitGroup
	defer flights.Wait()
	for {
		var b *batch
		select {
		case <-ctx.Done():
			return
		case b = <-t.free:
		}
		t.fill(ctx, hard, b)
		flights.Go(func() {
			t.store(ctx, hard, b)
			b.reset()
			t.free <- b
		})
	}
}

// fill fetches messages until the batch is full or old enough.
func (t *telemetry) fill(ctx, hard context.Context, b *batch) {
	for ctx.Err() == nil {
		err := fetch(t.consumer, t.want(b), t.s.cfg.FlushInterval, func(m jetstream.Msg) { t.add(ctx, hard, b, m) })
		t.s.input(ctx, streams.StreamTelemetry, err)
		switch {
		case b.lines.count() >= t.s.cfg.BatchPoints, len(b.lines.text) >= maxBatchBytes, len(b.messages) >= maxBatchMessages:
			return
		case len(b.messages) > 0 && time.Since(b.since) >= t.s.cfg.FlushInterval:
			return
		}
	}
}

// want returns about how many messages fill the batch. The first message is fetched
// alone: in a backlog of large messages the batch would become far too large.
func (t *telemetry) want(b *batch) int {
	if t.perMessage == 0 {
		return 1
	}
	room := float64(t.s.cfg.BatchPoints - b.lines.count())
	return max(1, min(int(room/max(1, t.perMessage)), maxBatchMessages-len(b.messages), maxFetch))
}

// add adds the readings of a message to the batch. A message without readings is
// acknowledged, and one that does not decode becomes a dead letter.
func (t *telemetry) add(ctx, hard context.Context, b *batch, m jetstream.Msg) {
	readings, err := streams.DecodeTelemetry(m.Data())
	switch {
	case err != nil:
		t.s.malformed(ctx, hard, m, err)
		return
	case len(readings.GetSeries()) == 0: // the clock
		t.s.ack(m)
		return
	}
	if len(b.messages) == 0 {
		b.since = time.Now()
	}
	b.messages = append(b.messages, m)
	b.starts = append(b.starts, b.lines.count())
	t.encoder.append(&b.lines, readings)
	t.learn(len(readings.GetSeries()))
}

// learn updates the average of readings per message.
func (t *telemetry) learn(readings int) {
	if t.perMessage == 0 {
		t.perMessage = float64(readings)
	}
	const memory = 0.9
	t.perMessage = memory*t.perMessage + (1-memory)*float64(readings)
}

// store stores a batch and acknowledges its messages, or gives them back.
func (t *telemetry) store(ctx, hard context.Context, b *batch) {
	if len(b.messages) == 0 {
		return
	}
	t.s.metrics.size.Observe(float64(b.lines.count()))
	release := t.s.inProgress.add(b.messages)
	t.slots <- struct{}{}
	err := t.s.store(ctx, hard, request{
		bucket: t.s.cfg.bucket(raw), lines: &b.lines, deadLetter: b.deadLetter, entry: b.entry,
	})
	<-t.slots
	release()
	for _, m := range b.messages {
		if err != nil {
			t.s.giveBack(m)
			continue
		}
		t.s.ack(m)
	}
}

// entry returns the ledger entry of the reading in a line.
func (b *batch) entry(line int, d streams.DeadLetter) point.Entry {
	i := sort.SearchInts(b.starts, line+1) - 1
	sequence, stored := uint64(0), int64(0)
	if meta, err := b.messages[i].Metadata(); err == nil {
		sequence, stored = meta.Sequence.Stream, meta.Timestamp.UnixNano()
	}
	return entryOf(d, sequence, stored, line-b.starts[i])
}

// deadLetter finds out which reading is in a line. It decodes the message again:
// refusals are rare, and this saves memory in every batch.
func (b *batch) deadLetter(line int) streams.DeadLetter {
	i := sort.SearchInts(b.starts, line+1) - 1
	m := b.messages[i]
	d := streams.DeadLetter{Origin: m.Subject()}
	readings, err := streams.DecodeTelemetry(m.Data())
	if err != nil {
		return d // cannot be: it was decoded before
	}
	series := readings.Dictionary()[readings.GetSeries()[line-b.starts[i]]]
	d.Site, d.Device = series.Site, series.Device
	d.Arrived = time.Unix(0, readings.GetArrival())
	return d
}
