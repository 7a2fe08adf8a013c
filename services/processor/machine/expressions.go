package machine

import (
	"slices"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

// expressionSlot is one rule about a device as a whole.
type expressionSlot struct {
	rule  *activeRule
	state *detect.ExpressionState
	// last is the latest event time that was observed, and lag how far that was behind
	// the clock of the lane, as for a series.
	last, lag int64
}

// attach makes the rules watch the device that are about one of its metrics.
func (m *Machine) attach(d *device, metric string) {
	for _, r := range m.config.rules {
		if r.expression == nil || !slices.Contains(r.expression.Metrics(), metric) {
			continue
		}
		watched := slices.ContainsFunc(d.expressions, func(sl expressionSlot) bool { return sl.rule == r })
		if !watched && r.rule.Match.MatchesDevice(d.site, d.name, m.config.tags(d.deviceKey)) {
			d.expressions = append(d.expressions, expressionSlot{rule: r, state: r.expression.Start(), last: past})
		}
	}
	// The order is that of the rules, whatever metric comes first.
	slices.SortFunc(d.expressions, func(a, b expressionSlot) int { return a.rule.index - b.rule.index })
}

// replaceExpressions gives the device the rules in force.
func (m *Machine) replaceExpressions(d *device, tags map[string]string, kept map[*activeRule]*activeRule) {
	old := d.expressions
	d.expressions = nil
	for _, sl := range old {
		r := kept[sl.rule]
		if r == nil || r.expression == nil || !r.rule.Match.MatchesDevice(d.site, d.name, tags) || !d.has(r.expression.Metrics()) {
			m.detach(d, sl, m.config.stopReason(sl.rule.rule), detect.RuleChanged)
			continue
		}
		if !judgesAlike(sl.rule.rule, r.rule) {
			m.adoptExpression(d, sl, r)
			continue
		}
		if sl.state.Failed() != "" {
			r.failing++
		}
		// The rules judge alike, so the new rule can read the state of the old one.
		sl.rule = r
		d.expressions = append(d.expressions, sl)
	}
	for _, s := range d.series {
		m.attach(d, s.metric)
	}
}

// has reports whether the device has a series of one of the metrics.
func (d *device) has(metrics []string) bool {
	return slices.ContainsFunc(d.series, func(s *series) bool { return slices.Contains(metrics, s.metric) })
}

// adoptExpression gives a rule with a new condition the state of the old one, and evaluates
// the condition.
func (m *Machine) adoptExpression(d *device, sl expressionSlot, r *activeRule) {
	if r.expression.Shown() != sl.rule.expression.Shown() {
		m.detach(d, sl, "the rule raises its alerts under another metric now", detect.RuleChanged)
	}
	at := m.expressionTime(&sl)
	m.learned = max(m.clock, at)
	sl.state, m.verdicts = r.expression.Adopt(sl.state, at, m.unitOf(d, r), m.verdicts[:0])
	m.endVerdicts(detect.RuleChanged)
	sl.rule = r
	d.expressions = append(d.expressions, sl)
	m.afterExpression(d, len(d.expressions)-1, "")
}

// detach closes the episode of a rule that does not watch the device any more.
func (m *Machine) detach(d *device, sl expressionSlot, reason string, end detect.End) {
	at := max(sl.last, m.clock-sl.lag)
	m.learned = max(m.clock, at)
	m.verdicts = sl.state.Stop(at, reason, m.verdicts[:0])
	m.endVerdicts(end)
	m.emitExpression(d, sl.rule)
}

// detachAll calls detach for all rules of a device that is forgotten.
func (m *Machine) detachAll(d *device) {
	for i, sl := range d.expressions {
		m.detach(d, sl, "nothing is heard of the device any more", detect.NoData)
		if sl.state.Failed() != "" {
			m.recovered(d, i)
		}
	}
	d.expressions = nil
}

// evaluateExpressions passes a reading to the expressions of its device. It must be later
// than the last of its series.
func (m *Machine) evaluateExpressions(s *series, r detect.Sample) {
	d := s.device
	for i := range d.expressions {
		sl := &d.expressions[i]
		if !slices.Contains(sl.rule.expression.Metrics(), s.metric) {
			continue
		}
		if r.Time > sl.last {
			sl.last, sl.lag = r.Time, max(0, m.clock-r.Time)
		}
		failed := sl.state.Failed()
		m.verdicts = sl.state.Observe(s.metric, r, m.unitOf(d, sl.rule), m.verdicts[:0])
		m.afterExpression(d, i, failed)
	}
}

// listenExpressions sets, for the expressions of a device, since when their metrics count
// as silent before a reading of a series.
func (m *Machine) listenExpressions(of *series, at int64) {
	d := of.device
	for i := range d.expressions {
		sl := &d.expressions[i]
		for _, metric := range sl.rule.expression.Metrics() {
			s := d.find(metric)
			if s == nil || s.last == past {
				continue
			}
			if from := m.since(s, max(at, sl.last)); from > s.last {
				sl.state.Listen(metric, from, s == of && !m.atItsPace(s, at))
			}
		}
	}
}

// correctExpressions passes a value that replaces the latest one to the expressions of the
// device.
func (m *Machine) correctExpressions(s *series, r detect.Sample) {
	d := s.device
	for i := range d.expressions {
		failed := d.expressions[i].state.Failed()
		m.verdicts = d.expressions[i].state.Correct(s.metric, r, m.unitOf(d, d.expressions[i].rule), m.verdicts[:0])
		m.afterExpression(d, i, failed)
	}
}

// tickExpressions passes the time of the clock to the expressions of a device.
func (m *Machine) tickExpressions(d *device) {
	for i := range d.expressions {
		sl := &d.expressions[i]
		if sl.last == past {
			continue
		}
		failed := sl.state.Failed()
		m.verdicts = sl.state.Tick(m.expressionTime(sl), m.unitOf(d, sl.rule), m.verdicts[:0])
		m.afterExpression(d, i, failed)
	}
}

// expressionTime returns the time of the clock for an expression, in the device's time and
// without the time in which Headwater did not listen since its last reading.
func (m *Machine) expressionTime(sl *expressionSlot) int64 {
	return max(sl.last, sl.last+m.clock-m.heard.Since(sl.last+sl.lag, m.clock))
}

// afterExpression emits the verdicts of an expression, and the status of its rule if that
// has changed. Before is the failure before the step, empty for none.
func (m *Machine) afterExpression(d *device, i int, before string) {
	sl := &d.expressions[i]
	m.emitExpression(d, sl.rule)
	switch now := sl.state.Failed(); {
	case before == "" && now != "":
		sl.rule.failing++
		if sl.rule.failing == 1 {
			m.emitStatus(d, sl.rule, now)
		}
	case before != "" && now == "":
		m.recovered(d, i)
	}
	d.planExpression(i)
}

// recovered records that an expression no longer fails for the device.
func (m *Machine) recovered(d *device, i int) {
	r := d.expressions[i].rule
	r.failing--
	if r.failing == 0 {
		m.emitStatus(d, r, "")
	}
}

// emitStatus adds the status of a rule to the output.
func (m *Machine) emitStatus(d *device, r *activeRule, failure string) {
	status := &derivedv1.RuleStatus{
		Rule: r.rule.Name, RuleVersion: r.version, Failing: r.failing, Error: failure, Learned: m.learned,
	}
	if failure != "" {
		status.Site, status.Device = d.site, d.name
	}
	m.output.rules = append(m.output.rules, status)
}

// emitExpression adds the verdicts in m.verdicts to the output.
func (m *Machine) emitExpression(d *device, r *activeRule) {
	for i := range m.verdicts {
		a := m.anomaly(d, r.expression.Shown(), m.unitOf(d, r), r, &m.verdicts[i])
		m.output.anomalies = append(m.output.anomalies, a)
	}
}

// unitOf returns the unit of the metric under which the rule raises alerts.
func (m *Machine) unitOf(d *device, r *activeRule) string {
	if s := d.find(r.expression.Shown()); s != nil {
		return *s.unit
	}
	return ""
}

// planExpression makes the device wake when the expression in the slot is due.
func (d *device) planExpression(i int) {
	sl := &d.expressions[i]
	if due := sl.state.Due(); due != detect.Never && sl.last != past {
		d.wakes = min(d.wakes, due+sl.lag)
	}
}

func appendExpressions(b []byte, d *device) []byte {
	b = codec.Uint(b, uint64(len(d.expressions)))
	for _, sl := range d.expressions {
		b = codec.Int(codec.Int(codec.Uint(b, uint64(sl.rule.index)), sl.last), sl.lag)
		b = sl.state.Append(b)
	}
	return b
}

func (m *Machine) readExpressions(r *codec.Reader, d *device) {
	for range r.Count() {
		index := r.Uint()
		if index >= uint64(len(m.config.rules)) || m.config.rules[index].expression == nil {
			r.Fail()
			return
		}
		rule := m.config.rules[index]
		sl := expressionSlot{rule: rule, last: r.Int(), lag: r.Int(), state: rule.expression.Read(r)}
		if sl.state.Failed() != "" {
			rule.failing++
		}
		d.expressions = append(d.expressions, sl)
	}
}
