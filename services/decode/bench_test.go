package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"headwater/services/decode"
)

func BenchmarkAppend(b *testing.B) {
	for _, bench := range []struct{ name, metric, payload string }{
		{"number", "temperature", "21.53"},
		{"text", "state", "open"},
		{"object", "temperature", `{"value":21.5,"ts":1773500966535}`},
		{"object with unit and RFC 3339", "temperature", `{"value":21.5,"ts":"2026-03-14T15:09:26Z","unit":"°C"}`},
		{"device of 3 metrics", "", `{"temperature":21.5,"humidity":40,"door":true,"ts":1773500966535}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := decode.New(decode.DefaultLimits(), nil, nil)
			payload, dst := []byte(bench.payload), make([]decode.Reading, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Append(dst, "hall", "d", bench.metric, payload, at(arrival)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkItems(b *testing.B) {
	const n = 1000
	var body strings.Builder
	for i := range n {
		fmt.Fprintf(&body, `,{"site":"hall","device":"door-%d","metric":"temperature","value":%d.5,"ts":1773500966535}`, i%20, i)
	}
	limits := decode.DefaultLimits()
	d := decode.New(limits, nil, nil)
	text := []byte("[" + body.String()[1:] + "]")
	b.ReportAllocs()
	for b.Loop() {
		if items, err := d.Items(text, at(arrival)); err != nil || len(items) != n {
			b.Fatal(len(items), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
}
