package decode_test

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"headwater/services/decode"
)

// arrival is the time at which every payload of the tests arrives.
var arrival = time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)

func at(t time.Time) int64 { return t.UnixNano() }

func value(metric string, v float64) decode.Reading {
	return decode.Reading{Metric: metric, Kind: decode.Value, Value: v, Time: at(arrival)}
}

func flag(metric string, v bool) decode.Reading {
	return decode.Reading{Metric: metric, Kind: decode.Flag, Flag: v, Time: at(arrival)}
}

func text(metric, v string) decode.Reading {
	return decode.Reading{Metric: metric, Kind: decode.Text, Text: v, Time: at(arrival)}
}

func unit(r decode.Reading, u string) decode.Reading {
	r.Unit = u
	return r
}

func timed(r decode.Reading, t time.Time) decode.Reading {
	r.Time, r.HasTime = at(t), true
	return r
}

func TestAppendMetric(t *testing.T) {
	second := arrival.Truncate(time.Second)
	milli := arrival.Truncate(time.Millisecond)
	micro := arrival.Truncate(time.Microsecond)
	for _, test := range []struct {
		name, payload string
		want          decode.Reading
	}{
		{"integer", "21", value("m", 21)},
		{"fraction", "21.5", value("m", 21.5)},
		{"negative", "-0.25", value("m", -0.25)},
		{"plus sign", "+3", value("m", 3)},
		{"exponent", "1.5e-3", value("m", 0.0015)},
		{"leading zeros", "007", value("m", 7)},
		{"leading point", ".5", value("m", 0.5)},
		{"greatest", "1.7976931348623157e308", value("m", math.MaxFloat64)},
		{"too small is zero", "1e-400", value("m", 0)},
		{"line end", "21.5\r\n", value("m", 21.5)},
		{"byte order mark", "\xef\xbb\xbf21.5", value("m", 21.5)},
		{"C string", "21.5\x00", value("m", 21.5)},
		{"true", "true", flag("m", true)},
		{"false", " false\n", flag("m", false)},
		{"flag in any case", "TRUE", flag("m", true)},
		{"on", "On", flag("m", true)},
		{"off", " OFF\r\n", flag("m", false)},
		{"yes is text", "yes", text("m", "yes")},
		{"minus zero", "-0", value("m", 0)},
		{"minus zero with a fraction", "-0.0", value("m", 0)},
		{"too small below zero is zero", "-1e-400", value("m", 0)},
		{"last of all integers", "9007199254740992", value("m", 1<<53)},
		{"first integer that no float64 is", "9007199254740993", text("m", "9007199254740993")},
		{"and below zero", "-9007199254740993", text("m", "-9007199254740993")},
		{"and with a fraction of zero", "9007199254740993.0", text("m", "9007199254740993.0")},
		{"and with a fraction", "9007199254740992.5", text("m", "9007199254740992.5")},
		{"larger integer that a float64 has", "9007199254740994.00", value("m", 1<<53+2)},
		{"with leading zeros", "+009007199254740994", value("m", 1<<53+2)},
		{"greatest int64", "9223372036854775807", text("m", "9223372036854775807")},
		{"long integer that a float64 has", "1180591620717411303424", value("m", 1<<70)},
		{"approximate by its form", "1.2345678901234567e18", value("m", 1234567890123456700)},
		{"text", "open", text("m", "open")},
		{"text of many words", "door 3 is open", text("m", "door 3 is open")},
		{"text of two lines", "one\ntwo", text("m", "one\ntwo")},
		{"text beyond ASCII", "geöffnet 🚪", text("m", "geöffnet 🚪")},
		{"version", "1.2.3", text("m", "1.2.3")},
		{"date", "2026-03-14", text("m", "2026-03-14")},
		{"hexadecimal", "0x1p4", text("m", "0x1p4")},
		{"underscore", "1_000", text("m", "1_000")},
		{"decimal comma", "21,5", text("m", "21,5")},
		{"with unit", "21.5 C", text("m", "21.5 C")},
		{"only a sign", "-", text("m", "-")},
		{"word that begins like nan", "nano", text("m", "nano")},
		{"longest text", strings.Repeat("x", 1024), text("m", strings.Repeat("x", 1024))},
		{"JSON string", `"open"`, text("m", "open")},
		{"JSON string of a number", `"21.5"`, value("m", 21.5)},
		{"JSON string of a number below zero", `"-3e2"`, value("m", -300)},
		{"JSON string of an integer that no float64 is", `"8121069193333309389"`, text("m", "8121069193333309389")},
		{"JSON string of too great a number", `"1e400"`, text("m", "1e400")},
		{"JSON string of digits", `"007"`, text("m", "007")},
		{"JSON string of a version", `"1.2.3"`, text("m", "1.2.3")},
		{"JSON string with a blank", `" 21.5"`, text("m", " 21.5")},
		{"JSON string of a flag", `"ON"`, flag("m", true)},
		{"JSON string with control characters", `"a\u0000\u001b\u007f"`, text("m", "a\x00\x1b\x7f")},
		{"JSON string with blanks around", `" a\n"`, text("m", " a\n")},
		{"object of an integer that no float64 is", `{"value":9007199254740993}`, text("m", "9007199254740993")},
		{"object of minus zero", `{"value":-0}`, value("m", 0)},
		{"JSON string that is empty", `""`, text("m", "")},
		{"JSON string with escapes", `"a\"b\u00e4\n"`, text("m", "a\"bä\n")},
		{"object", `{"value":21.5}`, value("m", 21.5)},
		{"object of a flag", `{"value":true}`, flag("m", true)},
		{"object of a text", `{"value":"open"}`, text("m", "open")},
		{"object with unit", `{"value":21.5,"unit":"°C"}`, unit(value("m", 21.5), "°C")},
		{"object with unit first", `{"unit":"°C","value":21.5}`, unit(value("m", 21.5), "°C")},
		{"object with null for unit and time", `{"value":21.5,"unit":null,"ts":null}`, value("m", 21.5)},
		{"object with white space", "\n{ \"value\" : 21.5 }\t", value("m", 21.5)},
		{"object with an escaped key", `{"v\u0061lue":21.5}`, value("m", 21.5)},
		{"seconds", `{"value":1,"ts":1773500966}`, timed(value("m", 1), second)},
		{"fractional seconds", `{"value":1,"ts":1773500966.535897932}`, timed(value("m", 1), arrival)},
		{"more digits than nanoseconds", `{"value":1,"ts":1773500966.5358979329999}`, timed(value("m", 1), arrival)},
		{"seconds with an exponent", `{"value":1,"ts":1.773500966e9}`, timed(value("m", 1), second)},
		{"milliseconds", `{"value":1,"ts":1773500966535}`, timed(value("m", 1), milli)},
		{"fractional milliseconds", `{"value":1,"ts":1773500966535.897932}`, timed(value("m", 1), arrival)},
		{"microseconds", `{"ts":1773500966535897,"value":1}`, timed(value("m", 1), micro)},
		{"nanoseconds", `{"value":1,"ts":1773500966535897932}`, timed(value("m", 1), arrival)},
		{"RFC 3339", `{"value":1,"ts":"2026-03-14T15:09:26.535897932Z"}`, timed(value("m", 1), arrival)},
		{"RFC 3339 with a zone", `{"value":1,"ts":"2026-03-14T16:09:26+01:00"}`, timed(value("m", 1), second)},
		{"oldest", `{"value":1,"ts":1772896166535897932}`, timed(value("m", 1), arrival.Add(-7*24*time.Hour))},
		{"furthest ahead", `{"value":1,"ts":1773501266535897932}`, timed(value("m", 1), arrival.Add(5*time.Minute))},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.New(decode.DefaultLimits(), nil, nil).Append(nil, "hall", "d", "m", []byte(test.payload), at(arrival))
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if diff := cmp.Diff([]decode.Reading{test.want}, got); diff != "" {
				t.Errorf("Append (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendDevice(t *testing.T) {
	second := arrival.Truncate(time.Second)
	for _, test := range []struct {
		name, payload string
		want          []decode.Reading
	}{
		{"one metric", `{"temperature":21.5}`, []decode.Reading{value("temperature", 21.5)}},
		{
			"several kinds", `{"temperature":21.5,"door":true,"state":"open"}`,
			[]decode.Reading{value("temperature", 21.5), flag("door", true), text("state", "open")},
		},
		{
			"time behind", `{"temperature":21.5,"humidity":40,"ts":1773500966}`,
			[]decode.Reading{timed(value("temperature", 21.5), second), timed(value("humidity", 40), second)},
		},
		{
			"time before", `{"ts":1773500966,"humidity":40}`,
			[]decode.Reading{timed(value("humidity", 40), second)},
		},
		{
			"units", `{"temperature":{"value":21.5,"unit":"°C"},"humidity":{"unit":"%","value":40},"door":{"value":false}}`,
			[]decode.Reading{unit(value("temperature", 21.5), "°C"), unit(value("humidity", 40), "%"), flag("door", false)},
		},
		{"null has no reading", `{"a":null,"b":{"value":null},"c":1}`, []decode.Reading{value("c", 1)}},
		{"names that an object of one metric has", `{"value":1,"unit":2}`, []decode.Reading{value("value", 1), value("unit", 2)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.New(decode.DefaultLimits(), nil, nil).Append(nil, "hall", "d", "", []byte(test.payload), at(arrival))
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Append (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	keys := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"k":1`)
		for i := range n - 1 {
			b.WriteString(`,"k`)
			b.WriteString(strings.Repeat("x", i%60))
			b.WriteByte(byte('a' + i/60))
			b.WriteString(`":1`)
		}
		return b.String() + "}"
	}
	for _, test := range []struct {
		name, metric, payload string
		reason, field         string
		detail                string
	}{
		{"only white space", "m", " \n\x00", decode.ReasonPayload, "", "blank"},
		{"only a byte order mark", "m", "\xef\xbb\xbf", decode.ReasonPayload, "", "blank"},
		{"integer of too many digits", "m", strings.Repeat("1", 300) + "." + strings.Repeat("1", 800), decode.ReasonTooLarge, "", "more than 1024"},
		{"too large", "m", strings.Repeat("1", 256<<10+1), decode.ReasonTooLarge, "", "more than 262144"},
		{"long text", "m", strings.Repeat("x", 1025), decode.ReasonTooLarge, "", "more than 1024"},
		{"long JSON string", "m", `{"value":"` + strings.Repeat("x", 1025) + `"}`, decode.ReasonTooLarge, "value", "more than 1024"},
		{"long unit", "m", `{"value":1,"unit":"` + strings.Repeat("x", 65) + `"}`, decode.ReasonTooLarge, "unit", "more than 64"},
		{"too many keys", "", keys(257), decode.ReasonTooLarge, "", "more than 256 keys"},
		{"binary", "m", "\x01\x02\x03", decode.ReasonPayload, "", "control characters"},
		{"NUL inside", "m", "a\x00b", decode.ReasonPayload, "", "control characters"},
		{"not UTF-8", "m", "caf\xe9", decode.ReasonPayload, "", "not UTF-8"},
		{"UTF-16", "m", "\xff\xfe2\x001\x00", decode.ReasonPayload, "", "not UTF-8"},
		{"not UTF-8 in JSON", "m", "{\"value\":\"caf\xe9\"}", decode.ReasonPayload, "", "invalid UTF-8"},
		{"half a surrogate pair", "m", `"\ud800"`, decode.ReasonPayload, "", "not valid JSON"},
		{"null", "m", "null", decode.ReasonPayload, "", "null"},
		{"deep array", "m", strings.Repeat("[", 100_000), decode.ReasonPayload, "", "max depth"},
		{"deep value", "m", `{"value":` + strings.Repeat("[", 100_000), decode.ReasonPayload, "", "max depth"},
		{"value missing", "m", `{"ts":1773500966}`, decode.ReasonPayload, "", "no reading"},
		{"value null", "m", `{"value":null}`, decode.ReasonPayload, "", "no reading"},
		{"no metric", "", `{}`, decode.ReasonPayload, "", "no reading"},
		{"only a time", "", `{"ts":1773500966}`, decode.ReasonPayload, "", "no reading"},
		{"only null", "", `{"a":null}`, decode.ReasonPayload, "", "no reading"},
		{"number for a device", "", `21.5`, decode.ReasonPayload, "", "object of metrics"},
		{"empty metric", "", `{"":1}`, decode.ReasonPayload, "", "empty"},
		{"long metric", "", `{"` + strings.Repeat("a", 65) + `":1}`, decode.ReasonPayload, strings.Repeat("a", 65), "more than 64"},
		{"unit is a number", "m", `{"value":1,"unit":1}`, decode.ReasonPayload, "unit", "not a text"},
		{"unit is an object", "m", `{"value":1,"unit":{}}`, decode.ReasonPayload, "unit", "not a text"},
		{"unit with a bell", "m", `{"value":1,"unit":"\u0007"}`, decode.ReasonPayload, "unit", "control characters"},

		{"cut short", "m", `{"value":21.5`, decode.ReasonPayload, "", "too early"},
		{"cut in a string", "m", `"open`, decode.ReasonPayload, "", "too early"},
		{"key twice", "", `{"a":1,"a":2}`, decode.ReasonPayload, "", `"a" occurs twice`},
		{"key twice by an escape", "", `{"a":1,"\u0061":2}`, decode.ReasonPayload, "", `"a" occurs twice`},
		{"something behind", "m", `{"value":1}{"value":2}`, decode.ReasonPayload, "", "follows"},
		{"garbage behind", "m", `{"value":1}x`, decode.ReasonPayload, "", "line 1, column 12"},
		{"string and more", "m", `"a" "b"`, decode.ReasonPayload, "", "follows"},
		{"trailing comma", "", "{\"a\":1,\n}", decode.ReasonPayload, "", "line 1, column 7"},
		{"key without quotes", "", `{a:1}`, decode.ReasonPayload, "", "not valid JSON"},
		{"number as key", "", `{1:1}`, decode.ReasonPayload, "", "not valid JSON"},
		{"leading zero in JSON", "m", `{"value":01}`, decode.ReasonPayload, "", "not valid JSON"},

		{"nan", "m", "nan", decode.ReasonValue, "", "nan is not a number"},
		{"NaN", "m", "NaN", decode.ReasonValue, "", "NaN is not a number"},
		{"inf", "m", "inf", decode.ReasonValue, "", "inf is not a number"},
		{"-Inf", "m", "-Inf\n", decode.ReasonValue, "", "-Inf is not a number"},
		{"Infinity", "m", "+Infinity", decode.ReasonValue, "", "+Infinity is not a number"},
		{"too great", "m", "1e400", decode.ReasonValue, "", "64-bit float"},
		{"too great below zero", "m", "-1e400", decode.ReasonValue, "", "64-bit float"},
		{"too great in JSON", "m", `{"value":1e400}`, decode.ReasonValue, "value", "64-bit float"},
		{"too great of a metric", "", `{"a":1e400}`, decode.ReasonValue, "a", "64-bit float"},
		{"NaN in JSON", "m", `{"value":NaN}`, decode.ReasonValue, "value", "NaN is not a number"},
		{"-Infinity in JSON", "", `{"a":-Infinity}`, decode.ReasonValue, "a", "-Infinity is not a number"},
		{"NaN in a JSON string", "m", `{"value":"NaN"}`, decode.ReasonValue, "value", "NaN is not a number"},

		{"1970", "m", `{"value":1,"ts":0}`, decode.ReasonClock, "ts", "1970-01-01T00:00:00Z is more than 7 d before"},
		{"before 1970", "m", `{"value":1,"ts":-5}`, decode.ReasonClock, "ts", "1969-12-31T23:59:55Z"},
		{"seconds since the start", "", `{"a":1,"ts":3600}`, decode.ReasonClock, "ts", "1970-01-01T01:00:00Z"},
		{"just too old", "m", `{"value":1,"ts":1772896166535897931}`, decode.ReasonClock, "ts", "7 d before"},
		{"just too far ahead", "m", `{"value":1,"ts":1773501266535897933}`, decode.ReasonClock, "ts", "5 min ahead"},
		{"beyond nanoseconds", "m", `{"value":1,"ts":99999999999999999999}`, decode.ReasonClock, "ts", "beyond every calendar"},
		{"beyond floats", "m", `{"value":1,"ts":1e400}`, decode.ReasonClock, "ts", "beyond every calendar"},
		{"text of 1970", "m", `{"value":1,"ts":"1970-01-01T00:00:00Z"}`, decode.ReasonClock, "ts", "7 d before"},
		{"text of the year 9999", "m", `{"value":1,"ts":"9999-01-01T00:00:00Z"}`, decode.ReasonClock, "ts", "beyond every calendar"},
		{"time without a zone", "m", `{"value":1,"ts":"2026-03-14T15:09:26"}`, decode.ReasonPayload, "ts", "has no time zone: end it with Z"},
		{"time without a zone for several metrics", "", `{"a":1,"ts":"2026-03-14 15:09"}`, decode.ReasonPayload, "ts", "has no time zone"},
		{"date alone", "m", `{"value":1,"ts":"2026-03-14"}`, decode.ReasonPayload, "ts", "it has no time of day"},
		{"time of day alone", "m", `{"value":1,"ts":"15:09:26"}`, decode.ReasonPayload, "ts", "it has no date"},
		{"number in quotes of 1970", "m", `{"value":1,"ts":"5"}`, decode.ReasonClock, "ts", "1970-01-01T00:00:05Z"},
		{"time is a word", "m", `{"value":1,"ts":"now"}`, decode.ReasonPayload, "ts", `"now" is not a time`},
		{"time is a flag", "m", `{"value":1,"ts":true}`, decode.ReasonPayload, "ts", "a time is a number"},
		{"time is an object", "m", `{"value":1,"ts":{}}`, decode.ReasonPayload, "ts", "a time is a number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := decode.New(decode.DefaultLimits(), nil, nil)
			before := []decode.Reading{value("before", 1)}
			payload := []byte(test.payload)
			got, err := d.Append(before, "hall", "d", test.metric, payload, at(arrival))
			requireError(t, err, test.reason, test.field, test.detail)
			if diff := cmp.Diff([]decode.Reading{value("before", 1)}, got); diff != "" {
				t.Errorf("Append changed dst (-want +got):\n%s", diff)
			}
			if string(payload) != test.payload {
				t.Error("Append changed the payload")
			}
			if _, err := d.Append(nil, "hall", "d", "m", []byte(`{"value":1}`), at(arrival)); err != nil {
				t.Errorf("the next payload is refused: %v", err)
			}
		})
	}
}

// requireError checks each part of the *Error.
func requireError(t *testing.T, err error, reason, field, detail string) {
	t.Helper()
	var e *decode.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want an *Error with %q", err, detail)
	}
	if e.Reason != reason || e.Field != field || !strings.Contains(e.Detail, detail) {
		t.Errorf("error is %q, field %q: %q\nwant %q, field %q: ...%s...", e.Reason, e.Field, e.Detail, reason, field, detail)
	}
	if len(e.Error()) > 300 {
		t.Errorf("error has %d bytes: %s", len(e.Error()), e)
	}
}

func TestAppendKeepsNothingOfThePayload(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	payload := []byte(`{"state":{"value":"open","unit":"u"}}`)
	got, err := d.Append(nil, "hall", "d", "", payload, at(arrival))
	if err != nil {
		t.Fatal(err)
	}
	for i := range payload {
		payload[i] = 'x'
	}
	if diff := cmp.Diff([]decode.Reading{unit(text("state", "open"), "u")}, got); diff != "" {
		t.Errorf("the reading changed with the payload (-want +got):\n%s", diff)
	}
}

func TestLimitsOfTheClockAreConfigurable(t *testing.T) {
	limits := decode.DefaultLimits()
	limits.Past, limits.Future = 90*time.Minute, time.Second
	d := decode.New(limits, nil, nil)
	_, err := d.Append(nil, "hall", "d", "m", []byte(`{"value":1,"ts":"2026-03-14T13:00:00Z"}`), at(arrival))
	requireError(t, err, decode.ReasonClock, "ts", "more than 1 h 30 min before")
	_, err = d.Append(nil, "hall", "d", "m", []byte(`{"value":1,"ts":"2026-03-14T15:09:28Z"}`), at(arrival))
	requireError(t, err, decode.ReasonClock, "ts", "more than 1 s ahead")
}

// TestNamesAreBounded sends more metrics than a Decoder remembers.
func TestNamesAreBounded(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for i := range 10_000 {
		name := "m" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26))
		got, err := d.Append(nil, "hall", "d", "", []byte(`{"`+name+`":1}`), at(arrival))
		if err != nil || got[0].Metric != name {
			t.Fatalf("Append: %v, %v", got, err)
		}
	}
}

func TestBareNumbersDoNotAllocate(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	dst := make([]decode.Reading, 0, 4)
	for _, payload := range []string{"21.5", "true", `{"value":21.5,"ts":1773500966535,"unit":"°C"}`, `{"temperature":21.5,"humidity":40}`} {
		b, metric := []byte(payload), "m"
		if strings.Contains(payload, "humidity") {
			metric = ""
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := d.Append(dst, "hall", "d", metric, b, at(arrival)); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", payload, n)
		}
	}
}

// TestEmptyIsNoReading sends an empty payload, with which MQTT clears a
// retained message.
func TestEmptyIsNoReading(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, metric := range []string{"m", ""} {
		if got, err := d.Append(nil, "hall", "d", metric, nil, at(arrival)); got != nil || err != nil {
			t.Errorf("metric %q: %v, %v", metric, got, err)
		}
	}
}

func TestTimes(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	zones := func(site string) *time.Location {
		if site == "hall" {
			return berlin
		}
		return nil
	}
	d := decode.New(decode.DefaultLimits(), zones, nil)
	second, minute := arrival.Truncate(time.Second), arrival.Truncate(time.Minute)
	for text, want := range map[string]time.Time{
		"2026-03-14T15:09:26Z":             second,
		"2026-03-14t15:09:26z":             second,
		"2026-03-14 15:09:26Z":             second,
		"2026-03-14T15:09Z":                minute,
		"2026-03-14T16:09:26+0100":         second,
		"2026-03-14T16:09:26+01":           second,
		"2026-03-14 16:09:26 +0100":        second,
		"2026-03-14 16:09+01:00":           minute,
		"2026-03-14T10:09:26.5-0500":       second.Add(time.Second / 2),
		"2026-03-14T16:09:26,535897932+01": arrival,
		"2026-03-14T16:09:26":              second,
		"2026-03-14 16:09":                 minute,
		"2026-03-14T16:09:26.535897932":    arrival,
		"1773500966":                       second,
		"1773500966535":                    arrival.Truncate(time.Millisecond),
		"1773500966.535897932":             arrival,
	} {
		got, err := d.Append(nil, "hall", "d", "m", []byte(`{"value":1,"ts":"`+text+`"}`), at(arrival))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff([]decode.Reading{timed(value("m", 1), want)}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		items, err := d.Items([]byte(`{"ts":"`+text+`","site":"hall","device":"d","values":{"m":1}}`), at(arrival))
		if err != nil || items[0].Err != nil || items[0].Readings[0].Time != at(want) {
			t.Errorf("%s in an item: %v %v", text, items, err)
		}
	}
	_, err = d.Append(nil, "yard", "d", "m", []byte(`{"value":1,"ts":"2026-03-14T15:09"}`), at(arrival))
	requireError(t, err, decode.ReasonPayload, "ts", "has no time zone")
}

func TestLiteralKeepsTexts(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, func(site, device, metric string) decode.Series {
		return decode.Series{Literal: site == "hall" && device == "plc" && metric == "m"}
	})
	for payload, want := range map[string]decode.Reading{
		"ON": text("m", "ON"), `"21.5"`: text("m", "21.5"), "TRUE": text("m", "TRUE"), "true": flag("m", true), "21.5": value("m", 21.5),
	} {
		got, err := d.Append(nil, "hall", "plc", "m", []byte(payload), at(arrival))
		if diff := cmp.Diff([]decode.Reading{want}, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", payload, err, diff)
		}
	}
	// The other metrics of the same payload, and other devices, are understood, in
	// whatever order an item says of whom it is.
	got, err := d.Append(nil, "hall", "plc", "", []byte(`{"m":"off","n":"off","o":{"value":"2.5"}}`), at(arrival))
	if diff := cmp.Diff([]decode.Reading{text("m", "off"), flag("n", false), value("o", 2.5)}, got); diff != "" || err != nil {
		t.Errorf("several metrics: %v (-want +got):\n%s", err, diff)
	}
	items, err := d.Items([]byte(`[{"value":"on","metric":"m","device":"plc","site":"hall"},{"value":"on","metric":"m","device":"other","site":"hall"}]`), at(arrival))
	if err != nil || len(items) != 2 || items[0].Err != nil || items[1].Err != nil {
		t.Fatalf("items: %+v, %v", items, err)
	}
	if diff := cmp.Diff([]decode.Reading{text("m", "on"), flag("m", true)}, append(items[0].Readings, items[1].Readings...)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

// TestDeclaredUnit: a number comes in the declared unit, or as it was sent.
func TestDeclaredUnit(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, func(_, _, metric string) decode.Series {
		return map[string]decode.Series{"p": {Unit: "hPa"}, "w": {Unit: "widgets"}}[metric]
	})
	for _, test := range []struct {
		metric, payload, unit string
		want                  decode.Reading
	}{
		{"p", `{"value":101325,"unit":"Pa"}`, "hPa", value("p", 1013.25)},
		{"p", `{"value":"1.01325","unit":"bar"}`, "hPa", value("p", 1013.25)},
		{"p", `{"value":1013.25,"unit":"mbar"}`, "hPa", value("p", 1013.25)},
		{"p", `1013.25`, "hPa", value("p", 1013.25)},
		{"p", `{"value":20,"unit":"°C"}`, "°C", value("p", 20)},
		{"p", `{"value":20,"unit":"cubits"}`, "cubits", value("p", 20)},
		{"p", `{"value":"20 hPa","unit":"Pa"}`, "Pa", text("p", "20 hPa")},
		{"w", `5`, "widgets", value("w", 5)},
		{"q", `{"value":101325,"unit":"Pa"}`, "Pa", value("q", 101325)},
		{"q", `101325`, "", value("q", 101325)},
	} {
		test.want.Unit = test.unit
		got, err := d.Append(nil, "hall", "d", test.metric, []byte(test.payload), at(arrival))
		if diff := cmp.Diff([]decode.Reading{test.want}, got); diff != "" || err != nil {
			t.Errorf("%s %s: %v (-want +got):\n%s", test.metric, test.payload, err, diff)
		}
	}
}

// TestNumbersAreWhatWasSent draws integers of every size: the stored value is
// the number that was sent, or its digits.
func TestNumbersAreWhatWasSent(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`-?[1-9][0-9]{0,40}`).Draw(t, "digits")
		for _, payload := range []string{digits, `{"value":` + digits + `}`, `"` + digits + `"`, digits + ".0"} {
			got, err := d.Append(nil, "hall", "d", "m", []byte(payload), at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			stored := got[0].Text
			if got[0].Kind == decode.Value {
				stored = strconv.FormatFloat(got[0].Value, 'f', 0, 64)
			}
			if strings.TrimSuffix(stored, ".0") != digits {
				t.Errorf("%s became %v", payload, got[0])
			}
		}
	})
}

