package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/topic"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/lease"
	"headwater/services/internal/registry"
	"headwater/services/internal/simulation"
	"headwater/streams"
)

const (
	simLanes = 3
	// simSeeds is how many seeds run by default.
	simSeeds = 250
	// drainTime bounds, by the simulation's clock, how long the input takes to be
	// stored when nothing fails any more: a lease that runs out, the longest pause
	// between two attempts, and what an earlier reader holds.
	drainTime = 2 * time.Minute
)

// simulated is a message that a device sent, and nats-server acknowledged.
type simulated struct {
	// value is unlike that of any other.
	value    float64
	device   string
	sequence uint64
	poison   bool
	// lost says that the stream was made anew before the message was let go of.
	lost bool
}

// world is one run of the simulation.
type world struct {
	rng     *rand.Rand
	cluster *simulation.Cluster
	admin   *simulation.Client
	crew    *simulation.Crew
	log     *slog.Logger
	sent    []*simulated
	// emptied says that TELEMETRY was emptied while nothing was on its way: what the
	// lanes counted begins anew.
	emptied bool
	// recreate has the streams of devices and of telemetry made anew.
	recreate bool
}

func newWorld(ctx context.Context, seed uint64) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := &world{
		rng: rng, cluster: simulation.NewCluster(), log: slog.New(slog.DiscardHandler), recreate: rng.IntN(3) == 0,
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

// run is one process: a bridge as far as it reads what is kept for it.
func (w *world) run(ctx context.Context, js *simulation.Client, name string) error {
	log, reg := w.log.With("worker", name), prometheus.NewRegistry()
	cfg := DefaultConfig()
	topics, err := topic.New(cfg.Topics...)
	if err != nil {
		return err
	}
	s := &Service{
		cfg: cfg, deps: Deps{JS: js, Devices: js, Log: log}, topics: topics, metrics: newMetrics(reg),
		dead: deadletter.New(js, log, reg), registry: registry.New(js, log, reg),
		keeper: lease.New(streams.ServiceBridge, []int{account},
			lease.Deps{JS: js, Log: log, Metrics: lease.NewMetrics(reg, streams.ServiceBridge)}),
	}
	if _, err := s.waitForStreams(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	return s.keeper.Run(ctx, func(ctx context.Context, _ int) error {
		return newReader(s, js, simLanes).run(ctx)
	})
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to stop, so nothing is wrong
	}
	return err
}

// send has a device send a message.
func (w *world) send(ctx context.Context) error {
	m := &simulated{value: float64(len(w.sent)), device: "door-" + strconv.Itoa(w.rng.IntN(6)), poison: w.rng.IntN(25) == 0}
	name, payload := "sensors/hall/"+m.device+"/temperature", strconv.FormatFloat(m.value, 'f', -1, 64)
	switch {
	case m.poison && w.rng.IntN(2) == 0:
		name = "mistyped/" + payload
	case m.poison:
		payload = `{"temperature":` + payload
	}
	subject := strings.TrimSuffix(streams.MQTTAll, ">") + strings.ReplaceAll(name, "/", ".")
	ack, err := w.admin.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: []byte(payload)})
	if err != nil {
		return err
	}
	m.sequence = ack.Sequence
	w.sent = append(w.sent, m)
	return nil
}

// trouble is what befalls more than one call.
func (w *world) trouble(ctx context.Context) error {
	if err := w.crew.Trouble(w.rng, 3); err != nil {
		return err
	}
	switch w.rng.IntN(25) {
	case 0:
		return w.purge(ctx)
	case 1:
		if w.recreate && w.rng.IntN(2) == 0 {
			return w.remakeDevices(ctx)
		}
	case 2:
		if w.recreate {
			w.cluster.Recreate(streams.StreamTelemetry)
		}
	}
	return nil
}

// purge removes from TELEMETRY what the janitor may: all but the last message of
// each lane, or all of it when no input waits.
func (w *world) purge(ctx context.Context) error {
	stream, err := w.admin.Stream(ctx, streams.StreamTelemetry)
	if err != nil {
		return err
	}
	if len(w.cluster.Kept(streams.StreamMQTT, streams.MQTTAll)) == 0 && w.rng.IntN(2) == 0 {
		w.emptied = true
		return stream.Purge(ctx)
	}
	var until uint64
	for lane := range simLanes {
		last, ok := w.cluster.LastOf(streams.TelemetrySubject(lane, streams.SourceMQTT))
		if !ok {
			return nil
		}
		if lane == 0 || last.Sequence < until {
			until = last.Sequence
		}
	}
	return stream.Purge(ctx, jetstream.WithPurgeSequence(until))
}

// remakeDevices has somebody delete the stream of the devices, and make it anew:
// what waits in it is gone.
func (w *world) remakeDevices(ctx context.Context) error {
	waiting := make(map[uint64]bool)
	for _, m := range w.cluster.Kept(streams.StreamMQTT, streams.MQTTAll) {
		waiting[m.Sequence] = true
	}
	for _, m := range w.sent {
		m.lost = m.lost || waiting[m.sequence]
	}
	w.cluster.Recreate(streams.StreamMQTT)
	return streams.EnsureDevices(ctx, w.admin, streams.DeviceOptions{})
}

