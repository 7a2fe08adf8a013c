package processor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/deadletter"
	"headwater/services/internal/lane"
	"headwater/services/internal/process"
	"headwater/services/internal/simulation"
	"headwater/services/processor/internal/machinetest"
	"headwater/services/processor/machine"
	"headwater/streams"
)

const (
	simLanes = 2
	// simSeeds is how many seeds run by default.
	simSeeds = 450
	// drainTime bounds, by the simulation's clock, how long the input takes to
	// drain when nothing fails any more: a lease that runs out, the longest pause
	// between two attempts, and messages that come late.
	drainTime = time.Minute
)

// simRules are the configurations that people change between.
var simRules = []string{
	"rules:\n  - {name: warm, detector: limit, above: 30}\n  - {name: rise, detector: rate, rise: 3, within: 5m}\n  - {name: apart, match: {metric: spread}, detector: limit, above: 25}\n",
	"rules:\n  - {name: warm, detector: limit, above: 27, for: 10s}\n  - {name: rise, detector: rate, rise: 3, within: 5m}\n",
	"rules:\n  - {name: hot, detector: limit, above: 33}\n" +
		"windows: [10s, {kind: hopping, width: 3m, every: 1m, delay: 5s}, {kind: session, gap: 20s, max: 5m}, {kind: sliding, width: 1m, every: 15s}]\n" +
		"lateness: 1m\ntime_zone: Asia/Kolkata\n",
}

// simDerived are added to them: groups, a meter, and series that are derived from two metrics, over
// time, and from a derived one.
var simDerived = []string{
	simSeries,
	simSeries + "  - {metric: twice, expression: 2 * spread}\n",
	"",
}

const simSeries = "groups:\n  - {name: all, metric: mean, expression: mean(\"temperature\"), unit: °C, every: 10s}\n" +
	"  - {name: all, metric: odd, expression: 'odd(\"temperature\") + count(\"humidity\")', match: {device: \"door-[0-2]\"}}\n" +
	"counters:\n  - {metric: humidity, rollover: 20}\nderived:\n  - {metric: spread, expression: temperature - humidity, unit: K}\n" +
	"  - {metric: step, difference: spread}\n  - {metric: load, integral: temperature, over: 10m}\n"

// group is what arrives in a lane at one time. However it is cut into messages,
// the outputs are the same.
type group struct {
	lane    int
	arrival int64
	rows    []row
	clock   bool
	// poison is a message that is not a batch; the group has no other.
	poison []byte
	// first and last are the sequences of its messages, once published.
	first, last uint64
}

type row struct {
	key   telemetryv1.Key
	at    int64
	value float64
}

// batch returns the rows as one message.
func (g *group) batch(rows []row, clock bool) *nats.Msg {
	if g.poison != nil {
		return &nats.Msg{Subject: streams.TelemetrySubject(g.lane, streams.SourceMQTT), Data: g.poison}
	}
	var b telemetryv1.Builder
	for _, r := range rows {
		b.Value(r.key, r.at, r.value)
	}
	batch := b.Take(g.arrival)
	if clock {
		batch.Clock = &telemetryv1.Clock{CaughtUp: g.arrival}
	}
	msg, err := streams.TelemetryMsg(g.lane, streams.SourceMQTT, batch)
	if err != nil {
		panic(err)
	}
	return msg
}

// world is one run of the simulation.
type world struct {
	seed    uint64
	rng     *rand.Rand
	cluster *simulation.Cluster
	admin   *simulation.Client
	log     *slog.Logger
	// contest has every worker work on every lane without leases, so that all
	// but one are always zombies; otherwise workers share the lanes by leases.
	contest bool
	// janitor has the streams purged of what no snapshot needs; otherwise
	// snapshots are damaged. Both at once may lose what nobody promises to keep.
	janitor bool
	// derives has derived series, which take three times as long.
	derives bool

	crew    *simulation.Crew
	groups  []*group
	now     int64
	value   map[string]float64
	revised int
}

