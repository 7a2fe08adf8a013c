package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/streams"
	"headwater/streams/streamtest"
)

// BenchmarkPath measures readings from the first publish over MQTT until the
// last one is in InfluxDB, with the load generator and everything else on this
// machine, through the front and without it. One iteration is one run of a fixed number
// of readings.
func BenchmarkPath(b *testing.B) {
	for _, bench := range []struct {
		name       string
		durability streams.Durability
		qos        byte
		readings   int
	}{
		{"qos1/fast", Fast, 1, 300_000},
		{"qos1/power-safe", PowerSafe, 1, 200_000},
		{"qos0/fast", Fast, 0, 300_000},
	} {
		for _, front := range []string{frontOn, "off"} {
			b.Run(bench.name+"/front="+front, func(b *testing.B) {
				cfg := testConfig(b.TempDir())
				cfg.Durability, cfg.Front = bench.durability, front
				at, _ := start(b, cfg)
				run := 0
				for b.Loop() {
					run++
					load := load{
						addresses: []string{at.MQTT}, connections: 50, window: 20, qos: bench.qos, devices: 1000,
						from: time.Now().Add(-time.Duration(run) * time.Hour).Truncate(time.Hour),
					}
					begin := time.Now()
					load.run(b, bench.readings)
					sent := time.Since(begin)
					stored := awaitPoints(b, at.Influx, load.from, bench.readings, bench.qos == 1)
					took := time.Since(begin)
					b.ReportMetric(float64(bench.readings)/sent.Seconds(), "published/s")
					b.ReportMetric(float64(stored)/took.Seconds(), "stored/s")
					b.ReportMetric(100*float64(stored)/float64(bench.readings), "%stored")
				}
			})
		}
	}
}

// awaitPoints waits until the points of one run are in InfluxDB. If all is not set, it
// also returns when no more arrive, because QoS 0 may lose some.
func awaitPoints(b *testing.B, url string, from time.Time, want int, all bool) int {
	b.Helper()
	count := func() int {
		series, err := query(b, url, "raw", fmt.Sprintf(
			`SELECT count("value") FROM "temperature" WHERE "site"='bench' AND time >= %d AND time < %d`, from.UnixNano(), from.Add(time.Hour).UnixNano()))
		if err != nil || len(series) == 0 {
			return 0
		}
		return int(series[0].Floats("count")[0])
	}
	last, since := 0, time.Now()
	streamtest.EventuallyWithin(b, 2*time.Minute, fmt.Sprintf("%d readings in InfluxDB", want), func() bool {
		n := count()
		if n != last {
			last, since = n, time.Now()
		}
		return n >= want || !all && time.Since(since) > 2*time.Second
	})
	return last
}

// BenchmarkAlertLatency measures from the publish of a reading over its limit to
// the call of the webhook, while other devices report 1,000 readings a second.
func BenchmarkAlertLatency(b *testing.B) {
	var mu sync.Mutex
	called := make(map[string]time.Time)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, _ := io.ReadAll(r.Body)
		text := string(body)
		mu.Lock()
		defer mu.Unlock()
		if i := strings.Index(text, "alarm-"); i >= 0 && strings.Contains(text, "firing") {
			if id := text[i : i+len("alarm-0000")]; called[id].IsZero() {
				called[id] = now
			}
		}
	}))
	defer hook.Close()
	dir := b.TempDir()
	cfg := testConfig(dir)
	cfg.File.Path = filepath.Join(dir, "rules.yaml")
	// Each alarm has a message of its own.
	if err := os.WriteFile(cfg.File.Path, fmt.Appendf(nil, e2eRules+"grouping: {interval: 0s}\n", hook.URL), 0o600); err != nil {
		b.Fatal(err)
	}
	at, _ := start(b, cfg)
	const background, alarms = 10, 200
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for c := range background {
		client := device(b, at.MQTT, fmt.Sprintf("background-%d", c))
		wg.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
					client.Publish(fmt.Sprintf("sensors/hall/calm-%d-%d/temperature", c, i%20), 1, false, "20.5")
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	client := device(b, at.MQTT, "alarms")
	for b.Loop() {
		published := make(map[string]time.Time)
		mu.Lock()
		clear(called)
		mu.Unlock()
		pace := time.NewTicker(25 * time.Millisecond)
		for i := range alarms {
			<-pace.C
			id := fmt.Sprintf("alarm-%04d", i)
			published[id] = time.Now()
			publish(b, client, "sensors/hall/"+id+"/temperature", "35")
		}
		pace.Stop()
		streamtest.Eventually(b, "every alarm", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(called) == alarms
		})
		var latencies []float64
		mu.Lock()
		for id, from := range published {
			latencies = append(latencies, float64(called[id].Sub(from).Microseconds())/1000)
		}
		mu.Unlock()
		slices.Sort(latencies)
		b.ReportMetric(latencies[len(latencies)/2], "p50-ms")
		b.ReportMetric(latencies[len(latencies)*99/100], "p99-ms")
		for id := range published {
			publish(b, client, "sensors/hall/"+id+"/temperature", "20")
		}
	}
}
