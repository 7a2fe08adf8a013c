// Package warehouse models the temperature sensors at the doors of a
// warehouse: a day and week pattern, autocorrelated noise, ordinary door
// openings in working hours, and now and then a door that is left open.
//
// The model is pure. A value depends on the seed, the sensor and the time that
// is asked for, and on nothing else: not on what was asked before, nor on a
// clock. So a fleet may run in real time, fill in four weeks of history or ask
// for one moment twice, and gets the same values each time; and a test knows
// which doors were left open when (LeftOpen).
package warehouse

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Unit is the unit of every value, and Metric what the sensors measure.
const (
	Unit   = "°C"
	Metric = "temperature"
)

// How the air at a sensor follows its door: it approaches that of outside with
// the first time constant while the door is open, and comes back with the
// second once it is shut.
const (
	warming  = 75 * time.Second
	settling = 6 * time.Minute
	// forgotten is after how long a shut door no longer shows: less than the
	// finest sensor can tell is left of the largest lift.
	forgotten = 8 * settling
)

// MinLeftOpenEvery bounds how often a door may be left open.
const MinLeftOpenEvery = time.Minute

// Config says what the warehouse is like.
type Config struct {
	// Seed selects one of many alike warehouses.
	Seed uint64
	// Sensors is how many there are, 1 at least.
	Sensors int
	// Location is whose days and weeks the pattern follows; nil means UTC.
	Location *time.Location
	// LeftOpenEvery is the mean time between two doors left open, anywhere in
	// the warehouse and at any hour; at least MinLeftOpenEvery, or 0 for never.
	LeftOpenEvery time.Duration
	// LeftOpenFor is how long such a door stands open on average; each takes
	// between three quarters and five quarters of it.
	LeftOpenFor time.Duration
	// Extra are openings beside those of the model, in any order.
	Extra []Opening
}

// Opening is one time that a door stood open.
type Opening struct {
	// Sensor is the index of the sensor at the door, from 0.
	Sensor int
	// Start is when the door was opened, in nanoseconds since the Unix epoch.
	Start int64
	// For is how long it stayed open.
	For time.Duration
	// Lift is by how many degrees the air at the sensor would rise if the door
	// stayed open for good.
	Lift float64
}

// end is when the door was shut.
func (o Opening) end() int64 { return o.Start + int64(o.For) }

// Validate says all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Sensors < 1 {
		errs = append(errs, fmt.Errorf("sensors: %d: must be 1 at least", c.Sensors))
	}
	if c.LeftOpenEvery != 0 && c.LeftOpenEvery < MinLeftOpenEvery {
		errs = append(errs, fmt.Errorf("left open every: %v: must be %v at least, or 0 for never", c.LeftOpenEvery, MinLeftOpenEvery))
	}
	if c.LeftOpenEvery != 0 && c.LeftOpenFor <= 0 {
		errs = append(errs, fmt.Errorf("left open for: %v: must be above 0", c.LeftOpenFor))
	}
	for i, o := range c.Extra {
		if o.Sensor < 0 || o.Sensor >= c.Sensors {
			errs = append(errs, fmt.Errorf("extra opening %d: sensor %d: there are %d", i, o.Sensor, c.Sensors))
		}
	}
	return errors.Join(errs...)
}

// Warehouse is the whole of the sensors. It never changes after New, so any
// number of goroutines may use it.
type Warehouse struct {
	cfg Config
}

// New makes a warehouse. The error is that of Config.Validate.
func New(cfg Config) (*Warehouse, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("warehouse: %w", err)
	}
	if cfg.Location == nil {
		cfg.Location = time.UTC
	}
	cfg.Extra = slices.Clone(cfg.Extra)
	slices.SortFunc(cfg.Extra, byStart)
	return &Warehouse{cfg: cfg}, nil
}

// LeftOpen lists the doors left open whose opening begins in [from, to), times
// in nanoseconds since the Unix epoch, sorted by start. The extra openings of
// the configuration are among them.
func (w *Warehouse) LeftOpen(from, to int64) []Opening {
	var found []Opening
	for _, o := range w.cfg.Extra {
		if o.Start >= from && o.Start < to {
			found = append(found, o)
		}
	}
	if every := int64(w.cfg.LeftOpenEvery); every != 0 {
		for slot := floorDiv(from, every); slot*every < to; slot++ {
			if o := w.slot(slot); o.Start >= from && o.Start < to {
				found = append(found, o)
			}
		}
	}
	slices.SortFunc(found, byStart)
	return found
}

// slot returns the one door left open of a span of LeftOpenEvery: that there
// is one in each makes any moment computable without those before it.
func (w *Warehouse) slot(slot int64) Opening {
	every := int64(w.cfg.LeftOpenEvery)
	dice := dice{key: mix(w.cfg.Seed, streamLeftOpen, uint64(slot))}
	return Opening{
		Sensor: int(dice.next() % uint64(w.cfg.Sensors)),
		Start:  slot*every + int64(dice.between(0, float64(every))),
		For:    time.Duration(dice.between(0.75, 1.25) * float64(w.cfg.LeftOpenFor)),
		Lift:   dice.between(7, 10),
	}
}

func byStart(a, b Opening) int {
	switch {
	case a.Start < b.Start:
		return -1
	case a.Start > b.Start:
		return 1
	default:
		return a.Sensor - b.Sensor
	}
}
