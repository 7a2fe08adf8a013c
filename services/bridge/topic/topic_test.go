package topic_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"headwater/services/bridge/topic"
	"headwater/streams"
)

func TestMatch(t *testing.T) {
	long := strings.Repeat("x", 65)
	tests := []struct {
		name  string
		topic string
		want  topic.Address
		fault string
	}{
		{name: "one metric", topic: "sensors/hall/door-1/temperature", want: topic.Address{Site: "hall", Device: "door-1", Metric: "temperature"}},
		{name: "several metrics", topic: "sensors/hall/door_1", want: topic.Address{Site: "hall", Device: "door_1"}},
		{name: "longest names", topic: "sensors/" + long[1:] + "/" + long[1:] + "/m", want: topic.Address{Site: long[1:], Device: long[1:], Metric: "m"}},
		{name: "empty", topic: "", fault: "the topic is empty"},
		{name: "too few levels", topic: "sensors/hall", fault: "too few levels: 2; known are sensors/{site}/{device}/{metric}, sensors/{site}/{device}"},
		{name: "far too few levels", topic: "sensors", fault: "too few levels: 1"},
		{name: "too many levels", topic: "sensors/hall/door/temperature/raw", fault: "too many levels: 5"},
		{name: "200 levels", topic: "sensors" + strings.Repeat("/a", 199), fault: "too many levels: 200"},
		{name: "mistyped", topic: "sensor/hall/door/temperature", fault: "no pattern fits it; known are sensors/{site}/"},
		{name: "case counts", topic: "Sensors/hall/door", fault: "no pattern fits it"},
		{name: "empty device", topic: "sensors/hall//temperature", fault: "level 3, the device, is empty"},
		{name: "empty metric", topic: "sensors/hall/door/", fault: "level 4, the metric, is empty"},
		{name: "leading slash", topic: "/sensors/hall/door", fault: "no pattern fits it"},
		{name: "space", topic: "sensors/hall/living room/air temperature", want: topic.Address{Site: "hall", Device: "living_room", Metric: "air_temperature"}},
		{name: "space and underscore", topic: "sensors/hall/living_room 1/t", fault: `level 3, the device, holds a character that is not allowed: ' '`},
		{name: "star", topic: "sensors/*/door/temperature", fault: `level 2, the site, holds a wildcard character that is not allowed: '*'`},
		{name: "greater than", topic: "sensors/hall/>", fault: `level 3, the device, holds a wildcard character that is not allowed: '>'`},
		{name: "dot", topic: "sensors/hall/1.5/temperature", fault: `level 3, the device, holds a character that is not allowed: '.'`},
		{name: "colon", topic: "sensors/hall/a:b/temperature", fault: `level 3, the device, holds a character that is not allowed: ':'`},
		{name: "letter of another alphabet", topic: "sensors/hall/tür/temperature", fault: `level 3, the device, holds a character that is not allowed: 'ü'`},
		{name: "right to left override", topic: "sensors/hall/door\u202e/temperature", fault: `not allowed: '\u202e'`},
		{name: "broken UTF-8", topic: "sensors/hall/a\xff", fault: `level 3, the device, holds a character that is not allowed: '` + "\ufffd" + `'`},
		{name: "long name", topic: "sensors/hall/" + long, fault: "level 3, the device, has 65 characters, at most 64 are allowed"},
		{name: "server's own", topic: "$SYS/broker", fault: "no pattern fits it"},
	}
	m := matcher(t, topic.Defaults()...)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := m.Match(test.topic)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if test.fault == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, topic.ErrUnknown) || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got error %v, want ErrUnknown with %q", err, test.fault)
			}
		})
	}
}

func TestMatchOtherPatterns(t *testing.T) {
	m := matcher(t, "factory/{site}/cell/{device}/state", "{site}/{device}/{metric}")
	tests := map[string]topic.Address{
		"factory/north/cell/press-1/state": {Site: "north", Device: "press-1"},
		"north/press-1/force":              {Site: "north", Device: "press-1", Metric: "force"},
	}
	for text, want := range tests {
		if got, err := m.Match(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	if _, err := m.Match("factory/north/cell/press-1"); err == nil || !strings.Contains(err.Error(), "another number of levels") {
		t.Errorf("got %v, want a complaint about the number of levels", err)
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := topic.New("a/{site}/{device}", "a/{site}", "{site}/{device}/{site}", "a/{name}/{site}/{device}", "a/+/{site}/{device}",
		"/{site}/{device}", strings.Repeat("a/", 15)+"{site}/{device}")
	for _, want := range []string{
		`"a/{site}": it must hold {site} and {device}`, "{site} occurs twice", "{name} is none of",
		"level 2 holds a wildcard character that is not allowed: '+'", "level 1 is empty", "17 levels, at most 16",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
	if !errors.Is(err, topic.ErrPattern) {
		t.Errorf("%v is no ErrPattern", err)
	}
	if _, err := topic.New(); !errors.Is(err, topic.ErrPattern) {
		t.Errorf("no pattern: got %v, want ErrPattern", err)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	m := matcher(t, topic.Defaults()...)
	if n := testing.AllocsPerRun(100, func() { _, _ = m.Match("sensors/hall/door-1/temperature") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzMatch checks that a match is made of valid names which give the topic
// again, and that everything else has an explanation.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{"sensors/a/b/c", "sensors/a/b", "sensors//b", "sensors/*/>", "", "/", "sensors/a/b/c/d", "sensors/ä/b"} {
		f.Add(seed)
	}
	m := matcher(f, topic.Defaults()...)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := m.Match(text)
		if err != nil {
			if a != (topic.Address{}) || !errors.Is(err, topic.ErrUnknown) || len(err.Error()) <= len(topic.ErrUnknown.Error())+2 {
				t.Errorf("%q: %+v, %v", text, a, err)
			}
			return
		}
		again := "sensors/" + a.Site + "/" + a.Device
		if a.Metric != "" {
			again += "/" + a.Metric
		}
		if again != text {
			t.Errorf("%q gave %+v", text, a)
		}
		for name := range strings.SplitSeq(text, "/") {
			if !streams.ValidToken(name) {
				t.Errorf("%q was taken though %q is no name", text, name)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	m := matcher(b, topic.Defaults()...)
	for b.Loop() {
		if _, err := m.Match("sensors/warehouse/door-17/temperature"); err != nil {
			b.Fatal(err)
		}
	}
}

func matcher(tb testing.TB, patterns ...string) *topic.Matcher {
	tb.Helper()
	m, err := topic.New(patterns...)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// TestSubjectsCoverEveryFormOfAName has a name that gateways also send with a space: what
// is forbidden for one form must be forbidden for the other.
func TestSubjectsCoverEveryFormOfAName(t *testing.T) {
	m := matcher(t, "sensors/{site}/{device}/{metric}")
	want := []string{"sensors.hall.living_room.*", "sensors.hall.living%20room.*"}
	if got := m.Subjects("hall", "living_room"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := m.Subjects("*", "door-1"); !slices.Equal(got, []string{"sensors.*.door-1.*"}) {
		t.Errorf("got %v", got)
	}
}
