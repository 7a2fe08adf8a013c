package detect

import (
	"math"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", math.Copysign(0, -1): "0", 8.4: "8.4", 0.123456: "0.123", 21.456: "21.46", -18: "-18", 1013.25: "1013.2",
		100: "100", 1e6: "1000000", 12345678: "12345678", 123456.7: "123457",
		0.00012: "0.00012", 0.00012471: "0.000125", 2.5e-8: "0.000000025", 1e-12: "1e-12", -0.0049999: "-0.005", 1e300: "1e+300", 0.1 + 0.2: "0.3",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 300 * time.Millisecond: "300 ms", 124700: "less than 1 ms", 1247 * time.Microsecond: "1 ms",
		1247 * time.Millisecond: "1.2 s", 999_900 * time.Microsecond: "1 s", 45 * time.Second: "45 s", 3 * time.Minute: "3 min",
		200 * time.Second: "3 min 20 s", time.Hour: "1 h", 65*time.Minute + 40*time.Second: "1 h 6 min",
		52 * time.Hour: "2 d 4 h", 59*time.Minute + 59*time.Second + 900*time.Millisecond: "1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	if got := quantity(4.5, ""); got != "4.5" {
		t.Errorf("a quantity without a unit is %q", got)
	}
}
