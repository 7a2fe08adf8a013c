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

// noLogins leaves the log-ins to another process.
func noLogins(_ *bridge.Config, deps *bridge.Deps) { deps.Auth = nil }

// load publishes numbered readings of several devices with QoS 1 until it is stopped, and
// records which were acknowledged.
type load struct {
	mu    sync.Mutex
	acked []string
	count atomic.Int64
	// issued and settled count the readings of each device.
	issued, settled []atomic.Int64
	stop            func()
}

// publishLoad starts the load over as many connections as there are devices.
func (w *world) publishLoad(t *testing.T, devices int) *load {
	t.Helper()
	l := &load{issued: make([]atomic.Int64, devices), settled: make([]atomic.Int64, devices)}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	l.stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(l.stop)
	for i := range devices {
		name := fmt.Sprintf("d%d", i)
		c := w.device(t, name)
		done.Go(func() { l.publish(ctx, t, c, name, i) })
	}
	return l
}

func (l *load) publish(ctx context.Context, t *testing.T, c mqtt.Client, name string, i int) {
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
			l.settled[i].Add(1)
		}
	})
	// Not faster than a slow machine with the race detector can carry.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			l.issued[i].Add(1)
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

// allUntilNow waits until everything that was published before is acknowledged. A standby does
// not know of what was published before it began to listen.
func (l *load) allUntilNow(t *testing.T) {
	t.Helper()
	for i := range l.issued {
		target := l.issued[i].Load()
		streamtest.Eventually(t, "what was published is acknowledged", func() bool { return l.settled[i].Load() >= target })
	}
}

// checkExactlyOnce compares TELEMETRY with what was acknowledged to the devices.
func (w *world) checkExactlyOnce(t *testing.T, l *load) {
	t.Helper()
	l.stop()
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

func TestReconnectsUnderLoad(t *testing.T) {
	w := newWorld(t)
	var core *nats.Conn
	r := w.start(t, func(_ *bridge.Config, deps *bridge.Deps) { core = deps.JS.Conn() })
	l := w.publishLoad(t, 8)
	for range 3 {
		l.more(t, 1000)
		if err := core.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	l.more(t, 1000)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

// TestDevicesSendAgain loses what is on its way to the bridge, and what the bridge has
// not stored: nats-server closes the connections, and the devices send again. All
// that is acknowledged to them is stored.
func TestDevicesSendAgain(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	r := w.start(t, noLogins)
	w.reconnect = true
	l := w.publishLoad(t, 8)
	for range 2 {
		l.more(t, 1000)
		if err := r.devices.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	l.more(t, 1000)
	// As with kill -9, and nobody stands by.
	r.devices.Close()
	r.cancel()
	w.start(t, noLogins)
	l.more(t, 1000)
	l.stop()
	// When a device connects again, paho.mqtt takes what it has still to send for
	// acknowledged, so some of it may be on its way. What is never sent again, because
	// it was acknowledged, must be there.
	var missing []string
	stored := func() bool {
		got := make(map[string]bool)
		for _, line := range w.readings(t) {
			got[line] = true
		}
		missing = slices.DeleteFunc(slices.Clone(l.acked), func(line string) bool { return got[line] })
		return len(missing) == 0
	}
	defer func() {
		if t.Failed() {
			t.Logf("acknowledged, and not stored: %q", missing)
		}
	}()
	streamtest.Eventually(t, "all that is acknowledged is stored", stored)
	w.checkClock(t)
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
	w.commit(t, streams.Lane("hall", "a", lanes), &telemetryv1.Batch{})
	publish(t, c, 1, "sensors/hall/a/n", "2")
	if got, want := w.readings(t), []string{"mqtt hall/a/n 1", "mqtt hall/a/n 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := r.value(t, "headwater_bridge_resumes_total", "moved"); n != 1 {
		t.Errorf("the lanes were loaded again %v times for one that moved, want 1", n)
	}
}

// heard listens to what nats-server waits for answers to.
func (w *world) heard(t *testing.T) <-chan *nats.Msg {
	t.Helper()
	heard := make(chan *nats.Msg, 100)
	nc := w.devices.Conn()
	sub, err := nc.ChanSubscribe(streams.MQTTAll, heard)
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return heard
}

// TestStoredAndNotAnswered kills a bridge between the store and the answer, and
// starts another only then, which never heard the message: the device gets its
// acknowledgement on the same connection, and the reading is stored once.
func TestStoredAndNotAnswered(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	heard := w.heard(t)
	c := w.device(t, "d")
	token := c.Publish("sensors/hall/d/m", 1, false, "1")
	m := <-heard
	// What the one that was killed stored.
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "hall", Device: "d", Metric: "m"}, 1, 1)
	batch := b.Take(time.Now().UnixNano())
	batch.Answers = streams.EncodeReplies([]string{m.Reply})
	w.commit(t, streams.Lane("hall", "d", lanes), batch)
	if token.WaitTimeout(10 * time.Millisecond) {
		t.Fatal("the message is acknowledged before anybody answers")
	}
	w.start(t, noLogins)
	if !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("the device got no acknowledgement: %v", token.Error())
	}
	publish(t, c, 1, "sensors/hall/d/m", "2")
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1", "mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStoredByAnotherIsNotStoredAgain has a bridge that stands by hear a message that
// the previous one has stored and not answered.
func TestStoredByAnotherIsNotStoredAgain(t *testing.T) {
	w := newWorld(t)
	heard := w.heard(t)
	r := w.start(t)
	// Nothing is stored in between.
	w.limit(t, 1)
	c := w.device(t, "d")
	token := c.Publish("sensors/hall/d/m", 1, false, "1")
	m := <-heard
	streamtest.Eventually(t, "the bridge cannot store", func() bool { return r.value(t, "headwater_bridge_resumes_total", "") > 0 })
	w.limit(t, 64<<20)
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "hall", Device: "d", Metric: "m"}, 1, 1)
	batch := b.Take(time.Now().UnixNano())
	batch.Answers = streams.EncodeReplies([]string{m.Reply})
	w.commit(t, streams.Lane("hall", "d", lanes), batch)
	if !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("the device got no acknowledgement: %v", token.Error())
	}
	if got := w.readings(t); len(got) > 2 {
		t.Errorf("got %q", got)
	}
}

