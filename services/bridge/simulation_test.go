package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/topic"
	"headwater/services/internal/credentials"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/lease"
	"headwater/services/internal/registry"
	"headwater/services/internal/simulation"
	"headwater/services/internal/zones"
	"headwater/streams"
)

const (
	simLanes = 3
	// simSeeds is how many seeds run by default.
	simSeeds = 250
	// drainTime bounds, by the simulation's clock, how long it takes until all is
	// acknowledged when nothing fails any more: a lease that runs out, the longest pause
	// between two attempts, and a device that sends again.
	drainTime = 2 * time.Minute
	// keepTime is how long TELEMETRY keeps at least: the janitor goes by hours.
	keepTime = 3 * time.Minute
	// idsKept is how long a stream knows the ids of what it stored.
	idsKept = 2 * time.Minute
)

// simulated is a message of a device with QoS 1 or 2, which sends it until it is
// acknowledged.
type simulated struct {
	// value is unlike that of any other.
	value           float64
	device, subject string
	payload         string
	poison          bool
	// once is the id of a message with QoS 2.
	once string
	// sends is how often it was sent, acked when it was acknowledged.
	sends int
	acked bool
}

// broker is nats-server as far as it hands messages of devices to bridges and waits
// for answers.
type broker struct {
	mu      sync.Mutex
	rng     *rand.Rand
	ears    []*simEar
	waiting map[string]*simulated
	serial  int64
	// mute loses answers and messages now and then.
	faults bool
	// ended says that the simulation is over.
	ended bool
	// early acknowledges what no bridge has answered.
	early bool
	// down says that no server runs.
	down bool
}

// simEar hears what the broker says, in order.
type simEar struct {
	broker *broker
	filter string
	js     *simulation.Client
	queue  chan *nats.Msg
	quit   chan struct{}
	done   chan struct{}
}

func (e *simEar) dropped() int { return 0 }

func (e *simEar) stop() {
	b := e.broker
	b.mu.Lock()
	b.ears = slices.DeleteFunc(b.ears, func(other *simEar) bool { return other == e })
	b.mu.Unlock()
	close(e.quit)
	<-e.done
}

func (e *simEar) run(hear func(*nats.Msg)) {
	defer close(e.done)
	for {
		select {
		case m := <-e.queue:
			time.Sleep(50 * time.Microsecond) //nolint:forbidigo // the clock of the bubble
			if !e.js.Dead() {
				hear(m)
			}
		case <-e.quit:
			return
		}
	}
}

// tell hands a message to those who hear it. The lock is held.
func (b *broker) tell(filter string, m *nats.Msg) {
	for _, e := range b.ears {
		if e.filter != filter || b.faults && b.rng.IntN(200) == 0 {
			continue
		}
		select {
		case e.queue <- m:
		default: // a slow consumer
		}
	}
}

// send has a device send a message, the first time or again.
func (b *broker) send(m *simulated) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.acked || b.ended {
		return
	}
	if b.down {
		b.later(m)
		return
	}
	m.sends++
	m.acked = m.acked || b.early
	b.serial += 1 + b.rng.Int64N(300)
	before := "$MQTT.JSA.server.MS.ABCDEFGHIJKL"
	if m.once == "" && b.serial%2 == 0 {
		before = streams.MQTTAnswersTo("front" + strconv.FormatInt(b.serial%4, 10))
	}
	reply := string(streams.AppendReplyNumber([]byte(before), b.serial))
	b.waiting[reply] = m
	msg := &nats.Msg{Subject: m.subject, Reply: reply, Header: nats.Header{}, Data: []byte(m.payload)}
	if m.once != "" {
		msg.Header.Set(onceHeader, m.once)
	}
	b.tell(streams.MQTTAll, msg)
	time.AfterFunc(streams.AnswerTimeout, func() { b.end(reply, nil) })
}

// end is what nats-server or a front does with an answer, or without one at the end: it
// acknowledges the messages to their devices, or closes the connections.
func (b *broker) end(reply string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if body != nil {
		b.tell(streams.MQTTAnswers, &nats.Msg{Subject: reply, Data: body})
	}
	if !streams.IsStoredTogether(reply) {
		b.endOne(reply, body)
	} else if err := streams.DecodeReplies(body, func(reply string) { b.endOne(reply, stored) }); err != nil {
		panic(err)
	}
}

