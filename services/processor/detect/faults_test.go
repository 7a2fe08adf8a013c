package detect_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"headwater/services/processor/detect"
	"headwater/services/rule"
	"headwater/services/simulator/warehouse"
)

const (
	// fleetSensors stand in a warehouse of the test, each with one fault of a kind.
	fleetSensors = 18
	fleetStep    = 5 * minute
	fleetWeeks   = 4
	fleetSeeds   = 5
)

// fault is what happens to a sensor from one reading on.
type fault struct {
	name string
	long time.Duration
	// change applies the fault to the values of the readings; nil for the faults
	// that the model simulates itself. NaN stands for a missing reading.
	change func(values []float64, sensor int)
}

func faults() []fault {
	return []fault{
		{"door", 90 * time.Minute, nil},
		{"glitch", 5 * time.Minute, func(v []float64, sensor int) {
			v[0] += 12 * math.Copysign(1, float64(sensor%2)-0.5)
		}},
		{"stuck", 6 * time.Hour, func(v []float64, _ int) {
			for i := range v {
				v[i] = v[0]
			}
		}},
		{"gap", 3 * time.Hour, func(v []float64, _ int) {
			for i := range v {
				v[i] = math.NaN()
			}
		}},
		{"drift", 36 * time.Hour, func(v []float64, _ int) {
			for i := range v {
				v[i] += 4 * float64(i) / float64(len(v))
			}
		}},
		{"set point", 24 * time.Hour, func(v []float64, _ int) {
			for i := range v {
				v[i] += 3
			}
		}},
	}
}

// warehoused is the readings of a warehouse, one sensor at a time, and the row
// at which the sensor's fault begins.
type warehoused struct {
	readings [][]detect.Sample
	begins   []int
}

// fleets are several warehouses with one kind of fault, or without faults.
func fleets(f *fault) []warehoused {
	var all []warehoused
	for seed := range uint64(fleetSeeds) {
		readings, begins := fleet(seed, f)
		all = append(all, warehoused{readings, begins})
	}
	return all
}

func fleet(seed uint64, f *fault) (readings [][]detect.Sample, begins []int) {
	const rows = int(fleetWeeks * 7 * 24 * 60 * minute / fleetStep)
	cfg := warehouse.Config{Seed: seed, Sensors: fleetSensors}
	start := int64(1_767_225_600) * second
	for i := range fleetSensors {
		// In the last two weeks, at any time of the day and week.
		begins = append(begins, rows/2+(i*2+1)*(rows/2-600)/(fleetSensors*2)+int(seed*31)%97)
		if f != nil && f.change == nil {
			cfg.Extra = append(cfg.Extra, warehouse.Opening{
				Sensor: i, Start: start + int64(begins[i])*fleetStep - minute, For: f.long, Lift: 7 + float64(i%4),
			})
		}
	}
	w, err := warehouse.New(cfg)
	if err != nil {
		panic(err)
	}
	for i := range fleetSensors {
		sensor := w.Sensor(i)
		values := make([]float64, rows)
		for row := range values {
			values[row] = sensor.At(start + int64(row)*fleetStep)
		}
		if f != nil && f.change != nil {
			f.change(values[begins[i]:begins[i]+int(int64(f.long)/fleetStep)], i)
			for row, v := range values {
				values[row] = math.Round(v/sensor.Step()) * sensor.Step()
			}
		}
		var series []detect.Sample
		for row, v := range values {
			series = append(series, detect.Sample{Time: start + int64(row)*fleetStep, Value: v})
		}
		readings = append(readings, series)
	}
	return readings, begins
}

// watched runs a detector over one series, with a tick of the clock at each
// reading, and returns its verdicts. It leaves out missing readings.
func watched(d detect.Detector, series []detect.Sample) []detect.Verdict {
	var emitted []detect.Verdict
	s := d.Start()
	for _, r := range series {
		emitted = s.Tick(r.Time, warehouse.Unit, emitted)
		if !math.IsNaN(r.Value) {
			emitted = s.Observe(r, warehouse.Unit, emitted)
		}
	}
	return emitted
}

