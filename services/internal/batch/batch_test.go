package batch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/services/internal/batch"
	"headwater/streams"
)

const lanes = 8

// lines writes each reading of a batch as one line.
func lines(b *telemetryv1.Batch) []string {
	var out []string
	dictionary := b.Dictionary()
	for r := range b.Readings() {
		s := dictionary[r.Series]
		out = append(out, fmt.Sprintf("%s/%s/%s[%s]@%d %v %v %v %q", s.Site, s.Device, s.Metric, s.Unit, r.Time, r.Kind, r.Value, r.Flag, r.Text))
	}
	return out
}

func TestPackerGroupsByLane(t *testing.T) {
	p := batch.New(lanes)
	want := make(map[int][]string)
	arrivals := make(map[int]int64)
	for round := range 3 {
		for i := range 50 {
			device := fmt.Sprintf("d%d", i)
			now := int64(1000*round + i)
			p.Add("s", device, []decode.Reading{
				{Metric: "temperature", Unit: "°C", Kind: decode.Value, Value: float64(i), Time: now},
				{Metric: "door", Kind: decode.Flag, Flag: i%2 == 0, Time: now + 1},
				{Metric: "state", Kind: decode.Text, Text: "x", Time: now + 2},
			}, now)
			lane := streams.Lane("s", device, lanes)
			arrivals[lane] = now
			want[lane] = append(want[lane],
				fmt.Sprintf("s/%s/temperature[°C]@%d KIND_VALUE %d false \"\"", device, now, i),
				fmt.Sprintf("s/%s/door[]@%d KIND_FLAG 0 %v \"\"", device, now+1, i%2 == 0),
				fmt.Sprintf("s/%s/state[]@%d KIND_TEXT 0 false \"x\"", device, now+2))
		}
	}
	if p.Len() != 450 {
		t.Errorf("Len = %d, want 450", p.Len())
	}
	batches := p.Take()
	if len(batches) != len(want) {
		t.Errorf("%d batches, want %d", len(batches), len(want))
	}
	for _, b := range batches {
		if err := b.Batch.Check(); err != nil {
			t.Fatalf("lane %d: %v", b.Lane, err)
		}
		if got := lines(b.Batch); !slices.Equal(got, want[b.Lane]) {
			t.Errorf("lane %d holds\n%s\nwant\n%s", b.Lane, strings.Join(got, "\n"), strings.Join(want[b.Lane], "\n"))
		}
		if b.Batch.Arrival != arrivals[b.Lane] {
			t.Errorf("lane %d arrived at %d, want %d", b.Lane, b.Batch.Arrival, arrivals[b.Lane])
		}
	}
}

func TestPackerIsEmptyAfterTake(t *testing.T) {
	p := batch.New(lanes)
	if got := p.Take(); len(got) != 0 {
		t.Errorf("an empty packer holds %v", got)
	}
	p.Add("s", "d", nil, 1)
	if got := p.Take(); len(got) != 0 {
		t.Errorf("a packer without readings holds %v", got)
	}
	reading := []decode.Reading{{Metric: "m", Kind: decode.Value, Value: 1, Time: 1}}
	p.Add("s", "d", reading, 9)
	first := p.Take()[0].Batch
	p.Add("s", "d", reading, 5)
	second := p.Take()[0].Batch
	if p.Len() != 0 {
		t.Errorf("Len = %d after Take", p.Len())
	}
	if first == second || len(first.Series) != 1 || len(second.Series) != 1 {
		t.Errorf("batches share readings: %v and %v", first, second)
	}
	if second.Arrival != 5 {
		t.Errorf("arrival is %d, want that of the second batch alone", second.Arrival)
	}
}

// TestNamesAgree shows that what decode takes for a name is what may stand in
// subjects and keys.
func TestNamesAgree(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, name := range []string{"a", "", "A-Z_09", "a.b", "a b", "ü", "*", ">", strings.Repeat("x", 64), strings.Repeat("x", 65)} {
		items, err := d.Items(fmt.Appendf(nil, `{"site":"hall","device":"d","metric":%q,"value":1}`, name), time.Now().UnixNano())
		if err != nil || len(items) != 1 {
			t.Fatal(items, err)
		}
		if (items[0].Err == nil) != streams.ValidToken(name) {
			t.Errorf("%q: decode says %v, streams says %v", name, items[0].Err, streams.ValidToken(name))
		}
	}
}

// BenchmarkDecodeAndPack is the work of the bridge on a thousand messages of
// one reading each, without the stream.
func BenchmarkDecodeAndPack(b *testing.B) {
	const n = 1000
	for _, bench := range []struct{ name, payload string }{
		{"number", "21.53"},
		{"object", `{"value":21.5,"ts":1773500966535}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			devices := make([]string, 100)
			for i := range devices {
				devices[i] = fmt.Sprintf("door-%d", i)
			}
			d, p := decode.New(decode.DefaultLimits(), nil, nil), batch.New(lanes)
			payload, readings := []byte(bench.payload), make([]decode.Reading, 0, 8)
			arrival := time.UnixMilli(1773500966600).UnixNano()
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					var err error
					readings, err = d.Append(readings[:0], "hall", "d", "temperature", payload, arrival)
					if err != nil {
						b.Fatal(err)
					}
					p.Add("hall", devices[i%len(devices)], readings, arrival)
				}
				if len(p.Take()) != lanes {
					b.Fatal("a lane is missing")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
			b.ReportMetric(0, "ns/op")
		})
	}
}