// TestGeneralJSON: any JSON is flattened, and what is not readable costs only itself.
func TestGeneralJSON(t *testing.T) {
	second := arrival.Truncate(time.Second)
	deep := strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9)
	for _, test := range []struct {
		name, metric, payload string
		want                  []decode.Reading
		field, detail         string // of the error; empty for none
	}{
		{"nested", "", `{"a":{"b":{"c":1}},"d":2}`, []decode.Reading{value("a_b_c", 1), value("d", 2)}, "", ""},
		{"array", "", `{"a":[1,null,true]}`, []decode.Reading{value("a_0", 1), flag("a_2", true)}, "", ""},
		{"array of a metric", "m", `[1,2]`, []decode.Reading{value("m_0", 1), value("m_1", 2)}, "", ""},
		{"object of a metric", "m", `{"temperature":21.5}`, []decode.Reading{value("m_temperature", 21.5)}, "", ""},
		{"value and more", "m", `{"value":21.5,"unit":"°C","min":20,"ts":1773500966}`, []decode.Reading{
			timed(unit(value("m", 21.5), "°C"), second), timed(value("m_min", 20), second),
		}, "", ""},
		{"unit without a value", "", `{"a":{"unit":"x","now":1}}`, []decode.Reading{text("a_unit", "x"), value("a_now", 1)}, "", ""},
		{"names", "", `{"a.b":1,"c d":{"é":2},"switch:0":true}`, []decode.Reading{value("a_b", 1), value("c_d__", 2), flag("switch_0", true)}, "", ""},
		{"objects with times of their own", "", `[{"a":1,"ts":1773500966},{"a":2}]`, []decode.Reading{timed(value("a", 1), second), value("a", 2)}, "", ""},
		{"other names of the time", "", `{"a":1,"timestamp":"2026-03-14T15:09:26Z"}`, []decode.Reading{timed(value("a", 1), second)}, "", ""},
		{"capital time", "", `{"Time":1773500966,"a":1}`, []decode.Reading{timed(value("a", 1), second)}, "", ""},
		{"time that is a reading", "", `{"time":42,"a":1}`, []decode.Reading{value("time", 42), value("a", 1)}, "", ""},
		{"time of day that is a reading", "", `{"time":"16:09","a":1}`, []decode.Reading{text("time", "16:09"), value("a", 1)}, "", ""},
		{"two times", "", `{"time":1773500000,"ts":1773500966,"a":1}`, []decode.Reading{timed(value("a", 1), second)}, "", ""},

		{"bad among good", "", `{"a":1,"b":{"c":"nan","d":2}}`, []decode.Reading{value("a", 1), value("b_d", 2)}, "b.c", "nan is not a number"},
		{"bare NaN among good", "", `{"a":1,"b":NaN,"c":-Infinity}`, []decode.Reading{value("a", 1)}, "b", "NaN is not a number that can be stored; also not read: c"},
		{"bad unit", "", `{"a":{"value":1,"unit":7},"b":2}`, []decode.Reading{value("b", 2)}, "a.unit", "not a text"},
		{"same name twice", "", `{"a_b":1,"a":{"b":2}}`, []decode.Reading{value("a_b", 1)}, "a.b", "another field is the metric a_b"},
		{"long name", "", `{"` + strings.Repeat("a", 60) + `":{"bcdef":1,"b":2}}`, []decode.Reading{value(strings.Repeat("a", 60)+"_b", 2)}, strings.Repeat("a", 60) + ".bcdef", "more than 64"},
		{"long array", "", `{"a":[` + strings.Repeat("1,", 300) + `1],"b":2}`, []decode.Reading{value("b", 2)}, "a", "more than 64 values"},
		{"deep", "", `{"x":` + deep + `,"b":2}`, []decode.Reading{value("b", 2)}, "x.a.a.a.a.a.a.a", "more than 8 deep"},
		{"bad time of one object", "", `[{"a":1,"ts":0},{"a":2}]`, []decode.Reading{value("a", 2)}, "[0].ts", "1970"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.New(decode.DefaultLimits(), nil, nil).Append(nil, "hall", "d", test.metric, []byte(test.payload), at(arrival))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Append (-want +got):\n%s", diff)
			}
			if test.detail == "" {
				if err != nil {
					t.Errorf("Append: %v", err)
				}
				return
			}
			var e *decode.Error
			if !errors.As(err, &e) || !e.Partial || e.Field != test.field || !strings.Contains(e.Detail, test.detail) {
				t.Errorf("the error is %+v, want a partial one of %s with %q", e, test.field, test.detail)
			}
		})
	}
}
