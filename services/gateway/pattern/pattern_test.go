package pattern_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/services/gateway/pattern"
)

func TestRead(t *testing.T) {
	type values = []pattern.Value
	nmea := []string{`regexp:^\$..MTW,(?P<water>[-.0-9]+),C`, `regexp:^\$..DBT,[^,]*,f,(?P<depth>[-.0-9]*),M`, `regexp:^\$..VHW,(?P<heading>[0-9.]*),T,`}
	for _, test := range []struct {
		name     string
		patterns []string
		line     string
		want     pattern.Line
	}{
		{"CSV", []string{"csv:site,device,temperature,_,humidity"}, "hall, door-1, 21.5, x, 40\r\n", pattern.Line{Site: "hall", Device: "door-1", Values: values{{"temperature", "21.5"}, {"humidity", "40"}}}},
		{"long form", []string{"csv;ts;device;metric;value;unit"}, "2026-11-28T12:00:00Z;d;t;21,5;°C", pattern.Line{Device: "d", Unit: "°C", Time: "2026-11-28T12:00:00Z", Values: values{{"t", "21,5"}}}},
		{"an empty part", []string{"csv:device,a,b"}, "d,,2", pattern.Line{Device: "d", Values: values{{"b", "2"}}}},
		{"named fields", []string{"fields"}, "device=d temp=21.5,hum=40; ts=5", pattern.Line{Device: "d", Time: "5", Values: values{{"temp", "21.5"}, {"hum", "40"}}}},
		{"NMEA, water", nmea, "$IIMTW,17.9,C*22", pattern.Line{Values: values{{"water", "17.9"}}}},
		{"NMEA, depth", nmea, "$SDDBT,007.8,f,002.4,M,001.3,F*0D", pattern.Line{Values: values{{"depth", "002.4"}}}},
		{"the first that fits", []string{"csv:device,a,b", "csv:device,a"}, "d,1", pattern.Line{Device: "d", Values: values{{"a", "1"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := pattern.Parse(test.patterns...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Read(test.line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := p.Read("no such line"); !errors.Is(err, pattern.ErrUnknown) {
				t.Errorf("another line: %v", err)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "none of",
		"csv":               "none of",
		"csv:site,device":   "no metric",
		"csv:a,a":           "twice",
		"csv:metric,device": "belong together",
		"csv:a,,b":          "missing",
		"regexp:(?P<a":      "invalid",
		"regexp:(.*)":       "no metric",
		"csv:" + strings.TrimSuffix(strings.Repeat("_,", 64), ",") + ",a": "more than 64",
	} {
		if _, err := pattern.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
