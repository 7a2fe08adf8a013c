package simulator

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"headwater/services/simulator/warehouse"
)

// device is one sensor and its timetable. Only its link uses it.
type device struct {
	topic    string
	value    func(t int64) float64
	interval time.Duration // 0: whenever the link has room
	backlog  bool          // whether it sends first what it measured before the start
	phase    time.Duration // how long after the start the timetable begins, below interval

	grid  int64  // the timetable's first reading, ns since the epoch
	due   int64  // event time of the next reading, likewise
	last  int64  // event time of the last reading, likewise
	order uint64 // order among devices that are due at the same time
}

// firstWithin bounds how long after the start a device reports for the first time. A
// real device does so when it is switched on.
const firstWithin = 10 * time.Second

// begin schedules the first reading. Start is in ns since the epoch.
func (d *device) begin(start int64, paced bool) {
	start -= start % int64(time.Millisecond)
	d.grid = start + int64(d.phase)
	d.due = d.grid
	if !paced && d.interval > firstWithin {
		d.due = start + int64(float64(d.phase)/float64(d.interval)*float64(firstWithin))
	}
}

// next returns the event time of the reading that is due, and schedules the next one.
// Event times of a device are whole microseconds and never repeat, so a reading stays
// one reading however often it is sent.
func (d *device) next(now int64) int64 {
	t := d.due
	if d.interval == 0 {
		t, d.due = now, now
	} else {
		if d.backlog && t < d.grid {
			d.due += int64(backlogEvery)
		} else {
			d.due += int64(d.interval)
		}
		if t < d.grid && d.grid < d.due {
			d.due = d.grid // t was the early reading of begin
		}
	}
	t -= t % int64(time.Microsecond)
	d.last = max(t, d.last+int64(time.Microsecond))
	return d.last
}

// skip drops the readings that were due longer ago than the patience, and returns how
// many: a device that can't report does not store forever.
func (d *device) skip(now int64, patience time.Duration) int64 {
	late := now - d.due
	if d.interval == 0 || d.backlog && d.due < d.grid || late <= int64(max(patience, d.interval)) {
		return 0
	}
	missed := late / int64(d.interval)
	d.due += missed * int64(d.interval)
	return missed
}

// timetable is a heap of the devices of a link, by when their next reading is due.
type timetable []*device

func (t timetable) Len() int { return len(t) }
func (t timetable) Less(i, j int) bool {
	if t[i].due != t[j].due {
		return t[i].due < t[j].due
	}
	return t[i].order < t[j].order
}
func (t timetable) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push is not used: the devices of a link stay the same.
func (t *timetable) Push(x any) { *t = append(*t, x.(*device)) }

// Pop is not used: the devices of a link stay the same.
func (t *timetable) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// moved restores the order after the first device has been rescheduled.
func (t timetable) moved() { heap.Fix(&t, 0) }

// fleet creates the devices of a configuration. They begin to report at start, in ns
// since the epoch.
func fleet(cfg Config, start int64) ([]*device, error) {
	paced := cfg.Rate > 0
	devices := make([]*device, 0, cfg.Devices)
	source, err := sensors(cfg, start)
	if err != nil {
		return nil, err
	}
	for i := range cfg.Devices {
		if !cfg.Began.IsZero() && i == silent {
			continue
		}
		s := source(i)
		d := &device{
			topic:    "sensors/" + cfg.Site + "/" + s.id + "/" + warehouse.Metric,
			value:    s.value,
			interval: s.interval,
		}
		switch {
		case cfg.Unpaced:
			d.interval = 0
		case paced:
			d.interval = time.Duration(float64(cfg.Devices) / cfg.Rate * float64(time.Second))
		case cfg.Interval > 0:
			d.interval = cfg.Interval
		}
		// Spread evenly, so that the rate is right from the first second.
		d.phase = time.Duration(float64(d.interval) * float64(i) / float64(cfg.Devices))
		d.phase -= d.phase % time.Millisecond
		d.begin(start, paced)
		if cfg.Backlog {
			d.backlog = true
			d.due -= int64(backlog)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// sensor is what distinguishes one device from another.
type sensor struct {
	id       string
	interval time.Duration
	value    func(t int64) float64
}

// sensors returns a function that creates the sensors of a configuration.
func sensors(cfg Config, start int64) (func(i int) sensor, error) {
	if !cfg.Warehouse {
		digits := max(4, len(strconv.Itoa(cfg.Devices)))
		return func(i int) sensor {
			return sensor{fmt.Sprintf("device-%0*d", digits, i+1), time.Second, wave(i)}
		}, nil
	}
	model := warehouse.Config{
		Seed: cfg.Seed, Sensors: cfg.Devices, Location: time.Local,
		LeftOpenEvery: cfg.LeftOpenEvery, LeftOpenFor: cfg.LeftOpenFor,
	}
	if cfg.LeftOpenAfter > 0 {
		model.Extra = []warehouse.Opening{{
			Sensor: rand.New(rand.NewPCG(cfg.Seed, 0)).IntN(cfg.Devices),
			Start:  start + int64(cfg.LeftOpenAfter), For: cfg.LeftOpenFor, Lift: 9,
		}}
	}
	w, err := warehouse.New(model)
	if err != nil {
		return nil, err
	}
	return func(i int) sensor {
		s := w.Sensor(i)
		value := s.At
		if !cfg.Began.IsZero() && i == drifting {
			value = drifted(value, s.Step(), cfg.Began)
		}
		return sensor{s.Device(), s.Interval(), value}
	}, nil
}

// wave is a value that swings by 2 around 21 once an hour, rounded to 0.01. Each device
// has a phase of its own.
func wave(i int) func(t int64) float64 {
	const period = int64(time.Hour)
	return func(t int64) float64 {
		turn := float64(t%period)/float64(period) + float64(i)*math.Phi
		return math.Round(100*(21+2*math.Sin(2*math.Pi*turn))) / 100
	}
}

// encode writes a reading as a device would, with the event time in milliseconds, or in
// microseconds where milliseconds are too coarse.
func encode(form string, value float64, t int64) []byte {
	b := make([]byte, 0, 64)
	if form == PayloadNumber {
		return strconv.AppendFloat(b, value, 'f', -1, 64)
	}
	stamp := t / int64(time.Microsecond)
	if t%int64(time.Millisecond) == 0 {
		stamp = t / int64(time.Millisecond)
	}
	b = append(b, `{"value":`...)
	b = strconv.AppendFloat(b, value, 'f', -1, 64)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, stamp, 10)
	return append(b, `,"unit":"`+warehouse.Unit+`"}`...)
}
