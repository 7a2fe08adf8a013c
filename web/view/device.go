package view

import "time"

// State is the state of a device.
type State string

const (
	// StateOK is a device that reports and has no firing alert.
	StateOK State = "ok"
	// StateFiring is a device with at least one firing alert.
	StateFiring State = "firing"
	// StateSilent is a device that has not reported for longer than it used to.
	StateSilent State = "silent"
	// StateUnknown is a device that is due, but Headwater has not listened for long
	// enough to call it silent, because it has just started or had stopped.
	StateUnknown State = "unknown"
)

// Device is what is known of one device now.
type Device struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	State  State  `json:"state"`
	// About is what people say about the device.
	About DeviceAbout `json:"about,omitzero"`
	// LastSeen is when the latest reading arrived; it is exact to the minute if that
	// was before the dashboard's memory begins, and zero if no reading is kept.
	LastSeen  time.Time `json:"last_seen,omitzero"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	// Metrics are in the order of their names.
	Metrics []Metric `json:"metrics"`
	// Findings are the reasons not to believe the device.
	Findings []Finding `json:"findings,omitempty"`
	// Firing are the firing alerts, the worst first.
	Firing []Alert `json:"firing,omitempty"`
	// Clashes counts the readings of the last 24 hours, by their arrival, that gave
	// another value for an event time that had one: the last one stands.
	Clashes uint64 `json:"clashes,omitempty"`
	// Waiting reports whether the history is still to be asked for the latest values,
	// so that missing ones may come.
	Waiting bool `json:"waiting,omitempty"`
}

// Metric is one series with its latest value.
type Metric struct {
	Name string `json:"name"`
	// Unit is that of the latest number.
	Unit string `json:"unit,omitempty"`
	// Units are all in which numbers came, in the order in which they did first; nil
	// when there is only one.
	Units []string `json:"units,omitempty"`
	Kind  Kind     `json:"kind"`
	// Value is the value of the latest reading of this kind by event time.
	Value Value `json:"value"`
	// Time is the event time of that reading; zero when there is none.
	Time time.Time `json:"time,omitzero"`
	// Changed is the event time at which the value became what it is; zero when it has not
	// changed since the dashboard remembers.
	Changed time.Time `json:"changed,omitzero"`
	// About is what people say about the metric.
	About MetricAbout `json:"-"`
	// Odd is the latest reading when it is newer and of another kind, such as a
	// text among numbers.
	Odd *Odd `json:"odd,omitempty"`
	// Spark is the recent past in slots of equal width, oldest first, without
	// the empty ones.
	Spark []Slot `json:"-"`
}

// Odd is a reading of another kind than is usual for its series.
type Odd struct {
	Kind  Kind      `json:"kind"`
	Value Value     `json:"value"`
	Time  time.Time `json:"time"`
}

// Drawn reports whether the metric has a chart: its latest value is not a text, or
// there were numbers recently, as from a sensor that reports "unavailable" for a
// while.
func (m Metric) Drawn() bool { return m.Kind != KindText || len(m.Spark) > 0 }

// HasStates reports whether the metric has a timeline of states: its latest value is a flag
// or a text, and there were no numbers recently.
func (m Metric) HasStates() bool {
	return m.Kind == KindFlag || m.Kind == KindText && len(m.Spark) == 0
}

// ChartUnits are the units of the charts of the metric: one chart cannot show two.
func (m Metric) ChartUnits() []string {
	if len(m.Units) > 1 {
		return m.Units
	}
	return []string{m.Unit}
}

// Slot is what a series did in one slot of a sparkline.
type Slot struct {
	// Start is the start of the slot, which is SlotWidth wide.
	Start          time.Time
	Min, Max, Last float64
}

// SlotWidth and SlotCount say what a sparkline covers: a quarter of an hour.
const (
	SlotWidth = 15 * time.Second
	SlotCount = 60
)
