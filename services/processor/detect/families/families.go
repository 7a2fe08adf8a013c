// Package families makes series like those of real devices, with faults whose
// times are known, and counts what detectors find in them. It compares false
// alarms with the number asked for, and judges detectors on series that were
// not used to choose them.
//
// A series depends on its family and seed alone.
package families

import (
	"math"
	"math/rand/v2"
	"time"

	"headwater/services/processor/detect"
)

const (
	// Weeks is how long a series is. Its fault begins in the fourth or fifth.
	Weeks = 6

	week  = 7 * 24 * time.Hour
	day   = 24 * time.Hour
	epoch = 1_767_225_600 * int64(time.Second) // a Thursday, the first of 2026
)

// Family makes series that have something in common.
type Family struct {
	Name string
	// Unit is the unit of the values.
	Unit string
	// Step is the time between two readings.
	Step time.Duration
	// Missing is the share of readings that are lost, Jitter how far they deviate
	// from their time, in parts of Step.
	Missing, Jitter float64
	// Size is the distance from the usual value that a person would call a fault.
	// A glitch is three times that.
	Size float64
	// Seasonal means that a day has a pattern; Still means that a value may stay
	// the same for hours with nothing wrong.
	Seasonal, Still bool
	// raw is the value before it is limited and rounded.
	raw func(m *maker, day float64) float64
	// round does to a value what the sensor does: limit and round it.
	round func(v float64) float64
}

// maker is a series in the making.
type maker struct {
	*rand.Rand
	// walk, slow and phase carry state from reading to reading; scale differs
	// between the series of a family: 0.7 to 1.4.
	walk, slow, phase, scale float64
}

// noise is autocorrelated noise of deviation 1.
func (m *maker) noise(correlation float64) float64 {
	m.walk = m.walk*correlation + math.Sqrt(1-correlation*correlation)*m.NormFloat64()
	return m.walk
}

// poisson returns a number of events with that mean.
func (m *maker) poisson(mean float64) float64 {
	if mean > 50 {
		return math.Round(max(0, mean+math.Sqrt(mean)*m.NormFloat64()))
	}
	n, p := 0.0, math.Exp(-mean)
	for left := m.Float64(); left > p && n < 500; n++ {
		left -= p
		p *= mean / (n + 1)
	}
	return n
}

// hump is 0 at night and 1 at 13 o'clock.
func hump(day float64) float64 {
	_, part := math.Modf(day)
	return max(0, math.Sin(math.Pi*(part*24-6)/14))
}

// hours reports whether the time of day is between two hours.
func hours(day, from, to float64) bool {
	_, part := math.Modf(day)
	return part*24 >= from && part*24 < to
}

// workday reports whether it is not the weekend: the third and fourth of seven days,
// Saturday and Sunday.
func workday(day float64) bool {
	d := int(day) % 7
	return d != 2 && d != 3
}

// to rounds to a part of a unit, not below least.
func to(least, parts float64) func(float64) float64 {
	return func(v float64) float64 { return math.Round(max(v, least)*parts) / parts }
}

var none = math.Inf(-1)

// Development returns the families used to choose the detectors.
func Development() []Family {
	return []Family{
		{
			Name: "office climate", Unit: "°C", Step: 5 * time.Minute, Size: 4, Seasonal: true, round: to(none, 10),
			raw: func(m *maker, day float64) float64 {
				swing := 3.0
				if !workday(day) {
					swing = 0.8
				}
				return 20 + swing*m.scale*hump(day) + 0.4*m.noise(0.95)
			},
		},
		{
			Name: "visitors", Unit: "people", Step: 15 * time.Minute, Size: 40, Seasonal: true, Still: true, round: to(0, 1),
			raw: func(m *maker, day float64) float64 {
				mean := (2 + 30*hump(day)) * m.scale
				if !workday(day) {
					mean /= 3
				}
				return m.poisson(mean)
			},
		},
		{
			Name: "cold room", Unit: "°C", Step: time.Minute, Size: 5, round: to(none, 16),
			raw: func(m *maker, _ float64) float64 {
				// The compressor runs for 15 of 40 minutes.
				m.phase += 1.0 / 40 * m.scale
				if m.phase >= 1 {
					m.phase -= 1 + 0.05*m.NormFloat64()
				}
				target := 1.5
				if m.phase < 0.375 {
					target = -4
				}
				m.slow += (target - m.slow) / 20
				return m.slow + 0.05*m.NormFloat64()
			},
		},
		{
			Name: "latency", Unit: "ms", Step: 5 * time.Minute, Size: 150, round: to(0, 1000),
			raw: func(m *maker, day float64) float64 {
				v := m.scale * math.Exp(3+0.2*hump(day)+0.3*m.noise(0.5))
				if m.Float64() < 0.003 {
					v *= 4 // a slow one now and then
				}
				return v
			},
		},
		{
			Name: "machine", Unit: "A", Step: time.Minute, Size: 30, Seasonal: true, round: to(0, 100),
			raw: func(m *maker, day float64) float64 {
				level := 5.0
				if workday(day) && hours(day, 7.2, 16.8) {
					level = 60 * m.scale
				}
				return level + 1.5*m.noise(0.7)
			},
		},
		{
			Name: "tank", Unit: "%", Step: 15 * time.Minute, Size: 40, round: to(0, 10),
			raw: func(m *maker, day float64) float64 {
				// Drawn from by day, filled when nearly empty.
				m.slow -= (0.002 + 0.01*hump(day)) * (0.5 + m.Float64()) * m.scale
				if m.slow < 0.2 {
					m.slow = 0.95
				}
				return 100 * (m.slow + 0.002*m.NormFloat64())
			},
		},
		{
			Name: "flow", Unit: "l/s", Step: 10 * time.Minute, Size: 25, round: to(0, 100),
			raw: func(m *maker, _ float64) float64 {
				m.slow = m.slow*0.999 + 0.05*m.NormFloat64()
				return 100*m.scale + 5*m.slow + m.noise(0.3)
			},
		},
		{
			Name: "solar", Unit: "kW", Step: 5 * time.Minute, Size: 4, Seasonal: true, Still: true, round: to(none, 100),
			raw: func(m *maker, day float64) float64 {
				m.slow = m.slow*0.98 + 0.2*m.NormFloat64()
				return 5 * m.scale * hump(day) / (1 + math.Exp(-1-m.slow))
			},
		},
	}
}

