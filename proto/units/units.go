// Package units knows the units that sensors commonly give: which spellings mean
// the same, and how a number converts from one unit to another of its kind. It is
// pure. A unit that it does not know is the same as itself only.
package units

import (
	"math"
	"strconv"
	"strings"
)

// scale says how a unit relates to the base unit of its kind: a value v is
// (v + shift) * num / den base units.
type scale struct {
	kind     string
	num, den int64
	shift    float64
}

// declared is the table: for each kind its units, and for each unit its
// spellings, the usual one first.
var declared = []struct {
	kind  string
	units []unit
}{
	{"temperature", []unit{
		{1, 1, 0, "K kelvin"}, {1, 1, 273.15, "°C C ℃ degC deg_C celsius Celsius"}, {5, 9, 459.67, "°F F ℉ degF deg_F fahrenheit Fahrenheit"},
	}},
	{"pressure", []unit{
		{1, 1000, 0, "mPa"},
		{1, 1, 0, "Pa pascal"},
		{100, 1, 0, "hPa mbar mb millibar"},
		{1000, 1, 0, "kPa"},
		{1_000_000, 1, 0, "MPa"},
		{100_000, 1, 0, "bar"},
		{6_894_757_293_168, 1_000_000_000, 0, "psi PSI"},
		{133_322_387_415, 1_000_000_000, 0, "mmHg"},
		{101_325, 760, 0, "Torr torr"},
		{3_386_388_640, 1_000_000, 0, "inHg"},
		{101_325, 1, 0, "atm"},
	}},
	{"energy", []unit{
		{1, 1000, 0, "mJ"},
		{1, 1, 0, "J joule"},
		{1000, 1, 0, "kJ"},
		{1_000_000, 1, 0, "MJ"},
		{1_000_000_000, 1, 0, "GJ"},
		{18, 5, 0, "mWh"},
		{3600, 1, 0, "Wh"},
		{3_600_000, 1, 0, "kWh kW·h"},
		{3_600_000_000, 1, 0, "MWh"},
		{3_600_000_000_000, 1, 0, "GWh"},
		{4184, 1000, 0, "cal"},
		{4184, 1, 0, "kcal"},
	}},
	{"power", []unit{
		{1, 1000, 0, "mW"}, {1, 1, 0, "W watt watts"}, {1000, 1, 0, "kW"}, {1_000_000, 1, 0, "MW"}, {1_000_000_000, 1, 0, "GW"},
	}},
	{"apparent power", []unit{{1, 1, 0, "VA"}, {1000, 1, 0, "kVA"}}},
	{"reactive power", []unit{{1, 1, 0, "var VAr"}, {1000, 1, 0, "kvar kVAr"}}},
	{"speed", []unit{
		{1, 1, 0, "m/s m·s⁻¹ mps"}, {5, 18, 0, "km/h kmh kph km·h⁻¹"}, {1397, 3125, 0, "mph mi/h"}, {463, 900, 0, "kn kt kts knot knots"}, {381, 1250, 0, "ft/s fps"},
	}},
	{"length", []unit{
		{1, 1_000_000, 0, "µm um"},
		{1, 1000, 0, "mm"},
		{1, 100, 0, "cm"},
		{1, 10, 0, "dm"},
		{1, 1, 0, "m meter metre"},
		{1000, 1, 0, "km"},
		{127, 5000, 0, "in inch"},
		{381, 1250, 0, "ft foot feet"},
		{1143, 1250, 0, "yd"},
		{201_168, 125, 0, "mi mile miles"},
	}},
	{"voltage", []unit{{1, 1_000_000, 0, "µV uV"}, {1, 1000, 0, "mV"}, {1, 1, 0, "V volt volts"}, {1000, 1, 0, "kV"}}},
	{"current", []unit{{1, 1_000_000, 0, "µA uA"}, {1, 1000, 0, "mA"}, {1, 1, 0, "A amp amps ampere"}, {1000, 1, 0, "kA"}}},
	{"charge", []unit{{1, 1000, 0, "mAh"}, {1, 1, 0, "Ah"}}},
	{"resistance", []unit{{1, 1000, 0, "mΩ"}, {1, 1, 0, "Ω Ω Ohm ohm"}, {1000, 1, 0, "kΩ kΩ kOhm kohm"}, {1_000_000, 1, 0, "MΩ MΩ MOhm"}}},
	{"frequency", []unit{
		{1, 60, 0, "rpm RPM 1/min r/min"}, {1, 1, 0, "Hz 1/s"}, {1000, 1, 0, "kHz"}, {1_000_000, 1, 0, "MHz"}, {1_000_000_000, 1, 0, "GHz"},
	}},
	{"mass", []unit{
		{1, 1_000_000, 0, "mg"}, {1, 1000, 0, "g gram"}, {1, 1, 0, "kg"}, {1000, 1, 0, "t"}, {45_359_237, 100_000_000, 0, "lb lbs"}, {45_359_237, 1_600_000_000, 0, "oz"},
	}},
	{"volume", []unit{
		{1, 1000, 0, "mL ml"}, {1, 100, 0, "cL cl"}, {1, 1, 0, "L l litre liter"}, {1000, 1, 0, "m³ m3 m^3"}, {28_316_846_592, 1_000_000_000, 0, "ft³ ft3 ft^3"},
	}},
	{"flow", []unit{
		{1, 3600, 0, "L/h l/h"}, {1, 60, 0, "L/min l/min lpm"}, {1, 1, 0, "L/s l/s"}, {5, 18, 0, "m³/h m3/h m^3/h"}, {1000, 1, 0, "m³/s m3/s m^3/s"},
	}},
	{"time", []unit{
		{1, 1_000_000_000, 0, "ns"},
		{1, 1_000_000, 0, "µs us"},
		{1, 1000, 0, "ms"},
		{1, 1, 0, "s sec second seconds"},
		{60, 1, 0, "min minute minutes"},
		{3600, 1, 0, "h hr hour hours"},
		{86_400, 1, 0, "d day days"},
	}},
	{"share", []unit{
		{1, 1_000_000_000, 0, "ppb"}, {1, 1_000_000, 0, "ppm"}, {1, 1000, 0, "‰"}, {1, 100, 0, "% percent pct %RH %rH"},
	}},
	{"illuminance", []unit{{1, 1, 0, "lx lux"}, {1000, 1, 0, "klx"}}},
	{"irradiance", []unit{{1, 1, 0, "W/m² W/m2 W/m^2"}, {1000, 1, 0, "kW/m² kW/m2 kW/m^2"}}},
	{"conductivity", []unit{{1, 10_000, 0, "µS/cm uS/cm"}, {1, 10, 0, "mS/cm"}, {1, 1, 0, "S/m"}}},
	{"concentration", []unit{{1, 1_000_000, 0, "µg/m³ ug/m3 µg/m3 ug/m³"}, {1, 1000, 0, "mg/m³ mg/m3"}, {1, 1, 0, "g/m³ g/m3"}}},
	{"precipitation", []unit{{1, 1, 0, "mm/h"}, {254, 10, 0, "in/h"}}},
	{"data", []unit{
		{1, 1, 0, "B bytes"},
		{1000, 1, 0, "kB"},
		{1_000_000, 1, 0, "MB"},
		{1_000_000_000, 1, 0, "GB"},
		{1_000_000_000_000, 1, 0, "TB"},
		{1 << 10, 1, 0, "KiB"},
		{1 << 20, 1, 0, "MiB"},
		{1 << 30, 1, 0, "GiB"},
		{1 << 40, 1, 0, "TiB"},
	}},
}

