package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// BenchmarkBacklog measures how fast a bridge carries what waits in the stream
// of the devices into the lanes, nats-server's part included.
func BenchmarkBacklog(b *testing.B) {
	const n = 50_000
	s := streamtest.Run(b)
	s.Ensure(b, 8)
	devices := s.DevicesJS(b)
	for b.Loop() {
		b.StopTimer()
		fill(b, devices, n)
		carry(b, s, devices)
		b.StartTimer()
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "readings/s")
}

func fill(b *testing.B, devices jetstream.JetStream, n int) {
	b.Helper()
	for i := range n {
		m := nats.NewMsg(fmt.Sprintf("$MQTT.msgs.sensors.warehouse.door-%d.temperature", i%100))
		m.Header.Set("Nmqtt-Pub", "1")
		m.Data = strconv.AppendFloat(nil, 20+float64(i%100)/10, 'f', 1, 64)
		if _, err := devices.PublishMsgAsync(m); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-devices.PublishAsyncComplete():
	case <-time.After(within):
		b.Fatal("the backlog is not stored")
	}
}

// carry runs a bridge until nothing waits. The time counts from when the bridge
// is ready: before that, it may wait for the requests of the one before.
func carry(b *testing.B, s *streamtest.Server, devices jetstream.JetStream) {
	b.Helper()
	js := func(user natsd.User) jetstream.JetStream {
		js, err := jetstream.New(s.Conn(b, user))
		if err != nil {
			b.Fatal(err)
		}
		return js
	}
	service, err := bridge.New(bridge.DefaultConfig(), bridge.Deps{
		JS: js(natsd.UserCore), Devices: js(natsd.UserDevices), Devices0: s.Conn(b, natsd.UserDevices0),
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- service.Run(ctx) }()
	stream, err := devices.Stream(ctx, streams.StreamMQTT)
	if err != nil {
		b.Fatal(err)
	}
	streamtest.Eventually(b, "the bridge is ready", func() bool { return service.Ready() == nil })
	b.StartTimer()
	streamtest.Eventually(b, "everything is acknowledged", func() bool {
		info, err := stream.Info(ctx)
		return err == nil && info.State.Msgs == 0
	})
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
