package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/services/processor/machine"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// BenchmarkLane measures what a lane adds to the work of its machine: reading
// the input, committing and storing snapshots on a nats-server in the same
// process. The machine alone has the same messages, in the same run.
func BenchmarkLane(b *testing.B) {
	for _, perMessage := range []int{1000, 20} {
		b.Run(fmt.Sprintf("readings=%d", perMessage), func(b *testing.B) {
			messages := backlog(b, 1_000_000/perMessage, perMessage)
			var alone, inLane time.Duration
			n := 0
			for b.Loop() {
				alone += runAlone(b, messages)
				inLane += runLane(b, messages)
				n += len(messages) * perMessage
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(alone.Nanoseconds())/float64(n), "machine-ns/reading")
			b.ReportMetric(float64(inLane.Nanoseconds())/float64(n), "lane-ns/reading")
			b.ReportMetric(inLane.Seconds()/alone.Seconds(), "lane/machine")
		})
	}
}

// laneRules are those of a lane under a steady load.
const laneRules = bothRules + "windows: [10s, 1m]\n"

// backlog returns messages of 1,000 series that report every ten seconds, ten of a
// device, with a clock after each 1,000 readings.
func backlog(b *testing.B, messages, perMessage int) []*nats.Msg {
	b.Helper()
	const series = 1000
	var keys [series]telemetryv1.Key
	for i := range keys {
		keys[i] = telemetryv1.Key{
			Site: "hall", Device: fmt.Sprintf("door-%05d", i/perDevice), Metric: fmt.Sprintf("temperature-%d", i%perDevice), Unit: "°C",
		}
	}
	var builder telemetryv1.Builder
	out := make([]*nats.Msg, messages)
	n := 0
	for i := range out {
		var at int64
		for range perMessage {
			round, next := n/series, n%series
			at = epoch + int64(round)*10*second + int64(next)*10*second/series
			v := math.Round(2000+300*math.Sin(float64(round)/50)+float64((next*7919+round*104729)%40)) / 100
			builder.Value(keys[next], at, v)
			n++
		}
		batch := builder.Take(at)
		if n%series == 0 {
			batch.Clock = &telemetryv1.Clock{CaughtUp: batch.Arrival}
		}
		var err error
		out[i], err = streams.TelemetryMsg(0, streams.SourceMQTT, batch)
		if err != nil {
			b.Fatal(err)
		}
	}
	return out
}

// runAlone returns how long a machine takes, which commits as often as a lane
// that is behind.
func runAlone(b *testing.B, messages []*nats.Msg) time.Duration {
	b.Helper()
	m := machine.New(0, machine.DefaultLimits(), nil)
	if err := m.Configure(1, []byte(laneRules)); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	for i, msg := range messages {
		sequence := uint64(i + 1)
		if _, err := m.Apply(lane.Input{Subject: msg.Subject, Sequence: sequence, Data: msg.Data}); err != nil {
			b.Fatal(err)
		}
		if sequence%256 != 0 && m.Pending() < 4096 && i != len(messages)-1 {
			continue
		}
		if _, err := m.Take(lane.Position{Incarnation: incarnation, Sequence: sequence}, nil); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

// witness is a machine that records how far it has committed.
type witness struct {
	*machine.Machine
	taken *atomic.Uint64
}

func (w witness) Take(pos lane.Position, change *lane.ConfigChange) ([]byte, error) {
	body, err := w.Machine.Take(pos, change)
	w.taken.Store(pos.Sequence)
	return body, err
}

// runLane returns how long a lane takes in which the messages lie: from its
// start until the last commit is stored.
func runLane(b *testing.B, messages []*nats.Msg) time.Duration {
	b.Helper()
	c := newCrew(b, 1)
	if _, err := c.publish(messages); err != nil {
		b.Fatal(err)
	}
	var taken atomic.Uint64
	done := make(chan struct{})
	finish := sync.OnceFunc(func() { close(done) })
	deps := lane.Deps{
		JS: c.js, Log: slog.New(slog.DiscardHandler), Metrics: lane.NewMetrics(prometheus.NewRegistry(), streams.ServiceProcessor),
		DeadLetter: func(_ context.Context, _ lane.Input, reason error) error { return reason },
		Committed: func(int, uint64, []byte) {
			if taken.Load() >= uint64(len(messages)) {
				finish()
			}
		},
	}
	c.configure("[10s, 1m]")
	began := time.Now()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		newMachine := func() lane.Machine { return witness{machine.New(0, machine.DefaultLimits(), nil), &taken} }
		if err := lane.Run(ctx, configs(1)[0], deps, newMachine, lane.NewStatus()); err != nil {
			b.Error(err)
		}
	})
	defer func() { cancel(); running.Wait(); c.close() }()
	select {
	case <-done:
	case <-time.After(within):
		b.Fatal("the lane does not get through its input")
	}
	return time.Since(began)
}

