package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/streams/streamtest"
	"headwater/streams/streamtest/ports"
)

// existing is a broker that was there before Headwater.
type existing struct {
	address string
	// start starts it, kill kills it. It keeps sessions.
	start, kill func(t *testing.T)
}

// free returns an address at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	addresses, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// natsBroker is nats-server alone, which speaks MQTT 3.1.1. Before it is a front, if that is
// wanted, which speaks 5.
func natsBroker(t *testing.T, v5 bool) *existing {
	t.Helper()
	var s *natsserver.Server
	b := &existing{address: free(t)}
	_, text, _ := net.SplitHostPort(b.address)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	opts := natsserver.Options{
		ServerName: "existing", Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true,
		MQTT: natsserver.MQTTOpts{Host: "127.0.0.1", Port: port, AckWait: 2 * time.Second},
	}
	b.start = func(t *testing.T) {
		t.Helper()
		again := opts
		var err error
		if s, err = natsserver.NewServer(&again); err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(within) {
			t.Fatal("nats-server does not start")
		}
	}
	b.kill = func(*testing.T) { s.Shutdown(); s.WaitForShutdown() }
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	if v5 {
		b.address = frontOf(t, b.address)
	}
	return b
}

// frontOf runs a front before an MQTT listener until the test ends.
func frontOf(t *testing.T, server string) string {
	t.Helper()
	f, err := front.New(bridge.DefaultConfig().Front, front.Deps{
		Server: server, Seal: login.NewSeal([]byte("existing")), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return listener.Addr().String()
}

// mosquitto is Mosquitto.
func mosquitto(t *testing.T, program string) *existing {
	t.Helper()
	folder, address := t.TempDir(), free(t)
	_, port, _ := strings.Cut(address, ":")
	conf := filepath.Join(folder, "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location " + folder +
		"/\nautosave_on_changes true\nautosave_interval 1\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	b := &existing{address: address}
	b.start = func(t *testing.T) {
		t.Helper()
		cmd = exec.Command(program, "-c", conf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		streamtest.Eventually(t, "Mosquitto listens", func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	b.kill = func(*testing.T) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

// TestReadsABroker reads brokers that somebody has already. The bridge stops and starts, and the
// broker is killed, while a device publishes: nothing that the broker took is lost.
func TestReadsABroker(t *testing.T) {
	type kind struct {
		name, version string
		make          func(t *testing.T) *existing
		// once is set when the broker sends again under the ids of before.
		once bool
	}
	kinds := []kind{
		{"nats-server", "3.1.1", func(t *testing.T) *existing { return natsBroker(t, false) }, false},
		{"front", "5", func(t *testing.T) *existing { return natsBroker(t, true) }, false},
	}
	if program, err := exec.LookPath("mosquitto"); err == nil {
		for _, version := range []string{"3.1.1", "5"} {
			kinds = append(kinds, kind{"mosquitto " + version, version, func(t *testing.T) *existing { return mosquitto(t, program) }, true})
		}
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			w, b := newWorld(t), kind.make(t)
			from := func(c *bridge.Config, _ *bridge.Deps) {
				c.Upstream.From, c.Upstream.Version, c.Upstream.Topics = "mqtt://"+b.address, kind.version, []string{"sensors/#"}
			}
			reads := func(r *running) {
				streamtest.Eventually(t, "the broker is read", func() bool { return r.value(t, "headwater_bridge_upstream_connected", "") == 1 })
			}
			// seen is how often each value is stored.
			seen := func() map[string]int {
				n := make(map[string]int)
				for _, line := range w.readings(t) {
					n[strings.TrimPrefix(line, "mqtt hall/d/n ")]++
				}
				return n
			}
			sent := 0
			send := func(n int) {
				o := mqtt.NewClientOptions().AddBroker("tcp://" + b.address).SetClientID("d").SetAutoReconnect(false).SetCleanSession(true)
				c := mqtt.NewClient(o)
				if token := c.Connect(); !token.WaitTimeout(within) || token.Error() != nil {
					t.Fatal(token.Error())
				}
				defer c.Disconnect(100)
				for range n {
					sent++
					publish(t, c, 1, "sensors/hall/d/n", strconv.Itoa(sent))
				}
			}
			all := func() {
				streamtest.Eventually(t, fmt.Sprintf("%d readings are stored", sent), func() bool {
					n := seen()
					for i := range sent {
						if n[strconv.Itoa(i+1)] == 0 {
							return false
						}
					}
					return true
				})
			}
			r := w.start(t, from)
			reads(r)
			send(50)
			all()
			r.stop(t)
			send(50) // which the broker keeps
			r = w.start(t, from)
			all()
			if n := seen(); kind.once && len(w.readings(t)) != sent {
				t.Errorf("the readings are stored that often: %v, want each of %d once", n, sent)
			}
			b.kill(t)
			streamtest.Eventually(t, "the bridge knows", func() bool { return r.value(t, "headwater_bridge_upstream_connected", "") == 0 })
			b.start(t)
			reads(r)
			send(20)
			all()
		})
	}
}
