package streams_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestJanitor fills TELEMETRY and checks after each step how far it was purged.
func TestJanitor(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	s.Ensure(t, 2)
	const n = 100
	subject := streams.TelemetrySubject(0, streams.SourceMQTT)
	for range n {
		if _, err := js.Publish(t.Context(), subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	janitor := streams.Janitor{JS: js, Log: slog.New(slog.DiscardHandler)}
	firstAfterCleaning := func(now time.Time) uint64 {
		t.Helper()
		if err := janitor.Clean(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), streams.StreamTelemetry)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.FirstSeq
	}
	manifest := func(key string, h streams.Holding) {
		t.Helper()
		bucket, err := js.KeyValue(t.Context(), streams.BucketManifests)
		if err != nil {
			t.Fatal(err)
		}
		value, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	ack := func(count int) {
		t.Helper()
		consumer, err := js.Consumer(t.Context(), streams.StreamTelemetry, streams.ConsumerWriter)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := consumer.Fetch(count)
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	later := time.Now().Add(streams.AgeTelemetry + time.Hour)
	if first := firstAfterCleaning(later); first != 1 {
		t.Fatalf("no lane has a snapshot, but the first message is %d", first)
	}
	snapshots := func() {
		t.Helper()
		for lane, sequence := range []uint64{60, 80, 100} { // the last one is the lane of groups
			manifest(streams.ManifestKey(streams.ServiceProcessor, lane), streams.Holding{
				InputStream: streams.StreamTelemetry, InputSequence: sequence, OutputStream: streams.StreamDerived,
			})
		}
	}
	snapshots()
	if first := firstAfterCleaning(later); first != 1 {
		t.Fatalf("the writer has read nothing, but the first message is %d", first)
	}
	ack(40)
	if first := firstAfterCleaning(later); first != 1 {
		t.Errorf("each lane has but one snapshot, which may be damaged, and the first message is %d", first)
	}
	snapshots()
	if first := firstAfterCleaning(later); first != 41 {
		t.Errorf("the writer has 40, but the first message is %d", first)
	}
	ack(60)
	if first := firstAfterCleaning(time.Now()); first != 41 {
		t.Errorf("nothing is old, but the first message is %d", first)
	}
	edges, err := js.KeyValue(t.Context(), streams.BucketEdges)
	if err != nil {
		t.Fatal(err)
	}
	sentUp := func(sequence string) {
		t.Helper()
		if _, err := edges.Put(t.Context(), streams.UplinkKey(streams.StreamTelemetry), []byte(`{"sequence":`+sequence+`}`)); err != nil {
			t.Fatal(err)
		}
	}
	sentUp("50")
	if first := firstAfterCleaning(later); first != 51 {
		t.Errorf("the centre needs 51, but the first message is %d", first)
	}
	sentUp("100")
	if _, err := edges.Put(t.Context(), streams.SummaryUplinkKey(streams.StreamTelemetry), []byte(`{"sequence":55}`)); err != nil {
		t.Fatal(err)
	}
	if first := firstAfterCleaning(later); first != 56 {
		t.Errorf("the summaries need 56, but the first message is %d", first)
	}
	if err := edges.Delete(t.Context(), streams.SummaryUplinkKey(streams.StreamTelemetry)); err != nil {
		t.Fatal(err)
	}
	if first := firstAfterCleaning(later); first != 61 {
		t.Errorf("lane 0 needs 61, but the first message is %d", first)
	}
	manifest(streams.ManifestKey(streams.ServiceProcessor, 0), streams.Holding{
		InputStream: streams.StreamTelemetry, InputSequence: 100, OutputStream: streams.StreamDerived,
	})
	if first := firstAfterCleaning(later); first != 61 {
		t.Errorf("the snapshot before of lane 0 needs 61, but the first message is %d", first)
	}
	for range 2 {
		for lane := range 3 {
			manifest(streams.ManifestKey(streams.ServiceProcessor, lane), streams.Holding{
				InputStream: streams.StreamTelemetry, InputSequence: 100, Incarnation: 1, OutputStream: streams.StreamDerived,
			})
		}
	}
	if first := firstAfterCleaning(later); first != 61 {
		t.Errorf("the snapshots are of another stream, but the first message is %d", first)
	}
}

// TestJanitorKeepsWhatCameAfterACut has snapshots of a TELEMETRY that lost its end
// and has grown again: what is new has their sequences.
func TestJanitorKeepsWhatCameAfterACut(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	s.Ensure(t, 1)
	for range 100 {
		if _, err := js.Publish(t.Context(), streams.TelemetrySubject(0, streams.SourceMQTT), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := stream.GetMsg(t.Context(), 40)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := js.Consumer(t.Context(), streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := writer.Fetch(100)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	bucket, err := js.KeyValue(t.Context(), streams.BucketManifests)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		value, err := json.Marshal(streams.Holding{
			InputStream: streams.StreamTelemetry, InputSequence: 70, InputStored: kept.Time.UnixNano() + 1,
			Incarnation: stream.CachedInfo().Created.UnixNano(), OutputStream: streams.StreamDerived,
		})
		if err != nil {
			t.Fatal(err)
		}
		for lane := range 2 { // the second one is the lane of groups
			if _, err := bucket.Put(t.Context(), streams.ManifestKey(streams.ServiceProcessor, lane), value); err != nil {
				t.Fatal(err)
			}
		}
	}
	janitor := streams.Janitor{JS: js, Log: slog.New(slog.DiscardHandler)}
	if err := janitor.Clean(t.Context(), time.Now().Add(streams.AgeTelemetry+time.Hour)); err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.FirstSeq != 41 {
		t.Errorf("the first message is %d, and what came from 41 on was never read", info.State.FirstSeq)
	}
}

// TestJanitorKeepsWhatIsNotReflected cleans up ALERTING, which senders have read
// and the lane has a snapshot behind, while the bucket of alerts is behind.
func TestJanitorKeepsWhatIsNotReflected(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	s.Ensure(t, 1)
	for range 10 {
		if _, err := js.Publish(t.Context(), streams.AlertingSubject(0), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), streams.StreamAlerting)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.KeyValue(t.Context(), streams.BucketManifests)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string, v any) {
		t.Helper()
		value, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		put(streams.ManifestKey(streams.ServiceNotifier, 0), streams.Holding{
			InputStream: streams.StreamDerived, OutputStream: streams.StreamAlerting, OutputSequence: 9,
		})
	}
	created := stream.CachedInfo().Created.UnixNano()
	for _, step := range []struct {
		name       string
		checkpoint any
		first      uint64
	}{
		{"no checkpoint", nil, 1},
		{"no checkpoint that can be used", "x", 1},
		{"of another stream", streams.Checkpoint{Incarnation: created - 1, Sequence: 8, Channels: 8}, 1},
		{"behind", streams.Checkpoint{Incarnation: created, Sequence: 4, Channels: 6}, 5},
		{"consumers behind", streams.Checkpoint{Incarnation: created, Sequence: 6, Channels: 5}, 6},
		{"all reflected", streams.Checkpoint{Incarnation: created, Sequence: 10, Channels: 10}, 9},
	} {
		if step.checkpoint != nil {
			put(streams.AlertsKey, step.checkpoint)
		}
		janitor := streams.Janitor{JS: js, Log: slog.New(slog.DiscardHandler)}
		if err := janitor.Clean(t.Context(), time.Now().Add(streams.AgeAlerting+time.Hour)); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.FirstSeq != step.first {
			t.Errorf("%s: the first message is %d, want %d", step.name, info.State.FirstSeq, step.first)
		}
	}
}

// TestJanitorMakesRoom fills a stream above its mark.
func TestJanitorMakesRoom(t *testing.T) {
	s := streamtest.Run(t)
	js := s.JS(t)
	if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 1, MaxBytes: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	limit := stream.CachedInfo().Config.MaxBytes
	subject := streams.TelemetrySubject(0, streams.SourceMQTT)
	payload := make([]byte, limit/20)
	for range 19 {
		if _, err := js.Publish(t.Context(), subject, payload); err != nil {
			t.Fatal(err)
		}
	}
	janitor := streams.Janitor{JS: js, Log: slog.New(slog.DiscardHandler)}
	clean := func() jetstream.StreamState {
		t.Helper()
		if err := janitor.Clean(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	if state := clean(); state.Msgs != 19 {
		t.Fatalf("%d messages left of 19 that nobody has processed", state.Msgs)
	}
	bucket, err := js.KeyValue(t.Context(), streams.BucketManifests)
	if err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(streams.Holding{InputStream: streams.StreamTelemetry, InputSequence: 19, OutputStream: streams.StreamDerived})
	if err != nil {
		t.Fatal(err)
	}
	for lane := range 2 { // the second one is the lane of groups
		if _, err := bucket.Put(t.Context(), streams.ManifestKey(streams.ServiceProcessor, lane), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := js.DeleteConsumer(t.Context(), streams.StreamTelemetry, streams.ConsumerWriter); err != nil {
		t.Fatal(err)
	}
	if state := clean(); float64(state.Bytes) > 0.80*float64(limit) || state.Msgs < 13 {
		t.Errorf("%d messages with %d of %d bytes are left", state.Msgs, state.Bytes, limit)
	}
}
