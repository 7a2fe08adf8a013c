// Package machine is the deterministic core of one lane. A Machine takes the batches of
// the lane in order, and makes summaries of windows, anomalies, entries of the ledger
// and corrections of them. It depends on nothing but the batches and configurations
// that it is given: no clock, no randomness, no order of maps. The arithmetic is in the
// pure packages window and detect.
//
// This is how a batch passes through the files:
//
//	machine.go      Machine and its limits; Apply takes a batch: readings, then the clock
//	state.go        what is kept: chunks of devices, their series and the rules of each
//	intern.go       one copy of each unit and name of a metric
//	readings.go     one reading: windows first, then the detectors
//	hold.go         readings ahead of their time, which wait until it has come
//	downsample.go   means of ten seconds of fast series, for detectors that learn
//	derived.go      series that are made from others of the device
//	groups.go       the lane of groups: series that are made from several devices
//	expressions.go  rules about several metrics of a device
//	decide.go       what the rules say of a device, for those who wait for it
//	apart.go        readings in another unit than that of their metric
//	clock.go        the clock of the lane: windows that end, detectors that are due, and
//	                time in which Headwater did not listen
//	ledger.go       what arrived, by device and minute
//	backfill.go     roll-ups that late readings make stale
//	output.go       what the next commit holds; Take encodes it
//	configure.go    rules and windows in force, and what becomes of state when they change
//	snapshot.go     the state as chunks, and back
//	metrics.go      counters of all lanes of a process
//	solo.go         Solo, a Machine with one rule for what-if replays
package machine

import (
	"strconv"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/hearing"
	"headwater/services/internal/lane"
	"headwater/services/processor/detect"
	"headwater/services/processor/window"
	"headwater/streams"
)

// Limits bound the state of one lane. The outputs depend on them, so all owners of a lane
// must have the same limits.
type Limits struct {
	// Series is how many series a lane has at most, and DeviceSeries how many of them
	// belong to one device. Readings of other series are stored in the history, but
	// have no summaries and no rules.
	Series, DeviceSeries int
	// Readings is how many readings a series keeps at most, so that late ones can be
	// put in order.
	Readings int
	// Silence is the time without a reading after which a series is forgotten. It must
	// be longer than the age at which a reading may arrive.
	Silence time.Duration
}

// DefaultLimits returns the limits that the service uses.
func DefaultLimits() Limits {
	return Limits{Series: 50_000, DeviceSeries: 1000, Readings: 1 << 15, Silence: 7 * 24 * time.Hour}
}

const (
	// maxOutputs is how many outputs the readings of one message may make, and again
	// its clock: the outputs of one message must fit into one commit. The other devices
	// wait for the next tick, so a very large lane needs a few ticks to close its
	// windows.
	maxOutputs = 6144
	// anomalyWeight is the size of an anomaly in summaries.
	anomalyWeight = 4
	// maxShared is how many units, and how many names of metrics, are kept only once.
	maxShared = 1024
	// evictEvery is how often the machine forgets silent series, by the clock.
	evictEvery = time.Hour
	// paceFactor is by how much the time between two readings may exceed the previous
	// step before a reading counts as missing.
	paceFactor = 2
)

// Machine is the deterministic core of one lane. It depends on nothing but the messages
// and configurations that it is given. It is for one goroutine only.
type Machine struct {
	lane    int
	limits  Limits
	metrics *Metrics

	// watches reports whether a series has state; nil means that all have.
	watches func(deviceKey, string) bool

	config configuration
	// specs are the windows by the name of the time zone.
	specs  map[string]*window.Spec
	chunks [chunkCount]chunk
	// devices are all devices of the chunks.
	devices     map[deviceKey]*device
	seriesCount int
	// units and names hold one copy of each unit and of each name of a metric.
	units, names shared
	// clock is the clock of the lane, in nanoseconds since the Unix epoch; past before
	// the first tick.
	clock int64
	// heard knows when the clock ticked. A silence at another time means nothing.
	heard hearing.Clock
	// heldCount is how many readings wait for their time to come.
	heldCount int
	// nextChunk is the chunk with which the next tick begins. It is not the first if
	// the previous tick left devices to it.
	nextChunk int
	ledger    ledger
	// groups is nil but in the lane of groups.
	groups *groups
	// deriving is set while a reading is taken that is derived from others, and not part of
	// the input.
	deriving bool
	// derivedStored is set once there were derived series: then their chunks are stored, even
	// empty ones.
	derivedStored bool
	// clockChanged and configChanged are for the snapshot.
	clockChanged, configChanged bool

	// learned is when Headwater learned of the event that is being processed. Source and
	// sequence are those of the message; the source of a Solo is empty.
	learned  int64
	source   streams.Source
	sequence uint64
	output   output
	// outputLimit is the weight of the output at which the current message leaves the
	// rest to the next.
	outputLimit int

	// What follows is scratch space of a step.
	targets   []target
	summaries []window.Summary
	verdicts  []detect.Verdict
}

var _ lane.Machine = (*Machine)(nil)

// New returns the machine of a lane, without state. Metrics may be nil.
func New(lane int, limits Limits, metrics *Metrics) *Machine {
	return &Machine{
		lane: lane, limits: limits, metrics: metrics,
		specs:   make(map[string]*window.Spec),
		devices: make(map[deviceKey]*device), units: make(shared), names: make(shared), clock: past,
		heard:  hearing.New(),
		ledger: newLedger(),
	}
}

// Apply takes one message of the lane and returns how many readings it held. An error
// means that the message is not a batch. It is counted as malformed and changes nothing
// else.
func (m *Machine) Apply(in lane.Input) (int, error) {
	if m.groups != nil {
		return m.applyGroups(in), nil
	}
	_, source, err := streams.ParseTelemetry(in.Subject)
	if err != nil {
		return 0, err
	}
	b, err := streams.DecodeTelemetry(in.Data)
	if err != nil {
		m.ledger.malformed(source, in.Stored.UnixNano(), in.Sequence)
		return 0, err
	}
	dictionary := b.Dictionary()
	m.ledger.add(b, dictionary, source, in.Sequence)
	m.output.received(source, b)
	m.source, m.sequence = source, in.Sequence
	m.step(b, dictionary)
	if b.Decide {
		m.decide(dictionary)
	}
	if m.ledger.full() {
		m.output.ledger = m.ledger.takeDue(m.clock, maxOutputs, m.output.ledger)
	}
	return len(b.Series), nil
}

// step takes one batch: its readings in order, then its clock.
func (m *Machine) step(b *telemetryv1.Batch, dictionary []telemetryv1.Series) {
	m.learned = b.Arrival
	m.outputLimit = m.output.weight() + maxOutputs
	m.resolve(dictionary)
	values, flags, texts := 0, 0, 0
	for i, k := range b.Series {
		switch t := &m.targets[k]; t.kind {
		case telemetryv1.Kind_KIND_VALUE:
			m.reading(t, b.Time[i], b.Value[values])
			values++
		case telemetryv1.Kind_KIND_FLAG:
			m.flagOrText(t, b.Time[i], strconv.FormatBool(b.Flag[flags]))
			flags++
		default:
			m.flagOrText(t, b.Time[i], b.Text[texts])
			texts++
		}
	}
	m.output.counts.readings += uint64(len(b.Series))
	if b.Clock != nil {
		m.tick(b.Clock.CaughtUp)
	}
}
