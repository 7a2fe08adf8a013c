// Package warehouse models the temperature sensors at the doors of a warehouse: a day
// and week pattern, autocorrelated noise, ordinary door openings in working hours, and
// now and then a door that is left open.
//
// The model is pure. A value depends on the seed, the sensor and the requested time
// only: not on earlier requests, nor on a clock. So a fleet may run in real time, create
// four weeks of history or ask for one moment twice, and gets the same values each time.
// A test knows which doors were left open, and when (LeftOpen).
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

// The air at a sensor follows its door: it approaches the outside temperature with the
// first time constant while the door is open, and returns with the second after the door
// is shut.
const (
	warming  = 75 * time.Second
	settling = 6 * time.Minute
	// forgotten is how long a shut door has an effect. After that, less is left of the
	// largest lift than the finest sensor can resolve.
	forgotten = 8 * settling
)

// MinLeftOpenEvery bounds how often a door may be left open.
const MinLeftOpenEvery = time.Minute

// Config describes the warehouse.
type Config struct {
	// Seed selects one of many similar warehouses.
	Seed uint64
	// Sensors is the number of sensors, at least 1.
	Sensors int
	// Location is the time zone of the pattern's days and weeks; nil means UTC.
	Location *time.Location
	// LeftOpenEvery is the mean time between two doors left open, anywhere in
	// the warehouse and at any hour; at least MinLeftOpenEvery, or 0 for never.
	LeftOpenEvery time.Duration
	// LeftOpenFor is how long such a door stays open on average; each takes between three
	// quarters and five quarters of it.
	LeftOpenFor time.Duration
	// Extra are openings in addition to those of the model, in any order.
	Extra []Opening
}

// Opening is one time during which a door is open.
type Opening struct {
	// Sensor is the index of the sensor at the door, from 0.
	Sensor int
	// Start is when the door was opened, in nanoseconds since the Unix epoch.
	Start int64
	// For is how long it stayed open.
	For time.Duration
	// Lift is by how many degrees the air at the sensor would rise if the door stayed open
	// forever.
	Lift float64
}

// end is when the door was shut.
func (o Opening) end() int64 { return o.Start + int64(o.For) }

// Validate reports every problem of the configuration.
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

// Warehouse is all sensors together. It never changes after New, so any number of
// goroutines may use it.
type Warehouse struct {
	cfg Config
}

// New returns a warehouse. Its error is that of Config.Validate.
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

// LeftOpen lists the openings of doors left open that begin in [from, to), sorted by
// start. Times are nanoseconds since the Unix epoch. The extra openings of the
// configuration are included.
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

// slot returns the one door left open in a span of LeftOpenEvery. Because there is one in
// each span, any moment can be computed without the moments before it.
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