func (b *broker) endOne(reply string, body []byte) {
	m := b.waiting[reply]
	delete(b.waiting, reply)
	switch {
	case m == nil:
	case bytes.Equal(body, stored):
		m.acked = true
	default:
		b.later(m)
	}
}

// later has the device of a message connect and send it again.
func (b *broker) later(m *simulated) { time.AfterFunc(time.Second, func() { b.send(m) }) }

// setDown ends the server with kill -9, or starts it again: what it has not delivered
// is gone, and so are the connections of all devices.
func (b *broker) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
	if !down {
		return
	}
	for _, m := range b.waiting {
		b.later(m)
	}
	clear(b.waiting)
	for _, e := range b.ears {
		e.lose()
	}
}

// cut loses what is on its way to one of those who hear.
func (b *broker) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ears) == 0 {
		return
	}
	b.ears[b.rng.IntN(len(b.ears))].lose()
}

// lose loses what is on its way. The lock of the broker is held.
func (e *simEar) lose() {
	for {
		select {
		case <-e.queue:
		default:
			return
		}
	}
}

// simWire is the connection of one bridge to the broker.
type simWire struct {
	*broker

	js *simulation.Client
}

func (w simWire) listen(subject string, hear func(*nats.Msg)) (ear, error) {
	if w.js.Dead() {
		return nil, nats.ErrConnectionClosed
	}
	e := &simEar{
		broker: w.broker, filter: subject, js: w.js,
		queue: make(chan *nats.Msg, 10000), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go e.run(hear)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ears = append(w.ears, e)
	return e, nil
}

func (w simWire) answer(reply string, body []byte) error {
	w.mu.Lock()
	lost := w.faults && w.rng.IntN(100) == 0
	dies := w.faults && w.rng.IntN(1000) == 0
	delay := time.Duration(w.rng.Int64N(int64(2 * time.Millisecond)))
	w.mu.Unlock()
	if dies {
		w.js.Kill()
	}
	if w.js.Dead() {
		return nats.ErrConnectionClosed
	}
	if !lost {
		time.AfterFunc(delay, func() { w.end(reply, body) })
	}
	return nil
}

func (w simWire) flush(context.Context) error {
	time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
	if w.js.Dead() {
		return nats.ErrConnectionClosed
	}
	return nil
}

// world is one run of the simulation.
type world struct {
	rng     *rand.Rand
	cluster *simulation.Cluster
	admin   *simulation.Client
	crew    *simulation.Crew
	broker  *broker
	log     *slog.Logger
	sent    []*simulated
	// blocked is until when nothing can be stored; zero while all can be.
	blocked time.Time
	// full is when the bridges learn that the disk is full, in nanoseconds since the
	// Unix epoch; 0 while it is not.
	full atomic.Int64
}

func newWorld(ctx context.Context, seed uint64) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := &world{
		rng: rng, cluster: simulation.NewCluster(), log: slog.New(slog.DiscardHandler),
		broker: &broker{rng: rand.New(rand.NewPCG(seed, 3)), waiting: make(map[string]*simulated), faults: true},
	}
	if os.Getenv("HEADWATER_SIMULATION_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w.crew = w.cluster.NewCrew(seed, simulation.RandomOdds(rng), w.run)
	w.admin = w.cluster.Connect(seed, "admin", nil)
	if _, err := streams.Ensure(ctx, w.admin, streams.Options{Lanes: simLanes}); err != nil {
		return nil, err
	}
	return w, streams.EnsureDevices(ctx, w.admin, streams.DeviceOptions{})
}

// run is one process: a bridge as far as it takes what is to be acknowledged.
func (w *world) run(ctx context.Context, js *simulation.Client, name string) error {
	log, reg := w.log.With("worker", name), prometheus.NewRegistry()
	cfg := DefaultConfig()
	topics, err := topic.New(cfg.Topics...)
	if err != nil {
		return err
	}
	s := &Service{
		cfg: cfg, deps: Deps{JS: js, Devices: js, Log: log, Refuse: w.refuse}, topics: topics, metrics: newMetrics(reg),
		dead: deadletter.New(js, log, reg), registry: registry.New(js, log, reg), zones: zones.New(js, log),
		credentials: credentials.NewSet(js, log, nil),
		keeper: lease.New(streams.ServiceBridge, []int{account},
			lease.Deps{JS: js, Log: log, Metrics: lease.NewMetrics(reg, streams.ServiceBridge)}),
		wire: simWire{w.broker, js}, kept: newQueue(1 << 20), lossy: &lossy{queue: newQueue(0)},
	}
	s.pace = newPace(cfg, nil, s.metrics)
	s.ear, err = s.wire.listen(streams.MQTTAll, s.hear)
	if err != nil {
		return nil // it has died
	}
	defer s.ear.stop()
	s.hearOthers(true)
	defer s.hearOthers(false)
	if _, err := s.awaitStreams(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	return s.keeper.Run(ctx, func(ctx context.Context, _ int) error { return s.carryKept(ctx, simLanes) })
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // stopped, nothing is wrong
	}
	return err
}

// send has a device send a message.
func (w *world) send() {
	m := &simulated{value: float64(len(w.sent)), device: "door-" + strconv.Itoa(w.rng.IntN(6)), poison: w.rng.IntN(25) == 0}
	name := "sensors/hall/" + m.device + "/temperature"
	m.payload = strconv.FormatFloat(m.value, 'f', -1, 64)
	switch {
	case m.poison && w.rng.IntN(2) == 0:
		name = "mistyped/" + m.payload
	case m.poison:
		m.payload = `{"temperature":` + m.payload
	}
	if w.rng.IntN(6) == 0 {
		m.once = "q2-" + strconv.Itoa(len(w.sent))
	}
	m.subject = strings.TrimSuffix(streams.MQTTAll, ">") + strings.ReplaceAll(name, "/", ".")
	w.sent = append(w.sent, m)
	w.broker.send(m)
}

var errDiskFull = errors.New("the disk is full")

func (w *world) refuse() error {
	if at := w.full.Load(); at != 0 && time.Now().UnixNano() >= at {
		return errDiskFull
	}
	return nil
}

// trouble causes faults that affect more than one call.
func (w *world) trouble(ctx context.Context) error {
	if err := w.crew.Trouble(w.rng, 3); err != nil {
		return err
	}
	if !w.blocked.IsZero() {
		if time.Now().After(w.blocked) {
			return w.clear(ctx)
		}
		return nil
	}
	switch w.rng.IntN(25) {
	case 0:
		return w.purge(ctx)
	case 1:
		w.broker.cut()
	case 2:
		w.restart()
	case 3:
		w.cluster.SetFull(true)
		w.full.Store(time.Now().UnixNano() + w.rng.Int64N(int64(2*time.Second)))
		w.block()
	case 4:
		w.block()
		return w.limit(ctx, 1)
	}
	return nil
}

// block notes that nothing can be stored for a time, which may be longer than
// nats-server waits for an answer.
func (w *world) block() {
	w.blocked = time.Now().Add(time.Second + time.Duration(w.rng.Int64N(int64(2*streams.AnswerTimeout))))
}

// clear makes room on the disk and in the stream. A server whose disk was full stores
// again only after a restart.
func (w *world) clear(ctx context.Context) error {
	w.blocked = time.Time{}
	w.restart()
	w.cluster.SetFull(false)
	w.full.Store(0)
	return w.limit(ctx, streams.DefaultMaxBytes)
}

// limit bounds TELEMETRY, in bytes.
func (w *world) limit(ctx context.Context, bytes int64) error {
	stream, err := w.admin.Stream(ctx, streams.StreamTelemetry)
	if err != nil {
		return err
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = bytes
	_, err = w.admin.CreateOrUpdateStream(ctx, cfg)
	return err
}

// restart kills nats-server and starts it again: it has what it stored, but not the
// leases, which it kept in memory.
func (w *world) restart() {
	w.cluster.SetDown(true)
	w.broker.setDown(true)
	time.Sleep(time.Duration(w.rng.Int64N(int64(5 * time.Second)))) //nolint:forbidigo // the clock of the bubble
	w.cluster.DropBucket(streams.BucketLeases)
	w.cluster.DropBucket(streams.BucketWorkers)
	w.cluster.SetDown(false)
	w.broker.setDown(false)
}

// purge removes from TELEMETRY what the janitor may.
func (w *world) purge(ctx context.Context) error {
	stream, err := w.admin.Stream(ctx, streams.StreamTelemetry)
	if err != nil {
		return err
	}
	for _, m := range w.cluster.Kept(streams.StreamTelemetry, streams.TelemetryAll) {
		if time.Since(m.Time) < keepTime {
			return stream.Purge(ctx, jetstream.WithPurgeSequence(m.Sequence))
		}
	}
	return nil
}

// simulate is one run: messages, faults, then peace, in which all must be
// acknowledged.
func simulate(ctx context.Context, seed uint64, spoil func(*world)) (err error) {
	w, err := newWorld(ctx, seed)
	if err != nil {
		return err
	}
	spoil(w)
	defer func() {
		err = errors.Join(err, w.crew.RemoveAll(true))
		w.broker.mu.Lock()
		w.broker.ended = true
		w.broker.mu.Unlock()
	}()
	for range 40 + w.rng.IntN(60) {
		for range w.rng.IntN(20) {
			w.send()
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(3 * time.Second)))) //nolint:forbidigo // the clock of the bubble
		if err := w.trouble(ctx); err != nil {
			return err
		}
	}
	w.broker.mu.Lock()
	w.broker.faults = false
	w.broker.mu.Unlock()
	if err := w.clear(ctx); err != nil {
		return err
	}
	if err := w.crew.Peace(); err != nil {
		return err
	}
	err = simulation.Await(drainTime, "all messages of devices are acknowledged", func() bool {
		w.broker.mu.Lock()
		defer w.broker.mu.Unlock()
		return !slices.ContainsFunc(w.sent, func(m *simulated) bool { return !m.acked })
	})
	if err != nil {
		return err
	}
	if err := w.crew.RemoveAll(false); err != nil {
		return err
	}
	return errors.Join(w.verify(), w.verifyDeadLetters())
}

