package bridge_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/bridge"
	"headwater/services/bridge/login"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// answerLogins lets devices in while no bridge runs.
func (w *world) answerLogins(t *testing.T) {
	t.Helper()
	seed, err := w.IssuerSeed()
	if err != nil {
		t.Fatal(err)
	}
	r, err := login.New(login.Deps{IssuerSeed: seed, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	nc := w.Conn(t, natsd.UserAuth)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx, nc, login.Policy{Anonymous: login.AnonymousAny}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

// noLogins leaves the log-ins to somebody else.
func noLogins(_ *bridge.Config, deps *bridge.Deps) { deps.Auth = nil }

// load publishes numbered readings of several devices with QoS 1 until it is
// told to stop, and knows which were acknowledged.
type load struct {
	mu    sync.Mutex
	acked []string
	count atomic.Int64
	stop  func()
}

// publishLoad starts the load over as many connections as there are devices.
func (w *world) publishLoad(t *testing.T, devices int) *load {
	t.Helper()
	l := new(load)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	l.stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(l.stop)
	for i := range devices {
		name := fmt.Sprintf("d%d", i)
		c := w.device(t, name)
		done.Go(func() { l.publish(ctx, t, c, name) })
	}
	return l
}

func (l *load) publish(ctx context.Context, t *testing.T, c mqtt.Client, name string) {
	type sent struct {
		token mqtt.Token
		n     int
	}
	const window = 20
	pending := make(chan sent, window)
	var settled sync.WaitGroup
	defer settled.Wait()
	defer close(pending)
	settled.Go(func() {
		for s := range pending {
			if !s.token.WaitTimeout(within) || s.token.Error() != nil {
				t.Errorf("reading %d of %s: %v", s.n, name, s.token.Error())
				continue
			}
			l.mu.Lock()
			l.acked = append(l.acked, fmt.Sprintf("mqtt hall/%s/n %d", name, s.n))
			l.mu.Unlock()
			l.count.Add(1)
		}
	})
	// Not faster than a slow machine with the race detector can carry.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			pending <- sent{c.Publish("sensors/hall/"+name+"/n", 1, false, strconv.Itoa(n)), n}
		case <-ctx.Done():
			return
		}
	}
}

// more waits until that many more were acknowledged to the devices.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	target := l.count.Load() + n
	streamtest.Eventually(t, "more readings are acknowledged", func() bool { return l.count.Load() >= target })
}

// checkExactlyOnce compares TELEMETRY with what was acknowledged to the devices.
func (w *world) checkExactlyOnce(t *testing.T, l *load) {
	t.Helper()
	l.stop()
	w.drained(t)
	got := w.readings(t)
	l.mu.Lock()
	want := slices.Clone(l.acked)
	l.mu.Unlock()
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		t.Logf("%d readings, each once", len(got))
		return
	}
	t.Errorf("%d readings stored, %d acknowledged to the devices, %d different ones stored",
		len(got), len(want), len(slices.Compact(slices.Clone(got))))
}

// checkClock verifies that no reading comes into a lane after a clock that says
// that everything of its time has come.
func (w *world) checkClock(t *testing.T) (clocks int) {
	t.Helper()
	until := make(map[int]int64)
	for _, b := range w.batches(t) {
		if b.source != streams.SourceMQTT {
			continue
		}
		for r := range b.Readings() {
			if r.Time <= until[b.lane] {
				t.Errorf("lane %d: a reading that arrived at %d came after the clock said %d", b.lane, r.Time, until[b.lane])
			}
		}
		if clock := b.GetClock().GetCaughtUp(); clock != 0 {
			if clock <= until[b.lane] {
				t.Errorf("lane %d: the clock went from %d to %d", b.lane, until[b.lane], clock)
			}
			until[b.lane] = clock
			clocks++
		}
	}
	return clocks
}

