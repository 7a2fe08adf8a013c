package window

import (
	"encoding/binary"
	"math"
	"math/bits"

	"headwater/services/processor/codec"
)

const (
	// blockReadings bounds the readings of a block. A larger one needs fewer
	// headers, a smaller one less decoding to reach a reading.
	blockReadings = 32
	// The offsets in the header of a block: the number of its readings, the number
	// of bytes after the header, and the units of its times and values. The first
	// time and the first value follow, then the differences of the other readings.
	blockCount  = 0
	blockBytes  = 1
	blockFormat = 3
	blockHeader = 4
	// asBits is the format of values that are not decimals.
	asBits = 0x0f
	// maxEntry bounds the bytes of the first reading of a block.
	maxEntry = 2 * binary.MaxVarintLen64
	// spareBytes is the room left for the next readings.
	spareBytes = 6
)

// packed holds readings in the order of their times, without loss, in one to
// three bytes each for nearly all sensors. Of a time it stores the change of
// the step; of a value its distance from the previous value, as a whole number
// of the smallest decimal that the sensor gives. Other values are stored as
// bits and take up to nine bytes. Reading from a given time decodes at most one
// block in vain. The zero value is empty. A cursor is valid until the next
// change.
type packed struct {
	data  []byte
	count int
	// open is where the last block begins.
	open int
	// tail is the last reading, as needed to encode the next one.
	tail entry
}

// entry is a reading in the units of its block.
type entry struct {
	time, step int64
	// value is a whole number of decimals, or bits.
	value int64
}

// last returns the time of the last reading; there must be one.
func (p *packed) last() int64 { return p.tail.time * unitOf(p.data[p.open+blockFormat]) }

func unitOf(format byte) int64 { return codec.Units[format>>4] }

// append adds a reading that is later than all others.
func (p *packed) append(r Reading) {
	if p.count == 0 || p.data[p.open+blockCount] == blockReadings {
		p.begin(formatOf(0, r), r)
		return
	}
	format := p.data[p.open+blockFormat]
	value, fits := encodeValue(format&asBits, r.Value)
	unit := unitOf(format)
	if !fits || r.Time%unit != 0 {
		p.begin(formatOf(format, r), r)
		return
	}
	p.extend(format, r.Time/unit, value)
}

// reserve makes room for that many bytes, and hardly more.
func (p *packed) reserve(bytes int) {
	if n := len(p.data); n+bytes > cap(p.data) {
		grown := make([]byte, n, n+n/32+bytes+spareBytes)
		copy(grown, p.data)
		p.data = grown
	}
}

// lengthOf returns the number of bytes of an encoded number.
func lengthOf(u uint64) int { return (bits.Len64(u|1) + 6) / 7 }

// zigzag maps a signed number to an unsigned one.
func zigzag(v int64) uint64 { return uint64(v<<1 ^ v>>63) }

// formatOf returns the coarsest format that holds the reading and is not
// coarser than the given one.
func formatOf(format byte, r Reading) byte {
	unit, scale := format>>4, format&asBits
	for r.Time%codec.Units[unit] != 0 {
		unit++
	}
	for scale != asBits {
		if _, fits := encodeValue(scale, r.Value); fits {
			break
		}
		scale++
		if int(scale) == len(codec.Decimals) {
			scale = asBits
		}
	}
	return unit<<4 | scale
}

func encodeValue(scale byte, v float64) (int64, bool) {
	if scale == asBits {
		return int64(math.Float64bits(v)), true
	}
	return int64(math.Round(v * codec.Decimals[scale])), codec.IsDecimal(v, codec.Decimals[scale])
}

func decodeValue(scale byte, value int64) float64 {
	if scale == asBits {
		return math.Float64frombits(uint64(value))
	}
	return float64(value) / codec.Decimals[scale]
}

// begin starts a block with the reading.
func (p *packed) begin(format byte, r Reading) {
	p.reserve(blockHeader + maxEntry)
	p.open = len(p.data)
	value, _ := encodeValue(format&asBits, r.Value)
	p.tail = entry{time: r.Time / unitOf(format), value: value}
	p.data = append(p.data, 1, 0, 0, format)
	p.data = binary.AppendVarint(p.data, p.tail.time)
	if format&asBits == asBits {
		p.data = binary.LittleEndian.AppendUint64(p.data, uint64(value))
	} else {
		p.data = binary.AppendVarint(p.data, value)
	}
	p.count++
	p.close()
}

// close writes the length of the last block.
func (p *packed) close() {
	binary.LittleEndian.PutUint16(p.data[p.open+blockBytes:], uint16(len(p.data)-p.open-blockHeader))
}

// extend adds a reading to the last block. The lowest bit of an entry is set if
// the step changed; the change then follows the value.
func (p *packed) extend(format byte, time, value int64) {
	step := time - p.tail.time
	change := step - p.tail.step
	var changed uint64
	if change != 0 {
		changed = 1
	}
	if format&asBits == asBits {
		p.reserve(1 + 8 + lengthOf(zigzag(change)))
		p.data = appendBits(p.data, uint64(value)^uint64(p.tail.value), changed)
	} else {
		delta := zigzag(value-p.tail.value)<<1 | changed
		p.reserve(lengthOf(delta) + lengthOf(zigzag(change)))
		p.data = binary.AppendUvarint(p.data, delta)
	}
	if change != 0 {
		p.data = binary.AppendVarint(p.data, change)
	}
	p.tail = entry{time: time, step: step, value: value}
	p.data[p.open+blockCount]++
	p.count++
	p.close()
}