// place is where TELEMETRY holds a reading.
type place struct {
	lane     int
	sequence uint64
	time     int64
	source   streams.Source
	stored   time.Time
}

// clock says that up to a time, everything is in its lane.
type clock struct {
	sequence uint64
	caughtUp int64
}

// verify checks that TELEMETRY holds every reading exactly once, or at most as often
// as its device sent it, that the lanes' clocks were right, and that their counts add
// up.
func (w *world) verify() error {
	places := make(map[float64][]place)
	clocks := make(map[int][]clock)
	total := make(map[int]uint64)
	for _, m := range w.cluster.Archive(streams.StreamTelemetry, streams.TelemetryAll) {
		lane, source, err := streams.ParseTelemetry(m.Subject)
		if err != nil {
			return err
		}
		batch, err := streams.DecodeTelemetry(m.Data)
		if err != nil {
			return err
		}
		for r := range batch.Readings() {
			places[r.Value] = append(places[r.Value], place{lane, m.Sequence, r.Time, source, m.Time})
		}
		if source != streams.SourceMQTT {
			continue
		}
		if before := batch.GetTotalBefore(); before != total[lane] && before != 0 {
			return fmt.Errorf("message %d of lane %d counts %d readings before it, want %d", m.Sequence, lane, before, total[lane])
		}
		total[lane] = batch.GetTotalBefore() + batch.Total()
		if batch.Clock != nil {
			clocks[lane] = append(clocks[lane], clock{m.Sequence, batch.Clock.CaughtUp})
		}
	}
	for _, m := range w.sent {
		at := places[m.value]
		if m.poison {
			continue
		}
		most := m.sends
		if m.once != "" && len(at) > 1 && at[len(at)-1].stored.Sub(at[0].stored) < idsKept {
			most = 1
		}
		if len(at) == 0 || len(at) > most {
			return fmt.Errorf("reading %v of %s is in %d messages %v, its device sent it %d times (QoS 2: %q)", m.value, m.device, len(at), at, m.sends, m.once)
		}
		for _, p := range at {
			if lane := streams.Lane("hall", m.device, simLanes); p.lane != lane {
				return fmt.Errorf("reading %v of %s is in lane %d, want %d", m.value, m.device, p.lane, lane)
			}
			for _, c := range clocks[p.lane] {
				// What is not fenced by a compare-and-set may come late.
				if p.source == streams.SourceMQTT && p.sequence > c.sequence && p.time <= c.caughtUp {
					return fmt.Errorf("message %d of lane %d says that all up to %d is there, and reading %v, which arrived at %d, comes in message %d",
						c.sequence, p.lane, c.caughtUp, m.value, p.time, p.sequence)
				}
			}
		}
	}
	return nil
}

