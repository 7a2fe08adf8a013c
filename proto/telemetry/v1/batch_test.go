package telemetryv1_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	telemetryv1 "headwater/proto/telemetry/v1"
)

func TestBatchKeepsOrderAndTypes(t *testing.T) {
	var b telemetryv1.Builder
	key := telemetryv1.Key{Site: "hall", Device: "door-01", Metric: "state"}
	b.Value(key, 10, 1.5)
	b.Text(key, 11, "open")
	b.Flag(key, 12, true)
	b.Value(key, 13, 2.5)
	if b.Len() != 4 {
		t.Errorf("Len is %d", b.Len())
	}
	batch := b.Take(20)
	if b.Len() != 0 {
		t.Errorf("Len after Take is %d", b.Len())
	}
	data, err := proto.Marshal(batch)
	if err != nil {
		t.Fatal(err)
	}
	back := new(telemetryv1.Batch)
	if err := proto.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Fatal(err)
	}
	var got []telemetryv1.Reading
	for r := range back.Readings() {
		got = append(got, r)
	}
	want := []telemetryv1.Reading{
		{Series: 0, Time: 10, Kind: telemetryv1.Kind_KIND_VALUE, Value: 1.5},
		{Series: 1, Time: 11, Kind: telemetryv1.Kind_KIND_TEXT, Text: "open"},
		{Series: 2, Time: 12, Kind: telemetryv1.Kind_KIND_FLAG, Flag: true},
		{Series: 0, Time: 13, Kind: telemetryv1.Kind_KIND_VALUE, Value: 2.5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if back.GetArrival() != 20 {
		t.Errorf("arrival is %d", back.GetArrival())
	}
}

func TestCheckFindsContradictions(t *testing.T) {
	valid := func(change func(*telemetryv1.Batch)) *telemetryv1.Batch {
		b := sample(2)
		change(b)
		return b
	}
	if err := sample(2).Check(); err != nil {
		t.Fatal(err)
	}
	for name, batch := range map[string]*telemetryv1.Batch{
		"a reading without a time":     valid(func(b *telemetryv1.Batch) { b.Time = b.Time[:1] }),
		"a reading without a value":    valid(func(b *telemetryv1.Batch) { b.Value = b.Value[:1] }),
		"a value without a reading":    valid(func(b *telemetryv1.Batch) { b.Value = append(b.Value, 1) }),
		"an unknown series":            valid(func(b *telemetryv1.Batch) { b.Series[1] = 7 }),
		"an unknown kind":              valid(func(b *telemetryv1.Batch) { b.DictionaryKind[0] = 9 }),
		"no kind":                      valid(func(b *telemetryv1.Batch) { b.DictionaryKind[0] = 0 }),
		"an unknown symbol":            valid(func(b *telemetryv1.Batch) { b.DictionaryUnit[0] = 99 }),
		"a series without a site":      valid(func(b *telemetryv1.Batch) { b.DictionarySite = b.DictionarySite[:1] }),
		"a symbol beyond the text":     valid(func(b *telemetryv1.Batch) { b.SymbolEnd[1] = 1000 }),
		"symbols that end out of turn": valid(func(b *telemetryv1.Batch) { b.SymbolEnd[0], b.SymbolEnd[1] = b.SymbolEnd[1], b.SymbolEnd[0] }),
	} {
		if err := batch.Check(); !errors.Is(err, telemetryv1.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzUnmarshal feeds bytes of any kind: a batch that passes Check can be read.
func FuzzUnmarshal(f *testing.F) {
	data, err := proto.Marshal(sample(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := new(telemetryv1.Batch)
		if proto.Unmarshal(data, b) != nil || b.Check() != nil {
			return
		}
		n := 0
		dictionary := b.Dictionary()
		for r := range b.Readings() {
			_ = dictionary[r.Series]
			n++
		}
		if n != len(b.Series) {
			t.Errorf("%d of %d readings", n, len(b.Series))
		}
	})
}

// sample returns a batch of n readings of one metric of up to 100 devices.
func sample(n int) *telemetryv1.Batch {
	var b telemetryv1.Builder
	for i := range n {
		key := telemetryv1.Key{Site: "warehouse", Device: fmt.Sprintf("door-%02d", i%100), Metric: "temperature", Unit: "°C"}
		b.Value(key, 1_780_000_000_000_000_000+int64(i)*1_000_003, 20+float64(i%70)/10)
	}
	return b.Take(1_780_000_001_000_000_000)
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			batch := sample(n)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				buf, err = (proto.MarshalOptions{}).MarshalAppend(buf[:0], batch)
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/reading")
			b.ReportMetric(float64(len(buf))/float64(n), "bytes/reading")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data, err := proto.Marshal(sample(n))
			if err != nil {
				b.Fatal(err)
			}
			batch := new(telemetryv1.Batch)
			sum := 0.0
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(data, batch); err != nil {
					b.Fatal(err)
				}
				if err := batch.Check(); err != nil {
					b.Fatal(err)
				}
				dictionary := batch.Dictionary()
				for r := range batch.Readings() {
					if dictionary[r.Series].Kind == telemetryv1.Kind_KIND_VALUE {
						sum += r.Value
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/reading")
		})
	}
}
