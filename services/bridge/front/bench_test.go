package front

import (
	"bytes"
	"testing"
)

// BenchmarkPackets is what the front does to each packet, without the network.
func BenchmarkPackets(b *testing.B) {
	f := newFront(b, deps())
	for _, c := range []struct {
		name   string
		level  byte
		packet []byte
	}{
		{"3.1.1", 4, publishing("sensors/hall/door-01/temperature", 20)},
		{"space", 4, publishing("sensors/hall/living room/temperature", 20)},
		{"5", 5, publishing("sensors/hall/door-01/temperature", 20, 0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			const each = 500
			piece := bytes.Repeat(c.packet, each)
			s := newSession(f, new(tape), "192.0.2.1")
			s.connect.level = c.level
			s.inFlight.limit(0)
			out := new(tape)
			s.up.dst = out
			b.ReportAllocs()
			for b.Loop() {
				out.out.Reset()
				s.up.src = &tape{pieces: [][]byte{piece}}
				_ = s.up.move()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/packet")
		})
	}
}
