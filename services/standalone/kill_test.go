package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/standalone/bench/oracle"
	"headwater/streams/streamtest"
)

// TestKill9LosesNothing kills the whole process three times under load. Every
// reading that was acknowledged to its device must be in InfluxDB, once, and
// nothing that was never sent.
func TestKill9LosesNothing(t *testing.T) {
	dir := t.TempDir()
	const connections, kills = 4, 3
	var sequence atomic.Int64
	book, base := oracle.NewBook(), time.Now().Add(-time.Hour)
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
					series := oracle.Series{Device: fmt.Sprintf("device-%02d", n%50), Metric: "n"}
					id, at := book.Issue(series, base.Add(time.Duration(n)*time.Microsecond), float64(n))
					token := client.Publish("sensors/hall/"+series.Device+"/n", 1, false, fmt.Sprintf(`{"value":%d,"ts":%d}`, n, at))
					inFlight.Go(func() {
						if token.WaitTimeout(5*time.Second) && token.Error() == nil {
							book.Ack(id)
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
		acked := func() int { _, n := book.Totals(); return n }
		floor := acked()
		streamtest.Eventually(t, "500 acknowledged readings", func() bool { return acked() >= floor+500 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		close(stop)
		wg.Wait()
	}
	at, _ := startChild(t, dir)
	awaitVerdict(t, at, book)
	issued, acked := book.Totals()
	t.Logf("%d readings sent, %d acknowledged over %d kills, all of them in InfluxDB once", issued, acked, kills)
}

// awaitVerdict waits until every acknowledged reading is in InfluxDB, and requires that
// each is there once and unaltered, and nothing else.
func awaitVerdict(t *testing.T, at Addresses, book *oracle.Book) {
	t.Helper()
	verdict := func() (all oracle.Verdict, err error) {
		rows, err := query(t, at.Influx, "raw", `SELECT "value" FROM "n" GROUP BY "device"`)
		stored := make(map[oracle.Series][]oracle.Point)
		for _, s := range book.Series() {
			stored[s] = nil
		}
		for _, s := range rows {
			key := oracle.Series{Device: s.Tags["device"], Metric: "n"}
			for i, value := range s.Floats("value") {
				stored[key] = append(stored[key], oracle.Point{Time: s.Times[i], Value: value})
			}
		}
		for key, points := range stored {
			all.Add(book.Judge(key, points))
		}
		return all, err
	}
	last := oracle.Verdict{}
	defer func() {
		if t.Failed() {
			t.Logf("%+v", last)
		}
	}()
	streamtest.EventuallyWithin(t, 2*time.Minute, "every acknowledged reading is in InfluxDB", func() bool {
		v, err := verdict()
		last = v
		return err == nil && v.Lost == 0
	})
	if last.Wrong() > 0 {
		t.Error("readings are stored that should not be")
	}
}
