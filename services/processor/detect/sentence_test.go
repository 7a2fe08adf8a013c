package detect

import (
	"math"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
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

// A value in a sentence lies on the side of the bound that the sentence names.
func TestSentencesTellAValueFromItsBound(t *testing.T) {
	t.Parallel()
	limit := &Limit{Above: 1_000_000, Below: math.Inf(-1), Silence: time.Hour}
	got := limit.Start().Observe(Sample{Time: 1, Value: 1_000_000.04}, "", nil)
	if want := "1\u202f000\u202f000.04: above the limit of 1\u202f000\u202f000"; len(got) != 1 || got[0].Evidence.Sentence != want {
		t.Errorf("the limit says %+v, want %q", got, want)
	}
	value, bound := beside(4.9999, 5, "bar")
	if value != "4.9999 bar" || bound != "5 bar" {
		t.Errorf("%s beside %s", value, bound)
	}
}
