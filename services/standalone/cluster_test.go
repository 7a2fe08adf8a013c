//go:build cluster

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"headwater/services/bridge"
	"headwater/services/configfile"
	"headwater/services/internal/process"
	"headwater/services/processor"
	"headwater/services/standalone/influxd"
	"headwater/services/writer"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// TestReplicatedLosesNothing kills the server of a cluster that leads the stream
// of the devices, with SIGKILL, while devices publish and the services work. The
// devices and the services continue with the other two; every reading that was
// acknowledged is in InfluxDB, and the summaries count each reading once.
func TestReplicatedLosesNothing(t *testing.T) {
	cluster := streamtest.RunCluster(t, natsd.SyncAlways)
	cluster.Ensure(t)
	influx, err := influxd.Start(influxd.Config{Dir: t.TempDir(), Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := influx.Close(); err != nil {
			t.Error(err)
		}
	}()
	stop := startServices(t, cluster, influx.URL())
	defer stop()

	load := startCrowd(t, cluster)
	load.moreFromAll(t, "before the first kill", 200)
	cluster.AwaitCopies(t)
	victim := cluster.Leader(t, natsd.UserDevices, streams.StreamMQTT)
	killed := time.Now()
	cluster.Kill(victim)
	load.moreFromAll(t, "after the kill", 1)
	devices := time.Since(killed)
	load.mark()
	streamtest.Eventually(t, "readings from after the kill are in InfluxDB", func() bool {
		return load.markIsStored(t, influx.URL())
	})
	t.Logf("the server that led the stream of the devices was killed: every device resumes after %s, its readings are in InfluxDB after %s",
		devices.Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
	load.moreFromAll(t, "with two servers", 200)
	cluster.Start(victim)
	load.moreFromAll(t, "with all servers again", 200)
	load.stop()
	load.check(t, influx.URL())
}

// BenchmarkReplicated measures readings from the first publish over MQTT with
// QoS 1 until the last one is in InfluxDB, on a cluster whose three servers, each
// with sync_interval always, share the disk and the processors of this machine.
func BenchmarkReplicated(b *testing.B) {
	const readings = 15_000
	cluster := streamtest.RunCluster(b, natsd.SyncAlways)
	cluster.Ensure(b)
	influx, err := influxd.Start(influxd.Config{Dir: b.TempDir(), Addr: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := influx.Close(); err != nil {
			b.Error(err)
		}
	}()
	stop := startServices(b, cluster, influx.URL())
	defer stop()
	servers := cluster.MQTT()
	for i, address := range servers {
		// The first device of each server waits until its streams are created.
		streamtest.Eventually(b, "a device is connected to each server", func() bool {
			client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(fmt.Sprintf("first-%d", i)))
			defer client.Disconnect(0)
			token := client.Connect()
			return token.WaitTimeout(10*time.Second) && token.Error() == nil
		})
	}
	run := 0
	for b.Loop() {
		run++
		from := time.Now().Add(-time.Duration(run) * time.Hour).Truncate(time.Hour)
		begin := time.Now()
		load{addresses: servers[:], connections: 60, window: 20, qos: 1, devices: 1000, from: from}.run(b, readings)
		sent := time.Since(begin)
		awaitPoints(b, influx.URL(), from, readings, true)
		b.ReportMetric(readings/sent.Seconds(), "published/s")
		b.ReportMetric(readings/time.Since(begin).Seconds(), "stored/s")
	}
	b.ReportMetric(0, "ns/op")
}

// startServices runs two bridges, of which one stands by, a processor and a writer, each
// as its own user, as on a cluster. Stop drains them.
func startServices(t testing.TB, cluster *streamtest.Cluster, influxURL string) (stop func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(logWriter(t), nil))
	js := func(user natsd.User) jetstream.JetStream {
		js, err := process.JetStream(cluster.Conn(t, user, process.NATSOptions(string(user), log)...))
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	writing := writer.DefaultConfig()
	writing.Influx.URL = influxURL
	all := []func() (service, error){
		func() (service, error) {
			return configfile.New(configfile.DefaultConfig(),
				configfile.Deps{JS: js(natsd.UserOf(streams.ServiceProvision)), Log: log, Metrics: prometheus.NewRegistry()})
		},
		func() (service, error) {
			return writer.New(writing, writer.Deps{JS: js(natsd.UserOf(streams.ServiceWriter)), Log: log, Metrics: prometheus.NewRegistry()})
		},
		func() (service, error) {
			return processor.New(processor.DefaultConfig(),
				processor.Deps{JS: js(natsd.UserOf(streams.ServiceProcessor)), Log: log, Metrics: prometheus.NewRegistry()})
		},
	}
	for range 2 {
		all = append(all, func() (service, error) { return newBridge(t, cluster, js, log) })
	}
	return runAll(t, all)
}

func newBridge(t testing.TB, cluster *streamtest.Cluster, js func(natsd.User) jetstream.JetStream, log *slog.Logger) (service, error) {
	t.Helper()
	seed, err := cluster.IssuerSeed()
	if err != nil {
		return nil, err
	}
	return bridge.New(bridge.DefaultConfig(), bridge.Deps{
		JS: js(natsd.UserOf(streams.ServiceBridge)), Devices: js(natsd.UserDevices), Devices0: js(natsd.UserDevices0).Conn(),
		Auth: js(natsd.UserAuth).Conn(), IssuerSeed: seed, System: js(natsd.UserSystem).Conn(), Log: log, Metrics: prometheus.NewRegistry(),
	})
}

// runAll runs services and returns when all are ready.
func runAll(t testing.TB, all []func() (service, error)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	running, ctx := errgroup.WithContext(ctx)
	var services []service
	for _, build := range all {
		svc, err := build()
		if err != nil {
			t.Fatal(err)
		}
		services = append(services, svc)
		running.Go(func() error { return svc.Run(ctx) })
	}
	streamtest.Eventually(t, "every service is ready", func() bool {
		for _, svc := range services {
			if svc.Ready() != nil {
				return false
			}
		}
		return true
	})
	return func() {
		cancel()
		if err := running.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// crowd is a number of devices that publish until they are stopped, and record what was
// acknowledged.
type crowd struct {
	base    int64
	ending  chan struct{}
	running sync.WaitGroup
	next    atomic.Int64
	acks    [crowdSize]atomic.Int64

	mu     sync.Mutex
	sent   map[string]bool // guarded by mu, as all below
	acked  map[string]bool
	last   string // the last one that was acknowledged
	marked string // what last was at the time of mark; not guarded
}

const (
	crowdSize = 6
	// crowdWindow is how many readings of a device may wait for their
	// acknowledgement.
	crowdWindow = 10
	// crowdPace is the pause between the readings of a device.
	crowdPace = 10 * time.Millisecond
)

func startCrowd(t *testing.T, cluster *streamtest.Cluster) *crowd {
	t.Helper()
	c := &crowd{
		base: time.Now().Add(-time.Hour).Truncate(time.Minute).UnixNano(), ending: make(chan struct{}),
		sent: make(map[string]bool), acked: make(map[string]bool),
	}
	for d := range crowdSize {
		client := mqtt.NewClient(c.options(cluster.MQTT(), d))
		if token := client.Connect(); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatalf("device %d can't connect: %v", d, token.Error())
		}
		c.running.Go(func() {
			defer client.Disconnect(100)
			c.publish(client, d)
		})
	}
	return c
}

// options lists all servers. Devices start with different ones. What was not acknowledged
// is sent again after a reconnect.
func (c *crowd) options(servers [streamtest.ClusterSize]string, d int) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().SetClientID(fmt.Sprintf("crowd-%d", d)).SetCleanSession(false).
		SetConnectTimeout(5 * time.Second).SetMaxReconnectInterval(500 * time.Millisecond).
		SetKeepAlive(2 * time.Second).SetPingTimeout(2 * time.Second)
	for i := range servers {
		o.AddBroker("tcp://" + servers[(d+i)%len(servers)])
	}
	return o
}

// publish sends readings with times of their own, a millisecond apart.
func (c *crowd) publish(client mqtt.Client, d int) {
	window := make(chan struct{}, crowdWindow)
	pace := time.NewTicker(crowdPace)
	defer pace.Stop()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for {
		select {
		case <-c.ending:
			return
		case <-pace.C:
			window <- struct{}{}
		}
		at := c.base + c.next.Add(1)*int64(time.Millisecond)
		key := fmt.Sprintf("device-%d@%d", d, at)
		c.mu.Lock()
		c.sent[key] = true
		c.mu.Unlock()
		token := client.Publish(fmt.Sprintf("sensors/hall/device-%d/n", d), 1, false, fmt.Sprintf(`{"value":%d,"ts":%d}`, d, at))
		waiting.Go(func() {
			if token.WaitTimeout(time.Minute) && token.Error() == nil {
				c.mu.Lock()
				c.acked[key], c.last = true, key
				c.mu.Unlock()
				c.acks[d].Add(1)
			}
			<-window
		})
	}
}

// moreFromAll waits until every device has n more acknowledgements, not counting readings
// that may be in flight.
func (c *crowd) moreFromAll(t *testing.T, when string, n int64) {
	t.Helper()
	var want [crowdSize]int64
	for d := range want {
		want[d] = c.acks[d].Load() + n + crowdWindow
	}
	streamtest.Eventually(t, "acknowledgements for every device "+when, func() bool {
		for d := range want {
			if c.acks[d].Load() < want[d] {
				return false
			}
		}
		return true
	})
}

// mark remembers the last reading that was acknowledged.
func (c *crowd) mark() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marked = c.last
}

func (c *crowd) markIsStored(t *testing.T, url string) bool {
	t.Helper()
	device, at, _ := strings.Cut(c.marked, "@")
	series, err := query(t, url, "raw", fmt.Sprintf(`SELECT "value" FROM "n" WHERE "device"='%s' AND time = %s`, device, at))
	return err == nil && len(series) == 1
}

// readings returns the readings in InfluxDB.
func (c *crowd) readings(t *testing.T, url string) map[string]bool {
	t.Helper()
	out := make(map[string]bool)
	series, err := query(t, url, "raw", `SELECT "value" FROM "n" GROUP BY "device"`)
	if err != nil {
		return out
	}
	for _, s := range series {
		for _, at := range s.Times {
			out[fmt.Sprintf("%s@%d", s.Tags["device"], at)] = true
		}
	}
	return out
}

// stop stops the devices and waits for their acknowledgements.
func (c *crowd) stop() {
	close(c.ending)
	c.running.Wait()
}

// check compares what was acknowledged with what is in InfluxDB.
func (c *crowd) check(t *testing.T, url string) {
	t.Helper()
	missing := func() (n int) {
		have := c.readings(t, url)
		for key := range c.acked {
			if !have[key] {
				n++
			}
		}
		return n
	}
	streamtest.Eventually(t, "every acknowledged reading in InfluxDB", func() bool { return missing() == 0 })
	for key := range c.readings(t, url) {
		if !c.sent[key] {
			t.Errorf("%s was never sent", key)
		}
	}
	summed := func() (n float64) {
		series, err := query(t, url, "1m", `SELECT sum("count") FROM "n" GROUP BY "device"`)
		if err != nil {
			return 0
		}
		for _, s := range series {
			n += s.Floats("sum")[0]
		}
		return n
	}
	streamtest.Eventually(t, "the summaries count each reading once", func() bool {
		return int(summed()) == len(c.readings(t, url))
	})
	t.Logf("%d readings sent, %d acknowledged, all of them in InfluxDB; the summaries count %.0f", len(c.sent), len(c.acked), summed())
}
