package ui

import "headwater/web/view"

// UnitOf returns the unit of a metric's value; a flag and a missing value have
// none.
func UnitOf(m view.Metric) string {
	if m.Value.Kind != view.KindNumber {
		return ""
	}
	return Unit(m.ShownUnit())
}

// ValueWords is the latest value of a metric without its unit.
func ValueWords(d view.Device, m view.Metric) string {
	if m.Value.Kind == "" && d.Waiting {
		return "…"
	}
	return m.Shown()
}

// oddWords introduces a reading that is not of the usual kind.
func oddWords(m view.Metric) string {
	switch m.Kind {
	case view.KindNumber:
		return "not a number:"
	case view.KindFlag:
		return "neither on nor off:"
	}
	return "not a text:"
}