// opened returns when the episodes began.
func opened(emitted []detect.Verdict) []int64 {
	var at []int64
	for _, v := range emitted {
		if v.Phase == detect.Open {
			at = append(at, v.Time)
		}
	}
	return at
}

// falseAlarms returns the number of alarms a series and week in fleets without
// faults.
func falseAlarms(d detect.Detector, fleets []warehoused) float64 {
	n := 0
	for _, f := range fleets {
		for _, series := range f.readings {
			n += len(opened(watched(d, series)))
		}
	}
	return float64(n) / (fleetSeeds * fleetSensors * fleetWeeks)
}

// found returns how many faults of a fleet are found while they last, or within
// a number of readings above 0, and the median delay in readings.
func found(d detect.Detector, fleet warehoused, f fault, within int) (n, delay int) {
	var delays []int
	for i, series := range fleet.readings {
		from := series[fleet.begins[i]].Time
		until := from + int64(f.long)
		switch {
		case within > 0:
			until = min(until, from+int64(within)*fleetStep)
		case f.name == "drift": // a day counts when it is over
			until += 24 * 60 * minute
		}
		for _, at := range opened(watched(d, series)) {
			if at >= from && at < until {
				delays = append(delays, int((at-from)/fleetStep))
				break
			}
		}
	}
	if len(delays) == 0 {
		return 0, 0
	}
	slices.Sort(delays)
	return len(delays), delays[len(delays)/2]
}

// TestWarehouse runs each kind of detector on five fleets of 18 sensors with
// one fault each. It must find the faults that it is for, and in fleets without
// faults never raise more false alarms than accepted.
func TestWarehouse(t *testing.T) {
	t.Parallel()
	const accepted = 0.28
	a := detect.Alarms{FalseAlarms: accepted, Silence: rule.DefaultSilence}
	well, broken := fleets(nil), map[string][]warehoused{}
	for _, f := range faults() {
		broken[f.name] = fleets(&f)
	}
	for _, test := range []struct {
		name     string
		detector detect.Detector
		// least is the number of the 18 faults that must be found in every fleet,
		// within most readings.
		least, within map[string]int
	}{
		{"surge", &detect.Surge{Alarms: a}, map[string]int{"door": 18, "glitch": 18}, map[string]int{"door": 3}},
		{"auto", &detect.Auto{Alarms: a}, map[string]int{"door": 18, "glitch": 18, "set point": 15}, map[string]int{"door": 3}},
		{"season", &detect.Season{Alarms: a}, map[string]int{"door": 18}, map[string]int{"door": 3}},
		{"range", &detect.Range{Alarms: a}, map[string]int{"door": 18, "glitch": 18}, map[string]int{"door": 3}},
		{"stuck", &detect.Stuck{Alarms: a}, map[string]int{"stuck": 18}, map[string]int{"stuck": 40}},
		{"silence", &detect.Silence{FalseAlarms: accepted}, map[string]int{"gap": 18}, map[string]int{"gap": 4}},
		{"shift", &detect.Shift{Alarms: a}, map[string]int{"door": 9}, nil},
		{"drift", &detect.Drift{Alarms: a}, map[string]int{"drift": 12}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rate := falseAlarms(test.detector, well)
			t.Logf("%.3f false alarms a series and week", rate)
			if rate > accepted {
				t.Errorf("more than the accepted %v", accepted)
			}
			for _, f := range faults() {
				least, judged := test.least[f.name]
				if !judged {
					continue
				}
				for seed, fleet := range broken[f.name] {
					n, delay := found(test.detector, fleet, f, test.within[f.name])
					t.Logf("%s, fleet %d: %d of %d, median delay %d", f.name, seed, n, fleetSensors, delay)
					if n < least {
						t.Errorf("%s, fleet %d: found %d of %d, want %d", f.name, seed, n, fleetSensors, least)
					}
				}
			}
		})
	}
}
