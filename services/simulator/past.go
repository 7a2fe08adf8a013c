package simulator

import (
	"math"
	"time"

	"headwater/services/simulator/warehouse"
)

// The past of the demo, before it began.
const (
	// pastFor is how far it reaches back.
	pastFor = 30 * 24 * time.Hour
	// backlog is the last part of it, which the devices send themselves when they begin, a
	// reading every backlogEvery.
	backlog      = 15 * time.Minute
	backlogEvery = 15 * time.Second
	// openEvery is the mean time between two doors left open, openFor how long they were.
	openEvery = 12 * time.Hour
	openFor   = 40 * time.Minute
	// The sensor drifting has become warmer by driftPerDay since driftFor before the demo
	// began, up to driftMost.
	drifting               = 12
	driftFor               = 25 * 24 * time.Hour
	driftPerDay, driftMost = 0.1, 4.0
	// The sensor silent stopped reporting silentFor before the demo began.
	silent    = 19
	silentFor = 5 * time.Hour
)

// Measurement is what a device measured at a time in nanoseconds since the Unix epoch.
type Measurement struct {
	Time  int64
	Value float64
}

// Past is what one device of the demo measured before the demo began.
type Past struct {
	Device string
	// Silent reports whether the device does not report any more.
	Silent bool
	// Measurements are in the order of their times.
	Measurements []Measurement
}

// DemoPast returns what the devices of the demo measured in the 30 days before it began,
// until their own backlog. The devices measured more often lately, and while a door was
// open.
func DemoPast(began time.Time) ([]Past, error) {
	cfg := Demo("", began)
	cfg.LeftOpenAfter, cfg.LeftOpenEvery, cfg.LeftOpenFor = 0, openEvery, openFor
	model := warehouse.Config{Seed: cfg.Seed, Sensors: cfg.Devices, Location: time.Local, LeftOpenEvery: openEvery, LeftOpenFor: openFor}
	w, err := warehouse.New(model)
	if err != nil {
		return nil, err
	}
	source, err := sensors(cfg, began.UnixNano())
	if err != nil {
		return nil, err
	}
	from, until := began.Add(-pastFor), began.Add(-backlog)
	opened := w.LeftOpen(from.UnixNano(), until.UnixNano())
	out := make([]Past, cfg.Devices)
	for i := range out {
		s := source(i)
		out[i] = Past{Device: s.id, Silent: i == silent}
		end := until
		if i == silent {
			end = began.Add(-silentFor)
		}
		var open []warehouse.Opening
		for _, o := range opened {
			if o.Sensor == i {
				open = append(open, o)
			}
		}
		// Each device has its own second of the minute.
		offset := time.Duration(i) * 1700 * time.Millisecond
		for at := from.Truncate(10 * time.Minute).Add(offset); at.Before(end); at = at.Add(pastEvery(at, end, open)) {
			out[i].Measurements = append(out[i].Measurements, Measurement{at.UnixNano(), s.value(at.UnixNano())})
		}
	}
	return out, nil
}

// pastEvery is the time between the measurement at a time and the next one.
func pastEvery(at, end time.Time, open []warehouse.Opening) time.Duration {
	age := end.Sub(at)
	if age <= 2*time.Hour {
		return 30 * time.Second
	}
	for _, o := range open {
		start := time.Unix(0, o.Start)
		if at.After(start.Add(-15*time.Minute)) && at.Before(start.Add(o.For+15*time.Minute)) {
			return time.Minute
		}
	}
	if age <= 24*time.Hour {
		return 2 * time.Minute
	}
	return 10 * time.Minute
}

// drift is by how many degrees the drifting sensor is too warm.
func drift(t int64, began time.Time) float64 {
	days := time.Unix(0, t).Sub(began.Add(-driftFor)).Hours() / 24
	return min(driftMost, max(0, days*driftPerDay))
}

// drifted returns the values of a sensor that drifts, rounded to its step.
func drifted(value func(t int64) float64, step float64, began time.Time) func(t int64) float64 {
	perDegree := math.Round(1 / step)
	return func(t int64) float64 { return math.Round((value(t)+drift(t, began))*perDegree) / perDegree }
}
