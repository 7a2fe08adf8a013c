// Package load sends readings as devices do, over MQTT and HTTP, late, out of order and
// twice, while faults happen. It records in the oracle's book what was acknowledged.
package load

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"headwater/services/standalone/bench/oracle"
)

// Site is the site of all devices.
const Site = "load"

// Rules is a configuration file whose rules raise alerts on what the scripted devices
// report, with windows of Width. If there is a webhook, it is notified of each beginning and
// end at once: what is gathered is judged by tests of the notifier.
func Rules(webhook string) string {
	text := fmt.Sprintf(`windows: [%s]
lateness: 5m
rules:
  - {name: limit, detector: limit, above: %v, match: {site: %[4]s, metric: level}}
  - {name: rate, detector: rate, rise: %[3]v, within: 10m, match: {site: %[4]s, metric: slope}}
`, Width, oracle.Limit, oracle.Rise, Site)
	if webhook == "" {
		return text
	}
	return text + fmt.Sprintf("grouping: {interval: 0s}\nchannels:\n  - {name: hook, type: webhook, url: %q}\n", webhook)
}

// Width is the width of the windows of Rules.
const Width = 10 * time.Second

// Config sets where a load goes and how much it is.
type Config struct {
	Book *oracle.Book
	// MQTT are the addresses of the servers for devices, which start with different ones;
	// Gateway is the address for HTTP.
	MQTT    []string
	Gateway string
	// Rate is in readings a second.
	Rate int
	// Delay is the longest time that a late reading is held back.
	Delay time.Duration
	Seed  uint64
	// Pause is the time between two readings of a scripted device. It must not be so short
	// that a device has more than two episodes in an outage: a message of the notifier then
	// lists only the worst.
	Pause time.Duration
	// Plant is the number of readings for each malformed message; 0 for none.
	Plant int
}

// Load is everything that is sent while faults happen.
type Load struct {
	cfg     Config
	rng     *rand.Rand
	devices []*Device

	mqtt, http, scripted []chan Reading
	later                delayed
	number               int

	mu       sync.Mutex
	refusals []string        // guarded by mu
	planted  map[string]bool // guarded by mu
}

// Shape of the load.
const (
	mqttConnections = 20
	httpConnections = 4
	// loadDevices report over MQTT, and as many over HTTP.
	loadDevices = 60
	// scripted devices watch each rule.
	scripted = 4
	// lateShare and againShare are the shares of readings that come late and out of order,
	// and that come twice.
	lateShare, againShare = 0.1, 0.04
	tick                  = 10 * time.Millisecond
	queued                = 500
	window                = 100
)

// Metrics and rules of the scripted devices.
var scripts = []struct{ rule, metric string }{{"limit", "level"}, {"rate", "slope"}}

// New returns a load. It does not send anything before Run.
func New(cfg Config) *Load {
	l := &Load{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 2)), planted: make(map[string]bool)}
	for c := range mqttConnections {
		in := make(chan Reading, queued)
		l.mqtt = append(l.mqtt, in)
		l.devices = append(l.devices, l.device(fmt.Sprintf("load-%d", c), c, in, window))
	}
	for range httpConnections {
		l.http = append(l.http, make(chan Reading, queued))
	}
	for i := range len(scripts) * scripted {
		in := make(chan Reading)
		l.scripted = append(l.scripted, in)
		l.devices = append(l.devices, l.device(fmt.Sprintf("scripted-%d", i), i, in, 1))
	}
	return l
}

// device connects first to the server of that turn.
func (l *Load) device(id string, turn int, in <-chan Reading, window int) *Device {
	return &Device{Addresses: l.cfg.MQTT, ID: id, In: in, Window: window, Acked: l.acked, turn: turn}
}

// Devices returns the MQTT clients that report at the rate.
func (l *Load) Devices() []*Device { return slices.Clone(l.devices[:mqttConnections]) }

// Run sends until stop is closed, then waits until everything is acknowledged or ctx
// ends. It may be called once.
func (l *Load) Run(ctx context.Context, stop <-chan struct{}) {
	var wg sync.WaitGroup
	for _, d := range l.devices {
		wg.Go(func() { d.Run(ctx) })
	}
	client := &http.Client{Timeout: 2 * Patience}
	defer client.CloseIdleConnections()
	for _, in := range l.http {
		p := &Poster{URL: "http://" + l.cfg.Gateway + "/api/v1/telemetry", In: in, Acked: l.acked, Refused: l.refuse, Client: client}
		wg.Go(func() { p.Run(ctx) })
	}
	for i, in := range l.scripted {
		wg.Go(func() { defer close(in); l.perform(ctx, i, in, stop) })
	}
	l.pace(ctx, stop)
	for _, c := range slices.Concat(l.mqtt, l.http) {
		close(c)
	}
	wg.Wait()
}

