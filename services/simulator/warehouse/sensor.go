package warehouse

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Working hours, Monday to Friday, in hours of the day.
const (
	workBegins = 6
	workEnds   = 18
)

// The sensors take intervals and perDegree in turn: how often a sensor reports, and how
// many steps of its converter make a degree (an SHT sensor's 0.01, a DS18B20's 0.0625, a
// DHT22's 0.1).
var (
	intervals = [...]time.Duration{time.Second, 30 * time.Second, time.Minute, 5 * time.Minute}
	perDegree = [...]float64{100, 16, 10}
)

// Sensor is one thermometer at one door. It caches the openings of the day that was
// queried last, so only one goroutine may use it.
type Sensor struct {
	warehouse *Warehouse
	index     int
	key       uint64

	level     float64 // degrees at night
	swing     float64 // degrees by which a working day is warmer at its peak
	busy      float64 // ordinary openings an hour
	perDegree float64

	day      int64 // local date as days since the epoch; of openings
	openings []Opening
}

// Sensor returns sensor i, 0 <= i < Sensors. Each call returns a new value that behaves
// the same, so every goroutine may have its own.
func (w *Warehouse) Sensor(i int) *Sensor {
	key := mix(w.cfg.Seed, streamSensor, uint64(i))
	dice := dice{key: key}
	return &Sensor{
		warehouse: w,
		index:     i,
		key:       key,
		level:     18 + 0.8*gauss(dice.next()),
		swing:     dice.between(1.5, 2.5),
		busy:      dice.between(1, 6),
		perDegree: perDegree[i%len(perDegree)],
		day:       math.MinInt64,
	}
}

// Device is the id of the sensor, such as door-01, with as many digits as the largest
// number of the warehouse has, at least two.
func (s *Sensor) Device() string {
	digits := max(2, len(fmt.Sprint(s.warehouse.cfg.Sensors)))
	return fmt.Sprintf("door-%0*d", digits, s.index+1)
}

// Interval is how often the sensor reports: a quarter of the sensors each every second,
// 30 seconds, minute and 5 minutes.
func (s *Sensor) Interval() time.Duration { return intervals[s.index%len(intervals)] }

// Step is the smallest difference in degrees that the sensor can report.
func (s *Sensor) Step() float64 { return 1 / s.perDegree }

// At is what the sensor reports at a time in nanoseconds since the Unix epoch:
// degrees Celsius, rounded to its step.
func (s *Sensor) At(t int64) float64 {
	local := time.Unix(0, t).In(s.warehouse.cfg.Location)
	value := s.level + s.pattern(local) + s.noise(t) + s.doors(local, t)
	return math.Round(value*s.perDegree) / s.perDegree
}

// pattern is the warmth of the day: nothing at night, the most at 14 o'clock, and less at
// weekends, when nobody works. It is 0 at midnight, so there is no jump between a weekday
// and a weekend.
func (s *Sensor) pattern(local time.Time) float64 {
	const rise, set = 6, 22
	hour := float64(local.Hour()) + float64(local.Minute())/60 + float64(local.Second())/3600
	if hour <= rise || hour >= set {
		return 0
	}
	swing := s.swing
	if weekend(local) {
		swing *= 0.4
	}
	return swing * math.Sin(math.Pi*(hour-rise)/(set-rise))
}

// noise is the sum of the weather, which all sensors share, the slow and quick drift of
// the air at this sensor, and the jitter of its converter.
func (s *Sensor) noise(t int64) float64 {
	return 0.5*smooth(mix(s.warehouse.cfg.Seed, streamWeather), t, 36*time.Hour) +
		0.12*smooth(s.key^streamSlow, t, 25*time.Minute) +
		0.05*smooth(s.key^streamQuick, t, 3*time.Minute) +
		0.02*gauss(mix(s.key, streamJitter, uint64(t)))
}

// doors is by how many degrees the air is warmer because the door is or was open. Of
// several openings only the one with the largest effect counts: warm air does not add up.
func (s *Sensor) doors(local time.Time, t int64) float64 {
	lift := 0.0
	for _, o := range s.ordinary(local) {
		if o.Start > t {
			break
		}
		lift = max(lift, shows(o, t))
	}
	cfg := &s.warehouse.cfg
	for _, o := range cfg.Extra {
		if o.Sensor == s.index {
			lift = max(lift, shows(o, t))
		}
	}
	if every := int64(cfg.LeftOpenEvery); every != 0 {
		longest := cfg.LeftOpenFor*5/4 + forgotten
		for slot := floorDiv(t-int64(longest), every); slot <= floorDiv(t, every); slot++ {
			if o := s.warehouse.slot(slot); o.Sensor == s.index {
				lift = max(lift, shows(o, t))
			}
		}
	}
	return lift
}

// shows is by how many degrees an opening warms the sensor at t.
func shows(o Opening, t int64) float64 {
	open := t - o.Start
	shut := t - o.end()
	if open <= 0 || shut > int64(forgotten) {
		return 0
	}
	if shut <= 0 {
		return o.Lift * approach(open, warming)
	}
	return o.Lift * approach(int64(o.For), warming) * (1 - approach(shut, settling))
}

// approach is the share of the way to its target that a first-order system has covered.
func approach(elapsed int64, constant time.Duration) float64 {
	return 1 - math.Exp(-float64(elapsed)/float64(constant))
}

// ordinary returns the openings of a local day after which people shut the door, sorted
// by start. They take half a minute to two minutes, behind a curtain that lets little
// warmth in. None has an effect at midnight, so each day can be computed alone.
func (s *Sensor) ordinary(local time.Time) []Opening {
	year, month, date := local.Date()
	day := time.Date(year, month, date, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60)
	if day == s.day {
		return s.openings
	}
	s.day, s.openings = day, s.openings[:0]
	if weekend(local) {
		return s.openings
	}
	begins := time.Date(year, month, date, workBegins, 0, 0, 0, local.Location()).UnixNano()
	dice := dice{key: mix(s.key, streamOpenings, uint64(day))}
	for range int(s.busy * (workEnds - workBegins) * dice.between(0.8, 1.2)) {
		s.openings = append(s.openings, Opening{
			Sensor: s.index,
			Start:  begins + int64(dice.between(0, float64((workEnds-workBegins)*time.Hour))),
			For:    time.Duration(dice.between(float64(20*time.Second), float64(2*time.Minute))),
			Lift:   dice.between(0.3, 1),
		})
	}
	slices.SortFunc(s.openings, byStart)
	return s.openings
}

func weekend(local time.Time) bool {
	return local.Weekday() == time.Saturday || local.Weekday() == time.Sunday
}
