package machine

import (
	"slices"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/services/rule"
)

// A derived series is a series of its device like others: it has windows and rules, and
// others can be derived from it. Its readings are not in the input; they are part of the
// output, so that the history and the pages have them.

const (
	// derivedFormat is the version of the chunks with derived series. A snapshot from before
	// there were any has no such chunk.
	derivedFormat = 1
	// derivedPerWeight is how many derived readings weigh as much as a summary.
	derivedPerWeight = 8
	// flushed is how many stale values are evaluated at a time.
	flushed = 64
)

// activeDerived is a derived series in force.
type activeDerived struct {
	declared rule.Derived
	spec     *derive.Spec
}

// derivedSlot is one derived series of a device.
type derivedSlot struct {
	*activeDerived
	// index is that of the declaration.
	index int
	state *derive.State
}

// activateDerived returns the derived series of a configuration, by their numbers.
func activateDerived(c *config.Config) ([]*activeDerived, error) {
	var all []*activeDerived
	for _, d := range c.Derived {
		spec, err := derive.New(d, c.Lateness)
		if err != nil {
			return nil, err
		}
		all = append(all, &activeDerived{declared: d, spec: spec})
	}
	return all, nil
}

// namesOf returns the metrics that are derived.
func namesOf(all []*activeDerived) map[string]bool {
	names := make(map[string]bool, len(all))
	for _, d := range all {
		names[d.declared.Metric] = true
	}
	return names
}

// derivedOf returns the derived series that a device has, without readings.
func (m *Machine) derivedOf(d deviceKey) []derivedSlot {
	if len(m.config.derived) == 0 {
		return nil
	}
	numbers, more := m.config.parsed.DerivedOf(d.site, d.name, m.config.tags(d))
	if more {
		m.output.counts.derivedLimit++
	}
	all := make([]derivedSlot, len(numbers))
	for i, n := range numbers {
		all[i] = derivedSlot{activeDerived: m.config.derived[n], index: n, state: m.config.derived[n].spec.Start()}
	}
	return all
}

// replaceDerived gives the device the derived series in force. One that is derived as before
// keeps what it knows.
func (m *Machine) replaceDerived(d *device, sameLateness bool) {
	old := d.derived
	d.derived = m.derivedOf(d.deviceKey)
	for i := range d.derived {
		for _, o := range old {
			if sl := &d.derived[i]; sameLateness && sl.declared.Equal(o.declared) {
				sl.state = sl.spec.Read(codec.NewReader(o.state.Append(nil)))
			}
		}
	}
}

// derives reports whether a metric of a device is derived, so that readings of that name
// which the device sends itself do not count.
func (m *Machine) derives(key deviceKey, d *device, metric string) bool {
	switch {
	case !m.config.derivedNames[metric]:
		return false
	case d == nil:
		return slices.ContainsFunc(m.derivedOf(key), func(sl derivedSlot) bool { return sl.declared.Metric == metric })
	}
	return slices.ContainsFunc(d.derived, func(sl derivedSlot) bool { return sl.declared.Metric == metric })
}

// derive passes a reading of a metric in its own unit to what is derived from it.
func (m *Machine) derive(d *device, metric string, r detect.Sample) {
	for i := range d.derived {
		sl := &d.derived[i]
		input := slices.Index(sl.spec.Inputs, metric)
		if input < 0 {
			continue
		}
		d.chunk.changed = true
		var few [2]derive.Reading
		out, counts := sl.state.Add(input, derive.Reading{Time: r.Time, Value: r.Value}, m.now(), m.output.weight() >= m.outputLimit, few[:0])
		if !counts {
			m.output.counts.derivedLate++
		}
		m.emitDerived(d, sl, out)
		d.wakes = min(d.wakes, sl.state.Due())
	}
}

// tickDerived evaluates what has waited long enough, and what late readings have made stale.
// It leaves the rest to the next tick when the output is full.
func (m *Machine) tickDerived(d *device) {
	for i := range d.derived {
		sl := &d.derived[i]
		m.emitDerived(d, sl, sl.state.Tick(m.clock, nil))
		for sl.state.Stale() && m.output.weight() < m.outputLimit {
			m.emitDerived(d, sl, sl.state.Flush(flushed, nil))
		}
	}
}

// emitDerived adds derived readings to the output, and takes them as readings of their
// series.
func (m *Machine) emitDerived(d *device, sl *derivedSlot, readings []derive.Reading) {
	if len(readings) == 0 {
		return
	}
	t := target{kind: telemetryv1.Kind_KIND_VALUE, unit: sl.declared.Unit, device: d}
	t.series, t.main = m.seriesOf(d.deviceKey, d, sl.declared.Metric, sl.declared.Unit)
	before := m.deriving
	m.deriving = true
	for _, r := range readings {
		repeated := false
		if t.series != nil {
			repeated = m.reading(&t, r.Time, r.Value) == window.Duplicate
		} else {
			m.output.counts.overLimit++
			m.derive(d, sl.declared.Metric, detect.Sample{Time: r.Time, Value: r.Value})
		}
		if !repeated && m.watches == nil {
			m.output.derived.Value(telemetryv1.Key{Site: d.site, Device: d.name, Metric: sl.declared.Metric, Unit: sl.declared.Unit}, r.Time, r.Value)
		}
	}
	m.deriving = before
}

// feeds reports whether a metric of a device is needed for one that satisfies wanted, which
// is derived from it in one or more steps.
func (m *Machine) feeds(key deviceKey, metric string, wanted func(metric string) bool) bool {
	slots := m.derivedOf(key)
	// Each comes after those that it is made from, so one pass backwards finds all.
	needed := make(map[string]bool)
	for i := len(slots) - 1; i >= 0; i-- {
		if sl := slots[i]; needed[sl.declared.Metric] || wanted(sl.declared.Metric) {
			for _, in := range sl.spec.Inputs {
				needed[in] = true
			}
		}
	}
	return needed[metric]
}

// appendDerived appends the derived series of the devices that have some.
func appendDerived(b []byte, devices []*device) []byte {
	n := uint64(0)
	for _, d := range devices {
		if len(d.derived) > 0 {
			n++
		}
	}
	b = codec.Uint(b, n)
	for _, d := range devices {
		if len(d.derived) == 0 {
			continue
		}
		b = codec.Uint(codec.String(codec.String(b, d.site), d.name), uint64(len(d.derived)))
		for _, sl := range d.derived {
			b = sl.state.Append(codec.Uint(b, uint64(sl.index)))
		}
	}
	return b
}

// readDerived reads what appendDerived wrote. The devices must be there.
func (m *Machine) readDerived(r *codec.Reader) {
	for range r.Count() {
		d := m.devices[deviceKey{site: r.String(), name: r.String()}]
		for range r.Count() {
			index := r.Uint()
			i := -1
			if d != nil {
				i = slices.IndexFunc(d.derived, func(sl derivedSlot) bool { return uint64(sl.index) == index })
			}
			if i < 0 {
				r.Fail()
				return
			}
			d.derived[i].state = d.derived[i].spec.Read(r)
		}
		if d != nil {
			m.plan(d)
		}
	}
}
