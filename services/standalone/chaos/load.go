//go:build linux

package main

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"headwater/services/standalone/internal/oracle"
)

// site is the site of all devices.
const site = "chaos"

// reading is one reading on its way in.
type reading struct {
	id     oracle.ID
	series oracle.Series
	time   int64
	value  float64
	// planted is sent instead, as it is; it is in no book.
	planted string
}

func (r reading) topic() string {
	return fmt.Sprintf("sensors/%s/%s/%s", site, r.series.Device, r.series.Metric)
}

func (r reading) payload() []byte {
	if r.planted != "" {
		return []byte(r.planted)
	}
	return fmt.Appendf(nil, `{"value":%v,"ts":%d}`, r.value, r.time)
}

// device is a client of MQTT with a session that outlives its connections:
// what was not acknowledged is sent again, in order, as long as it takes.
type device struct {
	address, id string
	in          <-chan reading
	// window is how many readings may wait for their acknowledgement.
	window int
	acked  func(reading)
	// connects counts connections.
	connects *atomic.Int64

	// waiting are sent and not acknowledged, oldest first.
	waiting []waiting
	last    uint16
}

type waiting struct {
	packet uint16
	reading
}

const (
	// patience is how long a device waits for an acknowledgement, or to connect,
	// before it connects anew.
	patience = 10 * time.Second
	// reconnect is the pause between two attempts.
	reconnect = 300 * time.Millisecond
)

// run sends until in is closed and all is acknowledged, or ctx ends.
func (d *device) run(ctx context.Context) {
	for ctx.Err() == nil {
		if d.session(ctx) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// session is one connection; it returns true when there is nothing left to do.
func (d *device) session(ctx context.Context) (done bool) {
	conn, err := net.DialTimeout("tcp", d.address, patience)
	if err != nil {
		return false
	}
	defer conn.Close()
	// The end of ctx ends every read and write.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r, w := bufio.NewReaderSize(conn, 4<<10), bufio.NewWriterSize(conn, 16<<10)
	if err := d.connect(conn, r); err != nil {
		return false
	}
	d.connects.Add(1)
	acks := make(chan uint16, d.window)
	gone := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-gone
	}()
	go func() {
		defer close(gone)
		readAcks(r, acks)
	}()
	for _, w2 := range d.waiting {
		if d.publish(w, w2, true) != nil {
			return false
		}
	}
	return d.exchange(ctx, conn, w, acks, gone)
}

// connect logs in within patience.
func (d *device) connect(conn net.Conn, r *bufio.Reader) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion = "MQTT", 4
	connect.ClientIdentifier = d.id
	if err := connect.Write(conn); err != nil {
		return err
	}
	packet, err := packets.ReadPacket(r)
	if err != nil {
		return err
	}
	if ack, ok := packet.(*packets.ConnackPacket); !ok || ack.ReturnCode != packets.Accepted {
		return fmt.Errorf("connection refused: %v", packet)
	}
	return conn.SetDeadline(time.Time{})
}

// readAcks hands on acknowledgements until the connection ends. There are never
// more of them than fit.
func readAcks(r io.Reader, acks chan<- uint16) {
	for {
		packet, err := packets.ReadPacket(r)
		if err != nil {
			return
		}
		if ack, ok := packet.(*packets.PubackPacket); ok {
			select {
			case acks <- ack.MessageID:
			default:
				return
			}
		}
	}
}

