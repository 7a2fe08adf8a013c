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
	// maxBatchBytes bounds the text of a batch beside its points: texts are long.
	maxBatchBytes = 4 << 20
	// maxBatchMessages bounds the messages of a batch, because all writers share
	// a bounded number of unacknowledged ones.
	maxBatchMessages = 1000
	maxFetch         = 512
)

// batch is the readings of some messages on their way into InfluxDB.
type batch struct {
	lines    lines
	messages []jetstream.Msg
	starts   []int // the first line of each message
	since    time.Time
}

// reset empties the batch and keeps its memory for the next one, unless that is
// far more than this one needed: after a backlog, batches are small again.
func (b *batch) reset() {
	b.lines.reset()
	clear(b.messages)
	b.messages, b.starts = emptied(b.messages), emptied(b.starts)
}

// telemetry moves TELEMETRY into the bucket of the readings. The free batches
// are all the memory there is: one fills while the others are in flight. While
// InfluxDB is away none comes free, and nothing more is fetched.
type telemetry struct {
	s        *Service
	consumer jetstream.Consumer
	encoder  encoder
	free     chan *batch
	slots    chan struct{} // one token for each batch in flight
	// perMessage is how many readings a message has had lately, 0 before the first.
	perMessage float64
}

// run reads until stop ends, and returns when what it read is stored or given
// back.
func (t *telemetry) run(stop, work context.Context) {
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
		case <-stop.Done():
			return
		case b = <-t.free:
		}
		t.fill(stop, work, b)
		flights.Go(func() {
			t.store(stop, work, b)
			b.reset()
			t.free <- b
		})
	}
}

// fill fetches messages until the batch is full or old enough.
func (t *telemetry) fill(stop, work context.Context, b *batch) {
	for stop.Err() == nil {
		err := fetch(t.consumer, t.want(b), t.s.cfg.FlushInterval, func(m jetstream.Msg) { t.add(stop, work, b, m) })
		t.s.input(stop, streams.StreamTelemetry, err)
		switch {
		case b.lines.count() >= t.s.cfg.BatchPoints, len(b.lines.text) >= maxBatchBytes, len(b.messages) >= maxBatchMessages:
			return
		case len(b.messages) > 0 && time.Since(b.since) >= t.s.cfg.FlushInterval:
			return
		}
	}
}

// want returns how many messages fill the batch, about. The first message comes
// alone: a backlog of large ones would make a batch that is far too large.
func (t *telemetry) want(b *batch) int {
	if t.perMessage == 0 {
		return 1
	}
	room := float64(t.s.cfg.BatchPoints - b.lines.count())
	return max(1, min(int(room/max(1, t.perMessage)), maxBatchMessages-len(b.messages), maxFetch))
}

// add adds the readings of a message to the batch. One without readings is
// done with, and so is one that does not decode, as a dead letter.
func (t *telemetry) add(stop, work context.Context, b *batch, m jetstream.Msg) {
	readings, err := streams.DecodeTelemetry(m.Data())
	switch {
	case err != nil:
		t.s.malformed(stop, work, m, err)
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

// learn takes note of how many readings a message has.
func (t *telemetry) learn(readings int) {
	if t.perMessage == 0 {
		t.perMessage = float64(readings)
	}
	const memory = 0.9
	t.perMessage = memory*t.perMessage + (1-memory)*float64(readings)
}

// store stores a batch and acknowledges its messages, or gives them back.
func (t *telemetry) store(stop, work context.Context, b *batch) {
	if len(b.messages) == 0 {
		return
	}
	t.s.metrics.size.Observe(float64(b.lines.count()))
	release := t.s.holds.add(b.messages)
	t.slots <- struct{}{}
	err := t.s.store(stop, work, request{
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

// entry returns the reading of a line as the ledger knows it.
func (b *batch) entry(line int, d streams.DeadLetter) point.Entry {
	i := sort.SearchInts(b.starts, line+1) - 1
	sequence := uint64(0)
	if meta, err := b.messages[i].Metadata(); err == nil {
		sequence = meta.Sequence.Stream
	}
	return entryOf(d, sequence, line-b.starts[i])
}

// deadLetter finds out which reading a line is of. It decodes the message once
// more: refusals are rare, and the batch need not remember.
func (b *batch) deadLetter(line int) streams.DeadLetter {
	i := sort.SearchInts(b.starts, line+1) - 1
	m := b.messages[i]
	d := streams.DeadLetter{Origin: m.Subject()}
	readings, err := streams.DecodeTelemetry(m.Data())
	if err != nil {
		return d // it has been decoded before
	}
	series := readings.Dictionary()[readings.GetSeries()[line-b.starts[i]]]
	d.Site, d.Device = series.Site, series.Device
	d.Arrived = time.Unix(0, readings.GetArrival())
	return d
}
