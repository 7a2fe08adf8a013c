package figure

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 21.5: "21.5", 4.207: "4.207", -4.2: "−4.2", 0.001: "0.001", 0.00002: "0.00002", 1e-7: "1e−7",
		999.996: "1000", 1013.25: "1013.3", 12344.5: "12\u202f345", 1.0005: "1.001", 9.99996e20: "1e+21", 99999.5: "100\u202f000", 0.1 + 0.2: "0.3", 0.123456: "0.123", 0.0123456: "0.0123", -0.0004: "−0.0004",
		1500: "1500", 12345.6: "12\u202f346", 77129: "77\u202f129", 1234567: "1\u202f234\u202f567", 123456789012: "123\u202f456\u202f789\u202f012",
		9007199254740991: "9\u202f007\u202f199\u202f254\u202f740\u202f991", 9007199254740992: "9.007e+15", -1.2345678e30: "−1.235e+30", 2e20: "2e+20",
		math.Inf(1): "∞", math.Inf(-1): "−∞", math.MaxFloat64: "1.798e+308", math.SmallestNonzeroFloat64: "5e−324",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if got := Number(math.NaN()); got != "NaN" {
		t.Errorf("NaN is %q", got)
	}
}

func TestApart(t *testing.T) {
	for _, c := range []struct {
		v, bound float64
		want     string
	}{
		{1000000.4, 1000000, "1\u202f000\u202f000.4 1\u202f000\u202f000"},
		{30.004, 30, "30.004 30"},
		{30.1, 30, "30.1 30"},
		{30, 30, "30 30"},
		{29.999999999, 30, "29.999999999 30"},
		{-30.0000001, -30, "−30.0000001 −30"},
		{0, math.Copysign(0, -1), "0 0"},
		{1 << 60, math.Nextafter(1<<60, 0), "1.152921504606847e+18 1.1529215046068468e+18"},
	} {
		if got := strings.Join(Apart(c.v, c.bound), " "); got != c.want {
			t.Errorf("%v beside %v: %q, want %q", c.v, c.bound, got, c.want)
		}
	}
	if got := Apart(5.00004, 4, 6, 5); got[0] != "5.00004" || got[1] != "4" || got[2] != "6" || got[3] != "5" {
		t.Errorf("three bounds: %q", got)
	}
}

// read returns the number that a text of this package represents.
func read(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.NewReplacer("−", "-", "\u202f", "", "∞", "inf").Replace(s), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// values calls a function with numbers of every kind: any bits, decimals as
// devices send them, whole numbers of every length.
func values(f func(v float64)) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		if v := math.Float64frombits(random.Uint64()); !math.IsNaN(v) && !math.IsInf(v, 0) {
			f(v)
		}
		f(math.Round(random.NormFloat64()*1e6) / math.Pow10(random.IntN(9)))
		f(float64(random.Int64N(1 << (1 + random.IntN(53)))))
	}
}

func TestNumberIsNear(t *testing.T) {
	values(func(v float64) {
		s := Number(v)
		got := read(t, s)
		switch {
		case s == "-0" || s == "−0" || strings.Contains(s, "-"):
			t.Fatalf("%v is %q", v, s)
		case v == math.Trunc(v) && math.Abs(v) < 1<<53 && got != v:
			t.Fatalf("the whole number %v is %q", v, s)
		case math.Abs(v) < 1<<53 && math.Abs(v) >= 1e-6 && strings.Contains(s, "e"):
			t.Fatalf("%v has an exponent: %q", v, s)
		case math.Abs(got-v) > 0.0051*math.Abs(v):
			t.Fatalf("%v is %q", v, s)
		}
	})
}

func TestApartShowsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	values(func(v float64) {
		bound := v * (1 + math.Pow10(-random.IntN(18)))
		if random.IntN(2) == 0 {
			bound = math.Nextafter(v, math.Inf(1))
		}
		if math.IsInf(bound, 0) {
			return
		}
		texts := Apart(v, bound)
		a, b := read(t, texts[0]), read(t, texts[1])
		if v != bound && texts[0] == texts[1] || v < bound && a >= b || v > bound && a <= b {
			t.Fatalf("%v beside %v: %q", v, bound, texts)
		}
	})
}

func TestExact(t *testing.T) {
	values(func(v float64) {
		if s := Exact(v); read(t, s) != v {
			t.Fatalf("%v is %q", v, s)
		}
	})
	if got := Exact(1000000.0004); got != "1\u202f000\u202f000.0004" {
		t.Error(got)
	}
}

func TestPlural(t *testing.T) {
	for n, want := range map[int]string{-1: "0 rules", 0: "0 rules", 1: "1 rule", 2: "2 rules", 12345: "12\u202f345 rules"} {
		if got := Plural(n, "rule", "rules"); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestZero(t *testing.T) {
	if v := Zero(math.Copysign(0, -1)); math.Signbit(v) {
		t.Error("-0 stays")
	}
	if v := Zero(-1.5); v != -1.5 {
		t.Errorf("-1.5 is %v", v)
	}
}
