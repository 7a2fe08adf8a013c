package detect

import (
	"fmt"
	"math"
	"time"

	"headwater/services/rule"
)

// New returns the detector that a rule declares, for sites in the time zone of
// place. It is how every detector is made: live, in a replay and on the command
// line. The rule must have its defaults. It fails for a rule whose detector judges
// devices (see NewExpression), is unknown, or has parameters out of bounds.
func New(r rule.Rule, place *time.Location) (Detector, error) {
	alarms := Alarms{FalseAlarms: r.FalseAlarms, For: r.For, Silence: r.Silence}
	var d Detector
	switch r.Detector {
	case rule.Limit:
		d = &Limit{Above: or(r.Above, math.Inf(1)), Below: or(r.Below, math.Inf(-1)), Hysteresis: r.Hysteresis, For: r.For, Silence: r.Silence}
	case rule.Rate:
		d = &Rate{Rise: r.Rise, Fall: r.Fall, Within: r.Within, Settle: r.Settle, Silence: r.Silence}
	case rule.Auto:
		d = &Auto{Alarms: alarms, Location: place}
	case rule.Surge:
		d = &Surge{Alarms: alarms, Direction: directions[r.Direction]}
	case rule.Range:
		d = &Range{Alarms: alarms}
	case rule.Season:
		d = &Season{Alarms: alarms, Location: place}
	case rule.Shift:
		d = &Shift{Alarms: alarms}
	case rule.Stuck:
		d = &Stuck{Alarms: alarms}
	case rule.Silence:
		d = &Silence{FalseAlarms: r.FalseAlarms}
	case rule.Drift:
		d = &Drift{Alarms: alarms, Location: place}
	case rule.Unreadable:
		d = &Unreadable{Share: r.Share, Within: r.Within, Silence: r.Silence}
	default:
		return nil, fmt.Errorf("no detector %q judges single series", r.Detector)
	}
	return d, d.Validate()
}

// or returns the number if there is one.
func or(v *float64, otherwise float64) float64 {
	if v == nil {
		return otherwise
	}
	return *v
}

// directions maps what people declare to what the detector takes.
var directions = map[rule.Direction]Direction{rule.Both: Both, rule.Up: Up, rule.Down: Down}