func newWorld(ctx context.Context, seed uint64) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{
		seed: seed, rng: rng, cluster: simulation.NewCluster(), log: slog.New(slog.DiscardHandler),
		contest: rng.IntN(3) != 0, janitor: rng.IntN(2) == 0, derives: rng.IntN(10) == 0, now: epoch, value: make(map[string]float64),
	}
	if os.Getenv("HEADWATER_SIMULATION_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w.crew = w.cluster.NewCrew(seed, simulation.RandomOdds(rng), w.run)
	w.admin = w.cluster.Connect(seed, "admin", nil)
	if _, err := streams.Ensure(ctx, w.admin, streams.Options{Lanes: simLanes}); err != nil {
		return nil, err
	}
	w.cluster.RemoveConsumers(streams.StreamTelemetry, streams.StreamDerived, streams.StreamAlerting)
	return w, nil
}

// run is one process.
func (w *world) run(ctx context.Context, js *simulation.Client, name string) error {
	log := w.log.With("worker", name)
	if w.contest {
		return w.zombies(ctx, js, log)
	}
	svc, err := New(DefaultConfig(), Deps{JS: js, Log: log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	return svc.Run(ctx)
}

// zombies works on every lane, even if others do.
func (w *world) zombies(ctx context.Context, js *simulation.Client, log *slog.Logger) error {
	reg := prometheus.NewRegistry()
	s := &Service{limits: machine.DefaultLimits(), js: js, log: log, deadLetters: deadletter.New(js, log, reg)}
	s.setReady(func() error { return nil })
	topology, err := process.AwaitStreams(ctx, js, log, s.waiting)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // a stop is no failure
	}
	if err != nil {
		return err
	}
	deps := lane.Deps{JS: js, DeadLetter: s.deadLetter, Log: log, Metrics: lane.NewMetrics(reg, streams.ServiceProcessor)}
	var wait sync.WaitGroup
	all := configs(topology.Lanes)
	errs := make([]error, len(all))
	for n, cfg := range all {
		wait.Go(func() {
			errs[n] = lane.Run(ctx, cfg, deps, func() lane.Machine { return s.newMachine(n, topology.Lanes) }, lane.NewStatus())
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (w *world) configure(ctx context.Context) error {
	bucket, err := w.admin.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return err
	}
	n := w.revised % len(simRules)
	text := simRules[n]
	if w.derives {
		text += simDerived[n]
	}
	_, err = bucket.PutString(ctx, streams.ConfigKey, text)
	w.revised++
	return err
}

// arrive makes what arrives next in a lane.
func (w *world) arrive(n int) *group {
	g := &group{lane: n, arrival: w.now, clock: w.rng.IntN(3) == 0}
	if w.rng.IntN(40) == 0 {
		g.poison, g.clock = []byte{0xff, byte(w.rng.IntN(256))}, false
		return g
	}
	for range w.rng.IntN(6) {
		d := w.rng.IntN(4)
		key := telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("door-%d", d), Metric: "temperature", Unit: "°C"}
		w.value[key.Device] += w.rng.Float64()*3 - 1.5
		if w.rng.IntN(15) == 0 {
			w.value[key.Device] = 15 * w.rng.Float64()
		}
		at := w.now - int64(w.rng.IntN(1000))*int64(time.Millisecond)
		if w.rng.IntN(10) == 0 {
			at -= int64(w.rng.IntN(400)) * second
		}
		g.rows = append(g.rows, row{key, at, 22 + w.value[key.Device]})
		if w.derives && w.rng.IntN(2) == 0 {
			key.Metric, key.Unit = "humidity", "%"
			g.rows = append(g.rows, row{key, at, float64(w.rng.IntN(20))})
		}
	}
	return g
}

// publish cuts the group into messages and stores them.
func (w *world) publish(ctx context.Context, g *group) error {
	w.groups = append(w.groups, g)
	rows := g.rows
	for {
		n := len(rows)
		if n > 1 && w.rng.IntN(2) == 0 {
			n = 1 + w.rng.IntN(n-1)
		}
		last := n == len(rows)
		ack, err := w.admin.PublishMsg(ctx, g.batch(rows[:n], last && g.clock))
		if err != nil {
			return err
		}
		if g.first == 0 {
			g.first = ack.Sequence
		}
		g.last = ack.Sequence
		rows = rows[n:]
		if last {
			return nil
		}
	}
}

// trouble causes faults that affect more than one call.
func (w *world) trouble(ctx context.Context) error {
	if err := w.crew.Trouble(w.rng, 4); err != nil {
		return err
	}
	switch w.rng.IntN(20) {
	case 0:
		return w.configure(ctx)
	case 1, 2:
		if w.janitor {
			return streams.Janitor{JS: w.admin, Log: w.log}.Clean(ctx, time.Now().Add(10_000*time.Hour))
		}
		w.damage()
	}
	return nil
}

// damage damages an object of the snapshots.
func (w *world) damage() {
	names := w.cluster.Objects(streams.BucketSnapshots)
	if len(names) == 0 {
		return
	}
	how := w.rng.IntN(3)
	w.cluster.Damage(streams.BucketSnapshots, names[w.rng.IntN(len(names))], func(data []byte) []byte {
		switch {
		case how == 0 || len(data) == 0:
			return nil
		case how == 1:
			return data[:len(data)/2]
		}
		data[len(data)/3] ^= 0x40
		return data
	})
}

// simulate is one run: input with faults, then a time without faults in which the input
// must drain.
func simulate(ctx context.Context, seed uint64, spoil func(*world)) error {
	w, err := newWorld(ctx, seed)
	if err != nil {
		return err
	}
	spoil(w)
	defer func() { _ = w.crew.RemoveAll(true) }()
	if err := w.configure(ctx); err != nil {
		return err
	}
	for range 30 + w.rng.IntN(60) {
		for n := range simLanes {
			if err := w.publish(ctx, w.arrive(n)); err != nil {
				return err
			}
		}
		pause := time.Duration(w.rng.Int64N(int64(2 * time.Second)))
		if w.contest && w.rng.IntN(30) == 0 {
			pause = 11 * time.Minute
		}
		time.Sleep(pause) //nolint:forbidigo // the clock of the bubble
		w.now += int64(pause) + int64(w.rng.IntN(8))*second
		if err := w.trouble(ctx); err != nil {
			return err
		}
	}
	if err := w.drain(ctx); err != nil {
		return err
	}
	if err := w.crew.RemoveAll(false); err != nil {
		return err
	}
	for n := range simLanes {
		if err := w.verify(n); err != nil {
			return fmt.Errorf("lane %d: %w", n, err)
		}
	}
	if err := w.verifyGroups(); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	return w.verifyDeadLetters()
}

// drain ends all faults and waits until every input is committed.
func (w *world) drain(ctx context.Context) error {
	if err := w.crew.Peace(); err != nil {
		return err
	}
	// The clock closes all windows, so that every lane has something to commit.
	w.now += 24 * hour
	var last [simLanes]uint64
	for n := range simLanes {
		g := &group{lane: n, arrival: w.now, clock: true, rows: []row{{thermometer, w.now, 20}}}
		if err := w.publish(ctx, g); err != nil {
			return err
		}
		last[n] = g.last
	}
	began := time.Now()
	for i := range simLanes + 1 {
		n, subject, end := i, streams.DerivedSubject(i), last[min(i, simLanes-1)]
		if i == simLanes {
			n, subject, end = 0, streams.DerivedGroups, slices.Max(last[:])
		}
		for w.committed(subject) < end {
			if time.Since(began) > drainTime {
				return fmt.Errorf("%s is at input %d of %d, %s after the last fault", subject, w.committed(subject), end, drainTime)
			}
			time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
			w.now += second
			if err := w.publish(ctx, &group{lane: n, arrival: w.now, clock: true}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) committed(subject string) uint64 {
	m, ok := w.cluster.LastOf(subject)
	if !ok {
		return 0
	}
	pos, _, err := machine.ReadCommit(m.Data)
	if err != nil {
		panic(err)
	}
	return pos.Sequence
}

// verify compares all outputs of a lane with those of one machine that is given
// the same readings, each group in one message, and the configurations where the commits
// say that they took effect. How the outputs are cut into commits does not count: the number
// of commits, their positions and the order of counts.
func (w *world) verify(n int) error {
	done, err := w.outputs(streams.DerivedSubject(n))
	if err != nil {
		return err
	}
	position := done.position
	m := machine.New(n, machine.DefaultLimits(), nil)
	configure := func(upTo uint64) error { return done.configure(m, upTo) }
	for _, g := range w.groups {
		// The clocks that come while the input drains need not be processed.
		if g.lane != n || g.last > position {
			continue
		}
		if err := configure(g.first - 1); err != nil {
			return err
		}
		if len(done.after) > 0 && done.after[0] < g.last {
			// A configuration took effect within the group.
			for _, in := range w.cluster.Archive(streams.StreamTelemetry, streams.TelemetryFilter(n)) {
				if in.Sequence < g.first || in.Sequence > g.last {
					continue
				}
				if err := configure(in.Sequence - 1); err != nil {
					return err
				}
				_, _ = m.Apply(lane.Input{Subject: in.Subject, Sequence: in.Sequence, Stored: in.Time, Data: in.Data})
			}
			continue
		}
		whole := g.batch(g.rows, g.clock)
		_, _ = m.Apply(lane.Input{Subject: whole.Subject, Sequence: g.last, Stored: time.Unix(0, g.arrival), Data: whole.Data})
	}
	if err := configure(position); err != nil {
		return err
	}
	if len(done.got.Summaries) == 0 {
		return errors.New("the input derives nothing")
	}
	return done.equal(m)
}

// verifyGroups does the same for the lane of groups, which is given all messages.
func (w *world) verifyGroups() error {
	done, err := w.outputs(streams.DerivedGroups)
	if err != nil {
		return err
	}
	m := machine.NewGroups(streams.GroupLane(simLanes), simLanes, machine.DefaultLimits(), nil)
	for _, in := range w.cluster.Archive(streams.StreamTelemetry, streams.TelemetryAll) {
		if in.Sequence > done.position {
			break
		}
		if err := done.configure(m, in.Sequence-1); err != nil {
			return err
		}
		_, _ = m.Apply(lane.Input{Subject: in.Subject, Sequence: in.Sequence, Stored: in.Time, Data: in.Data})
	}
	if err := done.configure(m, done.position); err != nil {
		return err
	}
	return done.equal(m)
}

// outputs are all outputs of a lane, with the configurations and where they took effect.
type outputs struct {
	got      derivedv1.Commit
	derived  []machinetest.Reading
	changes  []lane.ConfigChange
	after    []uint64
	position uint64
}

func (w *world) outputs(subject string) (*outputs, error) {
	o := new(outputs)
	for _, m := range w.cluster.Archive(streams.StreamDerived, subject) {
		c, err := streams.DecodeDerived(m.Data)
		if err != nil {
			return nil, err
		}
		if at := c.GetInput().GetSequence(); at < o.position {
			return nil, fmt.Errorf("commit %d goes back from input %d to %d", m.Sequence, o.position, at)
		}
		o.position = c.GetInput().GetSequence()
		if c.Config != nil {
			o.changes = append(o.changes, lane.ConfigChange{Revision: c.Config.Revision, Content: c.Config.Content})
			o.after = append(o.after, o.position)
		}
		machinetest.Add(&o.got, c)
		o.derived = append(o.derived, machinetest.Derived(c)...)
	}
	return o, nil
}

// configure puts the configurations in force that took effect up to an input.
func (o *outputs) configure(m *machine.Machine, upTo uint64) error {
	for len(o.changes) > 0 && o.after[0] <= upTo {
		if err := m.Configure(o.changes[0].Revision, o.changes[0].Content); err != nil {
			return err
		}
		o.changes, o.after = o.changes[1:], o.after[1:]
	}
	return nil
}

// equal compares the outputs with those of a machine.
func (o *outputs) equal(m *machine.Machine) error {
	body, err := m.Take(lane.Position{Incarnation: time.Unix(1, 0)}, nil)
	if err != nil {
		return err
	}
	want, err := streams.DecodeDerived(body)
	if err != nil {
		return err
	}
	want.Input = nil
	if all := machinetest.Derived(want); !slices.Equal(all, o.derived) {
		return fmt.Errorf("%d derived readings are not the %d expected ones", len(o.derived), len(all))
	}
	return same(want, &o.got)
}

// same compares byte for byte, and names the first difference.
func same(want, got *derivedv1.Commit) error {
	if err := sameList("summary", want.Summaries, got.Summaries); err != nil {
		return err
	}
	if err := sameList("anomaly", want.Anomalies, got.Anomalies); err != nil {
		return err
	}
	if err := sameList("mend", want.Mends, got.Mends); err != nil {
		return err
	}
	if !proto.Equal(want.Counts, got.Counts) {
		return fmt.Errorf("counts are %v, want %v", got.Counts, want.Counts)
	}
	return nil
}

func sameList[M proto.Message](what string, want, got []M) error {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			return fmt.Errorf("%s %d of %d is missing: %v", what, i, len(want), want[i])
		case i >= len(want):
			return fmt.Errorf("%s %d is one too many: %v", what, i, got[i])
		}
		w, err := proto.MarshalOptions{Deterministic: true}.Marshal(want[i])
		if err != nil {
			return err
		}
		g, err := proto.MarshalOptions{Deterministic: true}.Marshal(got[i])
		if err != nil {
			return err
		}
		if !bytes.Equal(w, g) {
			return fmt.Errorf("%s %d of %d is\n%v, want\n%v", what, i, len(want), got[i], want[i])
		}
	}
	return nil
}

// verifyDeadLetters checks that each message that is not a batch is kept, at least once.
func (w *world) verifyDeadLetters() error {
	letters := w.cluster.Archive(streams.StreamDeadLetters, streams.DeadLettersAll)
	for _, g := range w.groups {
		if g.poison == nil {
			continue
		}
		if !slices.ContainsFunc(letters, func(m simulation.Stored) bool { return bytes.Equal(m.Data, g.poison) }) {
			return fmt.Errorf("input %d is not a batch, and not a dead letter either", g.last)
		}
	}
	return nil
}

// TestSimulation runs processors over a stream while everything fails that can fail. The
// outputs are the same as from one machine without faults, byte for byte, each once. When
// the faults end, the input drains.
func TestSimulation(t *testing.T) {
	simulation.Seeds(t, simSeeds, func(t *testing.T, seed uint64) error {
		return simulate(t.Context(), seed, func(*world) {})
	})
}

// TestSimulationFindsWhatIsMissing removes what the guarantee rests on: the simulation must
// notice that within a few seeds.
func TestSimulationFindsWhatIsMissing(t *testing.T) {
	simulation.Finds(t, map[string]func(*simulation.Cluster){
		"no compare-and-set":   func(c *simulation.Cluster) { c.IgnoreExpected = true },
		"no input for a while": func(c *simulation.Cluster) { c.SkipEvery = 40 },
		"commits vanish":       func(c *simulation.Cluster) { c.ForgetEvery = 20 },
	}, func(t *testing.T, seed uint64, spoil func(*simulation.Cluster)) error {
		return simulate(t.Context(), seed, func(w *world) { spoil(w.cluster) })
	})
}
