package warehouse_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/services/simulator/warehouse"
)

// monday is a Monday at midnight in UTC.
var monday = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

const week = 7 * 24 * time.Hour

func build(tb testing.TB, cfg warehouse.Config) *warehouse.Warehouse {
	tb.Helper()
	w, err := warehouse.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func at(t time.Time, after time.Duration) int64 { return t.Add(after).UnixNano() }

func TestValuesDependOnNothingButSeedSensorAndTime(t *testing.T) {
	cfg := warehouse.Config{Seed: 7, Sensors: 20, LeftOpenEvery: 3 * time.Hour, LeftOpenFor: time.Hour}
	forwards, backwards := build(t, cfg), build(t, cfg)
	cfg.Seed = 8
	other := build(t, cfg)
	differ := 0
	for i := range cfg.Sensors {
		const samples = 500
		const step = 17 * time.Minute
		sensor := forwards.Sensor(i)
		var values [samples]float64
		for n := range samples {
			values[n] = sensor.At(at(monday, time.Duration(n)*step))
		}
		again, elsewhere := backwards.Sensor(i), other.Sensor(i)
		for n := samples - 1; n >= 0; n-- {
			now := at(monday, time.Duration(n)*step)
			if got := again.At(now); got != values[n] {
				t.Fatalf("sensor %d, sample %d: %v when asked forwards, %v backwards", i, n, values[n], got)
			}
			if elsewhere.At(now) != values[n] {
				differ++
			}
		}
	}
	if differ < 9000 {
		t.Errorf("another seed changed only %d of 10000 values", differ)
	}
}

func TestValuesAreRoundedToTheStep(t *testing.T) {
	w := build(t, warehouse.Config{Seed: 1, Sensors: 6})
	for i := range 6 {
		sensor := w.Sensor(i)
		for n := range 1000 {
			value := sensor.At(at(monday, time.Duration(n)*time.Minute))
			steps := value / sensor.Step()
			if math.Abs(steps-math.Round(steps)) > 1e-6 {
				t.Fatalf("sensor %d: %v is no multiple of %v", i, value, sensor.Step())
			}
			_, fraction, _ := strings.Cut(strconv.FormatFloat(value, 'f', -1, 64), ".")
			if len(fraction) > 4 {
				t.Fatalf("sensor %d: %v prints with %d decimals", i, value, len(fraction))
			}
		}
	}
}

// mean is the average of all sensors over an hour of the day.
func mean(w *warehouse.Warehouse, sensors int, day time.Time, hour int) float64 {
	sum := 0.0
	for i := range sensors {
		sensor := w.Sensor(i)
		for minute := range 60 {
			sum += sensor.At(at(day, time.Duration(hour)*time.Hour+time.Duration(minute)*time.Minute))
		}
	}
	return sum / float64(60*sensors)
}

func TestDaysAreWarmAndWeekendsLessSo(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, location := range []*time.Location{time.UTC, berlin} {
		w := build(t, warehouse.Config{Seed: 3, Sensors: 20, Location: location})
		var rise [7]float64
		const weeks = 8
		for n := range 7 * weeks {
			day := time.Date(2026, 1, 5+n, 0, 0, 0, 0, location)
			rise[n%7] += (mean(w, 20, day, 14) - mean(w, 20, day, 3)) / weeks
		}
		for day, r := range rise {
			low, high := 1.5, 3.0
			if day >= 5 {
				low, high = 0.4, 1.4
			}
			if r < low || r > high {
				t.Errorf("%v, day %d of the week: %.2f degrees warmer by day, want %v to %v", location, day+1, r, low, high)
			}
		}
	}
}

func TestNoiseIsAutocorrelated(t *testing.T) {
	w := build(t, warehouse.Config{Seed: 5, Sensors: 1})
	sensor := w.Sensor(0)
	// Nights have neither a pattern nor openings.
	spread := func(lag time.Duration) float64 {
		sum, n := 0.0, 0
		for night := range 60 {
			for minute := range 200 {
				now := monday.Add(time.Duration(night)*24*time.Hour + time.Duration(minute)*time.Minute)
				d := sensor.At(at(now, lag)) - sensor.At(at(now, 0))
				sum += d * d
				n++
			}
		}
		return math.Sqrt(sum / float64(n))
	}
	near, far := spread(20*time.Second), spread(40*time.Minute)
	if near > far/2 || near == 0 {
		t.Errorf("values 20 s apart differ by %.3f, 40 min apart by %.3f: want the first well below the second", near, far)
	}
}

func TestOrdinaryDaysHaveNoSteepRise(t *testing.T) {
	w := build(t, warehouse.Config{Seed: 11, Sensors: 20})
	const (
		step = 30 * time.Second
		span = 10 // of 5 minutes
	)
	for i := range 20 {
		sensor := w.Sensor(i)
		var last [span]float64
		steepest := 0.0
		for n := range int(week / step) {
			value := sensor.At(at(monday, time.Duration(n)*step))
			if n >= span {
				for _, before := range last {
					steepest = max(steepest, value-before)
				}
			}
			last[n%span] = value
		}
		if steepest > 2 {
			t.Errorf("sensor %d rises by %.2f degrees within 5 minutes", i, steepest)
		}
		if steepest < 0.3 {
			t.Errorf("sensor %d rises by %.2f degrees at most: no opening shows", i, steepest)
		}
	}
}

func TestDoorLeftOpenRisesAndFallsBack(t *testing.T) {
	cfg := warehouse.Config{Seed: 2, Sensors: 20, LeftOpenEvery: 4 * time.Hour, LeftOpenFor: 30 * time.Minute}
	w := build(t, cfg)
	cfg.LeftOpenEvery = 0
	calm := build(t, cfg)
	episodes := w.LeftOpen(monday.UnixNano(), at(monday, 4*week))
	if len(episodes) < 160 || len(episodes) > 176 {
		t.Errorf("%d doors were left open in 4 weeks, want about 168", len(episodes))
	}
	for _, o := range episodes {
		sensor, without := w.Sensor(o.Sensor), calm.Sensor(o.Sensor)
		start := time.Unix(0, o.Start)
		if rise := sensor.At(at(start, 2*time.Minute)) - sensor.At(o.Start); rise < 3 {
			t.Errorf("sensor %d at %v: rises by %.2f degrees in 2 minutes, want more than 3", o.Sensor, start.UTC(), rise)
		}
		if o.For < cfg.LeftOpenFor*3/4 || o.For > cfg.LeftOpenFor*5/4 {
			t.Errorf("a door was left open for %v", o.For)
		}
		open := at(start, o.For-time.Second)
		if lift := sensor.At(open) - without.At(open); lift < 6 {
			t.Errorf("sensor %d at %v: %.2f degrees above the usual while open, want more than 6", o.Sensor, start.UTC(), lift)
		}
	}
	for _, moment := range []time.Duration{5 * time.Hour, 50 * time.Hour} {
		for i := range 20 {
			now := at(monday, moment)
			if usual := quiet(episodes, i, now); usual && w.Sensor(i).At(now) != calm.Sensor(i).At(now) {
				t.Errorf("sensor %d differs from the usual though its door is shut", i)
			}
		}
	}
}

// quiet says that no door left open can still show at the sensor.
func quiet(episodes []warehouse.Opening, sensor int, now int64) bool {
	for _, o := range episodes {
		if o.Sensor == sensor && o.Start <= now && now <= o.Start+int64(o.For+time.Hour) {
			return false
		}
	}
	return true
}

func TestExtraOpeningIsPartOfTheModel(t *testing.T) {
	extra := warehouse.Opening{Sensor: 3, Start: at(monday, time.Hour), For: 10 * time.Minute, Lift: 8}
	w := build(t, warehouse.Config{Seed: 1, Sensors: 5, Extra: []warehouse.Opening{extra}})
	if got := w.LeftOpen(monday.UnixNano(), at(monday, 24*time.Hour)); len(got) != 1 || got[0] != extra {
		t.Errorf("left open: %v, want the extra opening alone", got)
	}
	rise := func(sensor int) float64 {
		s := w.Sensor(sensor)
		return s.At(extra.Start+int64(3*time.Minute)) - s.At(extra.Start)
	}
	if rise(3) < 5 || rise(2) > 1 {
		t.Errorf("the door's sensor rises by %.2f, its neighbour by %.2f", rise(3), rise(2))
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		sensors, index int
		want           string
	}{{20, 0, "door-01"}, {20, 19, "door-20"}, {5, 4, "door-05"}, {1000, 6, "door-0007"}} {
		w := build(t, warehouse.Config{Sensors: c.sensors})
		if got := w.Sensor(c.index).Device(); got != c.want {
			t.Errorf("sensor %d of %d is %q, want %q", c.index, c.sensors, got, c.want)
		}
	}
	intervals := make(map[time.Duration]int)
	w := build(t, warehouse.Config{Sensors: 20})
	for i := range 20 {
		intervals[w.Sensor(i).Interval()]++
	}
	for _, want := range []time.Duration{time.Second, 30 * time.Second, time.Minute, 5 * time.Minute} {
		if intervals[want] != 5 {
			t.Errorf("%d sensors report every %v, want 5", intervals[want], want)
		}
	}
}

func TestConfigIsValidated(t *testing.T) {
	_, err := warehouse.New(warehouse.Config{
		LeftOpenEvery: time.Second,
		Extra:         []warehouse.Opening{{Sensor: 4}},
	})
	if err == nil {
		t.Fatal("an impossible warehouse was made")
	}
	for _, part := range []string{"sensors: 0", "left open every: 1s", "left open for: 0s", "extra opening 0: sensor 4"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	w := build(b, warehouse.Config{Seed: 1, Sensors: 20, LeftOpenEvery: 12 * time.Hour, LeftOpenFor: time.Hour})
	sensor := w.Sensor(0)
	now := at(monday, 17*time.Hour)
	for b.Loop() {
		now += int64(time.Second)
		sensor.At(now)
	}
}
