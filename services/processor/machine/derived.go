package machine

import (
	"slices"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/processor/codec"
	"headwater/services/processor/counter"
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
	lateness time.Duration
	// formulas are by the time zone of the sites that they are for.
	formulas map[string]*formula
}

// formula says how a series is derived.
type formula struct {
	inputs []string
	start  func() derivation
	read   func(*codec.Reader) derivation
}

// derivation is the state of a derived series.
type derivation interface {
	// Add takes a reading of an input, which arrived at now, and appends what is derived from
	// it to out. It reports false for a reading that is too late. If full is set, values are
	// stale instead.
	Add(input int, r derive.Reading, now int64, full bool, out []derive.Reading) ([]derive.Reading, bool)
	// Tick appends the values that are due by the clock of the lane, and Flush about so many
	// of those that are stale.
	Tick(clock int64, out []derive.Reading) []derive.Reading
	Flush(most int, out []derive.Reading) []derive.Reading
	Stale() bool
	// Due returns when Tick or Flush has something to do, by the clock of the lane.
	Due() int64
	Append(b []byte) []byte
}

// derivedSlot is one derived series of a device.
type derivedSlot struct {
	*activeDerived
	*formula
	// index is that of the declaration.
	index int
	state derivation
}

// activateDerived returns the derived series of a configuration, by their numbers.
func activateDerived(c *config.Config) ([]*activeDerived, error) {
	var all []*activeDerived
	for _, d := range c.Derived {
		active := &activeDerived{declared: d, lateness: c.Lateness, formulas: make(map[string]*formula)}
		if d.Counter == nil {
			spec, err := derive.New(d, c.Lateness)
			if err != nil {
				return nil, err
			}
			active.formulas[anyZone] = &formula{
				inputs: spec.Inputs,
				start:  func() derivation { return spec.Start() }, read: func(r *codec.Reader) derivation { return spec.Read(r) },
			}
		}
		all = append(all, active)
	}
	return all, nil
}

// anyZone is the key of the formula of a series that is the same in all time zones.
const anyZone = ""

// in returns the formula for sites in a time zone, which must be known.
func (a *activeDerived) in(zone string) *formula {
	c := a.declared.Counter
	if c == nil {
		zone = anyZone
	}
	f := a.formulas[zone]
	if f != nil {
		return f
	}
	place, err := time.LoadLocation(zone)
	if err != nil {
		place = time.UTC // it was known when the configuration was read
	}
	spec := &counter.Spec{Rollover: c.Rollover, MaxRate: c.MaxRate, Lateness: a.lateness, Place: place, Cost: a.declared.Cost, Price: c.Price}
	for _, t := range c.Tariff {
		spec.Prices = append(spec.Prices, counter.Price{Weekly: t.Weekly(), Price: t.Price})
	}
	f = &formula{
		inputs: a.declared.Inputs(),
		start:  func() derivation { return spec.Start() }, read: func(r *codec.Reader) derivation { return spec.Read(r) },
	}
	a.formulas[zone] = f
	return f
}

// continues reports whether a series continues with the state of another declaration: that of
// the same meter does, so that no consumption is lost.
func (a *activeDerived) continues(o *activeDerived) bool {
	x, y := a.declared, o.declared
	if x.Counter != nil && y.Counter != nil {
		return x.Metric == y.Metric && x.Cost == y.Cost
	}
	return a.lateness == o.lateness && x.Equal(y)
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
		f := m.config.derived[n].in(m.config.zone(d.site))
		all[i] = derivedSlot{activeDerived: m.config.derived[n], formula: f, index: n, state: f.start()}
	}
	return all
}

// replaceDerived gives the device the derived series in force. One that is derived as before
// keeps what it knows.
func (m *Machine) replaceDerived(d *device) {
	old := d.derived
	d.derived = m.derivedOf(d.deviceKey)
	for i := range d.derived {
		for _, o := range old {
			if sl := &d.derived[i]; sl.continues(o.activeDerived) {
				sl.state = sl.read(codec.NewReader(o.state.Append(nil)))
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
		input := slices.Index(sl.inputs, metric)
		if input < 0 {
			continue
		}
		d.chunk.changed = true
		var few [2]derive.Reading
		out, counts := sl.state.Add(input, derive.Reading{Time: r.Time, Value: r.Value}, m.now(), m.output.weight() >= m.outputLimit, few[:0])
		if !counts {
			m.output.counts.derivedLate++
		}
		m.emitDerived(d.deviceKey, sl.declared.Metric, sl.declared.Unit, out)
		d.wakes = min(d.wakes, sl.state.Due())
	}
}

// tickDerived evaluates what has waited long enough, and what late readings have made stale.
// It leaves the rest to the next tick when the output is full.
func (m *Machine) tickDerived(d *device) {
	for i := range d.derived {
		sl := &d.derived[i]
		m.emitDerived(d.deviceKey, sl.declared.Metric, sl.declared.Unit, sl.state.Tick(m.clock, nil))
		for sl.state.Stale() && m.output.weight() < m.outputLimit {
			m.emitDerived(d.deviceKey, sl.declared.Metric, sl.declared.Unit, sl.state.Flush(flushed, nil))
		}
	}
}

// emitDerived adds derived readings of a metric of a device to the output, and takes them as
// readings of their series.
func (m *Machine) emitDerived(key deviceKey, metric, unit string, readings []derive.Reading) {
	if len(readings) == 0 {
		return
	}
	d := m.devices[key]
	t := target{kind: telemetryv1.Kind_KIND_VALUE, unit: unit, device: d}
	if t.series, t.main = m.seriesOf(key, d, metric, unit); t.main != nil {
		t.device = t.main.device
	}
	before := m.deriving
	m.deriving = true
	for _, r := range readings {
		repeated := false
		if t.series != nil {
			repeated = m.reading(&t, r.Time, r.Value) == window.Duplicate
		} else {
			m.output.counts.overLimit++
			if d != nil {
				m.derive(d, metric, detect.Sample{Time: r.Time, Value: r.Value})
			}
		}
		if !repeated && m.watches == nil {
			m.output.derived.Value(telemetryv1.Key{Site: key.site, Device: key.name, Metric: metric, Unit: unit}, r.Time, r.Value)
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
			for _, in := range sl.inputs {
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
			d.derived[i].state = d.derived[i].read(r)
		}
		if d != nil {
			m.plan(d)
		}
	}
}
