package influxd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"headwater/services/standalone/influxd"
	"headwater/services/writer/point"
)

// TestTextsComeBackAsSent writes texts of any kind in one request and reads
// them back: a text that ended a line would cost those beside it.
func TestTextsComeBackAsSent(t *testing.T) {
	c := connect(t, start(t, influxd.Config{Dir: t.TempDir()}))
	ensure(t, c, raw)
	texts := []string{
		"", " ", "\n", "\r\n", "a\r\nb\n", `\`, `\\`, `\n`, `a\nb`, `"`, `\"`, "\\\n", `say "hi", x=1 2`, "a,b=c d\nm,t=v value=1 5\n",
		"# no comment", "\n# no comment\n", "\t", "\x00", "a\x00b", "\x1b[31mred", "\x7f", "\u2028\u202e", "geöffnet 🚪", strings.Repeat(`\"`, 512), `ends in \`,
	}
	generator := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\n\r\\\"=, #\x00"))))
	for i := range 2000 {
		if text := generator.Example(i); len(text) <= 1024 {
			texts = append(texts, text)
		}
	}
	from := time.Now().Add(-time.Hour).UnixNano()
	prefix := point.AppendTextPrefix(nil, point.Series{Site: "w", Device: "d", Metric: "note"})
	var lines []byte
	for i, text := range texts {
		lines = point.AppendText(lines, prefix, text, from+int64(i))
	}
	if err := c.Write(t.Context(), raw.Name(), string(lines)); err != nil {
		t.Fatal(err)
	}
	answer, err := c.Query(t.Context(), raw.Database, raw.Policy, "SELECT text FROM note", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer) != 1 || len(answer[0].Times) != len(texts) {
		t.Fatalf("%d series, want one of %d texts", len(answer), len(texts))
	}
	for i, text := range texts {
		if got := fmt.Sprint(answer[0].Values[i][0]); got != text || answer[0].Times[i] != from+int64(i) {
			t.Errorf("%q came back as %q", text, got)
		}
	}
}
