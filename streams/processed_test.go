package streams_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestProcessed has consumers of a whole stream and of a part of it, and messages
// that are acknowledged out of order. At each moment what is said to be processed
// is held against what was acknowledged.
func TestProcessed(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	js := s.JS(t)
	publish := func(lane int) uint64 {
		t.Helper()
		ack, err := js.Publish(t.Context(), streams.DerivedSubject(lane), nil)
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	const reader = "reader"
	if _, err := js.CreateConsumer(t.Context(), streams.StreamDerived, jetstream.ConsumerConfig{
		Durable: reader, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: streams.DerivedSubject(0),
	}); err != nil {
		t.Fatal(err)
	}
	through := func() uint64 {
		t.Helper()
		c, err := js.Consumer(t.Context(), streams.StreamDerived, reader)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), streams.StreamDerived)
		if err != nil {
			t.Fatal(err)
		}
		got, err := streams.ProcessedThrough(t.Context(), js, c.CachedInfo(), stream.CachedInfo().State.LastSeq)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	fetch := func(n int, within time.Duration) []jetstream.Msg {
		t.Helper()
		c, err := js.Consumer(t.Context(), streams.StreamDerived, reader)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := c.Fetch(n, jetstream.FetchMaxWait(within))
		if err != nil {
			t.Fatal(err)
		}
		var out []jetstream.Msg
		for m := range batch.Messages() {
			out = append(out, m)
		}
		return out
	}
	ack := func(m jetstream.Msg) {
		t.Helper()
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, lane := range []int{1, 0, 1, 0, 0, 1, 1} {
		publish(lane)
	}
	step := func(what string, atLeast, below uint64) {
		t.Helper()
		if got := through(); got < atLeast || got >= below {
			t.Errorf("%s: processed through %d, want at least %d and below %d", what, got, atLeast, below)
		}
	}
	step("nothing was asked for", 0, 2)
	got := fetch(3, streamtest.Patience) // 2, 4 and 5
	if len(got) != 3 {
		t.Fatalf("%d messages", len(got))
	}
	step("nothing is acknowledged", 0, 2)
	ack(got[1])
	step("the second is acknowledged", 0, 2)
	ack(got[0])
	step("two are acknowledged", 4, 5)
	ack(got[2])
	step("all are acknowledged", 7, 8)
	publish(1)
	step("what came matches not", 8, 9)
	last := publish(0)
	if done, err := streams.Processed(t.Context(), js, streams.StreamDerived, reader, last); done || err != nil {
		t.Errorf("done %v, %v", done, err)
	}
	if n, err := streams.Unprocessed(t.Context(), js, streams.StreamDerived, reader); n == 0 || err != nil {
		t.Errorf("%d unprocessed, %v", n, err)
	}
	ack(fetch(1, streamtest.Patience)[0])
	step("all is read to the end", last, last+1)
	if done, err := streams.Processed(t.Context(), js, streams.StreamDerived, reader, last); !done || err != nil {
		t.Errorf("done %v, %v", done, err)
	}
}

// TestProcessedIsNeverTooEarly asks right after each message was stored, which is
// when nats-server's own counts are behind.
func TestProcessedIsNeverTooEarly(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	js := s.JS(t)
	consumer, err := js.Consumer(t.Context(), streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		t.Fatal(err)
	}
	early, zeros := 0, 0
	for range 2000 {
		ack, err := js.Publish(t.Context(), streams.TelemetrySubject(0, streams.SourceMQTT), nil)
		if err != nil {
			t.Fatal(err)
		}
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		through, err := streams.ProcessedThrough(t.Context(), js, info, ack.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if through >= ack.Sequence {
			early++
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			zeros++
		}
		batch, err := consumer.Fetch(1)
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if done, err := streams.Processed(t.Context(), js, streams.StreamTelemetry, streams.ConsumerWriter, ack.Sequence); !done || err != nil {
			t.Fatal(fmt.Errorf("message %d is acknowledged, but %v, %w", ack.Sequence, done, err))
		}
	}
	if early > 0 {
		t.Errorf("%d messages that nobody had read were reported as processed", early)
	}
	t.Logf("two zeros were reported for %d messages that nobody had read", zeros)
}