type unit struct {
	num, den  int64
	shift     float64
	spellings string
}

// scales are those of the usual spellings, names the usual spelling by any.
var scales, names = index()

func index() (scales map[string]scale, names map[string]string) {
	scales, names = make(map[string]scale), make(map[string]string)
	// Another letter case is understood where it has one meaning: HPA is hPa, but
	// MPA is neither mPa nor MPa.
	folded := make(map[string]string)
	for _, k := range declared {
		for _, u := range k.units {
			spellings := strings.Fields(u.spellings)
			scales[spellings[0]] = scale{k.kind, u.num, u.den, u.shift}
			for _, s := range spellings {
				names[s] = spellings[0]
				for _, other := range []string{strings.ToLower(s), strings.ToUpper(s)} {
					if known, there := folded[other]; there && known != spellings[0] {
						folded[other] = ""
					} else {
						folded[other] = spellings[0]
					}
				}
			}
		}
	}
	for s, name := range folded {
		if _, there := names[s]; !there && name != "" && len([]rune(s)) > 1 {
			names[s] = name
		}
	}
	return scales, names
}

// Name returns the name of a unit, which is the same for all its spellings: the
// usual one of a unit that is known, else the text itself without white space
// around it. Control characters and backslashes become "_", so that a name can be
// kept wherever units are.
func Name(unit string) string {
	if name, known := names[unit]; known {
		return name
	}
	trimmed := strings.TrimSpace(unit)
	if name, known := names[trimmed]; known {
		return name
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\\' {
			return '_'
		}
		return r
	}, trimmed)
}

// Same reports whether two texts are the same unit.
func Same(a, b string) bool { return a == b || Name(a) == Name(b) }

// Convert returns a finite value in another unit. It reports false when the two
// are not known to be of one kind, or the result does not fit a float64. A value is
// exactly itself in the same unit, and right to 15 digits in another; temperatures
// to a billionth of a degree.
func Convert(v float64, from, to string) (float64, bool) {
	if Same(from, to) {
		return v, true
	}
	a, known := scales[Name(from)]
	b, comparable := scales[Name(to)]
	if !known || !comparable || a.kind != b.kind {
		return 0, false
	}
	across, along := gcd(a.num, b.num), gcd(a.den, b.den)
	num, den := float64(a.num/across)*float64(b.den/along), float64(a.den/along)*float64(b.num/across)
	shifted := v + a.shift
	out := shifted * num / den
	if math.IsInf(out, 0) {
		out = shifted / den * num
	}
	out -= b.shift
	if a.shift != 0 || b.shift != 0 {
		const finest = 1e9
		if r := math.Round(out*finest) / finest; !math.IsInf(r, 0) {
			out = r
		}
	}
	if math.IsNaN(out) || math.IsInf(out, 0) {
		return 0, false
	}
	// 4.35 m are 435 cm, not 434.99999999999994.
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(out, 'g', 15, 64), 64)
	return rounded + 0, err == nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
