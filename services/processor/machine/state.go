package machine

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
)

// chunkCount is the number of chunks of the devices of a lane. A snapshot writes the chunks
// that have changed.
const chunkCount = 64

// past is earlier than any valid time.
const past = -window.MaxTime

// chunk is the devices that a snapshot stores together, in the order in which they first
// appeared. The order is part of the state, because it is the order of the outputs.
type chunk struct {
	devices []*device
	// changed is set if the state differs from that of the last snapshot.
	changed bool
}

type deviceKey struct{ site, name string }

// device is the state of one device.
type device struct {
	deviceKey
	chunk *chunk
	// spec are the windows of its series.
	spec *window.Spec
	// watermark is the greatest event time of its readings.
	watermark int64
	// closes is when the first open window of its series ends: once the watermark or
	// the clock reaches it.
	closes int64
	// wakes is the earliest clock at which a series has something else to do. It may be
	// too early, but never too late.
	wakes  int64
	series []*series
	// held are readings that wait for their event time, in order of it.
	held []heldReading
	// derived are its derived series, each after those that it is made from.
	derived []derivedSlot
	// expressions are the rules about the device as a whole.
	expressions []expressionSlot
	// byMetric is an index of series, nil while there are few.
	byMetric map[string]*series
	// next is the index at which find looks first, because a device usually reports its
	// metrics in the same order.
	next int
}

// fewSeries is the number of series up to which a device has no index of them.
const fewSeries = 16

// series is the state of one series.
type series struct {
	device *device
	metric string
	// unit is that of all its readings, but for those that came without one; empty
	// until one has come.
	unit *string
	// apart says that the metric is in another unit: no rule watches the series.
	apart bool
	// other is set while the metric comes in another unit, too.
	other  *otherUnit
	window window.Series
	// stale is nil until a reading arrives too late for its window.
	stale *staleRollups
	// last is the event time of the last number that the detectors have seen, and
	// lastNonNumeric that of the last other reading that a rule counted.
	last, lastNonNumeric int64
	// lag is how far last was behind the clock of the lane when it arrived. Deadlines of
	// detectors are in the device's time; adding the lag gives the time of the lane's
	// clock.
	lag int64
	// step is the time between the last two numbers that the detectors have seen, but at
	// most twice the previous step; 0 if there was only one.
	step  int64
	slots []slot
	// downsampler computes the means of a fast series for the detectors that learn.
	downsampler downsampler
}

// slot is one rule that watches a series.
type slot struct {
	rule  *activeRule
	state detect.State
}

// chunkOf returns the index of the device's chunk. The hash is independent of the one that
// selects the lane.
func chunkOf(k deviceKey) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(k.site))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(k.name))
	// Fibonacci hashing: the upper bits of the product depend on all of the hash.
	return int(h.Sum64() * 0x9E3779B97F4A7C15 >> 58)
}

// addDevice puts a device at the end of its chunk.
func (m *Machine) addDevice(k deviceKey) *device {
	c := &m.chunks[chunkOf(k)]
	d := &device{deviceKey: k, chunk: c, spec: m.specOf(k.site), watermark: past, closes: window.Never, wakes: window.Never}
	d.derived = m.derivedOf(k)
	c.devices = append(c.devices, d)
	m.devices[k] = d
	return d
}

// addSeries puts a series at the end of the series of its device, but before the derived
// ones: all series of a message are added before its first reading, so the order would depend
// on how readings are packed.
func (m *Machine) addSeries(d *device, s *series) {
	at := len(d.series)
	if !m.derives(d.deviceKey, d, s.metric) {
		for at > 0 && m.derives(d.deviceKey, d, d.series[at-1].metric) {
			at--
		}
	}
	m.insertSeries(d, s, at)
}

// insertSeries puts a series at an index of the series of its device.
func (m *Machine) insertSeries(d *device, s *series, at int) {
	s.device = d
	d.series = slices.Insert(d.series, at, s)
	switch {
	case d.byMetric != nil && !s.apart:
		d.byMetric[s.metric] = s
	case d.byMetric == nil && len(d.series) > fewSeries:
		d.byMetric = make(map[string]*series, len(d.series))
		d.reindex()
	}
	m.seriesCount++
}

// find returns the series of the metric in its own unit, or nil.
func (d *device) find(metric string) *series {
	if d.next < len(d.series) && d.series[d.next].metric == metric && !d.series[d.next].apart {
		d.next++
		return d.series[d.next-1]
	}
	if d.byMetric != nil {
		return d.byMetric[metric]
	}
	for i, s := range d.series {
		if s.metric == metric && !s.apart {
			d.next = i + 1
			return s
		}
	}
	return nil
}

// target is the state that an entry of a batch's dictionary belongs to.
type target struct {
	kind telemetryv1.Kind
	unit string
	// device is nil if it has not sent a number yet.
	device *device
	// series is nil if there are too many. For flags and texts it is also nil if the
	// metric has no numbers, or no rule counts other readings.
	series *series
	// main is the series of the metric in its own unit, which may be the same.
	main *series
	// derived is set if the device has a derived series of that name. Then its own readings
	// are only in the history.
	derived bool
}