// verifyDeadLetters checks that what nobody can read is kept.
func (w *world) verifyDeadLetters() error {
	letters := w.cluster.Archive(streams.StreamDeadLetters, streams.DeadLettersAll)
	for _, m := range w.sent {
		if m.poison && !slices.ContainsFunc(letters, func(l simulation.Stored) bool { return string(l.Data) == m.payload }) {
			return fmt.Errorf("message %v can't be read, and is no dead letter either", m.value)
		}
	}
	return nil
}

// TestSimulation runs bridges while everything fails that can: each reading that is
// acknowledged to its device is in its lane, as often as the device sent it at most,
// and when the faults end, all are.
func TestSimulation(t *testing.T) {
	simulation.Seeds(t, simSeeds, func(t *testing.T, seed uint64) error {
		return simulate(t.Context(), seed, func(*world) {})
	})
}

// TestSimulationFindsWhatIsMissing takes away what the guarantee rests on: the
// simulation must notice within a few seeds.
func TestSimulationFindsWhatIsMissing(t *testing.T) {
	simulation.Finds(t, map[string]func(*simulation.Cluster){
		"no compare-and-set":      func(c *simulation.Cluster) { c.IgnoreExpected = true },
		"what is stored vanishes": func(c *simulation.Cluster) { c.ForgetEvery = 20 },
	}, func(t *testing.T, seed uint64, spoil func(*simulation.Cluster)) error {
		return simulate(t.Context(), seed, func(w *world) { spoil(w.cluster) })
	})
}