// BenchmarkTakeover measures how long the lanes stand still when all of them get
// a new owner, with 100,000 series in eight lanes: from when their leases are
// free until each has committed new output. Killed means that the previous owner
// left as much input behind its snapshot as possible; released, that it has stored its
// state.
// The times of loading and replaying are those of a lane on average, while all
// do so at once.
func BenchmarkTakeover(b *testing.B) {
	const lanes, perLane, rounds = 8, 12_500, 15
	for b.Loop() {
		c := newCrew(b, lanes)
		c.configure("[10s, 1m]")
		f := c.fleet(perLane, 30*second)
		owner := c.join()
		c.settled([]*replica{owner})
		for range rounds {
			f.send()
		}
		c.committed([]*replica{owner})
		b.ReportMetric(1000*owner.value("lane_snapshot_seconds"), "ms/stored-snapshot")
		b.ReportMetric(owner.value("lane_snapshot_bytes_total")/lanes, "snapshot-B/lane")

		owner.cut()
		c.leasesEnd()
		owner = takeOver(b, f, "killed")

		owner.stop()
		owner = takeOver(b, f, "released")

		owner.stop()
		f.verify()
		c.close()
	}
	b.ReportMetric(0, "ns/op")
}

// leasesEnd waits until the leases and the worker's key of a processor that was killed have
// expired.
func (c *crew) leasesEnd() {
	c.tb.Helper()
	for _, name := range []string{streams.BucketLeases, streams.BucketWorkers} {
		bucket := c.bucket(name)
		streamtest.Eventually(c.tb, "nothing is left in bucket "+name, func() bool {
			status, err := bucket.Status(c.tb.Context())
			return err == nil && status.Values() == 0
		})
	}
}

// takeOver starts a processor on lanes that are free, with a round of new input,
// and measures it.
func takeOver(b *testing.B, f *fleet, what string) *replica {
	b.Helper()
	before := f.derived()
	f.send()
	fresh := 0
	for _, keys := range f.lanes {
		fresh += len(keys)
	}
	began := time.Now()
	w := f.join()
	f.committedSince(before)
	f.committedTo()
	replayed := int(w.value("lane_readings_total")) - fresh
	var last time.Time
	for _, commits := range f.commits(before.LastSeq + 1) {
		if at := commits[0].stored; at.After(last) {
			last = at
		}
	}
	b.ReportMetric(last.Sub(began).Seconds(), what+"-s")
	b.ReportMetric(w.value("lane_load_seconds"), what+"-load-s")
	b.ReportMetric(w.value("lane_replay_seconds"), what+"-replay-s")
	b.ReportMetric(float64(replayed), what+"-replayed-readings")
	return w
}

// derived returns how many commits each lane has, by subject, and how far the
// stream of them reaches.
func (c *crew) derived() jetstream.StreamState {
	c.tb.Helper()
	stream, err := c.js.Stream(c.tb.Context(), streams.StreamDerived)
	if err != nil {
		c.tb.Fatal(err)
	}
	info, err := stream.Info(c.tb.Context(), jetstream.WithSubjectFilter(streams.DerivedAll))
	if err != nil {
		c.tb.Fatal(err)
	}
	return info.State
}

// committedSince waits until every lane has a commit more than it had.
func (c *crew) committedSince(before jetstream.StreamState) {
	c.tb.Helper()
	streamtest.Eventually(c.tb, "every lane has new output", func() bool {
		now := c.derived().Subjects
		for subject, n := range before.Subjects {
			if now[subject] <= n {
				return false
			}
		}
		return true
	})
}