func TestCrashBetweenCommitAndAck(t *testing.T) {
	w := newWorld(t)
	// The next bridge need not wait for long until the lease has run out.
	if _, err := w.js.UpdateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: streams.BucketLeases, TTL: time.Second, History: 1, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	w.answerLogins(t)
	l := w.publishLoad(t, 8)
	for range 6 {
		var core *nats.Conn
		r := w.start(t, noLogins, func(_ *bridge.Config, deps *bridge.Deps) { core = deps.JS.Conn() })
		l.more(t, 2000)
		// As with kill -9: nothing that is on its way arrives, acks least of all,
		// and nobody waits for what is left of the bridge.
		r.devices.Close()
		core.Close()
		r.cancel()
	}
	w.start(t, noLogins)
	l.more(t, 2000)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

func TestStopUnderLoadDrains(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	l := w.publishLoad(t, 4)
	for range 4 {
		r := w.start(t, noLogins)
		l.more(t, 1000)
		r.stop(t)
		if n := r.value(t, "headwater_bridge_repeated_messages_total", ""); n != 0 {
			t.Errorf("%v messages were read again after an orderly stop", n)
		}
	}
	w.start(t, noLogins)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

func TestReconnectsUnderLoad(t *testing.T) {
	w := newWorld(t)
	var core *nats.Conn
	r := w.start(t, func(_ *bridge.Config, deps *bridge.Deps) { core = deps.JS.Conn() })
	l := w.publishLoad(t, 8)
	for range 3 {
		l.more(t, 1000)
		if err := r.devices.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		l.more(t, 1000)
		if err := core.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	l.more(t, 1000)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
	if r.value(t, "headwater_bridge_resumes_total", "reconnect") == 0 {
		t.Error("no reconnect was noticed")
	}
}

// TestRepeatIsPassedOver starts a bridge on the state that a crash between
// commit and ack leaves behind: one lane covers a part of what is not
// acknowledged.
func TestRepeatIsPassedOver(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	c := w.device(t, "d")
	for n := range 10 {
		publish(t, c, 1, "sensors/hall/a/n", strconv.Itoa(n))
		publish(t, c, 1, "sensors/hall/b/n", strconv.Itoa(n))
	}
	laneA, laneB := streams.Lane("hall", "a", lanes), streams.Lane("hall", "b", lanes)
	if laneA == laneB {
		t.Fatal("the devices must not share a lane")
	}
	s, err := w.devices.Stream(t.Context(), streams.StreamMQTT)
	if err != nil {
		t.Fatal(err)
	}
	w.commit(t, laneA, &telemetryv1.Batch{Origin: &telemetryv1.Origin{Incarnation: s.CachedInfo().Created.UnixNano(), Sequence: 12}})
	r := w.start(t, noLogins)
	w.drained(t)
	var want []string
	for n := range 10 {
		if n >= 6 {
			want = append(want, fmt.Sprintf("mqtt hall/a/n %d", n))
		}
		want = append(want, fmt.Sprintf("mqtt hall/b/n %d", n))
	}
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := r.value(t, "headwater_bridge_repeated_messages_total", ""); n != 6 {
		t.Errorf("%v messages passed over, want 6", n)
	}
	// The lane that was ahead never goes back.
	var last uint64
	for _, b := range w.batches(t) {
		if b.lane == laneA {
			if b.GetOrigin().GetSequence() < last {
				t.Errorf("the origin of lane %d went from %d to %d", laneA, last, b.GetOrigin().GetSequence())
			}
			last = b.GetOrigin().GetSequence()
		}
	}
}

// commit writes into a lane as another bridge would.
func (w *world) commit(t *testing.T, lane int, b *telemetryv1.Batch) {
	t.Helper()
	m, err := streams.TelemetryMsg(lane, streams.SourceMQTT, b)
	if err == nil {
		_, err = w.js.PublishMsg(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnotherBridgeWrote(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "sensors/hall/a/n", "1")
	w.drained(t)
	s, err := w.devices.Stream(t.Context(), streams.StreamMQTT)
	if err != nil {
		t.Fatal(err)
	}
	w.commit(t, streams.Lane("hall", "a", lanes), &telemetryv1.Batch{Origin: &telemetryv1.Origin{
		Incarnation: s.CachedInfo().Created.UnixNano(), Sequence: 1,
	}})
	publish(t, c, 1, "sensors/hall/a/n", "2")
	w.drained(t)
	if got, want := w.readings(t), []string{"mqtt hall/a/n 1", "mqtt hall/a/n 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := r.value(t, "headwater_bridge_resumes_total", "moved"); n != 1 {
		t.Errorf("reading began anew %v times for a lane that moved, want 1", n)
	}
}

func TestFullStreamLosesNothing(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	l := w.publishLoad(t, 4)
	l.more(t, 500)
	limit := func(bytes int64) {
		t.Helper()
		s, err := w.js.Stream(t.Context(), streams.StreamTelemetry)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxBytes = bytes
		if _, err := w.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	streamtest.Eventually(t, "the bridge says that the stream is full", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "takes no more")
	})
	l.more(t, 500)
	l.stop()
	if w.unacknowledged(t) == 0 {
		t.Error("nothing waits while the stream is full")
	}
	limit(64 << 20)
	streamtest.Eventually(t, "the bridge is ready again", func() bool { return r.Ready() == nil })
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

func TestStreamOfDevicesMadeAnew(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "d")
	for n := range 5 {
		publish(t, c, 1, "sensors/hall/a/n", strconv.Itoa(n))
	}
	w.drained(t)
	if err := w.devices.DeleteStream(t.Context(), streams.StreamMQTT); err != nil {
		t.Fatal(err)
	}
	if err := streams.EnsureDevices(t.Context(), w.devices, streams.DeviceOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	for n := 5; n < 8; n++ {
		publish(t, c, 1, "sensors/hall/a/n", strconv.Itoa(n))
	}
	streamtest.Eventually(t, "what came into the new stream is stored", func() bool { return len(w.readings(t)) == 8 })
	if n := r.value(t, "headwater_bridge_input_incarnations_total", ""); n != 1 {
		t.Errorf("%v alarms, want 1", n)
	}
}

// TestDurableIsWaitedFor shows that the bridge looks again when it could not
// begin to read.
func TestDurableIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "d")
	if err := w.devices.DeleteConsumer(t.Context(), streams.StreamMQTT, streams.ConsumerBridge); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the bridge says what is missing", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "look up consumer "+streams.ConsumerBridge)
	})
	if err := streams.EnsureDevices(t.Context(), w.devices, streams.DeviceOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the bridge reads again", func() bool { return r.Ready() == nil })
	publish(t, c, 1, "sensors/hall/d/m", "1")
	w.drained(t)
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestClockSurvivesAFailedProbe shows that the clock of the lanes moves on when
// the server once gave no answer about the stream, also while no device sends
// anything.
func TestClockSurvivesAFailedProbe(t *testing.T) {
	w := newWorld(t)
	var failNext atomic.Bool
	r := w.start(t, func(_ *bridge.Config, d *bridge.Deps) { d.Devices = silentOnce{d.Devices, &failNext} })
	clock := func() float64 { return r.value(t, "headwater_bridge_clock_seconds", "") }
	streamtest.Eventually(t, "the clock moves", func() bool { return clock() > 0 })
	failNext.Store(true)
	streamtest.Eventually(t, "a probe fails", func() bool { return !failNext.Load() })
	before := clock()
	streamtest.Eventually(t, "the clock moves on", func() bool { return clock() > before+2 })
}

// silentOnce is a JetStream that once, when it is told, gives no answer about a
// stream.
type silentOnce struct {
	jetstream.JetStream
	failNext *atomic.Bool
}

func (s silentOnce) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	return silentStream{stream, s.failNext}, err
}

type silentStream struct {
	jetstream.Stream
	failNext *atomic.Bool
}

func (s silentStream) Info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	if s.failNext.CompareAndSwap(true, false) {
		return nil, nats.ErrTimeout
	}
	return s.Stream.Info(ctx, opts...)
}

func TestClockMovesEveryLane(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	w.start(t)
	last := func() map[int]time.Time {
		clocks := make(map[int]time.Time)
		for _, b := range w.batches(t) {
			if c := b.GetClock().GetCaughtUp(); c != 0 {
				clocks[b.lane] = time.Unix(0, c)
			}
		}
		return clocks
	}
	streamtest.Eventually(t, "the clock of every lane moves though nothing comes", func() bool {
		clocks := last()
		for lane := range lanes {
			if !clocks[lane].After(began) {
				return false
			}
		}
		return true
	})
	for lane, clock := range last() {
		if clock.After(time.Now()) {
			t.Errorf("the clock of lane %d is ahead: %s", lane, clock)
		}
	}
	w.checkClock(t)
}

func TestClockWaitsForBacklog(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	l := w.publishLoad(t, 8)
	l.more(t, 3000)
	r := w.start(t, noLogins)
	l.more(t, 3000)
	streamtest.Eventually(t, "the clock moves under load", func() bool { return r.value(t, "headwater_bridge_clock_seconds", "") > 0 })
	w.checkExactlyOnce(t, l)
	if clocks := w.checkClock(t); clocks < lanes {
		t.Errorf("%d clocks, want one a lane or more", clocks)
	}
}

func TestTooLargePayload(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	large := strings.Repeat("x", streams.MaxDevicePayload+1)
	greedy := w.device(t, "greedy")
	greedy.Publish("sensors/hall/d/m", 1, false, large)
	streamtest.Eventually(t, "the connection is closed", func() bool { return !greedy.IsConnected() })
	streamtest.Eventually(t, "the closed connection is counted", func() bool {
		return r.value(t, "headwater_bridge_connections_closed_total", "refused") == 1
	})
	c := w.device(t, "d")
	publish(t, c, 0, "sensors/hall/d/m", large)
	publish(t, c, 1, "sensors/hall/d/m", "1")
	w.drained(t)
	var dead []streams.DeadLetter
	streamtest.Eventually(t, "the message with QoS 0 is a dead letter", func() bool {
		dead = w.deadLetters(t)
		return len(dead) > 0
	})
	if len(dead) != 1 || dead[0].Reason != streams.ReasonTooLarge || len(dead[0].Payload) != len(large) {
		t.Errorf("dead letters: %d, the first for %s", len(dead), dead[0].Reason)
	}
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

func TestRefusedTopicClosesItsConnectionOnly(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	for i, topic := range []string{"sensors/hall/a b/m", "sensors/+/d/m", "sensors/hall/#"} {
		odd := w.device(t, fmt.Sprintf("odd-%d", i))
		odd.Publish(topic, 1, false, "1")
		streamtest.Eventually(t, "the connection that published on "+topic+" is closed", func() bool { return !odd.IsConnected() })
		publish(t, c, 1, "sensors/hall/d/m", strconv.Itoa(i))
	}
	w.drained(t)
	if got, want := w.readings(t), []string{"mqtt hall/d/m 0", "mqtt hall/d/m 1", "mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQoS0IsStoredOrCounted(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	c := w.device(t, "d")
	const n = 5000
	for i := range n {
		c.Publish("sensors/hall/d/m", 0, false, strconv.Itoa(i))
	}
	publish(t, c, 1, "sensors/hall/d/last", "1")
	streamtest.Eventually(t, "every message is stored or counted", func() bool {
		return r.value(t, "headwater_bridge_readings_total", "0")+r.value(t, "headwater_bridge_dropped_total", "") == n
	})
	stored := 0
	for _, line := range w.readings(t) {
		if strings.HasPrefix(line, "mqtt0 hall/d/m ") {
			stored++
		}
	}
	if want := int(r.value(t, "headwater_bridge_readings_total", "0")); stored != want {
		t.Errorf("%d readings stored, %d counted", stored, want)
	}
}

func TestNothingIsAcceptedBeforeTheDurable(t *testing.T) {
	s := streamtest.Run(t)
	w := &world{Server: s, js: s.JS(t), devices: s.DevicesJS(t)}
	if _, err := streams.Ensure(t.Context(), w.js, streams.Options{Lanes: lanes, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	r := w.startUnready(t)
	streamtest.Eventually(t, "the bridge waits for its durable", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), streams.StreamMQTT)
	})
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + w.MQTT()).SetClientID("d").SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(within) || token.Error() == nil {
		t.Errorf("a device connected: %v", token.Error())
	}
	if err := streams.EnsureDevices(t.Context(), w.devices, streams.DeviceOptions{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the bridge is ready", func() bool { return r.Ready() == nil })
	publish(t, w.device(t, "d"), 1, "sensors/hall/d/m", "1")
	w.drained(t)
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPurgedLane shows that a lane whose last message was purged goes on.
func TestPurgedLane(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "sensors/hall/d/m", "1")
	w.drained(t)
	s, err := w.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(streams.TelemetryFilter(streams.Lane("hall", "d", lanes)))); err != nil {
		t.Fatal(err)
	}
	publish(t, c, 1, "sensors/hall/d/m", "2")
	w.drained(t)
	if got, want := w.readings(t), []string{"mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
