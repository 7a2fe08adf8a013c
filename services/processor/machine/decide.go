package machine

import (
	"slices"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
)

const (
	// maxDecided bounds the states of rules that a decision has, and maxDecisions the
	// decisions about one batch: they must fit into a commit.
	maxDecided   = 64
	maxDecisions = 20
)

// decide adds to the output what the rules say of each device of the batch, which is what its
// sender waits for.
func (m *Machine) decide(dictionary []telemetryv1.Series) {
	first := len(m.output.decisions)
	for i := range dictionary {
		key := deviceKey{site: dictionary[i].Site, name: dictionary[i].Device}
		made := m.output.decisions[first:]
		if len(made) == maxDecisions {
			return
		}
		if slices.ContainsFunc(made, func(d *derivedv1.Decision) bool { return d.Device == key.name && d.Site == key.site }) {
			continue
		}
		d := m.decision(key)
		m.output.decisions = append(m.output.decisions, d)
		m.output.decided += 1 + len(d.Rules)
	}
}

// decision returns what the rules say of a device after the current message.
func (m *Machine) decision(key deviceKey) *derivedv1.Decision {
	out := &derivedv1.Decision{Sequence: m.sequence, Site: key.site, Device: key.name}
	d := m.devices[key]
	if d == nil { // all that it has sent is text, or the lane is full
		return out
	}
	out.Held = uint64(len(d.held))
	add := func(r *activeRule, metric string, open float64, learning bool, judged int64) {
		if len(out.Rules) == maxDecided {
			out.More = true
			return
		}
		s := &derivedv1.RuleState{Rule: r.rule.Name, Metric: metric, Judgement: derivedv1.Judgement_JUDGEMENT_NORMAL}
		switch {
		case open > 0:
			s.Judgement, s.Severity, s.Score = derivedv1.Judgement_JUDGEMENT_ABNORMAL, r.severity, open
		case learning:
			s.Judgement = derivedv1.Judgement_JUDGEMENT_LEARNING
		}
		if judged > past {
			s.Judged = judged
		}
		out.Rules = append(out.Rules, s)
	}
	for _, s := range d.series {
		for _, sl := range s.slots {
			add(sl.rule, s.metric, sl.state.Open(), sl.state.Learning(), s.last)
		}
	}
	for _, sl := range d.expressions {
		open := 0.0
		if sl.state.Open() {
			open = 1
		}
		add(sl.rule, sl.rule.expression.Shown(), open, false, sl.last)
	}
	return out
}
