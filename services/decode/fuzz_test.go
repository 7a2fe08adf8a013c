package decode_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"headwater/services/decode"
)

var seeds = []string{
	"21.5", "true", "open", "nan", "1e400", `"a\u0000"`, "{}", "[]", "null", "\xff\xfe", "\xef\xbb\xbf1",
	`{"value":21.5,"ts":1773500966.5,"unit":"°C"}`, `{"value":1,"ts":"2026-03-14T15:09:26Z"}`,
	`{"temperature":21.5,"door":true,"x":{"value":1,"unit":"u"},"ts":1773500966535}`,
	`{"site":"s","device":"d","metric":"m","value":1}`, `[{"site":"s","device":"d","values":{"m":1}},1,{}]`,
	`{"a":NaN}`, `{"ts":-9223372036854775808}`, `{"value":1,"ts":1.7e300}`, "[[[[[[[[[[[[", `{"a":1,"a":2}`,
}

func FuzzAppend(f *testing.F) {
	for _, s := range seeds {
		f.Add("m", []byte(s))
		f.Add("", []byte(s))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, metric string, payload []byte) {
		before := string(payload)
		readings, err := d.Append(nil, "hall", "d", metric, payload, at(arrival))
		if string(payload) != before {
			t.Fatal("the payload changed")
		}
		if err != nil {
			checkError(t, err)
			var e *decode.Error
			if errors.As(err, &e) && e.Partial != (len(readings) > 0) {
				t.Fatalf("readings %v with error %v", readings, err)
			}
			if len(readings) == 0 {
				return
			}
		}
		if len(payload) == 0 {
			return
		}
		for _, r := range readings {
			if metric != "" && !strings.HasPrefix(r.Metric, metric) {
				t.Fatalf("reading %v of metric %q", r, metric)
			}
		}
		checkReadings(t, readings, metric == "")
	})
}

func FuzzItems(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := d.Items(body, at(arrival))
		if err != nil {
			checkError(t, err)
			return
		}
		for i, item := range items {
			if item.Index != i {
				t.Fatalf("item %d has index %d", i, item.Index)
			}
			if item.Err != nil {
				checkError(t, item.Err)
				if len(item.Readings) != 0 {
					t.Fatalf("readings %v with error %v", item.Readings, item.Err)
				}
				continue
			}
			checkToken(t, item.Site)
			checkToken(t, item.Device)
			checkReadings(t, item.Readings, true)
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *decode.Error
	if !errors.As(err, &e) || e == nil {
		t.Fatalf("error %#v is not an *Error", err)
	}
	switch e.Reason {
	case decode.ReasonPayload, decode.ReasonValue, decode.ReasonClock, decode.ReasonTooLarge:
	default:
		t.Fatalf("error %v has reason %q", e, e.Reason)
	}
	if e.Detail == "" || len(e.Error()) > 500 || !utf8.ValidString(e.Error()) {
		t.Fatalf("error is %q", e.Error())
	}
}

func checkReadings(t *testing.T, readings []decode.Reading, named bool) {
	t.Helper()
	if len(readings) == 0 || len(readings) > 256 {
		t.Fatalf("%d readings", len(readings))
	}
	limits := decode.DefaultLimits()
	for _, r := range readings {
		if named {
			checkToken(t, r.Metric)
		}
		if r.Time < at(arrival)-int64(limits.Past) || r.Time > at(arrival)+int64(limits.Future) || !r.HasTime && r.Time != at(arrival) {
			t.Fatalf("reading %+v is out of time", r)
		}
		if len(r.Unit) > limits.Unit || !utf8.ValidString(r.Unit) {
			t.Fatalf("unit is %q", r.Unit)
		}
		switch r.Kind {
		case decode.Value:
			if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) || r.Text != "" || r.Flag {
				t.Fatalf("reading %+v", r)
			}
		case decode.Flag:
			if r.Value != 0 || r.Text != "" {
				t.Fatalf("reading %+v", r)
			}
		case decode.Text:
			if len(r.Text) > limits.Text || !utf8.ValidString(r.Text) || r.Value != 0 || r.Flag {
				t.Fatalf("reading %+v", r)
			}
		default:
			t.Fatalf("reading %+v has no kind", r)
		}
	}
}

func checkToken(t *testing.T, s string) {
	t.Helper()
	if s == "" || len(s) > 64 {
		t.Fatalf("token %q", s)
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			t.Fatalf("token %q", s)
		}
	}
}