// committedTo waits until the last commit of each lane is of its last input.
func (c *crew) committedTo() {
	c.tb.Helper()
	stream, err := c.js.Stream(c.tb.Context(), streams.StreamDerived)
	if err != nil {
		c.tb.Fatal(err)
	}
	for lane, end := range c.ends {
		streamtest.Eventually(c.tb, fmt.Sprintf("lane %d has committed all its input", lane), func() bool {
			msg, err := stream.GetLastMsgForSubject(c.tb.Context(), streams.DerivedSubject(lane))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return false
			}
			if err != nil {
				c.tb.Fatal(err)
			}
			pos, _, err := machine.ReadCommit(msg.Data)
			if err != nil {
				c.tb.Fatal(err)
			}
			return pos.Sequence == end.sequence
		})
	}
}

// BenchmarkScale measures how fast 1, 2 and 4 processors get through a backlog
// of eight lanes, from their start. They and the nats-server are in one process and share its
// cores; what they share out and that nothing is missing or there twice is
// checked.
func BenchmarkScale(b *testing.B) {
	const lanes, perLane, rounds = 8, 1000, 300
	for _, processors := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("processors=%d", processors), func(b *testing.B) {
			var took time.Duration
			var n uint64
			for b.Loop() {
				c := newCrew(b, lanes)
				c.configure("[1m]")
				f := c.fleet(perLane, 10*second)
				for range rounds {
					f.send()
				}
				began := time.Now()
				var replicas []*replica
				for range processors {
					replicas = append(replicas, c.join())
				}
				c.committed(replicas)
				took += time.Since(began)
				n += c.sent()
				c.settled(replicas)
				b.Logf("lanes of each processor: %v", shares(replicas))
				for _, w := range replicas {
					w.stop()
				}
				f.verify()
				c.close()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(n)/took.Seconds(), "readings/s")
		})
	}
}

// BenchmarkRebalance measures how long it takes until the lanes are shared out
// again when processors join, leave and are cut off from the server, and how long
// a lane stands still meanwhile, while input comes all the time. A kill of the
// process itself is for the harness of faults.
func BenchmarkRebalance(b *testing.B) {
	for b.Loop() {
		c := newCrew(b, 8)
		c.configure("[1m]")
		var replicas []*replica
		join := func(n int) func() {
			return func() {
				for range n {
					replicas = append(replicas, c.join())
				}
			}
		}
		end := func(n int, how func(*replica)) func() {
			return func() {
				for _, w := range replicas[:n] {
					how(w)
				}
				replicas = replicas[n:]
			}
		}
		join(1)()
		c.settled(replicas)
		f := c.fleet(perDevice, minute)
		stop := f.feed()
		changes := []struct {
			name        string
			do          func()
			began, done time.Time
		}{
			{name: "join-1-to-2", do: join(1)},
			{name: "join-2-to-4", do: join(2)},
			{name: "leave-4-to-2", do: end(2, func(w *replica) { w.stop() })},
			{name: "cut-2-to-1", do: end(1, (*replica).cut)},
		}
		for i := range changes {
			change := &changes[i]
			change.began = time.Now()
			change.do()
			c.settled(replicas)
			change.done = time.Now()
			// The pauses of this change must be over before the next one.
			c.committedSince(c.derived())
			b.Logf("%s: lanes of each processor: %v", change.name, shares(replicas))
		}
		stop()
		c.committedTo()
		for _, w := range replicas {
			w.stop()
		}
		lanes := f.verify()
		c.close()
		for _, change := range changes {
			b.ReportMetric(float64(change.done.Sub(change.began).Milliseconds()), change.name+"-ms")
			b.ReportMetric(float64(pause(lanes, change.began, change.done).Milliseconds()), change.name+"-pause-ms")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// feed sends a round every 10 ms until it is stopped.
func (f *fleet) feed() (stop func()) {
	quit := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := f.publishRound(); err != nil {
				f.tb.Error(err)
				return
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	})
	stop = sync.OnceFunc(func() { close(quit); feeding.Wait() })
	f.tb.Cleanup(stop)
	return stop
}

// pause returns the longest time between two commits of one lane of which one
// was stored within the time given.
func pause(lanes [][]commit, from, to time.Time) (longest time.Duration) {
	for _, commits := range lanes {
		for i := 1; i < len(commits); i++ {
			if commits[i].stored.After(from) && commits[i-1].stored.Before(to) {
				longest = max(longest, commits[i].stored.Sub(commits[i-1].stored))
			}
		}
	}
	return longest
}
