package machine

import (
	"strings"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/codec"
	"headwater/streams"
)

const (
	ledgerMinute = int64(60e9)
	// ledgerGrace is how long after the end of a minute, by the lane's clock, its counts
	// become entries. The clock says that everything that arrived by then is here. If
	// something comes later all the same, it makes another entry.
	ledgerGrace = int64(2e9)
	// ledgerIdle is the time without anything to count after which counts become entries
	// before their minute has ended, so that the ledger of an idle lane is complete.
	ledgerIdle = int64(5e9)
	// maxLedgerOpen bounds the counts that wait for the end of their minute. Beyond it
	// the oldest become entries at once.
	maxLedgerOpen = 65536
)

// ledgerKey names what is counted together.
type ledgerKey struct {
	site, device string
	source       streams.Source
	// minute is the start of the minute, in nanoseconds since the Unix epoch.
	minute int64
}

// ledgerCount is a count that is not in an entry yet.
type ledgerCount struct {
	ledgerKey
	readings, rejected, missing, conflicts uint64
	// last is the sequence of the last message that was counted.
	last uint64
}

// ledger counts what a lane of TELEMETRY holds, by device, source and minute of arrival.
// It is part of the state of the lane, so each message counts once, whatever crashes and
// however often it is read.
//
// It also finds readings that the stream has lost. The bridge keeps a running total of
// what it has put into the lane, and each of its batches carries the total before that
// batch. If that is more than the ledger's total after the previous batch, the difference
// is missing.
type ledger struct {
	// open is in the order in which counting began.
	open  []*ledgerCount
	index map[ledgerKey]*ledgerCount
	// pending is the sum of the counts in open.
	pending uint64
	// arrival is when the last counted message arrived.
	arrival int64
	// total is the running total that the bridge's next batch must carry. totalKnown is
	// false until the first batch with a total, and after a message of the bridge that
	// could not be decoded.
	total      uint64
	totalKnown bool
	changed    bool

	// counts is scratch space for the readings of each series of a batch.
	counts []uint64
}

func newLedger() ledger { return ledger{index: make(map[ledgerKey]*ledgerCount)} }

// add counts a batch.
func (l *ledger) add(b *telemetryv1.Batch, dictionary []telemetryv1.Series, source streams.Source, sequence uint64) {
	l.checkTotal(b, source, sequence)
	if len(b.Series) == 0 && len(b.Rejected) == 0 {
		return
	}
	l.arrival, l.changed = max(l.arrival, b.Arrival), true
	l.counts = append(l.counts[:0], make([]uint64, len(dictionary))...)
	for _, k := range b.Series {
		l.counts[k]++
	}
	var c *ledgerCount
	for k := range dictionary {
		// The series of one device come together.
		if s := &dictionary[k]; c == nil || c.site != s.Site || c.device != s.Device {
			c = l.count(s.Site, s.Device, source, b.Arrival, sequence)
		}
		c.readings += l.counts[k]
	}
	for device, n := range b.Rejections() {
		l.count(device.Site, device.Device, source, b.Arrival, sequence).rejected += n
	}
	l.pending += b.Total()
}

// checkTotal compares the total that the batch carries with the ledger's, and counts what
// is missing.
func (l *ledger) checkTotal(b *telemetryv1.Batch, source streams.Source, sequence uint64) {
	if b.TotalBefore == nil {
		return
	}
	// A bridge that finds an empty lane starts at zero again, so a smaller total is not an
	// error.
	if l.totalKnown && *b.TotalBefore > l.total {
		l.count("", "", source, b.Arrival, sequence).missing += *b.TotalBefore - l.total
		l.pending += *b.TotalBefore - l.total
		l.arrival = max(l.arrival, b.Arrival)
	}
	next := *b.TotalBefore + b.Total()
	if !l.totalKnown || next != l.total {
		l.total, l.totalKnown, l.changed = next, true, true
	}
}

// conflict counts a reading, which has been counted as one, that took the place of
// another.
func (l *ledger) conflict(of deviceKey, source streams.Source, arrival int64, sequence uint64) {
	if source != "" {
		l.count(of.site, of.name, source, arrival, sequence).conflicts++
		l.changed = true
	}
}

