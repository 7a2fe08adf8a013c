package escape_test

import (
	"fmt"
	"strings"
	"testing"

	"headwater/services/bridge/escape"
)

func ExampleTopic() {
	fmt.Printf("%s\n", escape.Topic(nil, []byte("sensors/hall/living room/1.5")))
	// Output: sensors/hall/living%20room/1.5
}

func TestNamesAreEscapedWhereNatsServerNeedsIt(t *testing.T) {
	for _, c := range []struct{ name, topic, id string }{
		{"sensors/hall/door-01/temperature", "sensors/hall/door-01/temperature", "sensors/hall/door-01/temperature"},
		{"host.hw", "host.hw", "host%2Ehw"},
		{"a b\tc", "a%20b%09c", "a%20b%09c"},
		{"a/*/>", "a/%2A/%3E", "a/%2A/%3E"},
		{"+/#", "+/#", "+/#"},
		{"50%", "50%", "50%"},
		{"50%2", "50%2", "50%2"},
		{"%2f%41%zz", "%2f%41%zz", "%2f%41%zz"},
		{"%20", "%2520", "%2520"},
		{"%2520", "%252520", "%252520"},
		{"% ", "%%20", "%%20"},
		{"%2 ", "%2%20", "%2%20"},
		{"ä\x7f", "ä%7F", "ä%7F"},
	} {
		if got := string(escape.Topic(nil, []byte(c.name))); got != c.topic {
			t.Errorf("topic %q becomes %q, want %q", c.name, got, c.topic)
		}
		if got := string(escape.ID(nil, []byte(c.name))); got != c.id {
			t.Errorf("client id %q becomes %q, want %q", c.name, got, c.id)
		}
		if got, want := escape.Plain([]byte(c.name)), c.name == c.topic; got != want {
			t.Errorf("Plain(%q) is %t", c.name, got)
		}
	}
}

func FuzzEscapesAreUndone(f *testing.F) {
	for _, name := range []string{"", "a b", "%", "%%20", "%2520", "%25%32%30", "host.hw", "a/*/>/\x00\xff"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, escaped := range [][]byte{escape.Topic(nil, []byte(name)), escape.ID(nil, []byte(name))} {
			if strings.ContainsAny(string(escaped), " \t\r\n\f\x7f*>") {
				t.Errorf("%q becomes %q", name, escaped)
			}
			if got := string(escape.Undo(nil, escaped)); got != name {
				t.Errorf("%q becomes %q and then %q", name, escaped, got)
			}
			if got := escape.Escaped(escaped); got != (string(escaped) != name) {
				t.Errorf("Escaped(%q) is %t", escaped, got)
			}
			if got := escape.Shown(string(escaped)); got != name {
				t.Errorf("%q is shown as %q", name, got)
			}
		}
		if strings.Contains(string(escape.ID(nil, []byte(name))), ".") {
			t.Errorf("client id %q keeps its dot", name)
		}
	})
}
