package view

import "time"

// State says how a device does.
type State string

const (
	// StateOK is a device that reports and has no firing alert.
	StateOK State = "ok"
	// StateFiring is a device with at least one firing alert.
	StateFiring State = "firing"
	// StateSilent is a device that has not reported for longer than it used to.
	StateSilent State = "silent"
	// StateUnknown is a device that is due, but Headwater has not listened for
	// long enough to call it silent: it has just started, or stood still.
	StateUnknown State = "unknown"
)

// Device is what is known of one device now.
type Device struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	State  State  `json:"state"`
	// LastSeen is when the latest reading arrived, of one from before the memory
	// of the dashboard to the minute; zero when no reading is kept.
	LastSeen  time.Time `json:"last_seen,omitzero"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	// Metrics are in the order of their names.
	Metrics []Metric `json:"metrics"`
	// Firing holds the sentences of the firing alerts, the worst first.
	Firing []Alert `json:"firing,omitempty"`
	// Waiting says that the history has not been asked for the latest values yet:
	// those that are missing may come.
	Waiting bool `json:"waiting,omitempty"`
}

// Metric is one series with its latest value.
type Metric struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	Kind Kind   `json:"kind"`
	// Value is that of the latest reading of this kind by event time.
	Value Value `json:"value"`
	// Time is the event time of that reading; zero when there is none.
	Time time.Time `json:"time,omitzero"`
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

// Drawn reports whether the metric has a chart: its latest value is no text, or
// numbers came lately, as from a sensor that says "unavailable" for a while.
func (m Metric) Drawn() bool { return m.Kind != KindText || len(m.Spark) > 0 }

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
