package writer

import (
	"fmt"
	"testing"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

// BenchmarkEncode measures a message of TELEMETRY on its way to line protocol,
// decoding included.
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var build telemetryv1.Builder
			now := time.Now().UnixNano()
			for i := range size {
				key := telemetryv1.Key{Site: "warehouse", Device: fmt.Sprint("door-", i%20), Metric: "temperature", Unit: "°C"}
				build.Value(key, now+int64(i)*1e6, float64(i%400)/10)
			}
			m, err := streams.TelemetryMsg(0, streams.SourceMQTT, build.Take(now))
			if err != nil {
				b.Fatal(err)
			}
			var e encoder
			var l lines
			b.ReportAllocs()
			for b.Loop() {
				readings, err := streams.DecodeTelemetry(m.Data)
				if err != nil {
					b.Fatal(err)
				}
				if l.count() >= 5000 {
					l.reset()
				}
				e.append(&l, readings)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/reading")
		})
	}
}
