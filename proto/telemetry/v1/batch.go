package telemetryv1

import (
	"errors"
	"fmt"
	"iter"
)

// Key names a series within one kind of value, with the unit that the device
// gave.
type Key struct {
	Site, Device, Metric, Unit string
}

// Builder packs readings into a Batch. The zero value is ready to use. It is
// for one goroutine only.
type Builder struct {
	batch *Batch
	index map[dictionaryKey]uint32
}

type dictionaryKey struct {
	Key
	kind Kind
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

// Len returns how many readings wait in the builder.
func (b *Builder) Len() int {
	if b.batch == nil {
		return 0
	}
	return len(b.batch.Series)
}

// Take returns what was added since the last Take, as a batch of its own, and
// empties the builder. Arrival is when the last of the readings arrived, in
// nanoseconds since the Unix epoch.
func (b *Builder) Take(arrival int64) *Batch {
	out := b.batch
	if out == nil {
		out = new(Batch)
	}
	out.Arrival = arrival
	b.batch = nil
	clear(b.index)
	return out
}

func (b *Builder) add(k Key, kind Kind, t int64) {
	if b.batch == nil {
		b.batch = new(Batch)
	}
	if b.index == nil {
		b.index = make(map[dictionaryKey]uint32)
	}
	i, ok := b.index[dictionaryKey{k, kind}]
	if !ok {
		i = uint32(len(b.batch.Dictionary))
		b.index[dictionaryKey{k, kind}] = i
		b.batch.Dictionary = append(b.batch.Dictionary, &Series{
			Site: k.Site, Device: k.Device, Metric: k.Metric, Unit: k.Unit, Kind: kind,
		})
	}
	b.batch.Series = append(b.batch.Series, i)
	b.batch.Time = append(b.batch.Time, t)
}

// Reading is one reading of a Batch.
type Reading struct {
	// Series is the index of the reading's series in Batch.Dictionary.
	Series int
	// Time is the event time in nanoseconds since the Unix epoch.
	Time int64
	// Kind says which of the fields below holds the value.
	Kind  Kind
	Value float64
	Flag  bool
	Text  string
}

// ErrMalformed is returned by Check for a batch whose columns contradict each
// other. Such a batch was not made by a Builder; it belongs to the dead letters.
var ErrMalformed = errors.New("malformed batch")

// Check verifies that every reading has a series, a time and a value, and that
// no value is left over. Readings may be called on a batch that passed it.
func (b *Batch) Check() error {
	if len(b.Series) != len(b.Time) {
		return fmt.Errorf("%w: %d readings with %d times", ErrMalformed, len(b.Series), len(b.Time))
	}
	var want [Kind_KIND_TEXT + 1]int
	for i, s := range b.Series {
		if int(s) >= len(b.Dictionary) {
			return fmt.Errorf("%w: reading %d is of series %d of %d", ErrMalformed, i, s, len(b.Dictionary))
		}
		kind := b.Dictionary[s].GetKind()
		if kind < Kind_KIND_VALUE || kind > Kind_KIND_TEXT {
			return fmt.Errorf("%w: series %d has kind %d", ErrMalformed, s, kind)
		}
		want[kind]++
	}
	if want[Kind_KIND_VALUE] != len(b.Value) || want[Kind_KIND_FLAG] != len(b.Flag) || want[Kind_KIND_TEXT] != len(b.Text) {
		return fmt.Errorf("%w: %v values, flags and texts for %v readings of these kinds", ErrMalformed,
			[]int{len(b.Value), len(b.Flag), len(b.Text)}, want[Kind_KIND_VALUE:])
	}
	return nil
}

// Readings yields the readings in the order of their arrival. The batch must
// have passed Check.
func (b *Batch) Readings() iter.Seq[Reading] {
	return func(yield func(Reading) bool) {
		var values, flags, texts int
		for i, s := range b.Series {
			r := Reading{Series: int(s), Time: b.Time[i], Kind: b.Dictionary[s].Kind}
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
