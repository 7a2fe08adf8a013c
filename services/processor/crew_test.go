package processor

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	// epoch is the start of a minute and of an hour.
	epoch = 1_700_002_800 * second
)

// bothRules has two rules that watch every series.
const bothRules = `
auto: off
rules:
  - {name: surge, detector: rate, rise: 30, within: 5m}
  - {name: hot, detector: limit, above: 300, hysteresis: 1, for: 2m}
`

var (
	thermometer = telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C"}
	incarnation = time.Unix(1_600_000_000, 0)
)

// within bounds how long a benchmark waits for anything.
const within = streamtest.Patience

// crew is a server on which several processors share the lanes.
type crew struct {
	tb     testing.TB
	server *streamtest.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	// ends is how far the lanes were filled.
	ends []end
}

// end is the end of a lane of input.
type end struct{ readings, sequence uint64 }

func newCrew(tb testing.TB, lanes int) *crew {
	tb.Helper()
	c := &crew{tb: tb, server: streamtest.Run(tb), ends: make([]end, lanes)}
	c.nc = c.server.Conn(tb, natsd.UserCore)
	var err error
	c.js, err = jetstream.New(c.nc)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := streams.Ensure(tb.Context(), c.js, streams.Options{Lanes: lanes, MaxBytes: 8 << 30}); err != nil {
		tb.Fatal(err)
	}
	return c
}

// close stops the server. The processors must have stopped.
func (c *crew) close() {
	c.nc.Close()
	c.server.Shutdown()
}

// configure puts both rules and the windows in force.
func (c *crew) configure(windows string) {
	c.tb.Helper()
	if _, err := c.bucket(streams.BucketConfig).PutString(c.tb.Context(), streams.ConfigKey, bothRules+"windows: "+windows+"\n"); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *crew) bucket(name string) jetstream.KeyValue {
	c.tb.Helper()
	bucket, err := c.js.KeyValue(c.tb.Context(), name)
	if err != nil {
		c.tb.Fatal(err)
	}
	return bucket
}

// replica is one processor, with a connection and metrics of its own.
type replica struct {
	*Service
	tb      testing.TB
	nc      *nats.Conn
	metrics *prometheus.Registry
	// stop stops it and waits until it has stopped.
	stop func()
}

// join starts a processor.
func (c *crew) join() *replica {
	c.tb.Helper()
	w := &replica{tb: c.tb, nc: c.server.Conn(c.tb, natsd.UserCore), metrics: prometheus.NewRegistry()}
	js, err := jetstream.New(w.nc)
	if err != nil {
		c.tb.Fatal(err)
	}
	w.Service, err = New(DefaultConfig(), Deps{JS: js, Log: slog.New(slog.DiscardHandler), Metrics: w.metrics})
	if err != nil {
		c.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.tb.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.tb.Errorf("run: %v", err)
		}
		w.nc.Close()
	})
	c.tb.Cleanup(w.stop)
	return w
}

// cut closes the connection of the processor: to all others that is as if it
// were killed, because it stores nothing more and does not give up its leases.
func (r *replica) cut() {
	r.nc.Close()
	r.stop()
}

// value returns the metric of a name, summed over its labels: of a histogram the
// mean.
func (r *replica) value(name string) float64 {
	r.tb.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "headwater_processor_"+name {
			continue
		}
		value := 0.0
		for _, m := range f.Metric {
			value += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if h := m.GetHistogram(); h.GetSampleCount() > 0 {
				value += h.GetSampleSum() / float64(h.GetSampleCount())
			}
		}
		return value
	}
	r.tb.Fatalf("there is no metric %s", name)
	return 0
}

// shares returns how many lanes the processors have, the least first.
func shares(replicas []*replica) []int {
	var out []int
	for _, w := range replicas {
		out = append(out, int(w.value("leases")))
	}
	slices.Sort(out)
	return out
}

// settled waits until each processor has an equal share of the lanes and works.
func (c *crew) settled(replicas []*replica) {
	c.tb.Helper()
	want := slices.Repeat([]int{len(c.ends) / len(replicas)}, len(replicas))
	streamtest.Eventually(c.tb, fmt.Sprintf("the shares are %v", want), func() bool {
		for _, r := range replicas {
			if r.Ready() != nil {
				return false
			}
		}
		return slices.Equal(shares(replicas), want)
	})
}

// committed waits until the processors have committed all that was sent.
func (c *crew) committed(replicas []*replica) {
	c.tb.Helper()
	all := float64(c.sent())
	streamtest.Eventually(c.tb, "all input is committed", func() bool {
		n := 0.0
		for _, w := range replicas {
			n += w.value("readings_total")
		}
		return n >= all
	})
}

// sent returns how many readings all lanes hold.
func (c *crew) sent() (n uint64) {
	for _, e := range c.ends {
		n += e.readings
	}
	return n
}

// fleet is devices that report in step: a round is one reading of every series,
// all of one time.
type fleet struct {
	*crew
	// lanes has the series of each lane.
	lanes    [][]telemetryv1.Key
	builders []telemetryv1.Builder
	// every is the time between two rounds; at is that of the next.
	every, at int64
	round     int
}

// perDevice is how many series a device of a fleet has.
const perDevice = 10