func (d *device) exchange(ctx context.Context, conn net.Conn, w *bufio.Writer, acks <-chan uint16, gone <-chan struct{}) (done bool) {
	idle := time.NewTimer(patience)
	defer idle.Stop()
	in := d.in
	for {
		next := in
		if len(d.waiting) >= d.window {
			next = nil
		}
		if len(next) == 0 {
			_ = conn.SetWriteDeadline(time.Now().Add(patience))
			if w.Flush() != nil {
				return false
			}
		}
		select {
		case r, more := <-next:
			if !more {
				in = nil
				if len(d.waiting) == 0 {
					return true
				}
				// A closed channel is always ready; from now on only acks count.
				d.in = nil
				continue
			}
			d.last = d.last%65535 + 1
			d.waiting = append(d.waiting, waiting{d.last, r})
			if d.publish(w, d.waiting[len(d.waiting)-1], false) != nil {
				return false
			}
		case packet := <-acks:
			idle.Reset(patience)
			d.settle(packet)
			if d.in == nil && len(d.waiting) == 0 {
				return true
			}
		case <-idle.C:
			if len(d.waiting) > 0 {
				return false
			}
			idle.Reset(patience)
		case <-gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (d *device) settle(packet uint16) {
	for i, w := range d.waiting {
		if w.packet == packet {
			d.acked(w.reading)
			d.waiting = append(d.waiting[:i], d.waiting[i+1:]...)
			return
		}
	}
}

func (d *device) publish(w io.Writer, r waiting, again bool) error {
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.Qos, publish.Dup, publish.MessageID = 1, again, r.packet
	publish.TopicName, publish.Payload = r.topic(), r.payload()
	return publish.Write(w)
}

// poster sends batches over HTTP, each again and again until it is
// acknowledged.
type poster struct {
	url   string
	in    <-chan reading
	acked func(reading)
	// refused takes answers that no retry mends.
	refused func(string)
	client  *http.Client
}

const (
	batchReadings = 50
	batchWait     = 50 * time.Millisecond
)

func (p *poster) run(ctx context.Context) {
	for {
		first, more := <-p.in
		if !more {
			return
		}
		batch := []reading{first}
		wait := time.After(batchWait)
	gather:
		for len(batch) < batchReadings {
			select {
			case r, more := <-p.in:
				if !more {
					break gather
				}
				batch = append(batch, r)
			case <-wait:
				break gather
			}
		}
		if !p.deliver(ctx, batch) {
			return
		}
	}
}

func (p *poster) deliver(ctx context.Context, batch []reading) bool {
	type item struct {
		Site   string  `json:"site"`
		Device string  `json:"device"`
		Metric string  `json:"metric"`
		Value  float64 `json:"value"`
		Time   int64   `json:"ts"`
	}
	items := make([]item, len(batch))
	for i, r := range batch {
		items[i] = item{site, r.series.Device, r.series.Metric, r.value, r.time}
	}
	body, err := json.Marshal(items)
	if err != nil {
		p.refused(err.Error())
		return false
	}
	for ctx.Err() == nil {
		status, answer := p.post(ctx, body)
		switch {
		case status == http.StatusAccepted:
			for _, r := range batch {
				p.acked(r)
			}
			return true
		case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			p.refused(fmt.Sprintf("POST answered %d: %s", status, answer))
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
	return false
}

// post returns the status, or 0 when there was no answer.
func (p *poster) post(ctx context.Context, body []byte) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, string(answer)
}

// load is all that comes in while the faults happen.
type load struct {
	book *oracle.Book
	rate int
	// delay is the most that a late reading is held back.
	delay time.Duration
	rng   *rand.Rand

	mqtt, http []chan reading
	later      delayed
	number     int

	connects atomic.Int64
	mu       sync.Mutex
	refusals []string
	planted  map[string]bool
}

// Shape of the load.
const (
	mqttConnections = 20
	httpConnections = 4
	// loadDevices report by MQTT and as many by HTTP.
	loadDevices = 60
	// scripted devices watch each rule.
	scripted = 4
	// lateShare and againShare are the parts of the readings that come late and
	// out of order, and that come twice.
	lateShare, againShare = 0.1, 0.04
	tick                  = 10 * time.Millisecond
	// scriptPause is the time between two readings of a scripted device.
	scriptPause = 400 * time.Millisecond
	queued      = 500
)

// Metrics and rules of the scripted devices.
var scripts = []struct{ rule, metric string }{{"limit", "level"}, {"rate", "slope"}}

// run sends until stop is closed, then waits until all is acknowledged or ctx
// ends.
func (l *load) run(ctx context.Context, mqtt, gateway string, stop <-chan struct{}) {
	acked := func(r reading) {
		if r.planted == "" {
			l.book.Ack(r.id)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.planted[r.planted] = true
	}
	var wg sync.WaitGroup
	for c := range mqttConnections {
		in := make(chan reading, queued)
		l.mqtt = append(l.mqtt, in)
		d := &device{address: mqtt, id: fmt.Sprintf("chaos-%d", c), in: in, window: 100, acked: acked, connects: &l.connects}
		wg.Go(func() { d.run(ctx) })
	}
	client := &http.Client{Timeout: 2 * patience}
	defer client.CloseIdleConnections()
	for range httpConnections {
		in := make(chan reading, queued)
		l.http = append(l.http, in)
		p := &poster{url: "http://" + gateway + "/api/v1/telemetry", in: in, acked: acked, refused: l.refuse, client: client}
		wg.Go(func() { p.run(ctx) })
	}
	for i := range len(scripts) * scripted {
		in := make(chan reading)
		d := &device{address: mqtt, id: fmt.Sprintf("scripted-%d", i), in: in, window: 1, acked: acked, connects: &l.connects}
		wg.Go(func() { d.run(ctx) })
		wg.Go(func() { defer close(in); l.perform(ctx, i, in, stop) })
	}
	l.pace(ctx, stop)
	for _, c := range append(l.mqtt, l.http...) {
		close(c)
	}
	wg.Wait()
}

func (l *load) refuse(answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals = append(l.refusals, answer)
}

// perform is one scripted device, which ends in calm.
func (l *load) perform(ctx context.Context, i int, in chan<- reading, stop <-chan struct{}) {
	series := scriptedSeries(i)
	tick := time.NewTicker(scriptPause)
	defer tick.Stop()
	ending := false
	for n := 0; ; n++ {
		value := oracle.Script(i, n)
		if ending {
			value = oracle.Calm
		}
		id, at := l.book.Issue(series, time.Now(), value)
		select {
		case in <- reading{id: id, series: series, time: at, value: value}:
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

// pace issues readings at the rate until stop, then hands over what was held
// back.
func (l *load) pace(ctx context.Context, stop <-chan struct{}) {
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
				case h.to <- h.reading:
				case <-ctx.Done():
				}
			}
			return
		case now := <-ticker.C:
			due := int(now.Sub(begin).Seconds() * float64(l.rate))
			// What an outage kept back is not made up for.
			issued = max(issued, due-l.rate)
			for ; issued < due; issued++ {
				l.issue(now)
			}
			l.release(now)
		}
	}
}

// issue makes one reading and sends it now or later, and sometimes twice. While
// the way in is blocked it makes none.
func (l *load) issue(now time.Time) {
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
	id, at := l.book.Issue(series, now, float64(n))
	r := reading{id: id, series: series, time: at, value: float64(n)}
	later := func(to chan reading) {
		heap.Push(&l.later, held{now.Add(time.Duration(l.rng.Int64N(int64(l.delay)))), to, r})
	}
	if l.rng.Float64() < lateShare {
		later(way)
	} else {
		// There is room, for nobody else sends.
		way <- r
	}
	if l.rng.Float64() < againShare {
		later(other)
	}
	if n%plantEvery == 0 {
		p := reading{series: oracle.Series{Device: plantedDevice, Metric: "n"}, planted: fmt.Sprintf(`{"value":"planted-%d",`, n)}
		heap.Push(&l.later, held{now, l.mqtt[0], p})
	}
}

// A malformed message is planted with every so many readings.
const (
	plantEvery    = 20_000
	plantedDevice = "planted"
)

// release hands over what was held back long enough, as far as there is room.
func (l *load) release(now time.Time) {
	var blocked []held
	for len(l.later) > 0 && !l.later[0].due.After(now) {
		h := heap.Pop(&l.later).(held)
		select {
		case h.to <- h.reading:
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
	to  chan reading
	reading
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
