package view

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestValueAsJSON(t *testing.T) {
	for _, c := range []struct {
		value Value
		want  string
	}{
		{Number(21.5), "21.5"},
		{Number(math.NaN()), "null"},
		{Number(math.Inf(-1)), "null"},
		{Flag(false), "false"},
		{Text("</script>"), `"\u003c/script\u003e"`},
		{Value{}, "null"},
	} {
		got, err := json.Marshal(c.value)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v is %s (%v), want %s", c.value, got, err, c.want)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"21 °C": "21 °C", "a\u202eb\x00\u2028c\u200f": "a⟨202E⟩b⟨0⟩⟨2028⟩c⟨200F⟩", "two\nlines": "two\nlines", "שלום": "שלום",
	} {
		if got := Plain(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestLate(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	if _, late := (Alert{Updated: at, Learned: at.Add(time.Minute)}).Late(); late {
		t.Error("a minute is late")
	}
	if d, late := (Alert{Updated: at, Learned: at.Add(3 * time.Hour)}).Late(); !late || d != 3*time.Hour {
		t.Errorf("three hours are %v, %v", d, late)
	}
}

func TestDrawn(t *testing.T) {
	for _, c := range []struct {
		name         string
		in           Metric
		want, states bool
	}{
		{"number", Metric{Kind: KindNumber}, true, false},
		{"flag", Metric{Kind: KindFlag}, true, true},
		{"text", Metric{Kind: KindText}, false, true},
		{"text after numbers", Metric{Kind: KindText, Spark: []Slot{{Last: 5}}}, true, false},
	} {
		if got := c.in.Drawn(); got != c.want || c.in.HasStates() != c.states {
			t.Errorf("%s: drawn %t, with states %t; want %t, %t", c.name, got, c.in.HasStates(), c.want, c.states)
		}
	}
}
