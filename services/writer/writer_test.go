package writer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/registry"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const lanes = 2

// world is a nats-server, a fake InfluxDB, and what was published.
type world struct {
	t      *testing.T
	server *streamtest.Server
	js     jetstream.JetStream
	influx *fake
	want   map[string]string // as in fake.points
	next   int64             // event time of the next reading
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, lanes)
	w := &world{t: t, server: s, js: s.JS(t), influx: newFake(t), want: make(map[string]string), next: 1_700_000_000_000_000_000}
	return w
}

// update changes a durable consumer.
func (w *world) update(stream, name string, change func(*jetstream.ConsumerConfig)) {
	w.t.Helper()
	c, err := w.js.Consumer(w.t.Context(), stream, name)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	change(&cfg)
	if _, err := w.js.UpdateConsumer(w.t.Context(), stream, cfg); err != nil {
		w.t.Fatal(err)
	}
}

// start runs a writer. Stop waits for its end, and may be called twice.
func (w *world) start(change func(*Config)) (s *Service, stop func()) {
	w.t.Helper()
	return w.run(w.server.JS(w.t), change)
}

// startOn runs a writer on a connection that the test may close.
func (w *world) startOn(nc *nats.Conn, change func(*Config)) *Service {
	w.t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	s, _ := w.run(js, change)
	return s
}

func (w *world) run(js jetstream.JetStream, change func(*Config)) (s *Service, stop func()) {
	w.t.Helper()
	cfg := DefaultConfig()
	cfg.Influx.URL = w.influx.URL
	cfg.FlushInterval = 20 * time.Millisecond
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, Deps{JS: js, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return s, stop
}

func (w *world) publish(subject string, data []byte) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	if _, err := w.js.Publish(ctx, subject, data); err != nil {
		w.t.Fatal(err)
	}
}

// readings publishes one batch of n numeric readings of a device.
func (w *world) readings(device string, n int) {
	w.t.Helper()
	var b telemetryv1.Builder
	for range n {
		w.next++
		v := float64(w.next % 1000)
		b.Value(telemetryv1.Key{Site: "w", Device: device, Metric: "temperature"}, w.next, v)
		w.want[fmt.Sprintf("headwater/raw temperature,device=%s,site=w %d value", device, w.next)] = fmt.Sprintf("value=%v", v)
	}
	w.batch(b.Take(w.next))
}

func (w *world) batch(b *telemetryv1.Batch) {
	w.t.Helper()
	m, err := streams.TelemetryMsg(int(w.next)%lanes, streams.SourceMQTT, b)
	if err != nil {
		w.t.Fatal(err)
	}
	w.publish(m.Subject, m.Data)
}

// done reports whether no writer has anything left to do.
func (w *world) done() bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	idle := func(stream, name string) bool {
		n, err := streams.Unprocessed(ctx, w.js, stream, name)
		if err != nil {
			w.t.Fatal(err)
		}
		return n == 0
	}
	for lane := range lanes {
		if !idle(streams.StreamDerived, streams.WriterDerivedConsumer(lane)) {
			return false
		}
	}
	return idle(streams.StreamTelemetry, streams.ConsumerWriter)
}

// all waits until all that was published is stored, once, and acknowledged.
func (w *world) all() {
	w.t.Helper()
	streamtest.Eventually(w.t, "all points are stored and acknowledged", func() bool {
		return len(w.influx.stored()) >= len(w.want) && w.done()
	})
	if d := cmp.Diff(w.want, w.influx.stored()); d != "" {
		w.t.Errorf("points (-published +stored):\n%s", d)
	}
}

// deadLetters returns the dead letters so far.
func (w *world) deadLetters() []streams.DeadLetter {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	stream, err := w.js.Stream(ctx, streams.StreamDeadLetters)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []streams.DeadLetter
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			w.t.Fatal(err)
		}
		d, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

func (w *world) held(s *Service, words ...string) {
	w.t.Helper()
	streamtest.Eventually(w.t, fmt.Sprintf("the writer says %q", words), func() bool {
		err := s.Ready()
		return err != nil && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(err.Error(), word) })
	})
}