func (l *Load) acked(r Reading) {
	if r.planted == "" {
		l.cfg.Book.Ack(r.ID)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.planted[r.planted] = true
}

func (l *Load) refuse(answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals = append(l.refusals, answer)
}

// Refusals returns the responses that no retry can change.
func (l *Load) Refusals() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.refusals)
}

// Planted returns the malformed messages that were acknowledged.
func (l *Load) Planted() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.planted)
}

// Connects returns the number of connections of all MQTT clients so far.
func (l *Load) Connects() (n int64) {
	for _, d := range l.devices {
		n += d.Connects()
	}
	return n
}

// Episodes returns the episodes that the scripted devices must cause.
func (l *Load) Episodes() (out []oracle.Episode) {
	for i := range len(scripts) * scripted {
		s := scriptedSeries(i)
		out = append(out, oracle.Episodes(scripts[i/scripted].rule, s.Device, l.cfg.Book.Issued(s))...)
	}
	return out
}

// perform runs one scripted device. At the end it is calm.
func (l *Load) perform(ctx context.Context, i int, in chan<- Reading, stop <-chan struct{}) {
	series := scriptedSeries(i)
	tick := time.NewTicker(l.cfg.Pause)
	defer tick.Stop()
	ending := false
	for n := 0; ; n++ {
		value := oracle.Script(i, n)
		if ending {
			value = oracle.Calm
		}
		id, at := l.cfg.Book.Issue(series, time.Now(), value)
		select {
		case in <- Reading{ID: id, Series: series, Time: at, Value: value}:
		case <-ctx.Done():
			return
		}
		if ending {
			return
		}
		select {
		case <-tick.C:
		case <-stop:
			ending = true
		case <-ctx.Done():
			return
		}
	}
}

func scriptedSeries(i int) oracle.Series {
	return oracle.Series{Device: fmt.Sprintf("scripted-%d", i), Metric: scripts[i/scripted].metric}
}

// pace issues readings at the rate until stop, then sends what was held back.
func (l *Load) pace(ctx context.Context, stop <-chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	begin, issued := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			for len(l.later) > 0 && ctx.Err() == nil {
				h := heap.Pop(&l.later).(held)
				select {
				case h.to <- h.Reading:
				case <-ctx.Done():
				}
			}
			return
		case now := <-ticker.C:
			due := int(now.Sub(begin).Seconds() * float64(l.cfg.Rate))
			// Readings that an outage prevented are not made up for.
			issued = max(issued, due-l.cfg.Rate)
			for ; issued < due; issued++ {
				l.issue(now)
			}
			l.release(now)
		}
	}
}

// issue creates one reading and sends it now or later, and sometimes twice. While the
// queue is full it creates none.
func (l *Load) issue(now time.Time) {
	l.number++
	n := l.number
	way, other := l.mqtt[n/2%mqttConnections], l.http[n/2%httpConnections]
	name := "mqtt"
	if n%2 == 0 {
		way, other, name = other, way, "http"
	}
	if len(way) == cap(way) {
		return
	}
	device := n / 2 % loadDevices
	if name == "mqtt" {
		// Each device has one connection.
		way = l.mqtt[device%mqttConnections]
		if len(way) == cap(way) {
			return
		}
	}
	series := oracle.Series{Device: fmt.Sprintf("%s-%03d", name, device), Metric: "n"}
	id, at := l.cfg.Book.Issue(series, now, float64(n))
	r := Reading{ID: id, Series: series, Time: at, Value: float64(n)}
	later := func(to chan Reading) {
		heap.Push(&l.later, held{now.Add(time.Duration(l.rng.Int64N(int64(l.cfg.Delay)))), to, r})
	}
	if l.rng.Float64() < lateShare {
		later(way)
	} else {
		// There is room, because nobody else sends.
		way <- r
	}
	if l.rng.Float64() < againShare {
		later(other)
	}
	if l.cfg.Plant > 0 && n%l.cfg.Plant == 0 {
		p := Reading{Series: oracle.Series{Device: plantedDevice, Metric: "n"}, planted: fmt.Sprintf(`{"value":"planted-%d",`, n)}
		heap.Push(&l.later, held{now, l.mqtt[0], p})
	}
}

// plantedDevice is the device that sends malformed messages.
const plantedDevice = "planted"

// release sends what was held back long enough, as far as there is room.
func (l *Load) release(now time.Time) {
	var blocked []held
	for len(l.later) > 0 && !l.later[0].due.After(now) {
		h := heap.Pop(&l.later).(held)
		select {
		case h.to <- h.Reading:
		default:
			h.due = now.Add(time.Second)
			blocked = append(blocked, h)
		}
	}
	for _, h := range blocked {
		heap.Push(&l.later, h)
	}
}

// held is a reading that is sent later.
type held struct {
	due time.Time
	to  chan Reading
	Reading
}

type delayed []held

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(held)) }
func (d *delayed) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
