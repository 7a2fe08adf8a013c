// Package telemetryv1 defines the messages on telemetry.<lane>.<source>. It has
// a Builder that packs readings into columns, and methods that read them back.
package telemetryv1

import (
	"errors"
	"fmt"
	"iter"
)

// Key names a series within one kind of value, with the unit as sent by the
// device.
type Key struct {
	Site, Device, Metric, Unit string
}

// Series is one entry of a batch's dictionary. A metric that changes its type
// has one entry for each kind.
type Series struct {
	Key
	Kind Kind
}

// Builder packs readings into a Batch. The zero value is ready to use. It must
// not be used by two goroutines at a time.
type Builder struct {
	batch   *Batch
	index   map[Series]uint32
	symbols map[string]uint32
	// rejected is the index of a device in the columns of rejected messages.
	rejected map[Key]int
	text     []byte
}

// Value adds a numeric reading at the event time t, in nanoseconds since the
// Unix epoch.
func (b *Builder) Value(k Key, t int64, v float64) {
	b.add(k, Kind_KIND_VALUE, t)
	b.batch.Value = append(b.batch.Value, v)
}

// Flag adds a reading of a bool at the event time t, in nanoseconds since the
// Unix epoch.
func (b *Builder) Flag(k Key, t int64, v bool) {
	b.add(k, Kind_KIND_FLAG, t)
	b.batch.Flag = append(b.batch.Flag, v)
}

// Text adds a reading of a text at the event time t, in nanoseconds since the
// Unix epoch.
func (b *Builder) Text(k Key, t int64, v string) {
	b.add(k, Kind_KIND_TEXT, t)
	b.batch.Text = append(b.batch.Text, v)
}

// Reject counts a message of a device that became a dead letter. Both names may
// be empty.
func (b *Builder) Reject(site, device string) {
	b.begin()
	key := Key{Site: site, Device: device}
	i, ok := b.rejected[key]
	if !ok {
		i = len(b.batch.Rejected)
		b.rejected[key] = i
		b.batch.RejectedSite = append(b.batch.RejectedSite, b.symbol(site))
		b.batch.RejectedDevice = append(b.batch.RejectedDevice, b.symbol(device))
		b.batch.Rejected = append(b.batch.Rejected, 0)
	}
	b.batch.Rejected[i]++
}

// Empty reports whether nothing was added since the last Take.
func (b *Builder) Empty() bool { return b.batch == nil }

// Len returns the number of readings in the builder.
func (b *Builder) Len() int {
	if b.batch == nil {
		return 0
	}
	return len(b.batch.Series)
}

// Take returns what was added since the last Take as a batch, and empties the
// builder. Arrival is when the last of the readings arrived, in nanoseconds
// since the Unix epoch.
func (b *Builder) Take(arrival int64) *Batch {
	out := b.batch
	if out == nil {
		out = new(Batch)
	}
	out.Arrival = arrival
	out.Symbols = string(b.text)
	b.batch, b.text = nil, b.text[:0]
	clear(b.index)
	clear(b.symbols)
	clear(b.rejected)
	return out
}

// begin starts a batch if there is none.
func (b *Builder) begin() {
	if b.batch != nil {
		return
	}
	b.batch = new(Batch)
	if b.index == nil {
		b.index, b.symbols, b.rejected = make(map[Series]uint32), make(map[string]uint32), make(map[Key]int)
	}
}

func (b *Builder) add(k Key, kind Kind, t int64) {
	b.begin()
	i, ok := b.index[Series{k, kind}]
	if !ok {
		i = uint32(len(b.batch.DictionaryKind))
		b.index[Series{k, kind}] = i
		b.batch.DictionarySite = append(b.batch.DictionarySite, b.symbol(k.Site))
		b.batch.DictionaryDevice = append(b.batch.DictionaryDevice, b.symbol(k.Device))
		b.batch.DictionaryMetric = append(b.batch.DictionaryMetric, b.symbol(k.Metric))
		b.batch.DictionaryUnit = append(b.batch.DictionaryUnit, b.symbol(k.Unit))
		b.batch.DictionaryKind = append(b.batch.DictionaryKind, kind)
	}
	b.batch.Series = append(b.batch.Series, i)
	b.batch.Time = append(b.batch.Time, t)
}

func (b *Builder) symbol(s string) uint32 {
	i, ok := b.symbols[s]
	if !ok {
		i = uint32(len(b.batch.SymbolEnd))
		b.symbols[s] = i
		b.text = append(b.text, s...)
		b.batch.SymbolEnd = append(b.batch.SymbolEnd, uint32(len(b.text)))
	}
	return i
}

// Reading is one reading of a Batch.
type Reading struct {
	// Series is the index of the reading's series in Batch.Dictionary.
	Series int
	// Time is the event time in nanoseconds since the Unix epoch.
	Time int64
	// Kind says which of the following fields holds the value.
	Kind  Kind
	Value float64
	Flag  bool
	Text  string
}

// ErrMalformed is returned by Check for a batch whose columns contradict each
// other. No Builder makes such a batch; it belongs into the dead letters.
var ErrMalformed = errors.New("malformed batch")

