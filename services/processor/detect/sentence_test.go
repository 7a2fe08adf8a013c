package detect

import (
	"math"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
	if got := quantity(4.5, ""); got != "4.5" {
		t.Errorf("a quantity without a unit is %q", got)
	}
}

// A value in a sentence lies on the side of the bound that the sentence names.
func TestSentencesShowAValueApartFromItsBound(t *testing.T) {
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