// fleet returns a fleet with so many series in each lane.
func (c *crew) fleet(perLane int, every int64) *fleet {
	f := &fleet{
		crew: c, every: every, at: epoch,
		lanes: make([][]telemetryv1.Key, len(c.ends)), builders: make([]telemetryv1.Builder, len(c.ends)),
	}
	for device, full := 0, 0; full < len(f.lanes); device++ {
		key := telemetryv1.Key{Site: "hall", Device: fmt.Sprintf("door-%05d", device), Unit: "°C"}
		lane := streams.Lane(key.Site, key.Device, len(f.lanes))
		if len(f.lanes[lane]) >= perLane {
			continue
		}
		for i := range perDevice {
			key.Metric = fmt.Sprintf("temperature-%d", i)
			f.lanes[lane] = append(f.lanes[lane], key)
		}
		if len(f.lanes[lane]) >= perLane {
			full++
		}
	}
	return f
}

// maxBatch is how many readings a message has at most, as from the bridge.
const maxBatch = 1000

// send publishes a round.
func (f *fleet) send() {
	f.tb.Helper()
	if err := f.publishRound(); err != nil {
		f.tb.Fatal(err)
	}
}

// publishRound publishes a round, with the clock at the end of each lane, and
// returns when it is stored.
func (f *fleet) publishRound() error {
	var messages []*nats.Msg
	last := make([]int, len(f.lanes))
	for lane, keys := range f.lanes {
		for i, k := range keys {
			f.builders[lane].Value(k, f.at, float64(2000+(i*7919+f.round*104729)%400)/100)
			rest := len(keys) - i - 1
			if rest > 0 && (i+1)%maxBatch != 0 {
				continue
			}
			b := f.builders[lane].Take(f.at)
			if rest == 0 {
				b.Clock = &telemetryv1.Clock{CaughtUp: f.at}
			}
			msg, err := streams.TelemetryMsg(lane, streams.SourceMQTT, b)
			if err != nil {
				return err
			}
			last[lane] = len(messages)
			messages = append(messages, msg)
		}
	}
	sequences, err := f.publish(messages)
	if err != nil {
		return err
	}
	for lane, keys := range f.lanes {
		f.ends[lane].readings += uint64(len(keys))
		f.ends[lane].sequence = sequences[last[lane]]
	}
	f.at += f.every
	f.round++
	return nil
}

// maxUnacked is how many messages are on their way at a time.
const maxUnacked = 1000

// publish stores messages and returns their sequences.
func (c *crew) publish(messages []*nats.Msg) ([]uint64, error) {
	var sequences []uint64
	for some := range slices.Chunk(messages, maxUnacked) {
		var futures []jetstream.PubAckFuture
		for _, msg := range some {
			future, err := c.js.PublishMsgAsync(msg)
			if err != nil {
				return nil, fmt.Errorf("publish to %s: %w", msg.Subject, err)
			}
			futures = append(futures, future)
		}
		for _, future := range futures {
			select {
			case ack := <-future.Ok():
				sequences = append(sequences, ack.Sequence)
			case err := <-future.Err():
				return nil, fmt.Errorf("publish to %s: %w", future.Msg().Subject, err)
			}
		}
	}
	return sequences, nil
}

// commit is one commit of a lane in the stream.
type commit struct {
	*derivedv1.Commit
	stored time.Time
}

// commits returns the commits of each lane in order, from a sequence of the
// stream on.
func (c *crew) commits(first uint64) [][]commit {
	c.tb.Helper()
	consumer, err := c.js.OrderedConsumer(c.tb.Context(), streams.StreamDerived, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		c.tb.Fatal(err)
	}
	defer messages.Stop()
	lanes := make([][]commit, len(c.ends))
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(within))
		if err != nil {
			c.tb.Fatal(err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			c.tb.Fatal(err)
		}
		lane, err := streams.ParseDerived(msg.Subject())
		if err != nil {
			c.tb.Fatal(err)
		}
		decoded, err := streams.DecodeDerived(msg.Data())
		if err != nil {
			c.tb.Fatal(err)
		}
		lanes[lane] = append(lanes[lane], commit{decoded, meta.Timestamp})
		if meta.NumPending == 0 {
			return lanes
		}
	}
}

// verify checks that every reading was taken once and every summary derived
// once, without a gap, and returns the commits. All input must be committed.
func (f *fleet) verify() [][]commit {
	f.tb.Helper()
	lanes := f.commits(1)
	for lane, commits := range lanes {
		var input, readings uint64
		follow := make(map[summaryKey]int64)
		for i, commit := range commits {
			if at := commit.Input.Sequence; at < input || at == input && commit.Config == nil {
				f.tb.Errorf("lane %d: commit %d is of input %d, the previous one of %d", lane, i, at, input)
			}
			input = commit.Input.Sequence
			counts := commit.GetCounts()
			readings += counts.GetReadings()
			if counts.GetDuplicates()+counts.GetConflicts()+counts.GetTooLate() > 0 {
				f.tb.Errorf("lane %d: commit %d counts readings twice or late: %v", lane, i, counts)
			}
			for _, s := range commit.Summaries {
				key := summaryKey{s.Series.Device, s.Series.Metric, s.Width}
				if next, ok := follow[key]; ok && s.Start != next {
					f.tb.Fatalf("lane %d: the summary of %v at %d should be the one at %d", lane, key, s.Start, next)
				}
				follow[key] = s.Start + max(s.Width, f.every)
			}
		}
		if want := f.ends[lane]; input != want.sequence || readings != want.readings {
			f.tb.Errorf("lane %d: the last commit is of input %d, want %d; %d readings were taken, want %d",
				lane, input, want.sequence, readings, want.readings)
		}
		if len(follow) == 0 {
			f.tb.Errorf("lane %d made no output", lane)
		}
	}
	return lanes
}

type summaryKey struct {
	device, metric string
	width          int64
}
