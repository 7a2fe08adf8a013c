package bridge_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestUpgrade starts on what an earlier version left, which kept in nats-server's own
// stream what it had acknowledged to devices: what is not in TELEMETRY yet comes
// there, once, in its order, with the time at which it arrived.
func TestUpgrade(t *testing.T) {
	s := streamtest.Run(t)
	w := &world{Server: s, js: s.JS(t), devices: s.DevicesJS(t)}
	old, err := w.devices.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: streams.StreamMQTT, Subjects: []string{streams.MQTTAll}, Retention: jetstream.InterestPolicy,
		MaxBytes: 64 << 20, MaxMsgSize: streams.MaxDevicePayload, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := w.devices.CreateConsumer(t.Context(), streams.StreamMQTT, jetstream.ConsumerConfig{
		Durable: streams.ConsumerBridge, FilterSubject: streams.MQTTAll, AckPolicy: jetstream.AckAllPolicy, MaxDeliver: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	const n, acknowledged, stored = 5000, 1000, 1200
	var want []string
	for i := range n {
		m := nats.NewMsg("$MQTT.msgs.sensors.hall.a.n")
		m.Header.Set("Nmqtt-Pub", "1")
		m.Data = []byte(strconv.Itoa(i))
		if _, err := w.devices.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
		// The first 1200 are in TELEMETRY.
		if i >= stored {
			want = append(want, fmt.Sprintf("mqtt hall/a/n %d", i))
		}
	}
	<-w.devices.PublishAsyncComplete()
	batch, err := consumer.Fetch(acknowledged)
	if err != nil {
		t.Fatal(err)
	}
	var last jetstream.Msg
	for last = range batch.Messages() {
	}
	if err := last.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Ensure(t.Context(), w.js, streams.Options{Lanes: lanes, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	w.commit(t, streams.Lane("hall", "a", lanes), &telemetryv1.Batch{Origin: &telemetryv1.Origin{
		Incarnation: old.CachedInfo().Created.UnixNano(), Sequence: stored,
	}})
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the streams are brought up to date", func() bool {
		return streams.EnsureDevices(t.Context(), w.devices, streams.DeviceOptions{MaxBytes: 64 << 20}) == nil &&
			streams.EnsureLeases(t.Context(), w.js) == nil
	})
	w.start(t)
	publish(t, w.device(t, "d"), 1, "sensors/hall/a/n", "-1")
	if got := w.readings(t); !slices.Equal(got, append(want, "mqtt hall/a/n -1")) {
		t.Errorf("%d readings, want %d in their order", len(got), len(want)+1)
	}
	if _, err := w.devices.Consumer(t.Context(), streams.StreamMQTT, streams.ConsumerBridge); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer of the earlier version: %v", err)
	}
	now, err := w.devices.Stream(t.Context(), streams.StreamMQTT)
	if err != nil {
		t.Fatal(err)
	}
	if left := now.CachedInfo().State.Msgs; left != 0 {
		t.Errorf("%d messages are left", left)
	}
	var at int64
	for _, b := range w.batches(t) {
		for r := range b.Readings() {
			if r.Time < at {
				t.Fatalf("a reading of %d comes after one of %d", r.Time, at)
			}
			at = r.Time
		}
	}
}
