package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/standalone/influxd"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestTelemetryIsFull stops InfluxDB until TELEMETRY is full. Then everything is refused
// over HTTP and MQTT, and the pages say why. When InfluxDB is back, the janitor makes room
// and everything resumes by itself. Nothing that was acknowledged is lost.
func TestTelemetryIsFull(t *testing.T) {
	t.Parallel() // it mostly waits
	database, err := influxd.Start(influxd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	}()
	proxy := newProxy(t, strings.TrimPrefix(database.URL(), "http://"))
	// A disk of its own, because its size determines what the streams may take.
	cfg := testConfig(filepath.Join(smallDisk(t, 512), "data"))
	cfg.Lanes, cfg.DiskShare, cfg.Writer.Influx.URL = 2, 1, "http://"+proxy.Listen
	at, stop := start(t, cfg)
	defer stop()
	at.Influx = database.URL()
	y := newTally()
	if status, _, body, _ := y.post(t, at, 1, 0); status != http.StatusAccepted {
		t.Fatalf("POST: %d: %s", status, body)
	}
	proxy.Stop()

	status, retryAfter, body := http.StatusAccepted, "", ""
	streamtest.EventuallyWithin(t, 3*time.Minute, "readings are refused over HTTP", func() bool {
		for range 20 {
			status, retryAfter, body, _ = y.post(t, at, 50, 500)
			if status != http.StatusAccepted {
				return true
			}
		}
		return false
	})
	if status != http.StatusServiceUnavailable || retryAfter == "" {
		t.Errorf("POST: %d with Retry-After %q, want 503 with one: %s", status, retryAfter, body)
	}
	t.Logf("%d readings acknowledged until TELEMETRY was full", y.acknowledged())
	y.checkTold(t, at)
	y.fillDevices(t, at)
	y.checkTold(t, at)

	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	again := y.load(t, at)
	defer again()
	began, before := time.Now(), y.acknowledged()
	streamtest.EventuallyWithin(t, 5*time.Minute, "readings are taken again, over MQTT and HTTP", func() bool {
		status, _, _, _ := y.post(t, at, 1, 0)
		ready, _ := readiness(t, at)
		return status == http.StatusAccepted && ready == http.StatusOK && y.acknowledged() > before+200
	})
	t.Logf("all flows again %s after InfluxDB was back", time.Since(began).Round(time.Second))
	again()
	y.verify(t, at)
}

// checkTold requires that /readyz fails and says which stream is full.
func (y *tally) checkTold(t *testing.T, at Addresses) {
	t.Helper()
	reason := ""
	streamtest.Eventually(t, "/readyz is red and says that TELEMETRY takes no more", func() bool {
		y.post(t, at, 50, 500)
		var status int
		status, reason = readiness(t, at)
		return status == http.StatusServiceUnavailable && strings.Contains(reason, "stream "+streams.StreamTelemetry+" takes no more")
	})
	t.Log(reason)
}

// fillDevices publishes over MQTT until a message gets no PUBACK and the connection
// is closed.
func (y *tally) fillDevices(t *testing.T, at Addresses) {
	t.Helper()
	lost := make(chan struct{})
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + at.MQTT).SetClientID("full").SetAutoReconnect(false).
		SetConnectTimeout(10 * time.Second).SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
	defer client.Disconnect(0)
	if token := client.Connect(); !token.WaitTimeout(20*time.Second) || token.Error() != nil {
		t.Fatalf("a device can't connect: %v", token.Error())
	}
	pad := strings.Repeat("x", 250)
	for acked := 0; ; acked++ {
		id, device, n, ts := y.issue()
		var payload strings.Builder
		fmt.Fprintf(&payload, `{"n":%d,"ts":%d`, n, ts)
		for i := range 100 {
			fmt.Fprintf(&payload, `,"pad%d":%q`, i, pad)
		}
		token := client.Publish("sensors/hall/"+device, 1, false, payload.String()+"}")
		select {
		case <-token.Done():
			if token.Error() == nil {
				y.book.Ack(id)
				continue
			}
		case <-lost:
		case <-time.After(time.Minute):
			t.Fatal("a device got no PUBACK, and its connection was not closed within a minute")
		}
		select {
		case <-lost:
		case <-time.After(time.Minute):
			t.Error("the connection of a device that got no PUBACK was not closed within a minute")
		}
		t.Logf("%d messages of devices acknowledged until their stream was full", acked)
		return
	}
}
