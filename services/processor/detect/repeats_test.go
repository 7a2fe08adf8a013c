package detect_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"headwater/services/processor/detect"
	"headwater/services/rule"
)

// door is a made-up sensor at the door of a cold room: a reading every five
// minutes, for weeks, with faults of one kind.
type door struct {
	rng           *rand.Rand
	level, swing  float64
	noise, memory float64
	round         float64
	values        []float64
	// begins and ends are the rows at which a fault begins and ends.
	begins, ends []int
}

const (
	doorWeeks = 4
	doorRows  = doorWeeks * 7 * 288
	doorStart = 1_767_571_200 // a Monday, 0 o'clock UTC
)

func newDoor(seed uint64) *door {
	rng := rand.New(rand.NewPCG(seed, 13))
	d := &door{
		rng: rng, level: rng.Float64()*20 - 10, swing: 0.2 + rng.Float64()*1.2,
		noise: 0.03 + rng.Float64()*0.15, memory: 0.5 + rng.Float64()*0.45,
		round: []float64{0.01, 0.0625, 0.1}[rng.IntN(3)],
	}
	slow, fast, opened := 0.0, 0.0, 0.0
	peak := 12 + rng.Float64()*5
	for row := range doorRows {
		hour := float64(row%288) / 12
		weekday := row / 288 % 7
		swing := d.swing
		if weekday >= 5 {
			swing *= 0.6
		}
		slow = 0.9995*slow + 0.006*rng.NormFloat64()
		fast = d.memory*fast + d.noise*rng.NormFloat64()
		opened *= 0.75
		if weekday < 5 && hour > 6 && hour < 19 && rng.IntN(12) == 0 {
			opened += 0.3 + rng.Float64()
		}
		d.values = append(d.values, d.level+swing*math.Sin((hour-peak+6)/24*2*math.Pi)+slow+fast+opened)
	}
	return d
}

// doorFaults change the values from a row on and return the number of rows that
// the fault lasts.
var doorFaults = map[string]func(d *door, v []float64) int{
	"open": func(d *door, v []float64) int {
		long, lift := 12+d.rng.IntN(24), 4+d.rng.Float64()*6
		up := 0.0
		n := long + 24
		for i := range min(n, len(v)) {
			if i < long {
				up += (lift - up) * 0.3
			} else {
				up *= 0.8
			}
			v[i] += up
		}
		return n
	},
	"stuck": func(d *door, v []float64) int {
		n := 48 + d.rng.IntN(240)
		for i := range min(n, len(v)) {
			v[i] = v[0]
		}
		return n
	},
	"set point": func(d *door, v []float64) int {
		by := (1.5 + d.rng.Float64()*3) * math.Copysign(1, d.rng.Float64()-0.5)
		for i := range v {
			v[i] += by * (1 - math.Exp(-float64(i+1)/6))
		}
		return 288
	},
	"set point for a day": func(d *door, v []float64) int {
		by := (1.5 + d.rng.Float64()*3) * math.Copysign(1, d.rng.Float64()-0.5)
		n := 288 + d.rng.IntN(288)
		for i := range min(n, len(v)) {
			v[i] += by * (1 - math.Exp(-float64(i+1)/6))
		}
		return n
	},
	"drift": func(d *door, v []float64) int {
		n := 288 + d.rng.IntN(3*288)
		by := (2.5 + d.rng.Float64()*3) * math.Copysign(1, d.rng.Float64()-0.5)
		for i := range min(n, len(v)) {
			v[i] += by * float64(i) / float64(n)
		}
		return n
	},
}

// doors are sensors with three faults of a kind each, from the second week on;
// an empty kind means no faults.
func doors(kind string, n int) []*door {
	var all []*door
	for i := range n {
		d := newDoor(uint64(i))
		if change := doorFaults[kind]; change != nil {
			for k := range 3 {
				row := 9*288 + k*6*288 + d.rng.IntN(2*288)
				d.begins = append(d.begins, row)
				d.ends = append(d.ends, row+change(d, d.values[row:]))
			}
		}
		for row, v := range d.values {
			d.values[row] = math.Round(v/d.round) * d.round
		}
		all = append(all, d)
	}
	return all
}

// found returns the number of faults with an alarm, at most a day after the
// fault.
func (d *door) found(at []int64) int {
	n := 0
	for k := range d.begins {
		from, to := d.time(d.begins[k]), d.time(d.ends[k]+300)
		if slices.ContainsFunc(at, func(t int64) bool { return t >= from && t < to }) {
			n++
		}
	}
	return n
}

// time returns the time of a row.
func (d *door) time(row int) int64 { return (doorStart + int64(row)*300) * second }

// samples returns the readings of the door.
func (d *door) samples() []detect.Sample {
	out := make([]detect.Sample, len(d.values))
	for row, v := range d.values {
		out[row] = detect.Sample{Time: d.time(row), Value: v}
	}
	return out
}

// TestOneFaultOneEpisode counts the alarms of each learning detector on series
// with three faults of a kind: no more than one for each fault that it is for,
// and otherwise not many more than accepted.
func TestOneFaultOneEpisode(t *testing.T) {
	t.Parallel()
	const accepted, sensors = 0.28, 40
	a := detect.Alarms{FalseAlarms: accepted, Silence: rule.DefaultSilence}
	for _, d := range []struct {
		name string
		detect.Detector
	}{
		{"drift", &detect.Drift{Alarms: a}},
		{"shift", &detect.Shift{Alarms: a}},
		{"auto", &detect.Auto{Alarms: a}},
		{"season", &detect.Season{Alarms: a}},
		{"range", &detect.Range{Alarms: a}},
		{"surge", &detect.Surge{Alarms: a}},
		{"stuck", &detect.Stuck{Alarms: a}},
		{"silence", &detect.Silence{FalseAlarms: accepted}},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{"", "open", "stuck", "set point", "set point for a day", "drift"} {
				n, found := 0, 0
				for _, s := range doors(kind, sensors) {
					at := opened(watched(d.Detector, s.samples()))
					n += len(at)
					found += s.found(at)
				}
				const weeks = sensors * doorWeeks
				t.Logf("%s: %.2f alarms a series and week, %d of %d faults are found", cmp.Or(kind, "nothing"), float64(n)/weeks, found, 3*sensors)
				if more := float64(n-found) / weeks; more > accepted {
					t.Errorf("%s: %.2f alarms a series and week beside one for each fault, more than the accepted %v", kind, more, accepted)
				}
				if d.name == "drift" && kind == "drift" {
					if found < 2*sensors {
						t.Errorf("of %d drifts %d are found", 3*sensors, found)
					}
				} else if rate := float64(n) / weeks; d.name == "drift" && rate > accepted {
					t.Errorf("%s: %.2f alarms of drift a series and week, where there is no drift", kind, rate)
				}
			}
		})
	}
}