func TestStoresReadingsOfEveryKind(t *testing.T) {
	w := newWorld(t)
	s, stop := w.start(nil)
	var b telemetryv1.Builder
	door := telemetryv1.Key{Site: "w", Device: "door-1", Metric: "door"}
	b.Value(door, 1, 21.5)
	b.Flag(door, 1, true)
	b.Text(door, 1, `say "open"`)
	b.Value(door, 2, -3)
	w.batch(b.Take(5))
	w.want = map[string]string{
		"headwater/raw door,device=door-1,site=w 1 value": "value=21.5",
		"headwater/raw door,device=door-1,site=w 1 flag":  "flag=true",
		"headwater/raw door,device=door-1,site=w 1 text":  `text="say \"open\""`,
		"headwater/raw door,device=door-1,site=w 2 value": "value=-3",
	}
	w.batch(&telemetryv1.Batch{Arrival: 6, Clock: &telemetryv1.Clock{CaughtUp: 6}})
	for i := range 50 {
		w.readings(fmt.Sprintf("door-%d", i%7), 1+i*37%200)
	}
	w.all()
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	if d := w.deadLetters(); len(d) > 0 {
		t.Errorf("dead letters %v", d)
	}
	w.influx.mu.Lock()
	policies := slices.Sorted(maps.Keys(w.influx.policies))
	w.influx.mu.Unlock()
	if !slices.Equal(policies, []string{"10s", "1d", "1h", "1m", "ledger", "raw", "windows"}) {
		t.Errorf("buckets %v", policies)
	}
	stop()
	if s.Ready() == nil {
		t.Error("ready after its end")
	}
}

func TestHoldsWhileInfluxDBTakesNothing(t *testing.T) {
	tests := map[string]struct {
		mood func(string, []string) answer
		says []string
	}{
		"away":          {func(string, []string) answer { return answer{cut: true} }, []string{"headwater/raw are held", "--influx-url"}},
		"overloaded":    {says(503, nil, "busy"), []string{"503", "busy"}},
		"too many":      {says(429, nil, ""), []string{"429"}},
		"disk full":     {says(500, map[string]string{"X-Influxdb-Error": "engine: no space left"}, ""), []string{"no space left"}},
		"token rotated": {says(401, nil, `{"code":"unauthorized","message":"unauthorized access"}`), []string{"401", "--influx-token-file"}},
		"token too low": {says(403, nil, `{"code":"forbidden","message":"insufficient permissions"}`), []string{"403", "insufficient permissions"}},
		"bucket gone":   {says(404, nil, `{"code":"not found","message":"bucket not found"}`), []string{"404", "bucket not found"}},
		"a proxy":       {says(405, nil, ""), []string{"405"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.influx.be(tt.mood)
			s, _ := w.start(func(c *Config) { c.BatchPoints = 100 })
			for range 100 {
				w.readings("door-1", 20)
			}
			w.held(s, tt.says...)
			// Three batches of 100 points, with 20 of them in each message.
			if n := w.heldMessages(); n > 3*100/20 {
				t.Errorf("%d messages are held", n)
			}
			w.influx.be(well)
			w.all()
			streamtest.Eventually(t, "the writer is ready", func() bool { return s.Ready() == nil })
			if d := w.deadLetters(); len(d) > 0 {
				t.Errorf("dead letters %v", d)
			}
		})
	}
}

func TestAnswerThatIsLostLeavesEachPointOnce(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var bodies [][]string // of the requests with readings
	w.influx.be(func(bucket string, lines []string) answer {
		a := well(bucket, lines)
		if bucket != "headwater/raw" {
			return a
		}
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, lines)
		a.cut = len(bodies) == 1
		return a
	})
	w.readings("door-1", 20)
	w.start(nil)
	w.all()
	mu.Lock()
	defer mu.Unlock()
	if len(bodies) != 2 || !slices.Equal(bodies[0], bodies[1]) {
		t.Errorf("%d requests, not the same one twice", len(bodies))
	}
	if d := w.deadLetters(); len(d) > 0 {
		t.Errorf("dead letters %v", d)
	}
}

