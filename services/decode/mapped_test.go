package decode_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/services/decode"
	"headwater/services/decode/mapping"
)

func TestMapped(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, test := range []struct {
		name           string
		declared       mapping.Declared
		topic, payload string
		want           []string
		fault          string // of the whole; empty for none
	}{
		{
			"a value",
			mapping.Declared{
				Topic: "factory/{line}/{machine}/status", Site: "hall", Device: "{line}-{machine}", Metric: "temperature", Value: "payload.sensors.temp / 10", Time: "payload.at", Unit: "°C",
			},
			"factory/7/press/status", `{"sensors":{"temp":215},"at":"2026-03-14T15:09:25Z"}`,
			[]string{"hall/7-press temperature=21.5 °C @15:09:25"},
			"",
		},
		{"the whole payload", mapping.Declared{Topic: "up/{device}", Device: "{device}"}, "up/a b", `{"x":1,"y":{"z":true},"ts":1773500966}`, []string{"home/a_b x=1 @15:09:26", "home/a_b y_z=true @15:09:26"}, ""},
		{"a bare number", mapping.Declared{Topic: "up/{device}/{metric}", Device: "{device}", Metric: "{metric}", Unit: "V"}, "up/a/volts", "3.3", []string{"home/a volts=3.3 V"}, ""},
		{"text", mapping.Declared{Topic: "gps/{device}", Device: "{device}", Metric: "speed", Value: `float(split(text, ",")[7])`, Unit: "kn"}, "gps/van", "$GPRMC,150926,A,4807.038,N,01131.000,E,022.4,084.4,140326,003.1,W*6A", []string{"home/van speed=22.4 kn"}, ""},
		{
			"each",
			mapping.Declared{Topic: "gw/{gw}", Each: "payload.list", Site: "{gw}", Device: "{item.id}", Value: "item.values"},
			"gw/yard", `{"list":[{"id":"a","values":{"t":1}},{"id":7,"values":{"t":2}},{"values":{"t":3}}]}`,
			[]string{"yard/a t=1", "yard/7 t=2", "! payload device: an expression in it is missing, not a text"},
			"",
		},
		{"nothing", mapping.Declared{Topic: "a", Device: "d", Metric: "m", Value: "payload.x"}, "a", `{"y":1}`, nil, ""},
		{"CBOR", mapping.Declared{Topic: "a", Device: "d", Metric: "m", Value: "payload.a"}, "a", bytesOf(t, "a1 61 61 01"), []string{"home/d m=1"}, ""},
		{"a part that is not there", mapping.Declared{Topic: "a", Device: "d", Metric: "m", Value: "payload.x.y"}, "a", `{}`, nil, "value: cannot fetch y"},
		{"a number without a name", mapping.Declared{Topic: "a", Device: "d"}, "a", "1", nil, "metric: the metric is missing"},
		{"each that is no list", mapping.Declared{Topic: "a", Device: "d", Each: "payload"}, "a", "1", nil, "each: it is a number, not an array"},
		{"a time that is none", mapping.Declared{Topic: "a", Device: "d", Metric: "m", Time: "payload"}, "a", `"x"`, nil, "time:"},
		{"binary", mapping.Declared{Topic: "a", Device: "d", Metric: "m"}, "a", "\x01\x02", nil, "control characters"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, problems := mapping.Compile(test.declared)
			if problems != nil {
				t.Fatal(problems)
			}
			if found, _ := (mapping.Set{m}).Find(test.topic); found != m {
				t.Error("the topic does not fit the pattern")
			}
			got, err := d.Mapped(m, "", test.topic, []byte(test.payload), at(arrival))
			if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Fatalf("the error is %v, want %q", err, test.fault)
			}
			if diff := cmp.Diff(test.want, lines(got.Items)); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
		})
	}
}