// resolve looks up the series of a batch, and adds the new ones.
func (m *Machine) resolve(dictionary []telemetryv1.Series) {
	m.targets = m.targets[:0]
	var last *device
	for i := range dictionary {
		entry := &dictionary[i]
		key := deviceKey{site: entry.Site, name: entry.Device}
		// The series of one device come together.
		if last == nil || last.deviceKey != key {
			last = m.devices[key]
		}
		t := target{kind: entry.Kind, unit: entry.Unit, device: last}
		if entry.Kind == telemetryv1.Kind_KIND_VALUE && m.derives(key, last, entry.Metric) {
			t.derived = true
		} else if entry.Kind == telemetryv1.Kind_KIND_VALUE {
			t.series, t.main = m.seriesOf(key, t.device, entry.Metric, entry.Unit)
			if t.main != nil {
				t.device, last = t.main.device, t.main.device
			}
		}
		m.targets = append(m.targets, t)
	}
	if m.config.judgesNonNumeric {
		m.resolveNonNumeric(dictionary)
	}
}

// resolveNonNumeric looks up the series of the flags and texts whose metric also has
// numbers. It follows resolve, so the numbers may be anywhere in the batch.
func (m *Machine) resolveNonNumeric(dictionary []telemetryv1.Series) {
	for i := range dictionary {
		entry := &dictionary[i]
		if entry.Kind == telemetryv1.Kind_KIND_VALUE {
			continue
		}
		if d := m.devices[deviceKey{site: entry.Site, name: entry.Device}]; d != nil {
			m.targets[i].series = d.find(entry.Metric)
		}
	}
}

// admit adds a series, and its device if that is new. It returns nil if there are too many,
// or if nothing watches the series. It copies the names, which are parts of the batch.
func (m *Machine) admit(key deviceKey, metric string) *series {
	if m.watches != nil && !m.watches(key, metric) {
		return nil
	}
	d := m.devices[key]
	if m.seriesCount >= m.limits.Series || d != nil && len(d.series) >= m.limits.DeviceSeries {
		return nil
	}
	if d == nil {
		d = m.addDevice(deviceKey{site: strings.Clone(key.site), name: strings.Clone(key.name)})
	}
	s := newSeries(*m.names.intern(metric), m.units.intern(""))
	m.addSeries(d, s)
	d.chunk.changed = true
	for _, r := range m.config.watch(d.deviceKey, s.metric, m.config.tags(d.deviceKey), nil) {
		s.slots = append(s.slots, slot{rule: r, state: r.detector(m.config.zone(d.site)).Start()})
	}
	m.attach(d, s.metric)
	m.metrics.series(m.lane, m.seriesCount)
	return s
}

func newSeries(metric string, unit *string) *series {
	return &series{metric: metric, unit: unit, window: window.New(), last: past, lastNonNumeric: past}
}

// plan recomputes when the device next has something to do.
func (m *Machine) plan(d *device) {
	d.closes, d.wakes = window.Never, window.Never
	if len(d.held) > 0 {
		d.wakes = d.held[0].Time
	}
	for _, s := range d.series {
		d.closes = min(d.closes, s.window.Due())
		if s.window.Dirty() {
			d.wakes = past
		}
		if s.stale != nil {
			d.wakes = min(d.wakes, s.stale.due)
		}
		for i := range s.slots {
			s.plan(i)
		}
	}
	for i := range d.expressions {
		d.planExpression(i)
	}
	for i := range d.derived {
		d.wakes = min(d.wakes, d.derived[i].state.Due())
	}
}

// plan makes the device wake when the detector in the slot is due.
func (s *series) plan(i int) {
	if due := s.slots[i].state.Due(); due != detect.Never {
		s.device.wakes = min(s.device.wakes, due+s.lag)
	}
}

// evict forgets the series that have been silent for longer than the limit, and the devices
// without series.
func (m *Machine) evict() {
	for i := range m.chunks {
		c := &m.chunks[i]
		kept := c.devices[:0]
		for _, d := range c.devices {
			if m.evictSeries(d); len(d.series) > 0 {
				kept = append(kept, d)
			} else {
				m.detachAll(d)
				delete(m.devices, d.deviceKey)
			}
		}
		clear(c.devices[len(kept):])
		c.devices = kept
	}
	m.metrics.series(m.lane, m.seriesCount)
}

// evictSeries forgets the silent series of a device and closes their episodes.
func (m *Machine) evictSeries(d *device) {
	kept := d.series[:0]
	for _, s := range d.series {
		waits := slices.ContainsFunc(d.held, func(h heldReading) bool { return h.series == s }) || !s.apart && d.heardApart(s.metric)
		if waits || m.heard.Listened(s.last+s.lag, m.clock) <= int64(m.limits.Silence) {
			kept = append(kept, s)
			continue
		}
		for _, sl := range s.slots {
			m.stop(s, sl, "nothing is heard of the series any more", detect.NoData)
		}
		m.stopUnit(s, "nothing is heard of the series any more", detect.NoData)
		m.seriesCount--
		if !s.apart {
			delete(d.byMetric, s.metric)
		}
		d.chunk.changed = true
	}
	clear(d.series[len(kept):])
	d.series = kept
}

// finite reports whether the value is neither NaN nor an infinity.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
