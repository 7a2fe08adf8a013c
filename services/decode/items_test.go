package decode_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/services/decode"
)

func TestItems(t *testing.T) {
	second := arrival.Truncate(time.Second)
	for _, test := range []struct {
		name, body string
		want       []decode.Item
	}{
		{
			"one", `{"site":"hall","device":"d1","metric":"temperature","value":21.5,"unit":"°C","ts":1773500966}`,
			[]decode.Item{{Site: "hall", Device: "d1", Readings: []decode.Reading{timed(unit(value("temperature", 21.5), "°C"), second)}}},
		},
		{
			"any order of the keys", `{"ts":1773500966,"value":true,"metric":"door","device":"d1","site":"hall"}`,
			[]decode.Item{{Site: "hall", Device: "d1", Readings: []decode.Reading{timed(flag("door", true), second)}}},
		},
		{
			"several metrics", `{"site":"hall","values":{"a":1,"b":{"value":"x","unit":"u"},"c":null},"device":"d1","ts":1773500966}`,
			[]decode.Item{{Site: "hall", Device: "d1", Readings: []decode.Reading{
				timed(value("a", 1), second), timed(unit(text("b", "x"), "u"), second),
			}}},
		},
		{
			"array", `[{"site":"s","device":"a","metric":"m","value":1},
			           {"site":"s","device":"b","values":{"m":2,"n":false}}]`,
			[]decode.Item{
				{Site: "s", Device: "a", Readings: []decode.Reading{value("m", 1)}},
				{Index: 1, Site: "s", Device: "b", Readings: []decode.Reading{value("m", 2), flag("n", false)}},
			},
		},
		{"empty array", ` [ ] `, nil},
		{"byte order mark", "\xef\xbb\xbf[]", nil},
		{
			"bad between good", `[{"site":"s","device":"a","metric":"m","value":1},{"site":"s","device":"b","values":{"m":2,"n":[[{"x":[1]}]]},"ts":[]},{"site":"s","device":"c","metric":"m","value":3}]`,
			[]decode.Item{
				{Site: "s", Device: "a", Readings: []decode.Reading{value("m", 1)}},
				{Index: 1, Site: "s", Device: "b", Err: &decode.Error{Reason: decode.ReasonPayload, Field: "ts", Detail: "a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970, or a text such as 2026-03-14T15:09:26Z"}},
				{Index: 2, Site: "s", Device: "c", Readings: []decode.Reading{value("m", 3)}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.New(decode.DefaultLimits(), nil, nil).Items([]byte(test.body), at(arrival))
			if err != nil {
				t.Fatalf("Items: %v", err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(decode.Error{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Items (-want +got):\n%s", diff)
			}
		})
	}
}

func TestItemRefused(t *testing.T) {
	for _, test := range []struct{ name, item, reason, field, detail string }{
		{"number", `1`, decode.ReasonPayload, "", "an item is an object"},
		{"null", `null`, decode.ReasonPayload, "", "an item is an object"},
		{"array", `[{"a":1}]`, decode.ReasonPayload, "", "an item is an object"},
		{"empty", `{}`, decode.ReasonPayload, "site", "missing"},
		{"no device", `{"site":"s","metric":"m","value":1}`, decode.ReasonPayload, "device", "missing"},
		{"no metric", `{"site":"s","device":"d","value":1}`, decode.ReasonPayload, "metric", "missing"},
		{"no value", `{"site":"s","device":"d","metric":"m"}`, decode.ReasonPayload, "value", "missing"},
		{"value null", `{"site":"s","device":"d","metric":"m","value":null}`, decode.ReasonPayload, "value", "null"},
		{"value object", `{"site":"s","device":"d","metric":"m","value":{"a":{"b":[]}}}`, decode.ReasonPayload, "value", "object"},
		{"value and values", `{"site":"s","device":"d","metric":"m","value":1,"values":{"a":1}}`, decode.ReasonPayload, "values", "either"},
		{"unit and values", `{"site":"s","device":"d","unit":"u","values":{"a":1}}`, decode.ReasonPayload, "values", "either"},
		{"values empty", `{"site":"s","device":"d","values":{}}`, decode.ReasonPayload, "values", "no reading"},
		{"values array", `{"site":"s","device":"d","values":[1]}`, decode.ReasonPayload, "values", "object of metrics"},
		{"values number", `{"site":"s","device":"d","values":1}`, decode.ReasonPayload, "values", "object of metrics"},
		{"odd site", `{"site":"a/b","device":"d","metric":"m","value":1}`, decode.ReasonPayload, "site", "characters"},
		{"star for a device", `{"site":"a","device":"*","metric":"m","value":1}`, decode.ReasonPayload, "device", "characters"},
		{"empty device", `{"site":"a","device":"","metric":"m","value":1}`, decode.ReasonPayload, "device", "empty"},
		{"device number", `{"site":"a","device":7,"metric":"m","value":1}`, decode.ReasonPayload, "device", "not a text"},
		{"device object", `{"site":"a","device":{"id":7},"metric":"m","value":1}`, decode.ReasonPayload, "device", "not a text"},
		{"too deep", `{"site":"a","device":"d","values":{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}}`, decode.ReasonPayload, "values.a[0][0][0][0][0][0]", "more than 8 deep"},
		{"two of several", `{"site":"a","device":"d","values":{"a":"nan","b":1,"c":"inf"}}`, decode.ReasonValue, "values.a", "also not read: values.c"},
		{"unknown key", `{"site":"a","device":"d","metric":"m","value":1,"color":"red"}`, decode.ReasonPayload, "color", "not known"},
		{"too great", `{"site":"a","device":"d","metric":"m","value":1e999}`, decode.ReasonValue, "value", "64-bit"},
		{"nan text", `{"site":"a","device":"d","values":{"a":1,"b":"nan"}}`, decode.ReasonValue, "values.b", "nan"},
		{"1970", `{"site":"a","device":"d","metric":"m","value":1,"ts":12}`, decode.ReasonClock, "ts", "7 d"},
		{"long text", `{"site":"a","device":"d","metric":"m","value":"` + strings.Repeat("x", 2000) + `"}`, decode.ReasonTooLarge, "value", "1024"},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := `{"site":"s","device":"d","metric":"m","value":1}`
			items, err := decode.New(decode.DefaultLimits(), nil, nil).Items([]byte("["+good+","+test.item+","+good+"]"), at(arrival))
			if err != nil {
				t.Fatalf("Items: %v", err)
			}
			if len(items) != 3 || items[0].Err != nil || items[2].Err != nil || len(items[1].Readings) != 0 {
				t.Fatalf("Items = %+v", items)
			}
			requireError(t, items[1].Err, test.reason, test.field, test.detail)
			if diff := cmp.Diff([]decode.Reading{value("m", 1)}, items[2].Readings); diff != "" {
				t.Errorf("the next item (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBodyRefused(t *testing.T) {
	metrics := ""
	for i := range 250 {
		metrics += fmt.Sprintf(`,"m%d":1`, i)
	}
	readings := "[" + strings.Repeat(`{"site":"s","device":"d","values":{`+metrics[1:]+"}},", 40) + `{"site":"s","device":"d","metric":"m","value":1}]`
	many := "[" + strings.Repeat("0,", 10_000) + "0]"
	for _, test := range []struct {
		name, body, reason string
		line, column       int
		detail             string
	}{
		{"empty", "", decode.ReasonPayload, 1, 1, "too early"},
		{"text", "hello", decode.ReasonPayload, 1, 1, "not valid JSON"},
		{"cut short", "[{\"site\":\"s\"},\n", decode.ReasonPayload, 2, 1, "too early"},
		{"bad on line 3", "[\n {\"site\":\"s\"},\n {\"site\"=1}]", decode.ReasonPayload, 3, 9, "'='"},
		{"NaN", `[{"site":"s","value":NaN}]`, decode.ReasonValue, 1, 22, "NaN"},
		{"key twice", `[{"site":"s","site":"t"}]`, decode.ReasonPayload, 1, 14, "twice"},
		{"not UTF-8", "[\"\xff\"]", decode.ReasonPayload, 1, 3, "UTF-8"},
		{"nested much too deep", strings.Repeat(`[`, 1_000_00), decode.ReasonPayload, 1, 10001, "exceeded max depth"},
		{"something after it", `[] []`, decode.ReasonPayload, 1, 5, "follows"},
		{"too many items", many, decode.ReasonTooLarge, 0, 0, "more than 10000 items"},
		{"too many readings", readings, decode.ReasonTooLarge, 0, 0, "more than 10000 readings"},
		{"too large", strings.Repeat(" ", 256<<10+1), decode.ReasonTooLarge, 0, 0, "more than 262144"},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := decode.New(decode.DefaultLimits(), nil, nil).Items([]byte(test.body), at(arrival))
			if items != nil {
				t.Errorf("Items = %+v, want none", items)
			}
			var e *decode.Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %v, want an *Error", err)
			}
			if e.Reason != test.reason || e.Line != test.line || e.Column != test.column || !strings.Contains(e.Detail, test.detail) {
				t.Errorf("error is %+v\nwant %s at %d:%d with %q", *e, test.reason, test.line, test.column, test.detail)
			}
		})
	}
}

func TestItemsAreTheirOwn(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	items, err := d.Items([]byte(`[{"site":"s","device":"a","metric":"m","value":1},{"site":"s","device":"b","metric":"m","value":2}]`), at(arrival))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(items[0].Readings, value("other", 9))
	if _, err := d.Items([]byte(`[{"site":"t","device":"c","metric":"n","value":3}]`), at(arrival)); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(items[1].Site, items[1].Device, items[1].Readings[0].Value); got != "sb2" {
		t.Errorf("the second item became %s", got)
	}
}