// Fresh returns the families that were not used to choose anything: detectors
// are only measured on them.
func Fresh() []Family {
	return []Family{
		{
			Name: "outdoors", Unit: "°C", Step: 10 * time.Minute, Size: 10, Seasonal: true, round: to(none, 10),
			raw: func(m *maker, day float64) float64 {
				// The weather of days, spring coming, warm afternoons.
				m.slow += -m.slow/(5*144) + 0.35*m.NormFloat64()/math.Sqrt(12)
				return 4 + 0.15*day + m.slow + 6*m.scale*hump(day) + 0.15*m.noise(0.8)
			},
		},
		{
			Name: "energy meter", Unit: "kWh", Step: 5 * time.Minute, Size: 60, round: to(0, 100),
			raw: func(m *maker, day float64) float64 {
				// A counter that only rises.
				m.slow += m.scale * (0.05 + 0.25*hump(day)*(0.7+0.6*m.Float64()))
				return 1200 + m.slow
			},
		},
		{
			Name: "network", Unit: "Mbit/s", Step: 5 * time.Minute, Size: 250, Seasonal: true, round: to(0, 10),
			raw: func(m *maker, day float64) float64 {
				v := m.scale * (4 + 25*hump(day)) * math.Exp(0.35*m.noise(0.7))
				m.phase--
				if m.phase > 0 || m.Float64() < 0.004 { // a large file, for up to half an hour
					if m.phase <= 0 {
						m.phase = 1 + float64(m.IntN(6))
					}
					v += 60 * m.scale
				}
				return v
			},
		},
		{
			Name: "mains voltage", Unit: "V", Step: time.Minute, Size: 15, Seasonal: true, round: to(none, 10),
			raw: func(m *maker, day float64) float64 {
				// A tap changer steps now and then.
				if m.Float64() < 1.0/700 {
					m.slow = 1.6 * float64(m.IntN(3)-1)
				}
				return 232 + m.slow - 2*m.scale*hump(day) + 0.6*m.noise(0.9)
			},
		},
		{
			Name: "meeting room", Unit: "ppm", Step: 5 * time.Minute, Missing: 0.05, Size: 900, Seasonal: true, round: to(380, 1),
			raw: func(m *maker, day float64) float64 {
				// Meetings come and go; the air recovers in half an hour.
				m.phase--
				if m.phase <= 0 {
					m.phase = float64(3 + m.IntN(18))
					m.walk = 0
					if workday(day) && hours(day, 8, 18) && m.Float64() < 0.5 {
						m.walk = 300 + 700*m.Float64()
					}
				}
				m.slow += (m.walk*m.scale - m.slow) / 7
				return 430 + m.slow + 8*m.NormFloat64()
			},
		},
		{
			Name: "processor load", Unit: "%", Step: time.Minute, Size: 60, Seasonal: true,
			round: func(v float64) float64 { return math.Round(min(max(v, 0), 100)) },
			raw: func(m *maker, day float64) float64 {
				v := 8 + 15*m.scale*hump(day) + 3*m.noise(0.6) + 2*m.ExpFloat64()
				if hours(day, 2, 2.6) { // the backup
					v += 35
				}
				return v
			},
		},
		{
			Name: "vibration", Unit: "mm/s", Step: 10 * time.Minute, Jitter: 0.2, Size: 3, round: to(0, 100),
			raw: func(m *maker, _ float64) float64 {
				// It wears slowly and runs at one of two speeds for hours.
				if m.Float64() < 1.0/40 {
					m.phase = float64(m.IntN(2))
				}
				m.slow += 0.00005
				return m.scale * (1.2 + 0.8*m.phase + m.slow) * math.Exp(0.1*m.noise(0.4))
			},
		},
		{
			Name: "battery", Unit: "V", Step: time.Hour, Missing: 0.02, Size: 0.5, round: to(0, 100),
			raw: func(m *maker, _ float64) float64 {
				// It lasts for about ten days and is then charged.
				m.slow -= m.scale / 240 * (0.6 + 0.8*m.Float64())
				if m.slow < 0 {
					m.slow = 1
				}
				return 3.3 + 0.8*m.slow + 0.01*m.NormFloat64()
			},
		},
	}
}

