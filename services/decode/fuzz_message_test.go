package decode_test

import (
	"testing"

	"headwater/services/decode"
	"headwater/services/decode/mapping"
)

// FuzzMessage gives every format any topic and payload.
func FuzzMessage(f *testing.F) {
	for _, m := range append(models, radios...) {
		f.Add(m.topic, []byte(m.payload))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		before := string(payload)
		got, err := d.Message("", topic, payload, at(arrival))
		if string(payload) != before {
			t.Fatal("the payload changed")
		}
		if err != nil {
			checkError(t, err)
		}
		checkItems(t, got.Items)
	})
}

// FuzzMapped gives mappings any payload.
func FuzzMapped(f *testing.F) {
	var all []*mapping.Mapping
	for _, declared := range []mapping.Declared{
		{Topic: "a/{b}", Device: "{b}"},
		{Topic: "a/{b}", Device: "{payload.id}", Metric: "{payload.m}", Value: "payload.v * 2", Time: "payload.t", Unit: "{payload.u}", Site: "{payload.s}"},
		{Topic: "a/#", Each: "payload", Device: "d{index}", Metric: "m", Value: "item"},
		{Topic: "a/#", Device: "d", Metric: "m", Value: `float(split(text, ";")[1])`},
	} {
		m, problems := mapping.Compile(declared)
		if problems != nil {
			f.Fatal(problems)
		}
		all = append(all, m)
	}
	for _, payload := range []string{`{"id":"x","m":"y","v":1.5,"t":1773500966,"u":"V","s":"hall"}`, `[1,{"a":2},null,"x"]`, "x;21.5", "", "\xa1\x61\x61\x01"} {
		for i := range all {
			f.Add(uint8(i), []byte(payload))
		}
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		got, err := d.Mapped(all[int(which)%len(all)], "", "a/b", payload, at(arrival))
		if err != nil {
			checkError(t, err)
		}
		checkItems(t, got.Items)
	})
}