// appendBits writes the bits in which a value differs from the previous one: a
// byte with the number of bytes and the number of zero bytes below them, then
// the bytes.
func appendBits(b []byte, x, changed uint64) []byte {
	if x == 0 {
		return append(b, byte(changed))
	}
	below := bits.TrailingZeros64(x) / 8
	n := 8 - below - bits.LeadingZeros64(x)/8
	b = append(b, byte(changed)|byte(n<<1)|byte(below<<5))
	x >>= 8 * below
	for range n {
		b = append(b, byte(x))
		x >>= 8
	}
	return b
}

// blockEnd returns where the block at the offset ends.
func (p *packed) blockEnd(at int) int {
	return at + blockHeader + int(binary.LittleEndian.Uint16(p.data[at+blockBytes:]))
}

// firstOf returns the first time of the block at the offset.
func (p *packed) firstOf(at int) int64 {
	t, _ := binary.Varint(p.data[at+blockHeader:])
	return t * unitOf(p.data[at+blockFormat])
}

// blockOf returns the offset of the last block that begins at or before t, or
// of the first block; there must be one.
func (p *packed) blockOf(t int64) int {
	if p.firstOf(p.open) <= t {
		return p.open
	}
	at := 0
	for at < p.open {
		next := p.blockEnd(at)
		if p.firstOf(next) > t {
			break
		}
		at = next
	}
	return at
}

// dropBefore drops the readings before t, except for the last block that begins
// before t.
func (p *packed) dropBefore(t int64) {
	if p.count == 0 {
		return
	}
	if p.last() < t {
		*p = packed{}
		return
	}
	until := p.blockOf(t)
	if until == 0 {
		return
	}
	for at := 0; at < until; at = p.blockEnd(at) {
		p.count -= int(p.data[at+blockCount])
	}
	p.data = p.data[:copy(p.data, p.data[until:])]
	p.open -= until
}

// put adds a reading that is not after the last, or replaces the one with the
// same time.
func (p *packed) put(r Reading) {
	at := p.blockOf(r.Time)
	end := p.blockEnd(at)
	var buffer [blockReadings + 1]Reading
	readings := buffer[:0]
	place := 0
	for c := (cursor{data: p.data[at:end]}); c.next(); {
		if c.reading.Time < r.Time {
			place++
		}
		readings = append(readings, c.reading)
	}
	if place == len(readings) || readings[place].Time != r.Time {
		readings = append(readings, r)
		copy(readings[place+1:], readings[place:])
		p.count++
	}
	readings[place] = r
	// A full block is split in the middle, so that more readings fit.
	var block packed
	for i, r := range readings {
		if len(readings) > blockReadings && i == len(readings)/2 {
			block.begin(formatOf(0, r), r)
			continue
		}
		block.append(r)
	}
	p.replace(at, end, &block)
}

// replace puts the blocks in place of the one from at to end.
func (p *packed) replace(at, end int, blocks *packed) {
	grown := len(blocks.data) - (end - at)
	if at == p.open {
		p.open, p.tail = at+blocks.open, blocks.tail
	} else {
		p.open += grown
	}
	data := p.data
	if need := len(data) + grown; need > cap(data) {
		data = make([]byte, need, need+need/32)
		copy(data, p.data[:at])
	}
	rest := p.data[end:]
	data = data[:len(p.data)+grown]
	copy(data[at+len(blocks.data):], rest)
	copy(data[at:], blocks.data)
	p.data = data
}

// from returns a cursor at or before the first reading at or after t.
func (p *packed) from(t int64) cursor {
	if p.count == 0 || p.last() < t {
		return cursor{}
	}
	return cursor{data: p.data[p.blockOf(t):]}
}

// cursor walks through readings in the order of their times.
type cursor struct {
	// reading is the current reading, once next has returned true.
	reading Reading
	// data begins after the current reading; left is how many of the following
	// readings belong to its block.
	data   []byte
	left   byte
	format byte
	unit   int64
	tail   entry
}

// next moves to the next reading and reports whether there is one.
func (c *cursor) next() bool {
	if c.left == 0 {
		if len(c.data) == 0 {
			return false
		}
		c.begin()
	} else {
		c.extend()
	}
	c.reading = Reading{Time: c.tail.time * c.unit, Value: decodeValue(c.format&asBits, c.tail.value)}
	return true
}

func (c *cursor) begin() {
	c.left, c.format = c.data[blockCount]-1, c.data[blockFormat]
	c.unit = unitOf(c.format)
	c.data = c.data[blockHeader:]
	c.tail = entry{time: c.varint()}
	if c.format&asBits == asBits {
		c.tail.value = int64(binary.LittleEndian.Uint64(c.data))
		c.data = c.data[8:]
	} else {
		c.tail.value = c.varint()
	}
}

func (c *cursor) extend() {
	c.left--
	var changed bool
	if c.format&asBits == asBits {
		changed = c.bits()
	} else {
		u := uint64(c.data[0])
		if u < 0x80 {
			c.data = c.data[1:]
		} else {
			var n int
			u, n = binary.Uvarint(c.data)
			c.data = c.data[n:]
		}
		changed = u&1 != 0
		u >>= 1
		c.tail.value += int64(u>>1) ^ -int64(u&1)
	}
	if changed {
		c.tail.step += c.varint()
	}
	c.tail.time += c.tail.step
}

// bits reads what appendBits wrote.
func (c *cursor) bits() (changed bool) {
	control := c.data[0]
	n, below := int(control>>1&0x0f), control>>5
	var x uint64
	for i := range n {
		x |= uint64(c.data[1+i]) << (8 * i)
	}
	c.data = c.data[1+n:]
	c.tail.value ^= int64(x << (8 * below))
	return control&1 != 0
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.data)
	c.data = c.data[n:]
	return v
}
