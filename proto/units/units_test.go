package units_test

import (
	"math"
	"strings"
	"testing"

	"headwater/proto/units"
)

func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"hPa", "hPa", true},
		{"hPa", "mbar", true},
		{"HPA", "mbar", true},
		{"°C", "C", true},
		{" °C ", "celsius", true},
		{"KWH", "kWh", true},
		{"um", "µm", true},
		{"widgets", " widgets", true},
		{"hPa", "Pa", false},
		{"mW", "MW", false},
		{"mW", "MW ", false},
		{"°C", "°F", false},
		{"widgets", "Widgets", false},
		{"widgets", "", false},
	} {
		if got := units.Same(c.a, c.b); got != c.same {
			t.Errorf("Same(%q, %q) = %v", c.a, c.b, got)
		}
	}
	if a, b := units.Name("MPA"), units.Name("mPa"); a != "MPA" || b != "mPa" {
		t.Errorf("MPA may be mPa or MPa, but is %q; mPa is %q", a, b)
	}
}

func TestConvert(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v        float64
		from, to string
		want     float64
	}{
		{101325, "Pa", "hPa", 1013.25},
		{1013.25, "hPa", "Pa", 101325},
		{1.01325, "bar", "mbar", 1013.25},
		{72.5, "°F", "°C", 22.5},
		{-40, "C", "F", -40},
		{26.85, "°C", "K", 300},
		{300, "K", "°C", 26.85},
		{273.16, "K", "°C", 0.01},
		{32, "°F", "°C", 0},
		{4.35, "m", "cm", 435},
		{1.5, "kWh", "J", 5_400_000},
		{100, "km/h", "m/s", 27.7777777777778},
		{1, "in", "mm", 25.4},
		{60, "rpm", "Hz", 1},
		{2.5, "m³/h", "L/min", 41.6666666666667},
		{0.5, "kW", "W", 500},
		{1, "mph", "km/h", 1.609344},
	} {
		got, ok := units.Convert(c.v, c.from, c.to)
		if !ok || got != c.want {
			t.Errorf("%v %s = %v %s, %v; want %v", c.v, c.from, got, c.to, ok, c.want)
		}
	}
	for _, c := range [][2]string{{"hPa", "°C"}, {"hPa", "widgets"}, {"widgets", "hPa"}, {"", "hPa"}, {"hPa", ""}, {"W", "Wh"}} {
		if v, ok := units.Convert(1, c[0], c[1]); ok {
			t.Errorf("1 %q became %v %q", c[0], v, c[1])
		}
	}
	if v, ok := units.Convert(math.MaxFloat64, "GWh", "J"); ok {
		t.Errorf("the greatest number of GWh became %v J", v)
	}
}

// What comes back equals what was sent: exactly in another spelling, and to 14
// digits by way of another unit.
func FuzzConvert(f *testing.F) {
	f.Add(101325.0, "Pa", "hPa")
	f.Add(-0.1, "°F", "K")
	f.Add(1e-300, "MW", "mW")
	f.Add(9007199254740993.0, "KWH", "kWh")
	f.Add(3.0, "widgets", " widgets")
	f.Fuzz(func(t *testing.T, v float64, from, to string) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return
		}
		if name := units.Name(from); units.Name(name) != name || strings.ContainsAny(name, "\n\\") {
			t.Fatalf("the name of %q is %q, and the name of that %q", from, name, units.Name(name))
		}
		there, ok := units.Convert(v, from, to)
		if _, also := units.Convert(1, to, from); ok && !also {
			t.Fatalf("%q converts to %q, but not back", from, to)
		}
		switch {
		case !ok:
			return
		case units.Same(from, to):
			if there != v {
				t.Fatalf("%v %s became %v %s", v, from, there, to)
			}
			return
		}
		back, ok := units.Convert(there, to, from)
		if far := 1e-14*math.Abs(v) + 1e-8; ok && math.Abs(back-v) > far && math.Abs(there) > 1e-290 {
			t.Fatalf("%v %s became %v %s, and that %v", v, from, there, to, back)
		}
	})
}
