package codec

import "math"

// Units are the usual resolutions of the times of devices, in nanoseconds.
var Units = [...]int64{1e9, 1e6, 1e3, 1}

// Times appends n ascending or nearly ascending times. It writes the changes of the step
// between them, so regular times take about one byte each, whatever their unit.
func Times(b []byte, n int, at func(int) int64) []byte {
	b = Uint(b, uint64(n))
	if n == 0 {
		return b
	}
	unit := 0
	for i := range n {
		for at(i)%Units[unit] != 0 {
			unit++
		}
	}
	b = append(b, byte(unit))
	var last, step int64
	for i := range n {
		t := at(i) / Units[unit]
		b = Int(b, t-last-step)
		// The first difference is the time itself, not a step.
		if i > 0 {
			step = t - last
		}
		last = t
	}
	return b
}

// Times reads what Times wrote.
func (r *Reader) Times() []int64 {
	n := r.Count()
	if n == 0 || r.err != nil {
		return nil
	}
	unit := r.data[0]
	if int(unit) >= len(Units) {
		r.Fail()
		return nil
	}
	r.data = r.data[1:]
	out := make([]int64, n)
	var last, step int64
	for i := range out {
		t := r.Int() + last + step
		if i > 0 {
			step = t - last
		}
		last = t
		out[i] = t * Units[unit]
	}
	if r.err != nil {
		return nil
	}
	return out
}

// raw marks values that follow as they are, in eight bytes each.
const raw = 0xff

// Decimals are the usual scales of the values of sensors.
var Decimals = [...]float64{1, 10, 100, 1000, 10000}

// Values appends n values. Values with up to four decimals, as from nearly all sensors, take
// one or two bytes each. Reading restores every value bit for bit.
func Values(b []byte, n int, at func(int) float64) []byte {
	scale := 0
	for i := 0; i < n && scale < len(Decimals); i++ {
		for scale < len(Decimals) && !IsDecimal(at(i), Decimals[scale]) {
			scale++
		}
	}
	if scale == len(Decimals) {
		b = append(b, raw)
		for i := range n {
			b = Float(b, at(i))
		}
		return b
	}
	b = append(b, byte(scale))
	var last int64
	for i := range n {
		v := int64(math.Round(at(i) * Decimals[scale]))
		b = Int(b, v-last)
		last = v
	}
	return b
}

// IsDecimal reports whether v can be restored bit for bit from a whole number of 1/scale.
// That may hold for one scale and not for a larger one; Values then uses eight bytes.
func IsDecimal(v, scale float64) bool {
	n := math.Round(v * scale)
	return math.Abs(n) < 1<<52 && math.Float64bits(float64(int64(n))/scale) == math.Float64bits(v)
}

// Values reads the n values that Values wrote.
func (r *Reader) Values(n int) []float64 {
	if n < 0 || n > len(r.data) || len(r.data) == 0 {
		r.Fail()
		return nil
	}
	scale := r.data[0]
	r.data = r.data[1:]
	out := make([]float64, n)
	switch {
	case scale == raw:
		for i := range out {
			out[i] = r.Float()
		}
	case int(scale) < len(Decimals):
		var last int64
		for i := range out {
			last += r.Int()
			out[i] = float64(last) / Decimals[scale]
		}
	default:
		r.Fail()
	}
	if r.err != nil {
		return nil
	}
	return out
}
