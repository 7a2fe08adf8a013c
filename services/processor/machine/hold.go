package machine

import (
	"math"
	"slices"
	"strings"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

const (
	// maxHeld and maxDeviceHeld bound how many readings wait in a lane, and how many
	// of a device. Beyond them the earliest are judged ahead of their time.
	maxHeld, maxDeviceHeld = 1 << 16, 1 << 10
	// maxHeldText bounds what is kept of a text that waits, in bytes. The sentences of
	// alerts show less of it.
	maxHeldText = 64
)

// heldReading is a reading that arrived before its event time. The windows have it
// already. The rules judge it when its time has come, in order with the readings that
// arrive until then.
type heldReading struct {
	series *series
	detect.Sample
	// number is set for a number; otherwise text is what arrived instead.
	text   string
	number bool
}

// hold makes a reading wait for its time.
func (m *Machine) hold(h heldReading) {
	d := h.series.device
	if m.heldCount >= maxHeld && len(d.held) == 0 {
		m.judge(h)
		return
	}
	i, _ := slices.BinarySearchFunc(d.held, h.Time+1, func(h heldReading, t int64) int {
		if h.Time < t {
			return -1
		}
		return 1
	})
	h.text = strings.Clone(h.text[:min(len(h.text), maxHeldText)])
	d.held = slices.Insert(d.held, i, h)
	d.wakes = min(d.wakes, h.Time)
	m.heldCount++
	if m.heldCount > maxHeld || len(d.held) > maxDeviceHeld {
		m.release(d, d.held[0].Time)
	}
}

// release passes the readings of the device whose time has come to the rules, in order of
// their event time.
func (m *Machine) release(d *device, upTo int64) {
	n := 0
	for n < len(d.held) && d.held[n].Time <= upTo {
		m.judge(d.held[n])
		n++
	}
	if n == 0 {
		return
	}
	m.heldCount -= n
	d.held = slices.Delete(d.held, 0, n)
	if len(d.held) == 0 {
		d.held = nil
	}
}

// judge passes a reading that waited to the rules.
func (m *Machine) judge(h heldReading) {
	switch {
	case !h.number:
		m.judgeNonNumeric(h.series, h.Time, h.text)
	case h.Time > h.series.last:
		m.score(h.series, h.Sample)
	}
}

// appendHeld appends the readings that wait, each with the index of its series.
func appendHeld(b []byte, d *device) []byte {
	b = codec.Uint(b, uint64(len(d.held)))
	for _, h := range d.held {
		b = codec.Uint(codec.Int(b, h.Time), uint64(slices.Index(d.series, h.series)))
		b = codec.Bool(b, h.number)
		if h.number {
			b = codec.Float(b, h.Value)
		} else {
			b = codec.String(b, h.text)
		}
	}
	return b
}

// readHeld reads what appendHeld wrote. The series of the device must be there.
func (m *Machine) readHeld(r *codec.Reader, d *device) {
	last := int64(math.MinInt64)
	for range r.Count() {
		h := heldReading{Sample: detect.Sample{Time: r.Int()}}
		number := r.Uint()
		if number >= uint64(len(d.series)) || h.Time < last {
			r.Fail()
			return
		}
		h.series, last = d.series[number], h.Time
		h.number = r.Bool()
		if h.number {
			h.Value = r.Float()
		} else {
			h.text = r.String()
		}
		d.held = append(d.held, h)
		m.heldCount++
	}
}