// TestReleasedAgain publishes a message with QoS 2 as nats-server does when its device
// releases it a second time, because it got no answer to the first: it is stored
// once, and both are answered. Another with the same place and other content is
// stored too.
func TestReleasedAgain(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	nc := w.devices.Conn()
	release := func(payload string) {
		t.Helper()
		m := nats.NewMsg("$MQTT.msgs.sensors.hall.d.m")
		m.Header.Set("Nmqtt-Pub", "2")
		m.Header.Set(nats.MsgIdHdr, "q2-7")
		m.Data = []byte(payload)
		answer, err := nc.RequestMsg(m, within)
		if err != nil || !strings.Contains(string(answer.Data), `"stream"`) {
			t.Fatalf("got %v, %v", answer, err)
		}
	}
	for _, payload := range []string{"1", "1", "2", "{", "{"} {
		release(payload)
	}
	if got, want := w.readings(t), []string{"mqtt2 hall/d/m 1", "mqtt2 hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStopUnderLoadDrains hands over in an orderly way, again and again: no
// connection of a device is closed, and nothing is stored twice.
func TestStopUnderLoadDrains(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	r := w.start(t, noLogins)
	l := w.publishLoad(t, 4)
	for range 4 {
		next := w.standBy(t, noLogins)
		l.more(t, 1000)
		r.stop(t)
		next.carries(t)
		l.more(t, 100)
		r = next
	}
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

// limit bounds TELEMETRY.
func (w *world) limit(t *testing.T, bytes int64) {
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

// TestFullStreamLosesNothing has TELEMETRY full for a while: nothing is acknowledged
// meanwhile, and no connection is closed.
func TestFullStreamLosesNothing(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	l := w.publishLoad(t, 4)
	l.more(t, 500)
	w.limit(t, 1)
	streamtest.Eventually(t, "the bridge says that the stream is full", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "takes no more")
	})
	before := l.count.Load()
	streamtest.Eventually(t, "it is tried again", func() bool { return r.value(t, "headwater_bridge_resumes_total", "") > 4 })
	// What was on its way to the devices when the stream became full is not counted yet.
	if n := l.count.Load() - before; n > 200 {
		t.Errorf("%d messages are acknowledged while the stream is full", n)
	}
	w.limit(t, 64<<20)
	streamtest.Eventually(t, "the bridge is ready again", func() bool { return r.Ready() == nil })
	l.more(t, 500)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

// TestHopelessIsRefused has TELEMETRY full for longer than nats-server waits: the
// device is disconnected, so that it learns that nothing was stored.
func TestHopelessIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	w.limit(t, 1)
	c := w.device(t, "d")
	c.Publish("sensors/hall/d/m", 1, false, "1")
	streamtest.Eventually(t, "the connection is closed", func() bool { return !c.IsConnected() })
	if n := r.value(t, "headwater_bridge_refused_total", "timeout"); n != 1 {
		t.Errorf("%v messages refused, want 1", n)
	}
	w.limit(t, 64<<20)
	publish(t, w.device(t, "d"), 1, "sensors/hall/d/m", "2")
	if got, want := w.readings(t), []string{"mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
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

func TestClockUnderLoad(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	l := w.publishLoad(t, 8)
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

func TestNothingIsAcceptedBeforeTheStreams(t *testing.T) {
	s := streamtest.Run(t)
	w := &world{Server: s, js: s.JS(t), devices: s.DevicesJS(t)}
	if _, err := streams.Ensure(t.Context(), w.js, streams.Options{Lanes: lanes, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	r := w.startUnready(t)
	streamtest.Eventually(t, "the bridge waits for the streams of the devices", func() bool {
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
	if got, want := w.readings(t), []string{"mqtt hall/d/m 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPurgedLane shows that a lane keeps working after its last message was purged.
func TestPurgedLane(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	publish(t, c, 1, "sensors/hall/d/m", "1")
	s, err := w.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(streams.TelemetryFilter(streams.Lane("hall", "d", lanes)))); err != nil {
		t.Fatal(err)
	}
	publish(t, c, 1, "sensors/hall/d/m", "2")
	if got, want := w.readings(t), []string{"mqtt hall/d/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestLongTopicReachesNoJournal publishes on a topic that is longer than nats-server's
// journals can write down, retained as well: it becomes a dead letter, and no stream of
// nats-server's takes it.
func TestLongTopicReachesNoJournal(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	c := w.device(t, "d")
	long := "sensors/" + strings.Repeat("x", 65530-len("sensors/"))
	retained := func(topic, payload string) {
		t.Helper()
		if token := c.Publish(topic, 1, true, payload); !token.WaitTimeout(within) || token.Error() != nil {
			t.Fatalf("publish: %v", token.Error())
		}
	}
	publish(t, c, 1, long, "1")
	retained(long, "2")
	retained("sensors/hall/d/m", "4")
	// With QoS 2, nats-server itself refuses it.
	c.Publish(long, 2, false, "3")
	streamtest.Eventually(t, "the connection is closed", func() bool { return !c.IsConnected() })
	for stream, most := range map[string]uint64{streams.StreamMQTT: 0, streams.StreamRetained: 1} {
		s, err := w.devices.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		streamtest.Eventually(t, "nats-server has stored what it stores", func() bool {
			info, err := s.Info(t.Context())
			return err == nil && info.State.Msgs == most
		})
	}
	if dead := w.deadLetters(t); len(dead) != 2 {
		t.Errorf("%d dead letters, want 2", len(dead))
	}
	if got, want := w.readings(t), []string{"mqtt hall/d/m 4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
