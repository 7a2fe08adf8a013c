package processor

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
)

// chunkCount is in how many chunks the devices of a lane are kept: a snapshot
// writes those in which something has changed.
const chunkCount = 64

// past is earlier than any time that counts.
const past = -window.MaxTime

// chunk is the devices that are kept together in a snapshot, in the order in
// which they were first heard of. That order is part of the state: outputs
// follow it.
type chunk struct {
	devices []*device
	// changed says that the state differs from that of the last snapshot.
	changed bool
}

type deviceKey struct{ site, name string }

// device is what is known of one device.
type device struct {
	deviceKey
	chunk *chunk
	// spec are the windows of its series.
	spec *window.Spec
	// watermark is the greatest event time of its readings.
	watermark int64
	// closes is when the first open window of its series is due: when the
	// watermark or the clock reaches it.
	closes int64
	// wakes is the earliest clock at which a series has something else to do. It
	// may be too early, never too late.
	wakes  int64
	series []*series
	// held are readings that wait for their time to come, in its order.
	held []held
	// expressions are the rules that are about the device as a whole.
	expressions []expressionSlot
	// byMetric finds series once there are many; nil until then.
	byMetric map[string]*series
	// next is where find looks first: devices give their metrics in the same
	// order again and again.
	next int
}

// fewSeries is up to how many series a device's list is searched one by one.
const fewSeries = 16

// series is what is known of one series.
type series struct {
	device *device
	metric string
	// unit is that of the last reading.
	unit   *string
	window window.Series
	// missed is nil until a reading came too late.
	missed *missed
	// last is the event time of the last reading that was scored, said that of the
	// last one that was not a number and that a rule counted.
	last, said int64
	// lag is how far that event time lay behind the clock of the lane. Deadlines
	// of detectors are in the device's own time; with the lag they become times
	// of the lane's clock.
	lag int64
	// step is how far apart the last two readings were that were scored, or twice the
	// step before if that is less; 0 if there was only one.
	step  int64
	slots []slot
	// thin gathers the readings of a fast series for the detectors that learn.
	thin thin
}

// slot is one rule that watches a series.
type slot struct {
	rule  *activeRule
	state detect.State
}

// chunkOf returns the index of the device's chunk. The hash has nothing in
// common with that of the lane.
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
	c.devices = append(c.devices, d)
	m.devices[k] = d
	return d
}

// addSeries puts a series at the end of its device's.
func (m *Machine) addSeries(d *device, s *series) {
	s.device = d
	d.series = append(d.series, s)
	switch {
	case d.byMetric != nil:
		d.byMetric[s.metric] = s
	case len(d.series) > fewSeries:
		d.byMetric = make(map[string]*series, len(d.series))
		for _, s := range d.series {
			d.byMetric[s.metric] = s
		}
	}
	m.seriesCount++
}

// find returns the series of the metric, or nil.
func (d *device) find(metric string) *series {
	if d.next < len(d.series) && d.series[d.next].metric == metric {
		d.next++
		return d.series[d.next-1]
	}
	if d.byMetric != nil {
		return d.byMetric[metric]
	}
	for i, s := range d.series {
		if s.metric == metric {
			d.next = i + 1
			return s
		}
	}
	return nil
}

// target is what a series of a batch's dictionary is in the state.
type target struct {
	kind telemetryv1.Kind
	unit string
	// device is nil when none of its readings were numbers so far.
	device *device
	// series is nil when there are too many; for flags and texts also when the
	// metric has no numbers, or no rule counts what is none.
	series *series
}

// resolve looks the series of a batch up, and makes those that are new.
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
		if entry.Kind == telemetryv1.Kind_KIND_VALUE {
			if t.device != nil {
				t.series = t.device.find(entry.Metric)
			}
			if t.series == nil {
				t.series = m.admit(key, entry.Metric)
			}
			if t.series != nil {
				t.device, last = t.series.device, t.series.device
			}
		}
		m.targets = append(m.targets, t)
	}
	if m.config.misreads {
		m.resolveOthers(dictionary)
	}
}

// resolveOthers finds the series of numbers whose metric some flags or texts are
// of, wherever in the batch both stand.
func (m *Machine) resolveOthers(dictionary []telemetryv1.Series) {
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

// admit makes a series, and its device if that is new, or returns nil when
// there are too many. The names are copied: they are parts of the batch.
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
	s := &series{metric: *m.names.intern(metric), unit: m.units.intern(""), window: window.New(), last: past, said: past}
	m.addSeries(d, s)
	d.chunk.changed = true
	for _, r := range m.config.watch(d.deviceKey, s.metric, m.config.tags(d.deviceKey), nil) {
		s.slots = append(s.slots, slot{rule: r, state: r.detector(m.config.zone(d.site)).Start()})
	}
	m.attach(d, s.metric)
	m.metrics.series(m.lane, m.seriesCount)
	return s
}

// plan recomputes when the device has something to do.
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
		if s.missed != nil {
			d.wakes = min(d.wakes, s.missed.due)
		}
		for i := range s.slots {
			s.plan(i)
		}
	}
	for i := range d.expressions {
		d.planExpression(i)
	}
}

// plan has the device wake when the detector in the slot is due.
func (s *series) plan(i int) {
	if due := s.slots[i].state.Due(); due != detect.Never {
		s.device.wakes = min(s.device.wakes, due+s.lag)
	}
}

// evict forgets the series that were silent for longer than the limit, and
// devices without series.
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

func (m *Machine) evictSeries(d *device) {
	kept := d.series[:0]
	for _, s := range d.series {
		waits := slices.ContainsFunc(d.held, func(h held) bool { return h.series == s })
		if waits || m.heard.Listened(s.last+s.lag, m.clock) <= int64(m.limits.Silence) {
			kept = append(kept, s)
			continue
		}
		for _, sl := range s.slots {
			m.stop(s, sl, "nothing is heard of the series any more")
		}
		m.seriesCount--
		delete(d.byMetric, s.metric)
		d.chunk.changed = true
	}
	clear(d.series[len(kept):])
	d.series = kept
}

// finite reports whether the value is a number that windows and detectors take.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