// Series is one series of a family without a fault.
type Series struct {
	Family  *Family
	Samples []detect.Sample
	// Begin is the sample with which a fault begins.
	Begin int

	seed uint64
}

// Make makes a series.
func (f *Family) Make(seed uint64) *Series {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, uint64(len(f.Name))<<8+uint64(f.Name[0])))}
	m.scale = math.Exp2(m.Float64() - 0.5)
	s := &Series{Family: f, seed: seed}
	// What happens between the readings of a family that has state of its own is
	// the same for all seeds, so each series begins elsewhere.
	for range m.IntN(500) {
		f.raw(m, 0)
	}
	for i := range int64(Weeks * week / f.Step) {
		at := i * int64(f.Step)
		v := f.round(f.raw(m, float64(at)/float64(day)))
		if f.Missing > 0 && m.Float64() < f.Missing {
			continue
		}
		if f.Jitter > 0 {
			at += int64(f.Jitter * (m.Float64() - 0.5) * float64(f.Step))
		}
		s.Samples = append(s.Samples, detect.Sample{Time: epoch + at, Value: v})
	}
	s.Begin = len(s.Samples)/2 + m.IntN(len(s.Samples)/3)
	return s
}

// Kind is what can be wrong with a series.
type Kind uint8

// The kinds of faults.
const (
	// Glitch is one reading far off.
	Glitch Kind = iota
	// Surge is a rise or a fall within a few readings, and back after an hour or
	// two.
	Surge
	// Level is a level that changes for a day.
	Level
	// Drift is a level that moves over five days and then stays.
	Drift
	// Stuck is the same value for eight hours.
	Stuck
	// Gap is four hours without a reading.
	Gap
	// Noise is six hours of noise.
	Noise
	// Night is a day with the pattern of 12 hours before.
	Night

	kinds
)

// Kinds returns all kinds.
func Kinds() []Kind {
	out := make([]Kind, kinds)
	for i := range out {
		out[i] = Kind(i)
	}
	return out
}

// String returns the name of the kind.
func (k Kind) String() string {
	return [...]string{"glitch", "surge", "level", "drift", "stuck", "gap", "noise", "night"}[k]
}

// lasts is how long a fault of the kind takes in a series with that step.
func (k Kind) lasts(step time.Duration) time.Duration {
	long := [...]time.Duration{
		Glitch: step, Surge: 2 * time.Hour, Level: day, Drift: 5 * day, Stuck: 8 * time.Hour, Gap: 4 * time.Hour,
		Noise: 6 * time.Hour, Night: day,
	}[k]
	return max(long, [...]time.Duration{Surge: 6, Stuck: 24, Gap: 8, Noise: 12, Night: 0}[k]*step)
}

// With returns the samples from the start of a fault until shortly after its
// end, with the fault, and the time of its end. It returns none if such a fault
// means nothing in the family.
func (s *Series) With(k Kind) (samples []detect.Sample, end int64) {
	f := s.Family
	if k == Night && !f.Seasonal || k == Stuck && f.Still {
		return nil, 0
	}
	random := rand.New(rand.NewPCG(s.seed, uint64(k)+1000))
	sign := 1.0
	if f.round(-1e9) < -1e6 && random.IntN(2) == 0 { // not where nothing can be below 0
		sign = -1
	}
	begin := s.Samples[s.Begin].Time
	long := k.lasts(f.Step)
	end = begin + int64(long)
	ago := int(12 * time.Hour / f.Step)
	for i, r := range s.Samples[s.Begin:] {
		if r.Time >= end+int64(2*day) {
			break
		}
		if r.Time >= end && k != Drift {
			samples = append(samples, r)
			continue
		}
		part := min(float64(r.Time-begin)/float64(long), 1)
		switch k {
		case Glitch:
			if i == 0 {
				r.Value += 3 * sign * f.Size
			}
		case Surge:
			r.Value += 1.5 * sign * f.Size * (1 - math.Exp(-float64(i+1)/1.5))
		case Level:
			r.Value += sign * f.Size
		case Drift:
			r.Value += 1.5 * sign * f.Size * part
		case Stuck:
			r.Value = s.Samples[s.Begin].Value
		case Gap:
			if i > 0 {
				continue
			}
		case Noise:
			r.Value += 0.7 * f.Size * random.NormFloat64()
		case Night:
			r.Value = s.Samples[s.Begin+i-ago].Value
		}
		r.Value = f.round(r.Value)
		samples = append(samples, r)
	}
	return samples, end
}
