package decode_test

import (
	"strings"
	"testing"

	"headwater/services/decode"
)

func TestParseTopic(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, test := range []struct {
		name, topic string
		want        decode.Topic
	}{
		{"metric", "sensors/hall/door-1/temperature", decode.Topic{Site: "hall", Device: "door-1", Metric: "temperature"}},
		{"device", "sensors/hall/door-1", decode.Topic{Site: "hall", Device: "door-1"}},
		{"every character", "sensors/aZ_09-/b/c", decode.Topic{Site: "aZ_09-", Device: "b", Metric: "c"}},
		{"longest", "sensors/" + long + "/" + long + "/" + long, decode.Topic{Site: long, Device: long, Metric: long}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.ParseTopic(test.topic)
			if err != nil || got != test.want {
				t.Errorf("ParseTopic = %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
	for _, test := range []struct{ name, topic, field, detail string }{
		{"empty", "", "", "does not begin with sensors/"},
		{"other root", "sensor/a/b/c", "", "does not begin with sensors/"},
		{"leading slash", "/sensors/a/b/c", "", "does not begin with sensors/"},
		{"only the root", "sensors/", "", "too few levels"},
		{"only a site", "sensors/a", "", "too few levels"},
		{"too many levels", "sensors/a/b/c/d", "", "too many levels"},
		{"empty site", "sensors//b/c", "site", "empty"},
		{"empty device", "sensors/a//c", "device", "empty"},
		{"empty device at the end", "sensors/a/", "device", "empty"},
		{"empty metric", "sensors/a/b/", "metric", "empty"},
		{"star", "sensors/a/*/c", "device", "characters other than"},
		{"greater", "sensors/a/b/>", "metric", "characters other than"},
		{"dot", "sensors/a.b/c/d", "site", "characters other than"},
		{"space", "sensors/a/b c/d", "device", "characters other than"},
		{"beyond ASCII", "sensors/a/tür/d", "device", "characters other than"},
		{"too long", "sensors/a/" + strings.Repeat("x", 65) + "/c", "device", "65 characters"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := decode.ParseTopic(test.topic)
			requireError(t, err, decode.ReasonTopic, test.field, test.detail)
		})
	}
}
