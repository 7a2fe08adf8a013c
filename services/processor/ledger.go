package processor

import (
	"strings"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/codec"
	"headwater/streams"
)

const (
	ledgerMinute = int64(60e9)
	// ledgerGrace is how long after the end of a minute, by the lane's clock, its
	// counts become entries. The clock says that all has come that arrived by
	// then; what comes later all the same makes an entry of its own.
	ledgerGrace = int64(2e9)
	// ledgerQuiet is after which time without anything to count the minute is not
	// waited for, so that the account of a lane that has fallen silent is complete.
	ledgerQuiet = int64(5e9)
	// maxLedgerOpen bounds the counts that wait for the end of their minute;
	// beyond it the oldest become entries at once.
	maxLedgerOpen = 65536
)

// ledgerKey is what is counted together.
type ledgerKey struct {
	site, device string
	source       streams.Source
	// minute is its start in nanoseconds since the Unix epoch.
	minute int64
}

// ledgerCount is what has been counted and is in no entry yet.
type ledgerCount struct {
	ledgerKey
	readings, rejected, missing uint64
	// last is the sequence of the last message that was counted.
	last uint64
}

// ledger counts what a lane of TELEMETRY holds, by device, source and minute of
// arrival. It is part of the state of the lane, so that each message counts
// once, whatever crashes and however often it is read.
type ledger struct {
	// open is in the order in which counting began.
	open  []*ledgerCount
	index map[ledgerKey]*ledgerCount
	// waiting sums what is counted in open.
	waiting uint64
	// arrival is when the last of what was counted arrived.
	arrival int64
	// account is what the bridge must say next that it had put into the lane;
	// known is false until it has said so once, and after a message of its that
	// could not be read.
	account uint64
	known   bool
	changed bool

	// counts is scratch space: the readings of each series of a batch.
	counts []uint64
}

func newLedger() ledger { return ledger{index: make(map[ledgerKey]*ledgerCount)} }

// add counts a batch.
func (l *ledger) add(b *telemetryv1.Batch, dictionary []telemetryv1.Series, source streams.Source, sequence uint64) {
	l.follow(b, source, sequence)
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
	l.waiting += b.Account()
}

// follow holds the batch against what the bridge says of those before it.
func (l *ledger) follow(b *telemetryv1.Batch, source streams.Source, sequence uint64) {
	if b.Before == nil {
		return
	}
	// A bridge that finds nothing in the lane begins again at nothing.
	if l.known && *b.Before > l.account {
		l.count("", "", source, b.Arrival, sequence).missing += *b.Before - l.account
		l.waiting += *b.Before - l.account
		l.arrival = max(l.arrival, b.Arrival)
	}
	if account := *b.Before + b.Account(); !l.known || account != l.account {
		l.account, l.known, l.changed = account, true, true
	}
}

// malformed counts a message that could not be read, which arrived at arrival.
// It becomes a dead letter.
func (l *ledger) malformed(source streams.Source, arrival int64, sequence uint64) {
	l.count("", "", source, arrival, sequence).rejected++
	l.waiting++
	l.arrival, l.changed = max(l.arrival, arrival), true
	if source == streams.SourceMQTT {
		l.known = false
	}
}

// count returns where to count. The names are copied if they are new: they may be
// parts of a batch.
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

// floorMinute returns the start of the minute.
func floorMinute(t int64) int64 { return t - (t%ledgerMinute+ledgerMinute)%ledgerMinute }

// full says that more waits than should.
func (l *ledger) full() bool { return len(l.open) > maxLedgerOpen }

// enter turns the counts that are due by the clock into entries, at most so
// many; the rest is left to the next clock.
func (l *ledger) enter(now int64, most int, out []*derivedv1.LedgerEntry) []*derivedv1.LedgerEntry {
	quiet := now-l.arrival >= ledgerQuiet
	over := len(l.open) - maxLedgerOpen
	kept := l.open[:0]
	for i, c := range l.open {
		due := quiet || now-c.minute >= ledgerMinute+ledgerGrace || i < over
		if !due || most <= 0 {
			kept = append(kept, c)
			continue
		}
		most--
		out = append(out, &derivedv1.LedgerEntry{
			Site: c.site, Device: c.device, Source: string(c.source), Minute: c.minute,
			Readings: c.readings, Rejected: c.rejected, Missing: c.missing, Last: c.last,
		})
		l.waiting -= c.readings + c.rejected + c.missing
		l.changed = true
		delete(l.index, c.ledgerKey)
	}
	clear(l.open[len(kept):])
	l.open = kept
	return out
}

// since returns the start of the earliest minute that is open, 0 if none is.
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
	b = codec.Uint(codec.Bool(b, l.known), l.account)
	b = codec.Uint(b, uint64(len(l.open)))
	for _, c := range l.open {
		b = codec.String(codec.String(codec.String(b, c.site), c.device), string(c.source))
		b = codec.Int(b, c.minute)
		b = codec.Uint(codec.Uint(codec.Uint(codec.Uint(b, c.readings), c.rejected), c.missing), c.last)
	}
	return b
}

// read reads what append wrote.
func (l *ledger) read(r *codec.Reader) {
	*l = newLedger()
	l.arrival, l.known, l.account = r.Int(), r.Bool(), r.Uint()
	for range r.Count() {
		key := ledgerKey{site: r.String(), device: r.String(), source: streams.Source(r.String()), minute: r.Int()}
		c := &ledgerCount{ledgerKey: key, readings: r.Uint(), rejected: r.Uint(), missing: r.Uint(), last: r.Uint()}
		if r.Err() != nil || l.index[key] != nil {
			r.Fail()
			return
		}
		l.insert(c)
		l.waiting += c.readings + c.rejected + c.missing
	}
}