func TestSlowAnswersBoundWhatIsHeld(t *testing.T) {
	const (
		points, inFlight     = 100, 2 // of the configuration
		messages, perMessage = 100, 20
		held                 = (inFlight + 1) * points / perMessage // one more batch fills meanwhile
	)
	w := newWorld(t)
	asked, leave := make(chan int), make(chan struct{})
	var open atomic.Int32
	w.influx.be(func(bucket string, lines []string) answer {
		if bucket == "headwater/raw" {
			if n := open.Add(1); n > inFlight {
				t.Errorf("%d requests at once", n)
			}
			select {
			case asked <- len(lines):
			case <-t.Context().Done(): // The test has failed.
			}
			select {
			case <-leave:
			case <-t.Context().Done():
			}
			open.Add(-1)
		}
		return answer{store: lines}
	})
	for range messages {
		w.readings("door-1", perMessage)
	}
	w.start(func(c *Config) { c.BatchPoints, c.InFlight, c.FlushInterval = points, inFlight, 2*time.Second })
	const requests = messages * perMessage / points
	for n := 1; n <= requests; n++ {
		if size := <-asked; size > points {
			t.Errorf("a request with %d points", size)
		}
		if n < inFlight {
			continue
		}
		// While all requests wait for their answer, the next batch fills and no more.
		streamtest.Eventually(t, "another batch is full", func() bool {
			return w.heldMessages() == min(held, messages-(n-inFlight)*points/perMessage)
		})
		leave <- struct{}{}
	}
	for range inFlight - 1 {
		leave <- struct{}{}
	}
	w.all()
}