// TestSimulationFindsAnEarlyAnswer has the broker acknowledge what no bridge has
// answered.
func TestSimulationFindsAnEarlyAnswer(t *testing.T) {
	simulation.Finds(t, map[string]func(*simulation.Cluster){"an early answer": nil},
		func(t *testing.T, seed uint64, _ func(*simulation.Cluster)) error {
			return simulate(t.Context(), seed, func(w *world) { w.broker.early = true })
		})
}

// takeoverTime is how soon a bridge that stands by answers after the one that carries was
// killed: the time of the lease, and the time to take it and to load the lanes. Of the 4 s
// that are promised it leaves the rest to a slow machine.
const takeoverTime = 3500 * time.Millisecond

// TestTakeoverTime kills the bridge that carries, again and again, and looks when the
// next one answers. The clock is the simulation's, so that a slow machine does not change
// the result; the chaos command measures what a machine adds.
func TestTakeoverTime(t *testing.T) {
	simulation.Seeds(t, 20, func(t *testing.T, seed uint64) error {
		w, err := newWorld(t.Context(), seed)
		if err != nil {
			return err
		}
		w.broker.faults = false
		w.crew.Calm(simulation.Odds{})
		defer func() { _ = w.crew.RemoveAll(true) }()
		longest := time.Duration(0)
		for range 20 {
			for w.crew.Len() < 2 {
				w.crew.Start()
				time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
			}
			// The oldest carries.
			if err := w.answered(time.Minute); err != nil {
				return err
			}
			time.Sleep(time.Duration(w.rng.Int64N(int64(2 * time.Second)))) //nolint:forbidigo // the clock of the bubble
			if err := w.crew.Remove(0, true); err != nil {
				return err
			}
			killed := time.Now()
			if err := w.answered(takeoverTime); err != nil {
				return err
			}
			longest = max(longest, time.Since(killed))
		}
		t.Logf("seed %d: the longest takeover took %s", seed, longest)
		return errors.Join(w.verify(), w.verifyDeadLetters())
	})
}

// answered sends a message and waits for its acknowledgement.
func (w *world) answered(within time.Duration) error {
	w.send()
	m := w.sent[len(w.sent)-1]
	for began := time.Now(); ; {
		w.broker.mu.Lock()
		acked := m.acked
		w.broker.mu.Unlock()
		if acked {
			return nil
		}
		if time.Since(began) > within {
			return fmt.Errorf("message %v is not acknowledged within %s", m.value, within)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the clock of the bubble
	}
}