// malformed counts a message that could not be decoded, and arrived at arrival. It becomes
// a dead letter.
func (l *ledger) malformed(source streams.Source, arrival int64, sequence uint64) {
	l.count("", "", source, arrival, sequence).rejected++
	l.pending++
	l.arrival, l.changed = max(l.arrival, arrival), true
	if source == streams.SourceMQTT {
		l.totalKnown = false
	}
}

// count returns the count of a device in the minute of arrival. It copies the names if they
// are new, because they may be parts of a batch.
func (l *ledger) count(site, device string, source streams.Source, arrival int64, sequence uint64) *ledgerCount {
	key := ledgerKey{site: site, device: device, source: source, minute: floorMinute(arrival)}
	c := l.index[key]
	if c == nil {
		key.site, key.device = strings.Clone(site), strings.Clone(device)
		c = &ledgerCount{ledgerKey: key}
		l.insert(c)
	}
	c.last = sequence
	return c
}

func (l *ledger) insert(c *ledgerCount) {
	l.open = append(l.open, c)
	l.index[c.ledgerKey] = c
}

// floorMinute returns the start of the minute that contains t.
func floorMinute(t int64) int64 { return t - (t%ledgerMinute+ledgerMinute)%ledgerMinute }

// full reports whether more counts wait than the bound allows.
func (l *ledger) full() bool { return len(l.open) > maxLedgerOpen }

// takeDue turns the counts that are due by the clock into entries, which it appends to out.
// It takes at most so many; the rest waits for the next tick.
func (l *ledger) takeDue(now int64, most int, out []*derivedv1.LedgerEntry) []*derivedv1.LedgerEntry {
	idle := now-l.arrival >= ledgerIdle
	over := len(l.open) - maxLedgerOpen
	kept := l.open[:0]
	for i, c := range l.open {
		due := idle || now-c.minute >= ledgerMinute+ledgerGrace || i < over
		if !due || most <= 0 {
			kept = append(kept, c)
			continue
		}
		most--
		out = append(out, &derivedv1.LedgerEntry{
			Site: c.site, Device: c.device, Source: string(c.source), Minute: c.minute,
			Readings: c.readings, Rejected: c.rejected, Missing: c.missing, Conflicts: c.conflicts, Last: c.last,
		})
		l.pending -= c.readings + c.rejected + c.missing
		l.changed = true
		delete(l.index, c.ledgerKey)
	}
	clear(l.open[len(kept):])
	l.open = kept
	return out
}

// since returns the start of the earliest open minute, 0 if there is none.
func (l *ledger) since() int64 {
	earliest := int64(0)
	for i, c := range l.open {
		if i == 0 || c.minute < earliest {
			earliest = c.minute
		}
	}
	return earliest
}

// append appends the state.
func (l *ledger) append(b []byte) []byte {
	b = codec.Int(b, l.arrival)
	b = codec.Uint(codec.Bool(b, l.totalKnown), l.total)
	b = codec.Uint(b, uint64(len(l.open)))
	for _, c := range l.open {
		b = codec.String(codec.String(codec.String(b, c.site), c.device), string(c.source))
		b = codec.Int(b, c.minute)
		b = codec.Uint(codec.Uint(codec.Uint(codec.Uint(codec.Uint(b, c.readings), c.rejected), c.missing), c.conflicts), c.last)
	}
	return b
}

// read reads what append wrote.
func (l *ledger) read(r *codec.Reader) {
	*l = newLedger()
	l.arrival, l.totalKnown, l.total = r.Int(), r.Bool(), r.Uint()
	for range r.Count() {
		key := ledgerKey{site: r.String(), device: r.String(), source: streams.Source(r.String()), minute: r.Int()}
		c := &ledgerCount{ledgerKey: key, readings: r.Uint(), rejected: r.Uint(), missing: r.Uint(), conflicts: r.Uint(), last: r.Uint()}
		if r.Err() != nil || l.index[key] != nil {
			r.Fail()
			return
		}
		l.insert(c)
		l.pending += c.readings + c.rejected + c.missing
	}
}