// Check verifies that every series has its names, every reading its series,
// time and value, and that no value is left over. Call Dictionary and Readings
// only on a batch that passed it.
func (b *Batch) Check() error {
	last := uint32(0)
	for i, end := range b.SymbolEnd {
		if end < last || int(end) > len(b.Symbols) {
			return fmt.Errorf("%w: symbol %d ends at byte %d of %d", ErrMalformed, i, end, len(b.Symbols))
		}
		last = end
	}
	for name, column := range map[string][]uint32{
		"site": b.DictionarySite, "device": b.DictionaryDevice, "metric": b.DictionaryMetric, "unit": b.DictionaryUnit,
	} {
		if len(column) != len(b.DictionaryKind) {
			return fmt.Errorf("%w: %d of %d series have a %s", ErrMalformed, len(column), len(b.DictionaryKind), name)
		}
		for k, symbol := range column {
			if int(symbol) >= len(b.SymbolEnd) {
				return fmt.Errorf("%w: %s of series %d is symbol %d of %d", ErrMalformed, name, k, symbol, len(b.SymbolEnd))
			}
		}
	}
	if err := b.checkRejected(); err != nil {
		return err
	}
	for k, kind := range b.DictionaryKind {
		if kind < Kind_KIND_VALUE || kind > Kind_KIND_TEXT {
			return fmt.Errorf("%w: series %d has kind %d", ErrMalformed, k, kind)
		}
	}
	if len(b.Series) != len(b.Time) {
		return fmt.Errorf("%w: %d readings with %d times", ErrMalformed, len(b.Series), len(b.Time))
	}
	var want [Kind_KIND_TEXT + 1]int
	for i, s := range b.Series {
		if int(s) >= len(b.DictionaryKind) {
			return fmt.Errorf("%w: reading %d is of series %d of %d", ErrMalformed, i, s, len(b.DictionaryKind))
		}
		want[b.DictionaryKind[s]]++
	}
	if want[Kind_KIND_VALUE] != len(b.Value) || want[Kind_KIND_FLAG] != len(b.Flag) || want[Kind_KIND_TEXT] != len(b.Text) {
		return fmt.Errorf("%w: %v values, flags and texts for %v readings of these kinds", ErrMalformed,
			[]int{len(b.Value), len(b.Flag), len(b.Text)}, want[Kind_KIND_VALUE:])
	}
	return nil
}

func (b *Batch) checkRejected() error {
	if len(b.RejectedSite) != len(b.Rejected) || len(b.RejectedDevice) != len(b.Rejected) {
		return fmt.Errorf("%w: %d sites and %d devices for %d counts of rejected messages", ErrMalformed,
			len(b.RejectedSite), len(b.RejectedDevice), len(b.Rejected))
	}
	for _, column := range [][]uint32{b.RejectedSite, b.RejectedDevice} {
		for i, symbol := range column {
			if int(symbol) >= len(b.SymbolEnd) {
				return fmt.Errorf("%w: a name of rejected messages %d is symbol %d of %d", ErrMalformed, i, symbol, len(b.SymbolEnd))
			}
		}
	}
	return nil
}

// Rejections yields the devices of messages that became dead letters, and the
// number of these messages. The batch must have passed Check.
func (b *Batch) Rejections() iter.Seq2[Key, uint64] {
	return func(yield func(Key, uint64) bool) {
		for i, n := range b.Rejected {
			k := Key{Site: b.symbol(b.RejectedSite[i]), Device: b.symbol(b.RejectedDevice[i])}
			if !yield(k, uint64(n)) {
				return
			}
		}
	}
}

// Total returns the number of readings and rejected messages in the batch.
func (b *Batch) Total() uint64 {
	n := uint64(len(b.GetSeries()))
	for _, r := range b.GetRejected() {
		n += uint64(r)
	}
	return n
}

// Dictionary returns the series of the readings. The batch must have passed
// Check. Call it once a batch: it allocates a new slice each time.
func (b *Batch) Dictionary() []Series {
	out := make([]Series, len(b.DictionaryKind))
	for k := range out {
		out[k] = Series{
			Key: Key{
				Site: b.symbol(b.DictionarySite[k]), Device: b.symbol(b.DictionaryDevice[k]),
				Metric: b.symbol(b.DictionaryMetric[k]), Unit: b.symbol(b.DictionaryUnit[k]),
			},
			Kind: b.DictionaryKind[k],
		}
	}
	return out
}

func (b *Batch) symbol(i uint32) string {
	start := uint32(0)
	if i > 0 {
		start = b.SymbolEnd[i-1]
	}
	return b.Symbols[start:b.SymbolEnd[i]]
}

// Readings yields the readings in the order of their arrival. The batch must
// have passed Check.
func (b *Batch) Readings() iter.Seq[Reading] {
	return func(yield func(Reading) bool) {
		var values, flags, texts int
		for i, s := range b.Series {
			r := Reading{Series: int(s), Time: b.Time[i], Kind: b.DictionaryKind[s]}
			switch r.Kind {
			case Kind_KIND_VALUE:
				r.Value = b.Value[values]
				values++
			case Kind_KIND_FLAG:
				r.Flag = b.Flag[flags]
				flags++
			case Kind_KIND_TEXT:
				r.Text = b.Text[texts]
				texts++
			}
			if !yield(r) {
				return
			}
		}
	}
}
