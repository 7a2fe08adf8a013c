package deadletters

import (
	"strings"
	"testing"
)

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