// simulate is one run: input, faults, then peace, in which all must be stored.
func simulate(ctx context.Context, seed uint64, spoil func(*world)) error {
	w, err := newWorld(ctx, seed)
	if err != nil {
		return err
	}
	spoil(w)
	defer func() { _ = w.crew.RemoveAll(true) }()
	for range 40 + w.rng.IntN(60) {
		for range w.rng.IntN(20) {
			if err := w.send(ctx); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(3 * time.Second)))) //nolint:forbidigo // the clock of the bubble
		if err := w.trouble(ctx); err != nil {
			return err
		}
	}
	if err := w.crew.Peace(); err != nil {
		return err
	}
	err = simulation.Await(drainTime, "all messages of devices are let go of", func() bool {
		return len(w.cluster.Kept(streams.StreamMQTT, streams.MQTTAll)) == 0
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
	incarnation time.Time
	lane        int
	sequence    uint64
}

// clock says that up to a time, everything is in its lane.
type clock struct {
	place
	caughtUp int64
}

// verify checks that TELEMETRY holds every reading exactly once, in order for each
// device, that the lanes' clocks were right, and that their counts add up.
func (w *world) verify() error {
	places := make(map[float64][]place)
	clocks := make(map[int][]clock)
	for lane := range simLanes {
		var before place
		var account uint64
		for _, m := range w.cluster.Archive(streams.StreamTelemetry, streams.TelemetrySubject(lane, streams.SourceMQTT)) {
			batch, err := streams.DecodeTelemetry(m.Data)
			if err != nil {
				return err
			}
			at := place{m.Incarnation, lane, m.Sequence}
			if at.incarnation.Equal(before.incarnation) && !w.emptied && batch.GetBefore() != account {
				return fmt.Errorf("message %d of lane %d counts %d readings before it, want %d", m.Sequence, lane, batch.GetBefore(), account)
			}
			before, account = at, batch.GetBefore()+batch.Account()
			for r := range batch.Readings() {
				places[r.Value] = append(places[r.Value], at)
			}
			if batch.Clock != nil {
				clocks[lane] = append(clocks[lane], clock{at, batch.Clock.CaughtUp})
			}
		}
	}
	var arrivals []time.Time
	for _, m := range w.cluster.Archive(streams.StreamMQTT, streams.MQTTAll) {
		arrivals = append(arrivals, m.Time)
	}
	last := make(map[string]place)
	for i, m := range w.sent {
		if m.poison {
			continue
		}
		at := places[m.value]
		if err := w.once(m, at); err != nil {
			return err
		}
		if len(at) == 0 {
			continue
		}
		if p := last[m.device]; at[0].incarnation.Equal(p.incarnation) && at[0].sequence < p.sequence {
			return fmt.Errorf("reading %v of %s is in message %d, behind that of a later one", m.value, m.device, at[0].sequence)
		}
		last[m.device] = at[len(at)-1]
		for _, c := range clocks[at[0].lane] {
			if !m.lost && at[0].incarnation.Equal(c.incarnation) && at[0].sequence > c.sequence && arrivals[i].UnixNano() <= c.caughtUp {
				return fmt.Errorf("message %d of lane %d says that all up to %d is there, and reading %v, which arrived at %d, comes in message %d",
					c.sequence, c.lane, c.caughtUp, m.value, arrivals[i].UnixNano(), at[0].sequence)
			}
		}
	}
	return nil
}

// once checks how often a reading is in TELEMETRY.
func (w *world) once(m *simulated, at []place) error {
	for i, p := range at {
		if lane := streams.Lane("hall", m.device, simLanes); p.lane != lane {
			return fmt.Errorf("reading %v of %s is in lane %d, want %d", m.value, m.device, p.lane, lane)
		}
		if i > 0 && p.incarnation.Equal(at[i-1].incarnation) {
			return fmt.Errorf("reading %v is in messages %d and %d of lane %d", m.value, at[i-1].sequence, p.sequence, p.lane)
		}
	}
	if len(at) == 0 && !m.lost {
		return fmt.Errorf("reading %v, message %d, is not in the lane of %s", m.value, m.sequence, m.device)
	}
	return nil
}

// verifyDeadLetters checks that what nobody can read is kept.
func (w *world) verifyDeadLetters() error {
	letters := w.cluster.Archive(streams.StreamDeadLetters, streams.DeadLettersAll)
	for _, m := range w.sent {
		value := strconv.FormatFloat(m.value, 'f', -1, 64)
		if m.poison && !m.lost && !slices.ContainsFunc(letters, func(l simulation.Stored) bool {
			return string(l.Data) == value || string(l.Data) == `{"temperature":`+value
		}) {
			return fmt.Errorf("message %d can't be read, and is no dead letter either", m.sequence)
		}
	}
	return nil
}

// TestSimulation runs bridges while everything fails that can: each reading that
// was acknowledged to its device is in its lane exactly once, and when the faults
// end, all are.
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
		"no going back":           func(c *simulation.Cluster) { c.IgnoreReset = true },
	}, func(t *testing.T, seed uint64, spoil func(*simulation.Cluster)) error {
		return simulate(t.Context(), seed, func(w *world) { spoil(w.cluster) })
	})
}
