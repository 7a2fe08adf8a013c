package view

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 3 * time.Millisecond: "3 ms", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 12*time.Minute + 3*time.Second: "12 min",
		125 * time.Minute: "2 h 5 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 200 << 20: "200 MiB", 3 << 40: "3.0 TiB", math.MaxUint64: "16.0 EiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

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

func TestPayloadText(t *testing.T) {
	for name, c := range map[string]struct {
		payload string
		want    string
		isText  bool
	}{
		"text":                   {"{\"value\": 21.5}", "{\"value\": 21.5}", true},
		"empty":                  {"", "", true},
		"control characters":     {"a value of 21\x00\r\n", "a value of 21⟨0⟩⟨D⟩\n", true},
		"direction":              {"abcdefgh\u202eevil", "abcdefgh⟨202E⟩evil", true},
		"cut inside a character": {"21 °C, 5 °"[:11], "21 °C, 5 ", true},
		"bytes":                  {"\x00\xff\xfe", "00 ff fe", false},
		"mostly control":         {"\x01\x02\x03a", "01 02 03 61", false},
	} {
		got, isText := payloadText([]byte(c.payload))
		if got != c.want || isText != c.isText {
			t.Errorf("%s: %q (%v), want %q (%v)", name, got, isText, c.want, c.isText)
		}
	}
	long, _ := payloadText([]byte(strings.Repeat("\xff", 10_000)))
	if n := len(strings.Fields(long)); n != hexBytes {
		t.Errorf("a long payload is shown with %d bytes, want %d", n, hexBytes)
	}
}

func TestSparklineKeepsSpikes(t *testing.T) {
	start := time.Unix(1_700_000_010, 0)
	var slots []Slot
	for i := range 4 {
		slots = append(slots, Slot{Start: start.Add(time.Duration(i) * SlotWidth), Min: 1, Max: 1, Last: 1})
	}
	slots[2].Max = 9
	c := sparkline("temperature", "°C", slots)
	if !strings.Contains(c.Band, " 3.0") { // the top of the drawing
		t.Errorf("the spike is not in %s", c.Band)
	}
	if want := "temperature, last 15 minutes: 1 to 9\u00a0°C"; c.Label != want {
		t.Errorf("the label is %q, want %q", c.Label, want)
	}
	if c := sparkline("x", "", nil); c.Line != "" {
		t.Errorf("nothing is drawn as %q", c.Line)
	}
}

func TestStartCommands(t *testing.T) {
	for mqtt, want := range map[string]string{
		"":                   "mosquitto_pub -q 1 -t sensors/home/kitchen/temperature -m 21.5",
		"0.0.0.0:1883":       "mosquitto_pub -q 1 -t sensors/home/kitchen/temperature -m 21.5",
		"broker.local:18830": "mosquitto_pub -h broker.local -p 18830 -q 1 -t sensors/home/kitchen/temperature -m 21.5",
	} {
		if got := (Start{MQTT: mqtt}).MQTTCommand(); got != want {
			t.Errorf("%q: %s, want %s", mqtt, got, want)
		}
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"21 °C": "21 °C", "a\u202eb\x00\u2028c\u200f": "a⟨202E⟩b⟨0⟩⟨2028⟩c⟨200F⟩", "two\nlines": "two\nlines", "שלום": "שלום",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	if got := unit(strings.Repeat("x", 50)); got != "\u00a0xxxxxxxxxxxxxxxx…" {
		t.Errorf("a long unit is %q", got)
	}
}

func TestGrouped(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	got := grouped([]Consumer{
		{Stream: "T", Name: "writer", Pending: 1},
		{Stream: "D", Name: "writer-0", Purpose: "writes lane 0", Pending: 2, Active: at},
		{Stream: "D", Name: "writer-1", Purpose: "writes lane 1", Pending: 3, Unacked: 4, Active: at.Add(time.Second)},
		{Stream: "A", Name: "sender-1", Pending: 5},
		{Stream: "A", Name: "sender-phone", Pending: 6},
	})
	want := []Consumer{
		{Stream: "T", Name: "writer", Pending: 1},
		{Stream: "D", Name: "writer-0 … writer-1", Purpose: "writes each lane", Pending: 5, Unacked: 4, Active: at.Add(time.Second)},
		{Stream: "A", Name: "sender-1", Pending: 5},
		{Stream: "A", Name: "sender-phone", Pending: 6},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
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
		name string
		in   Metric
		want bool
	}{
		{"number", Metric{Kind: KindNumber}, true},
		{"flag", Metric{Kind: KindFlag}, true},
		{"text", Metric{Kind: KindText}, false},
		{"text after numbers", Metric{Kind: KindText, Spark: []Slot{{Last: 5}}}, true},
	} {
		if got := c.in.Drawn(); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
