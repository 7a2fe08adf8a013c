package decode_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"headwater/services/decode"
)

// field appends a field of Protocol Buffers: a number as a varint, a float as 64 or 32
// bits, a text or bytes.
func field(b []byte, number protowire.Number, v any) []byte {
	switch v := v.(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), math.Float64bits(v))
	case float32:
		return protowire.AppendFixed32(protowire.AppendTag(b, number, protowire.Fixed32Type), math.Float32bits(v))
	case string:
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), v)
	}
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), v.([]byte))
}

// metric returns a metric of Sparkplug B: name, alias and type of data are left out when
// they are empty or 0, and so is the value when it is nil.
func metric(name string, alias, kind int, of protowire.Number, v any) (m []byte) {
	if name != "" {
		m = field(m, 1, name)
	}
	if alias != 0 {
		m = field(m, 2, alias)
	}
	if kind != 0 {
		m = field(m, 4, kind)
	}
	if v == nil {
		return field(m, 7, 1)
	}
	return field(m, of, v)
}

func payload(sequence int, metrics ...[]byte) string {
	b := field(nil, 1, int(arrival.UnixMilli()))
	for _, m := range metrics {
		b = field(b, 2, m)
	}
	return string(field(b, 3, sequence))
}

func TestSparkplug(t *testing.T) {
	unit := field(field(nil, 1, "engUnit"), 2, field(field(nil, 1, 12), 8, "bar"))
	d := decode.New(decode.DefaultLimits(), nil, nil)
	const ask = "spBv1.0/Plant 1/NCMD/edge"
	for _, step := range []struct {
		name, topic, payload string
		rebirth, nothing     string
		want                 []string
	}{
		{"data before the birth", "NDATA/edge", payload(3, metric("", 1, 0, 13, 1.5), metric("named", 0, 9, 12, float32(21.53))), ask, "", []string{
			"Plant_1/edge named=21.53 @15:09:26.535", "! payload metrics[0].alias: the alias 1 is not known: the edge node is asked for its births, redrive this then",
		}},
		{"birth of the node", "NBIRTH/edge", payload(0, metric("bdSeq", 0, 4, 11, 7), metric("Node Control/Rebirth", 0, 11, 14, 0),
			field(metric("Air/Pressure", 1, 10, 13, 6.5), 9, unit), metric("Mode", 2, 12, 15, "auto"), metric("Count", 3, 3, 10, int(uint32(math.MaxUint32)))), "", "", []string{
			"Plant_1/edge Air_Pressure=6.5 bar @15:09:26.535", `Plant_1/edge Mode="auto" @15:09:26.535`, "Plant_1/edge Count=-1 @15:09:26.535", "Plant_1/edge online=true",
		}},
		{"birth of a device", "DBIRTH/edge/pump", payload(1, metric("Speed", 4, 8, 11, 1<<60), metric("On", 5, 11, 14, 1), metric("Serial", 6, 17, 16, []byte{1}), metric("Idle", 7, 9, 12, nil)), "", "", []string{
			"Plant_1/edge_pump Speed=1.152921504606847e+18 @15:09:26.535", "Plant_1/edge_pump On=true @15:09:26.535", "Plant_1/edge_pump online=true",
		}},
		{"data by alias", "NDATA/edge", payload(2, metric("", 1, 0, 13, 6.6), metric("", 3, 0, 10, 5)), "", "", []string{"Plant_1/edge Air_Pressure=6.6 bar @15:09:26.535", "Plant_1/edge Count=5 @15:09:26.535"}},
		{"the same again", "NDATA/edge", payload(2, metric("", 3, 0, 10, 5)), "", "", []string{"Plant_1/edge Count=5 @15:09:26.535"}},
		{"data of the device, with NaN and a table", "DDATA/edge/pump", payload(3, metric("", 7, 0, 12, float32(math.NaN())), metric("", 4, 0, 17, []byte{}), metric("", 5, 0, 14, 0)), "", "", []string{
			"Plant_1/edge_pump On=false @15:09:26.535", "! value metrics[0]: NaN is not a number that can be stored; also not read: metrics[1]",
		}},
		{"a gap", "NDATA/edge", payload(9, metric("", 1, 0, 13, 6.7)), ask, "", []string{"Plant_1/edge Air_Pressure=6.7 bar @15:09:26.535"}},
		{"death of the device", "DDEATH/edge/pump", payload(10), "", "", []string{"Plant_1/edge_pump online=false"}},
		{"late death", "NDEATH/edge", payload(0, metric("bdSeq", 0, 4, 11, 6)), "", "it is the death of an earlier connection", nil},
		{"death", "NDEATH/edge", payload(0, metric("bdSeq", 0, 4, 11, 7)), "", "", []string{"Plant_1/edge online=false", "Plant_1/edge_pump online=false"}},
		{"command", "NCMD/edge", payload(0), "", "it is a command", nil},
	} {
		t.Run(step.name, func(t *testing.T) {
			got, err := d.Message("", "spBv1.0/Plant 1/"+step.topic, []byte(step.payload), at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, lines(got.Items)); diff != "" {
				t.Errorf("readings (-want +got):\n%s", diff)
			}
			if got.Rebirth != step.rebirth || got.Nothing != step.nothing {
				t.Errorf("rebirth %q, nothing %q", got.Rebirth, got.Nothing)
			}
		})
	}
	for _, test := range []struct{ topic, payload string }{
		{"spBv1.0/g/NDATA/e", "\xff\xff"}, {"spBv1.0/g/NDATA", ""}, {"spBv1.0/g/NDATA/e/d", payload(0)}, {"spBv1.0/g/XDATA/e", payload(0)},
	} {
		if got, err := d.Message("", test.topic, []byte(test.payload+"x"), at(arrival)); err == nil {
			t.Errorf("%s: %+v", test.topic, got)
		}
	}
	if got := decode.RebirthCommand(time.UnixMilli(1)); len(got) == 0 {
		t.Error("the command is empty")
	}
}

func BenchmarkSparkplug(b *testing.B) {
	const n = 100
	var births, data [][]byte
	for i := range n {
		births = append(births, metric("Line/Machine/Value "+string(rune('A'+i%26)), i+1, 10, 13, 1.5))
		data = append(data, metric("", i+1, 0, 13, float64(i)))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	if _, err := d.Message("", "spBv1.0/g/NBIRTH/e", []byte(payload(0, births...)), at(arrival)); err != nil {
		b.Fatal(err)
	}
	message := []byte(payload(0, data...))
	b.ReportAllocs()
	for b.Loop() {
		if got, err := d.Message("", "spBv1.0/g/NDATA/e", message, at(arrival)); err != nil || len(got.Items) != 1 {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/metric")
}
