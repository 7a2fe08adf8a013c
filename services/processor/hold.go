package processor

import (
	"math"
	"slices"
	"strings"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

const (
	// maxHeld and maxDeviceHeld bound how many readings wait in a lane, and of a
	// device. Of more the earliest are judged ahead of their time.
	maxHeld, maxDeviceHeld = 1 << 16, 1 << 10
	// maxHeldText bounds what is kept of a text that waits, in bytes; less of it is
	// ever shown.
	maxHeldText = 64
)

// held is a reading with an event time that had not come when it arrived. Windows
// have taken it, the rules wait for its time, so that what comes meanwhile is
// judged in its turn.
type held struct {
	series *series
	detect.Sample
	// text is what came instead of a number; number says that there is one.
	text   string
	number bool
}

// now is how far time has come for what is being processed: there is no later
// event than that it arrived.
func (m *Machine) now() int64 { return max(m.clock, m.learned) }

// ahead reports whether the event time of what is being processed has not come.
func (m *Machine) ahead(at int64) bool { return at > m.now() }

// hold has a reading wait.
func (m *Machine) hold(h held) {
	d := h.series.device
	if m.held >= maxHeld && len(d.held) == 0 {
		m.judge(h)
		return
	}
	i, _ := slices.BinarySearchFunc(d.held, h.Time+1, func(h held, t int64) int {
		if h.Time < t {
			return -1
		}
		return 1
	})
	h.text = strings.Clone(h.text[:min(len(h.text), maxHeldText)])
	d.held = slices.Insert(d.held, i, h)
	d.wakes = min(d.wakes, h.Time)
	if m.held++; m.held > maxHeld || len(d.held) > maxDeviceHeld {
		m.release(d, d.held[0].Time)
	}
}

// release has the rules judge the readings of the device that waited for a time,
// in their order.
func (m *Machine) release(d *device, upTo int64) {
	n := 0
	for n < len(d.held) && d.held[n].Time <= upTo {
		m.judge(d.held[n])
		n++
	}
	if n == 0 {
		return
	}
	m.held -= n
	if d.held = slices.Delete(d.held, 0, n); len(d.held) == 0 {
		d.held = nil
	}
}

// judge has the rules judge what waited.
func (m *Machine) judge(h held) {
	switch {
	case !h.number:
		m.misread(h.series, h.Time, h.text)
	case h.Time > h.series.last:
		m.score(h.series, h.Sample)
	}
}

// appendHeld appends what waits, with the numbers of its series.
func appendHeld(b []byte, d *device) []byte {
	b = codec.Uint(b, uint64(len(d.held)))
	for _, h := range d.held {
		b = codec.Uint(codec.Int(b, h.Time), uint64(slices.Index(d.series, h.series)))
		if b = codec.Bool(b, h.number); h.number {
			b = codec.Float(b, h.Value)
		} else {
			b = codec.String(b, h.text)
		}
	}
	return b
}

// readHeld reads what appendHeld wrote, once the series are there.
func (m *Machine) readHeld(r *codec.Reader, d *device) {
	last := int64(math.MinInt64)
	for range r.Count() {
		h := held{Sample: detect.Sample{Time: r.Int()}}
		number := r.Uint()
		if number >= uint64(len(d.series)) || h.Time < last {
			r.Fail()
			return
		}
		h.series, last = d.series[number], h.Time
		if h.number = r.Bool(); h.number {
			h.Value = r.Float()
		} else {
			h.text = r.String()
		}
		d.held = append(d.held, h)
		m.held++
	}
}
