package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/streams/streamtest"
)

// TestKill9LosesNothing kills the whole process three times under load. Every
// reading that was acknowledged to its device must be in InfluxDB, once, and
// nothing that was never sent.
func TestKill9LosesNothing(t *testing.T) {
	dir := t.TempDir()
	const connections, kills = 4, 3
	var (
		mu       sync.Mutex
		acked    = make(map[string]bool)
		sent     = make(map[string]bool)
		sequence atomic.Int64
	)
	base := time.Now().Add(-time.Hour).UnixNano()
	// load publishes readings with times of their own until the process dies.
	load := func(at Addresses, round int, stop <-chan struct{}) *sync.WaitGroup {
		var wg sync.WaitGroup
		for c := range connections {
			client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + at.MQTT).
				SetClientID(fmt.Sprintf("killer-%d-%d", round, c)).SetAutoReconnect(false).SetConnectTimeout(5 * time.Second))
			if token := client.Connect(); !token.WaitTimeout(20*time.Second) || token.Error() != nil {
				t.Fatalf("connect: %v", token.Error())
			}
			wg.Go(func() {
				defer client.Disconnect(0)
				window := make(chan struct{}, 20)
				var inFlight sync.WaitGroup
				defer inFlight.Wait()
				for {
					select {
					case <-stop:
						return
					case window <- struct{}{}:
					}
					n := sequence.Add(1)
					key := fmt.Sprintf("device-%02d@%d", n%50, base+n*1000)
					mu.Lock()
					sent[key] = true
					mu.Unlock()
					token := client.Publish(fmt.Sprintf("sensors/hall/device-%02d/n", n%50), 1, false,
						fmt.Sprintf(`{"value":%d,"ts":%d}`, n, base+n*1000))
					inFlight.Go(func() {
						if token.WaitTimeout(5*time.Second) && token.Error() == nil {
							mu.Lock()
							acked[key] = true
							mu.Unlock()
						}
						<-window
					})
				}
			})
		}
		return &wg
	}
	for round := range kills {
		at, cmd := startChild(t, dir)
		stop := make(chan struct{})
		wg := load(at, round, stop)
		before := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
		floor := before()
		streamtest.Eventually(t, 30*time.Second, "500 acknowledged readings", func() bool { return before() >= floor+500 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		close(stop)
		wg.Wait()
	}
	at, _ := startChild(t, dir)
	stored := func() map[string]int {
		series, err := query(t, at.Influx, "raw", `SELECT "value" FROM "n" GROUP BY "device"`)
		if err != nil {
			return nil
		}
		out := make(map[string]int)
		for _, s := range series {
			for _, at := range s.Times {
				out[fmt.Sprintf("%s@%d", s.Tags["device"], at)]++
			}
		}
		return out
	}
	missing := func() (n int) {
		have := stored()
		for key := range acked {
			if have[key] != 1 {
				n++
			}
		}
		return n
	}
	streamtest.Eventually(t, 60*time.Second, "every acknowledged reading in InfluxDB", func() bool { return missing() == 0 })
	for key, n := range stored() {
		if n != 1 || !sent[key] {
			t.Errorf("%s is in InfluxDB %d times; sent: %t", key, n, sent[key])
		}
	}
	t.Logf("%d readings sent, %d acknowledged over %d kills, all of them in InfluxDB once", len(sent), len(acked), kills)
}
