package whatif

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/services/internal/batch"
	"headwater/services/internal/config"
	"headwater/services/processor/machine"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// recording is what the bridge has stored of 1,000 series, each of a device of
// its own, that had a reading every ten seconds.
type recording struct {
	js       jetstream.JetStream
	from, to time.Time
	readings int
	messages int
}

const (
	recordedSeries = 1000
	recordedEvery  = 10 * time.Second
	recordedLanes  = 8
)

// record fills TELEMETRY with so many hours, packed by the packer of the bridge in
// steps of that length, with a clock a second in each lane.
func record(tb testing.TB, hours float64, step time.Duration) *recording {
	tb.Helper()
	server := streamtest.Run(tb)
	js := server.JS(tb)
	if _, err := streams.Ensure(tb.Context(), js, streams.Options{Lanes: recordedLanes, MaxBytes: 8 << 30}); err != nil {
		tb.Fatal(err)
	}
	publisher, err := jetstream.New(js.Conn(), jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		tb.Fatal(err)
	}
	out := &recording{js: js, to: time.Now().Truncate(time.Second)}
	out.from = out.to.Add(-time.Duration(hours * float64(time.Hour)))
	store := func(lane int, b *telemetryv1.Batch) {
		msg, err := streams.TelemetryMsg(lane, streams.SourceMQTT, b)
		if err == nil {
			_, err = publisher.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute))
		}
		if err != nil {
			tb.Fatal(err)
		}
		out.readings += len(b.Series)
		out.messages++
	}
	packer := batch.New(recordedLanes)
	names := make([]string, recordedSeries)
	for i := range names {
		names[i] = fmt.Sprintf("door-%04d", i)
	}
	reading := make([]decode.Reading, 1)
	next, clock := 0, out.from
	between := recordedEvery / recordedSeries
	for at := out.from; at.Before(out.to); at = at.Add(step) {
		for end := at.Add(step); ; next++ {
			t := out.from.Add(time.Duration(next) * between)
			if !t.Before(end) || !t.Before(out.to) {
				break
			}
			i := next % recordedSeries
			v := math.Round(2000+300*math.Sin(float64(next)/5e6)+float64((i*7919+next/recordedSeries*104729)%40)) / 100
			reading[0] = decode.Reading{Metric: "temperature", Unit: "°C", Time: t.UnixNano(), Kind: decode.Value, Value: v}
			packer.Add("hall", names[i], reading, t.UnixNano())
		}
		ticks := at.Add(step).Sub(clock) >= time.Second
		var ticked [recordedLanes]bool
		caughtUp := &telemetryv1.Clock{CaughtUp: at.Add(step).UnixNano()}
		for _, b := range packer.Take() {
			if ticks {
				b.Batch.Clock, ticked[b.Lane] = caughtUp, true
			}
			store(b.Lane, b.Batch)
		}
		if ticks {
			clock = at.Add(step)
			for lane := range ticked {
				if !ticked[lane] {
					store(lane, &telemetryv1.Batch{Arrival: caughtUp.CaughtUp, Clock: caughtUp})
				}
			}
		}
	}
	select {
	case <-publisher.PublishAsyncComplete():
	case <-time.After(time.Minute):
		tb.Fatal("the recording was not stored")
	}
	return out
}

// BenchmarkReplay measures a what-if replay, from the request to the result, over
// HEADWATER_REPLAY_HOURS (a quarter of one unless given) of a recording as a bridge makes it that
// keeps up with 100 readings a second, in steps of 20 ms, and as it makes it when
// it drains a backlog, in steps of 1,000 readings.
func BenchmarkReplay(b *testing.B) {
	hours := 0.25
	if text := os.Getenv("HEADWATER_REPLAY_HOURS"); text != "" {
		var err error
		hours, err = strconv.ParseFloat(text, 64)
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, packed := range []struct {
		name string
		step time.Duration
	}{{"live", 20 * time.Millisecond}, {"backlog", 10 * time.Second}} {
		b.Run("packed="+packed.name, func(b *testing.B) {
			start := time.Now()
			r := record(b, hours, packed.step)
			b.Logf("%d readings in %d messages, stored in %v", r.readings, r.messages, time.Since(start).Round(time.Second))
			inForce, err := config.Parse("demo", config.Demo())
			if err != nil {
				b.Fatal(err)
			}
			for _, text := range []string{
				"{name: tried, detector: rate, rise: 3, within: 5m}",
				"{name: tried, detector: surge}",
			} {
				tried, err := config.ParseRule("rule", []byte(text), nil)
				if err != nil {
					b.Fatal(err)
				}
				b.Run("detector="+string(tried.Detector), func(b *testing.B) {
					for b.Loop() {
						tries := job{
							js: r.js, lanes: recordedLanes, limits: machine.DefaultLimits(), config: inForce, rule: tried,
							request: streams.ReplayRequest{From: r.from, To: r.to},
						}
						result, err := tries.run(b.Context())
						if err != nil {
							b.Fatal(err)
						}
						if result.Readings != uint64(r.readings) || result.Matched != recordedSeries {
							b.Fatalf("%d readings of %d series, want %d", result.Readings, result.Matched, r.readings)
						}
					}
					seconds := b.Elapsed().Seconds() / float64(b.N)
					b.ReportMetric(seconds, "s/replay")
					b.ReportMetric(float64(r.readings)/seconds, "readings/s")
					b.ReportMetric(float64(r.messages)/seconds, "messages/s")
				})
			}
		})
	}
}
