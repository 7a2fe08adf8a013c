package machine

import (
	"slices"
	"strings"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/units"
	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// A metric has one unit: the declared one, or the first that came. Readings in
// another unit are a series apart: it has windows of its own, so that no summary
// holds two units, and no rule judges it, so that no limit is taken for one of
// another unit. A reading without a unit is in that of its metric.

const (
	// maxUnits bounds the series of one metric. Readings in more units are in the
	// history, but have no summaries.
	maxUnits = 4
	// unitAgain is how many readings in a row in the unit of the metric end the episode
	// of another unit.
	unitAgain = 8
)

// otherUnit is the open episode of a metric that came in another unit.
type otherUnit struct {
	// start is the event time of the first reading in another unit, last that of the
	// last one, which had the value in the unit.
	start, last int64
	value       float64
	unit        string
	// since counts the readings in the unit of the metric since then.
	since int
}

// unitRule is the rule of the anomalies.
var unitRule = &activeRule{rule: rule.UnitChange(), severity: derivedv1.Severity_SEVERITY_INFO}

// seriesOf returns the series that a number of a metric in a unit belongs to, and
// the one that is the metric's, which may be the same. Both are nil when there are
// too many.
func (m *Machine) seriesOf(key deviceKey, d *device, metric, unit string) (s, main *series) {
	if d != nil {
		main = d.find(metric)
	}
	if main == nil {
		main = m.admit(key, metric)
		if main == nil {
			return nil, nil
		}
		if declared := m.config.unit(main); declared != "" {
			main.unit = m.units.intern(declared)
		}
	}
	switch {
	case unit == "" || unit == *main.unit:
		return main, main
	case *main.unit == "":
		main.unit = m.units.intern(unit)
		main.device.chunk.changed = true
		return main, main
	case units.Same(unit, *main.unit):
		return main, main
	}
	return m.apart(main, unit), main
}

// unit returns the declared unit of a series; empty if there is none.
func (c *configuration) unit(s *series) string {
	if c.parsed == nil {
		return ""
	}
	for _, sl := range s.device.derived {
		if sl.declared.Metric == s.metric {
			return sl.declared.Unit
		}
	}
	unit, _ := c.parsed.Reading(s.device.site, s.device.name, s.metric)
	return unit
}

// apart returns the series of another unit of the metric, made if need be, or nil
// when there are too many.
func (m *Machine) apart(main *series, unit string) *series {
	d, n := main.device, 0
	for _, s := range d.series {
		if s.metric != main.metric {
			continue
		}
		if s.apart && units.Same(unit, *s.unit) {
			return s
		}
		n++
	}
	if n >= maxUnits || m.seriesCount >= m.limits.Series || len(d.series) >= m.limits.DeviceSeries {
		return nil
	}
	s := newSeries(main.metric, m.units.intern(unit))
	s.apart = true
	m.addSeries(d, s)
	d.chunk.changed = true
	m.metrics.series(m.lane, m.seriesCount)
	return s
}

// otherUnit takes note that a number of a metric came in another unit.
func (m *Machine) otherUnit(main *series, r detect.Sample, unit string) {
	if m.ahead(r.Time) || r.Time <= main.last {
		return // it is about the past or the future
	}
	o, opens := main.other, main.other == nil
	if opens {
		o = &otherUnit{start: r.Time, last: past}
		main.other = o
	}
	o.since = 0
	if r.Time > o.last {
		o.last, o.value = r.Time, r.Value
		if o.unit != unit {
			o.unit = strings.Clone(unit)
		}
	}
	if opens {
		m.emitUnit(main, detect.Open, r, o.unit, detect.Quantity(r.Value, unit)+": comes in "+o.unit+" instead of "+*main.unit+
			"; until its unit is declared it has summaries of its own and no rule judges it", detect.Recovered)
	}
}

// sameUnit takes note that a number came in the unit of its metric.
func (m *Machine) sameUnit(main *series, r detect.Sample) {
	if main.other == nil || r.Time <= main.other.last {
		return
	}
	main.other.since++
	if main.other.since >= unitAgain {
		m.emitUnit(main, detect.Close, r, *main.unit, detect.Quantity(r.Value, *main.unit)+": comes in "+*main.unit+" again", detect.Recovered)
		main.other = nil
	}
}

// stopUnit closes the episode of another unit, if one is open, for a reason that
// is no reading.
func (m *Machine) stopUnit(main *series, why string, end detect.End) {
	if o := main.other; o != nil {
		at := max(main.last, m.clock-main.lag, o.last)
		m.learned = max(m.clock, at)
		m.emitUnit(main, detect.Close, detect.Sample{Time: at, Value: o.value}, o.unit, why, end)
		main.other = nil
	}
}

func (m *Machine) emitUnit(main *series, phase detect.Phase, r detect.Sample, unit, sentence string, end detect.End) {
	if m.watches != nil {
		return // a Solo emits what its rule finds
	}
	v := detect.Verdict{Phase: phase, Start: main.other.start, Time: r.Time, Evidence: detect.Unbounded(r, sentence), End: end}
	if phase == detect.Open {
		v.Evidence.Score = 1
	}
	m.output.anomalies = append(m.output.anomalies, m.anomaly(main.device, main.metric, unit, unitRule, &v))
}

// declareUnits puts the metrics of a device into the units that are declared now.
// What is known of a metric in another unit stays apart: its rules start again.
func (m *Machine) declareUnits(d *device) {
	for i := range d.series {
		old := d.series[i]
		if old.apart {
			continue
		}
		unit := m.config.unit(old)
		switch {
		case unit == "" || unit == *old.unit:
			continue
		case *old.unit == "" || units.Same(unit, *old.unit):
			old.unit = m.units.intern(unit)
			continue
		}
		why := "the unit is declared as " + unit + " now"
		m.stopUnit(old, why, detect.RuleChanged)
		now := m.apart(old, unit)
		if now == nil {
			continue
		}
		for _, sl := range old.slots {
			m.stop(old, sl, why, detect.RuleChanged)
		}
		old.slots, old.apart, now.apart = nil, true, false
		d.reindex()
		d.expressions = slices.DeleteFunc(d.expressions, func(sl expressionSlot) bool {
			about := slices.Contains(sl.rule.expression.Metrics(), old.metric)
			if about {
				m.detach(d, sl, why, detect.RuleChanged)
			}
			return about
		})
	}
}

// reindex finds the series of the device again.
func (d *device) reindex() {
	d.next = 0
	if d.byMetric == nil {
		return
	}
	for _, s := range d.series {
		if !s.apart {
			d.byMetric[s.metric] = s
		}
	}
}

// heardApart reports whether a metric has a series of another unit: then it is not
// forgotten, or its rules would begin to judge that.
func (d *device) heardApart(metric string) bool {
	for _, s := range d.series {
		if s.apart && s.metric == metric {
			return true
		}
	}
	return false
}

// append appends the episode, nil included.
func (o *otherUnit) append(b []byte) []byte {
	b = codec.Bool(b, o != nil)
	if o == nil {
		return b
	}
	b = codec.String(codec.Float(codec.Int(codec.Int(b, o.start), o.last), o.value), o.unit)
	return codec.Uint(b, uint64(o.since))
}

// readOtherUnit reads what append wrote.
func readOtherUnit(r *codec.Reader) *otherUnit {
	if !r.Bool() {
		return nil
	}
	return &otherUnit{start: r.Int(), last: r.Int(), value: r.Float(), unit: r.String(), since: int(min(r.Uint(), unitAgain))}
}