// heldMessages returns how many messages of TELEMETRY writers have in hand.
func (w *world) heldMessages() int {
	w.t.Helper()
	c, err := w.js.Consumer(w.t.Context(), streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.CachedInfo().NumAckPending
}

func TestDeletedBucketIsRecreated(t *testing.T) {
	w := newWorld(t)
	for _, lost := range []answer{
		{status: 404, header: map[string]string{"X-Influxdb-Error": `database not found: "headwater"`}},
		{status: 500, header: map[string]string{"X-Influxdb-Error": "retention policy not found: raw"}},
	} {
		w.influx.mu.Lock()
		clear(w.influx.policies)
		w.influx.mood = func(_ string, lines []string) answer {
			w.influx.mu.Lock()
			defer w.influx.mu.Unlock()
			if !w.influx.policies["raw"] {
				return lost
			}
			return answer{store: lines}
		}
		w.influx.mu.Unlock()
		_, stop := w.start(nil)
		w.readings("door-1", 10)
		w.all()
		w.influx.mu.Lock()
		clear(w.influx.policies)
		w.influx.mu.Unlock()
		w.readings("door-1", 10)
		w.all()
		stop()
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	w := newWorld(t)
	w.influx.be(says(503, map[string]string{"Retry-After": "1"}, ""))
	_, stop := w.start(func(c *Config) { c.BatchPoints = 10 })
	for range 20 {
		w.readings("door-1", 10)
	}
	// Two batches were in flight when it began; from then on one asks.
	streamtest.Eventually(t, "three more requests", func() bool { return len(w.influx.requests()) >= 2+3 })
	stop()
	at := w.influx.requests()
	for i := 2; i < len(at); i++ {
		if gap := at[i].Sub(at[i-1]); gap < time.Second {
			t.Errorf("request %d came after %v", i, gap)
		}
	}
}

func TestOnlyRefusedPointsBecomeDeadLetters(t *testing.T) {
	bad := func(line string) bool { return strings.Contains(line, "device=bad") }
	split := func(lines []string) (good []string, refused int) {
		for _, line := range lines {
			if bad(line) {
				refused++
			} else {
				good = append(good, line)
			}
		}
		return good, refused
	}
	tests := map[string]struct {
		mood   func(string, []string) answer
		reason string
	}{
		"1.8 stores the good ones": {func(_ string, lines []string) answer {
			good, refused := split(lines)
			if refused == 0 {
				return answer{store: good}
			}
			e := fmt.Sprintf("partial write: field type conflict dropped=%d", refused)
			return answer{status: 400, store: good, header: map[string]string{"X-Influxdb-Error": e}, body: fmt.Sprintf(`{"error":%q}`, e)}
		}, "field type conflict"},
		"2.x stores none": {func(_ string, lines []string) answer {
			if _, refused := split(lines); refused > 0 {
				return answer{status: 422, body: `{"code":"unprocessable entity","message":"failure writing points"}`}
			}
			return answer{store: lines}
		}, "failure writing points"},
		"3 says which": {func(_ string, lines []string) answer {
			good, refused := split(lines)
			if refused == 0 {
				return answer{store: good}
			}
			return answer{status: 400, store: good, body: `{"error":"partial write of line protocol occurred","data":[{"line_number":1,"error_message":"no such type"}]}`}
		}, "no such type"},
		"too large in one": {func(_ string, lines []string) answer {
			if _, refused := split(lines); refused > 0 || len(lines) > 50 {
				return answer{status: 413}
			}
			return answer{store: lines}
		}, "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.influx.be(tt.mood)
			s, _ := w.start(nil)
			w.readings("door-1", 100)
			var b telemetryv1.Builder
			key := func(device string) telemetryv1.Key {
				return telemetryv1.Key{Site: "w", Device: device, Metric: "m"}
			}
			b.Value(key("good"), 1, 1)
			b.Value(key("bad-a"), 2, 2)
			b.Flag(key("bad-b"), 3, true)
			b.Value(key("good"), 4, 4)
			w.batch(b.Take(77))
			w.want["headwater/raw m,device=good,site=w 1 value"] = "value=1"
			w.want["headwater/raw m,device=good,site=w 4 value"] = "value=4"
			w.readings("door-2", 100)
			w.all()
			got := w.deadLetters()
			slices.SortFunc(got, func(a, b streams.DeadLetter) int { return strings.Compare(a.Device, b.Device) })
			if len(got) != 2 {
				t.Fatalf("dead letters %v", got)
			}
			for i, line := range []string{"m,device=bad-a,site=w value=2 2", "m,device=bad-b,site=w flag=true 3"} {
				d := got[i]
				if d.Service != "writer" || d.Reason != streams.ReasonRejected || d.Site != "w" || !strings.HasPrefix(d.Origin, "telemetry.") ||
					string(d.Payload) != line || d.Arrived.UnixNano() != 77 || !strings.Contains(d.Detail, tt.reason) {
					t.Errorf("dead letter %+v %s", d, d.Payload)
				}
			}
			if err := s.Ready(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMessageThatDoesNotDecode(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.publish(streams.TelemetrySubject(0, streams.SourceMQTT), []byte("\xff\xff"))
	w.publish(streams.DerivedSubject(0), []byte("\xff\xff"))
	w.readings("door-1", 10)
	w.all()
	got := w.deadLetters()
	if len(got) != 2 {
		t.Fatalf("dead letters %v", got)
	}
	for _, d := range got {
		if d.Service != "writer" || d.Reason != streams.ReasonMalformed || string(d.Payload) != "\xff\xff" || d.Detail == "" || time.Since(d.Arrived) > time.Minute {
			t.Errorf("dead letter %+v", d)
		}
	}
}

func TestStoppingGivesBackWhatIsNotStored(t *testing.T) {
	w := newWorld(t)
	w.influx.be(says(503, nil, ""))
	s, stop := w.start(func(c *Config) { c.BatchPoints = 10 })
	for range 20 {
		w.readings("door-1", 10)
	}
	w.held(s, "503")
	begin := time.Now()
	stop()
	if d := time.Since(begin); d > drainTime/2 {
		t.Errorf("stopping took %v", d)
	}
	w.influx.be(well)
	begin = time.Now()
	w.start(nil)
	w.all() // well before the 30 s after which nats-server would deliver again
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("taking over took %v", d)
	}
}

func TestStoppingStoresWhatIsInFlight(t *testing.T) {
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.influx.be(func(_ string, lines []string) answer {
		once.Do(func() { close(entered) })
		<-leave
		return answer{store: lines}
	})
	_, stop := w.start(nil)
	w.readings("door-1", 10)
	<-entered
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(leave)
	<-stopped
	w.all()
}

func TestSlowAnswersCauseNoRepeats(t *testing.T) {
	w := newWorld(t)
	const wait = 600 * time.Millisecond
	w.update(streams.StreamTelemetry, streams.ConsumerWriter, func(c *jetstream.ConsumerConfig) { c.AckWait = wait })
	var first sync.Once
	w.influx.be(func(_ string, lines []string) answer {
		first.Do(func() { <-time.After(5 * wait) })
		return answer{store: lines}
	})
	w.start(nil)
	w.readings("door-1", 10)
	w.all()
	c, err := w.js.Consumer(t.Context(), streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.Delivered.Consumer != 1 {
		t.Errorf("delivered %d times", info.Delivered.Consumer)
	}
}

// summary publishes one summary of one window.
func (w *world) summary(lane int, window string, start int64, revision uint32) {
	w.t.Helper()
	m, err := streams.DerivedMsg(lane, &derivedv1.Commit{Summaries: []*derivedv1.WindowSummary{{
		Series: &derivedv1.Series{Site: "w", Device: fmt.Sprint("door-", lane), Metric: "temperature"},
		Window: window, Start: start, Width: 1, Count: uint64(revision), Min: 1, Max: 3, Mean: 2, First: 1, Last: 3, Deviation: 0.5,
		Revision: revision, TimeMean: 2.5, Rate: 0.5, P50: 2, P90: 3, P95: 3, P99: 3,
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.publish(m.Subject, m.Data)
	policy, tag := window, ""
	if window == "hopping-10m-1m" {
		policy, tag = "windows", ",window="+window
	}
	w.want[fmt.Sprintf("headwater/%s temperature,device=door-%d,site=w%s %d count", policy, lane, tag, start)] = fmt.Sprintf(
		"count=%di,deviation=0.5,first=1,last=3,max=3,mean=2,min=1,p50=2,p90=3,p95=3,p99=3,rate=0.5,revision=%di,time_mean=2.5", revision, revision)
}

func TestSummariesAreWrittenInOrderByAnyNumberOfWriters(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	w.influx.be(func(_ string, lines []string) answer {
		mu.Lock()
		n := random.IntN(10)
		mu.Unlock()
		switch {
		case n == 0:
			return answer{status: 503}
		case n == 1:
			return answer{cut: true, store: lines}
		}
		<-time.After(time.Duration(n) * time.Millisecond / 2)
		return answer{store: lines}
	})
	for range 3 {
		w.start(nil)
	}
	for revision := range uint32(20) {
		for lane := range lanes {
			w.summary(lane, "1m", 60e9, revision+1)
			w.summary(lane, "10s", 60e9, revision+1)
			w.summary(lane, "hopping-10m-1m", 90e9, revision+1)
		}
	}
	w.all()
}

// TestReadingsOfDerivedSeries stores them in the order of the commits, beside those of
// devices, and makes them known.
func TestReadingsOfDerivedSeries(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.New(w.server.Conn(t, natsd.UserOf(streams.ServiceWriter))) // it may do no more than its user
	if err != nil {
		t.Fatal(err)
	}
	_, stop := w.run(js, nil)
	for i := range 5 {
		var b telemetryv1.Builder
		for at := range int64(3) {
			b.Value(telemetryv1.Key{Site: "w", Device: "door-1", Metric: "spread", Unit: "K"}, 60e9+at, float64(i)+float64(at))
			w.want[fmt.Sprintf("headwater/raw spread,device=door-1,site=w,unit=K %d value", 60e9+at)] = fmt.Sprintf("value=%d", int64(i)+at)
		}
		m, err := streams.DerivedMsg(0, &derivedv1.Commit{Readings: b.Take(int64(i))})
		if err != nil {
			t.Fatal(err)
		}
		w.publish(m.Subject, m.Data)
	}
	w.readings("door-1", 2)
	w.all()
	stop()
	bucket, err := w.js.KeyValue(t.Context(), streams.BucketDevices)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), registry.Key("w", "door-1"))
	if err != nil || !strings.Contains(string(entry.Value()), `"spread"`) {
		t.Errorf("the registry has %v, %v", entry, err)
	}
}

// TestWriterThatLosesItsLaneStopsWriting cuts the writer that has the lanes off
// while InfluxDB stalls in the middle of its request: that request must have
// ended before another writer begins, and be followed by none.
func TestWriterThatLosesItsLaneStopsWriting(t *testing.T) {
	w := newWorld(t)
	entered, ended := make(chan struct{}), make(chan struct{})
	var stalled atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/write") && stalled.CompareAndSwap(false, true) {
			close(entered)
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			close(ended)
			panic(http.ErrAbortHandler)
		}
		w.influx.ServeHTTP(out, r)
	}))
	defer proxy.Close()
	w.summary(0, "1m", 60e9, 1)

	connection := w.server.Conn(t, natsd.UserCore)
	cut := w.startOn(connection, func(c *Config) { c.Influx.URL = proxy.URL })
	<-entered
	connection.Close()
	lost := time.Now()
	w.summary(0, "1m", 60e9, 2)
	var order []string
	var mu sync.Mutex // guards order
	w.influx.be(func(_ string, lines []string) answer {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-ended:
			order = append(order, "after")
		default:
			order = append(order, "before")
		}
		return answer{store: lines}
	})
	other, _ := w.start(nil)
	w.all()
	t.Logf("revision 2 is stored %v after the cut", time.Since(lost).Round(time.Millisecond))
	mu.Lock()
	defer mu.Unlock()
	if len(order) != 2 || slices.Contains(order, "before") {
		t.Errorf("two requests of the next writer, after the end of the first one's, came %v", order)
	}
	if err := other.Ready(); err != nil || cut.Ready() == nil {
		t.Errorf("the next writer is %v, the one that was cut off %v", err, cut.Ready())
	}
}

// TestZombieSendsNothing has a lane whose timers have not run yet when the
// process continues after its lease ended.
func TestZombieSendsNothing(t *testing.T) {
	f := newFake(t)
	cfg := DefaultConfig()
	cfg.Influx.URL = f.URL
	s, err := New(cfg, Deps{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	var until atomic.Int64
	until.Store(time.Now().Add(time.Hour).UnixNano())
	l := &lane{s: s, until: func() time.Time { return time.Unix(0, until.Load()) }}
	work, end := l.leased(t.Context())
	defer end()
	const line = "m,device=d,site=w value=1 1"
	if err := s.influx.Write(work, "headwater/raw", line); err != nil {
		t.Fatal(err)
	}
	until.Store(time.Now().UnixNano())
	if err := s.influx.Write(work, "headwater/raw", "m,device=d,site=w value=2 1"); !errors.Is(err, errNotOurs) || work.Err() != nil {
		t.Errorf("got %v, and the context says %v", err, work.Err())
	}
	if got := f.stored()["headwater/raw m,device=d,site=w 1 value"]; got != "value=1" {
		t.Errorf("stored %s", got)
	}
}

// TestLanesOfDerivedAreShared has writers come and go; each lane is some
// writer's all the time, and what is published is stored.
func TestLanesOfDerivedAreShared(t *testing.T) {
	w := newWorld(t)
	held := func(s *Service) int {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.keeper == nil {
			return 0
		}
		return len(s.keeper.Held())
	}
	shares := func(want ...*Service) func() bool {
		return func() bool {
			return !slices.ContainsFunc(want, func(s *Service) bool { return held(s) != lanes/len(want) || s.Ready() != nil })
		}
	}
	a, stopA := w.start(nil)
	streamtest.Eventually(t, "one writer has all lanes", shares(a))
	b, stopB := w.start(nil)
	streamtest.Eventually(t, "two writers share them", shares(a, b))
	w.summary(0, "1m", 60e9, 1)
	w.summary(1, "1m", 60e9, 1)
	w.all()
	begin := time.Now()
	stopA()
	streamtest.Eventually(t, "the other has all lanes", shares(b))
	t.Logf("handed over after %v", time.Since(begin).Round(time.Millisecond))
	w.summary(0, "1m", 60e9, 2)
	w.summary(1, "1m", 60e9, 2)
	w.all()
	stopB()
}

// TestNothingIsLostUnderFaults has two writers, one of which comes and goes,
// and an InfluxDB that fails in every way at random.
func TestNothingIsLostUnderFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, load := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	var mu sync.Mutex // guards random and faults
	faults := 30
	w.influx.be(func(_ string, lines []string) answer {
		mu.Lock()
		defer mu.Unlock()
		if faults == 0 {
			return answer{store: lines}
		}
		n := random.IntN(12)
		if n < 6 {
			faults--
		}
		switch n {
		case 0:
			return answer{cut: true}
		case 1:
			return answer{cut: true, store: lines}
		case 2:
			return answer{status: http.StatusServiceUnavailable, store: lines[:random.IntN(len(lines)+1)]}
		case 3:
			return answer{status: http.StatusTooManyRequests}
		case 4:
			return answer{status: http.StatusUnauthorized}
		case 5:
			return answer{status: http.StatusInternalServerError, store: lines}
		}
		return answer{store: lines}
	})
	w.start(func(c *Config) { c.BatchPoints = 50 })
	for i := range 300 {
		if i%60 == 0 {
			_, stop := w.start(func(c *Config) { c.BatchPoints = 50 })
			defer stop()
			if i%120 == 0 {
				stop()
			}
		}
		w.readings(fmt.Sprint("door-", i%5), 1+load.IntN(40))
		if i%10 == 0 {
			w.summary(i%lanes, "1m", int64(i%7), uint32(i))
		}
	}
	w.all()
	if d := w.deadLetters(); len(d) > 0 {
		t.Errorf("dead letters %v", d)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Influx.URL, c.BatchPoints, c.FlushInterval, c.InFlight, c.RetentionRaw = "x", 0, 0, 0, time.Minute
	err := c.Validate()
	for _, flag := range []string{"influx-url", "writer-batch", "writer-flush", "writer-in-flight", "retention-raw"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named in %v", flag, err)
		}
	}
	if _, err := New(c, Deps{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("a writer was made of it")
	}
}
