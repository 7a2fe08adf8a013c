package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/decode/mapping"
	"headwater/services/internal/credentials"
	"headwater/services/internal/quota"
	"headwater/streams"
)

func testStep(tb testing.TB) *step {
	tb.Helper()
	topics, err := topic.New(topic.Defaults()...)
	if err != nil {
		tb.Fatal(err)
	}
	return newStep(topics, 8, intakeDeps{
		limits: DefaultConfig().limits(), mappings: func() mapping.Set { return nil }, births: decode.NewBirths(), empty: func() {},
		standing: func(_, _ string) credentials.Standing { return credentials.StandingAllowed },
		begin:    func(quota.Device, string, time.Time) error { return nil },
		format:   func(string, bool) {}, rebirth: func(string) {},
	})
}

func TestStepIsBounded(t *testing.T) {
	now := time.Now().UnixNano()
	for _, test := range []struct {
		name, payload string
		most          int
	}{
		{"readings", "1", maxStepReadings},
		{"readings of several metrics", `{"a":1,"b":2,"c":3,"d":4}`, maxStepReadings / 4},
		{"bytes", `"` + strings.Repeat("x", 100<<10) + `"`, maxStepBytes/(100<<10) + 1},
		{"messages that become dead letters", "{", maxStepReadings},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := testStep(t)
			subject := streams.MQTTAll[:len(streams.MQTTAll)-1] + "sensors.hall.d"
			if !strings.HasPrefix(test.payload, `{"`) {
				subject += ".m"
			}
			n := 0
			for ; !s.full(); n++ {
				s.add(subject, []byte(test.payload), now)
			}
			if n != test.most {
				t.Errorf("%d messages fill a step, want %d", n, test.most)
			}
			batches, dead := s.take()
			if len(batches)+len(dead) == 0 || s.full() {
				t.Error("the step is not taken")
			}
			batches, dead = s.take()
			if len(batches)+len(dead) != 0 {
				t.Error("what was taken is there again")
			}
		})
	}
}

// TestLargestStepFitsAMessage fills a step with what grows most by being
// packed: long names, units and texts, all different, in one lane.
func TestLargestStepFitsAMessage(t *testing.T) {
	s, now := testStep(t), time.Now().UnixNano()
	device := strings.Repeat("d", 64)
	subject := "sensors." + strings.Repeat("s", 64) + "." + device
	for message := 0; !s.full(); message++ {
		var payload strings.Builder
		payload.WriteString("{")
		for i := range 85 {
			fmt.Fprintf(&payload, `"%s%010d":{"value":%q,"unit":%q},`, strings.Repeat("m", 54), message*1000+i,
				strings.Repeat("v", 1000), fmt.Sprintf("%060d", message*1000+i))
		}
		s.add(subject, []byte(strings.TrimSuffix(payload.String(), ",")+"}"), now)
	}
	batches, dead := s.take()
	if len(batches) != 1 || len(dead) != 0 {
		t.Fatalf("%d batches, %d dead letters", len(batches), len(dead))
	}
	m, err := streams.TelemetryMsg(batches[0].Lane, streams.SourceMQTT, batches[0].Batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Data) > streams.MaxMessage/2 {
		t.Errorf("%d bytes, at most %d fit", len(m.Data), streams.MaxMessage)
	}
}

func TestRoundWaitsWhileMessagesCome(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		n                       int
		first, last, step, want time.Duration
	}{
		"one message":                {1, 0, 0, 2 * ms, 2 * ms},
		"nothing came for a step":    {5, 6 * ms, 2 * ms, 2 * ms, 0},
		"another came just now":      {5, 6 * ms, 0, 2 * ms, 2 * ms},
		"they keep coming":           {90, 23 * ms, 0, 2 * ms, ms},
		"for as long as they may":    {90, 24 * ms, 0, 2 * ms, 0},
		"there are enough":           {enoughEach * 8, 2 * ms, 0, 2 * ms, 0},
		"enough, but within a step":  {enoughEach * 8, ms, 0, 2 * ms, ms},
		"a long step has its bound":  {90, 300 * ms, 0, 300 * ms, 200 * ms},
		"the round before took long": {90, 80 * ms, 0, 2 * ms, -56 * ms},
	} {
		if got := untilRound(c.n, 8, c.first, c.last, c.step); got != c.want {
			t.Errorf("%s: it waits %s, want %s", name, got, c.want)
		}
	}
}

// BenchmarkStep is the work of the bridge on a thousand messages of one
// reading each, from the subject to the encoded batches.
func BenchmarkStep(b *testing.B) {
	const n = 1000
	for _, bench := range []struct{ name, payload string }{
		{"number", "21.53"},
		{"object", `{"value":21.53,"ts":%d}`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := testStep(b)
			arrival := time.Now()
			payload := []byte(bench.payload)
			if strings.Contains(bench.payload, "%d") {
				payload = fmt.Appendf(nil, bench.payload, arrival.UnixMilli())
			}
			subjects := make([]string, 100)
			for i := range subjects {
				subjects[i] = fmt.Sprintf("$MQTT.msgs.sensors.warehouse.door-%d.temperature", i)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range n {
					s.add(subjects[i%len(subjects)], payload, arrival.UnixNano())
				}
				batches, dead := s.take()
				if len(dead) != 0 {
					b.Fatal(dead[0].Detail)
				}
				for _, batch := range batches {
					if _, err := streams.TelemetryMsg(batch.Lane, streams.SourceMQTT, batch.Batch); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
			b.ReportMetric(0, "ns/op")
		})
	}
}
