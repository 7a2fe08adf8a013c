package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/lease"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// crew is a server on which several processes share the lanes of one service.
type crew struct {
	server *streamtest.Server
	// lanes has a fixture for each lane, for its input and output.
	lanes []*fixture
}

func newCrew(t *testing.T, lanes int) *crew {
	t.Helper()
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	c := &crew{server: server}
	for n := range lanes {
		c.lanes = append(c.lanes, fixtureOf(server.JS(t), n))
	}
	c.lanes[0].configure(t, 1)
	return c
}

// member is one process.
type member struct {
	*Group
	nc *nats.Conn
	js jetstream.JetStream
	// stop stops it and waits until it has stopped.
	stop func()
}

// join starts a process that takes part until the test ends.
func (c *crew) join(t *testing.T) *member {
	t.Helper()
	m := &member{nc: c.server.Conn(t, natsd.UserCore)}
	var err error
	m.js, err = jetstream.New(m.nc)
	if err != nil {
		t.Fatal(err)
	}
	deps := c.lanes[0].deps
	deps.JS, deps.Metrics = m.js, NewMetrics(prometheus.NewRegistry(), "test")
	var configs []Config
	for _, f := range c.lanes {
		configs = append(configs, f.cfg)
	}
	m.Group = NewGroup(deps, configs, func(int) Machine { return &adder{fail: never} })
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	m.stop = func() { cancel(); <-done }
	t.Cleanup(m.stop)
	return m
}

// settled waits until the processes have their shares, loaded and at work.
func (c *crew) settled(t *testing.T, shares []int, members ...*member) {
	t.Helper()
	began := time.Now()
	streamtest.Eventually(t, fmt.Sprintf("the shares are %v", shares), func() bool {
		var got []int
		for _, m := range members {
			if m.Ready() != nil {
				return false
			}
			got = append(got, len(m.keeper.Held()))
		}
		slices.Sort(got)
		return slices.Equal(got, shares)
	})
	t.Logf("the shares are %v after %s", shares, time.Since(began).Round(time.Millisecond))
}

// input is what goes into all lanes while processes come and go.
type input struct {
	mu sync.Mutex
	n  int
	// stop ends it and returns how many messages went into each lane.
	stop func() int
}

// feed publishes the numbers from 1 on into every lane.
func (c *crew) feed(t *testing.T) *input {
	t.Helper()
	in := new(input)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ctx.Err() == nil; n++ {
			for lane, f := range c.lanes {
				if _, err := f.js.Publish(context.WithoutCancel(ctx), streams.TelemetrySubject(lane, streams.SourceMQTT), []byte(strconv.Itoa(n))); err != nil {
					t.Error(err)
					return
				}
			}
			in.mu.Lock()
			in.n = n
			in.mu.Unlock()
			<-tick.C
		}
	})
	in.stop = sync.OnceValue(func() int { cancel(); done.Wait(); return in.n })
	t.Cleanup(func() { in.stop() })
	return in
}

// more waits until 50 more messages went into each lane.
func (in *input) more(t *testing.T) {
	t.Helper()
	count := func() int { in.mu.Lock(); defer in.mu.Unlock(); return in.n }
	until := count() + 50
	streamtest.Eventually(t, "more input", func() bool { return count() >= until })
}

// verify ends the input and checks the outputs of all lanes: each output once, and the same
// as from a single process.
func (c *crew) verify(t *testing.T, in *input) {
	t.Helper()
	n := in.stop()
	n -= n % 3
	for _, f := range c.lanes {
		f.await(t, n)
		f.verify(t, n)
	}
	t.Logf("%d outputs, each once", n/3*len(c.lanes))
}

// pause returns the longest time between two commits of one lane, as the stream
// stored them.
func (c *crew) pause(t *testing.T) time.Duration {
	t.Helper()
	var longest time.Duration
	for _, f := range c.lanes {
		var last time.Time
		for _, msg := range f.stored(t) {
			if !last.IsZero() {
				longest = max(longest, msg.Time.Sub(last))
			}
			last = msg.Time
		}
	}
	return longest
}

// TestProcessesComeAndGo has one process, then three, then one again work on
// six lanes while input comes.
func TestProcessesComeAndGo(t *testing.T) {
	c := newCrew(t, 6)
	first := c.join(t)
	c.settled(t, []int{6}, first)
	in := c.feed(t)
	in.more(t)
	second, third := c.join(t), c.join(t)
	c.settled(t, []int{2, 2, 2}, first, second, third)
	in.more(t)
	first.stop()
	c.settled(t, []int{3, 3}, second, third)
	in.more(t)
	second.stop()
	c.settled(t, []int{6}, third)
	in.more(t)
	c.verify(t, in)
	t.Logf("no lane stood still for longer than %s", c.pause(t).Round(time.Millisecond))
}

// TestProcessIsKilled cuts off one of two processes, as kill -9 does: nothing that it has
// sent arrives any more, and it does not give up its leases.
func TestProcessIsKilled(t *testing.T) {
	c := newCrew(t, 4)
	victim, other := c.join(t), c.join(t)
	c.settled(t, []int{2, 2}, victim, other)
	in := c.feed(t)
	in.more(t)
	victim.nc.Close()
	c.settled(t, []int{4}, other)
	in.more(t)
	c.verify(t, in)
	t.Logf("no lane stood still for longer than %s", c.pause(t).Round(time.Millisecond))
}

// TestZombie freezes an owner in the middle of a commit until its lease has expired and
// another process works on the lane. The commit of the first owner must then be refused,
// although its own connection was never interrupted.
func TestZombie(t *testing.T) {
	c := newCrew(t, 1)
	f := c.lanes[0]
	frozen, thaw := make(chan struct{}), make(chan struct{})
	var once sync.Once
	freeze := func() {
		if len(f.commits(t)) > 0 {
			once.Do(func() { close(frozen); <-thaw })
		}
	}
	var mu sync.Mutex
	var committed []uint64
	deps := f.deps
	deps.Metrics = NewMetrics(prometheus.NewRegistry(), "zombie")
	deps.Committed = func(_ int, sequence uint64, _ []byte) {
		mu.Lock()
		defer mu.Unlock()
		committed = append(committed, sequence)
	}
	// The lease uses one connection, the lane another.
	nc := c.server.Conn(t, natsd.UserCore)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	keeper := lease.New("test", []int{0}, lease.Deps{JS: js, Log: slog.New(slog.DiscardHandler), Metrics: deps.Metrics.Leases})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		if err := keeper.Run(ctx, func(ctx context.Context, _ int) error {
			return Run(ctx, f.cfg, deps, func() Machine { return &adder{fail: func() error { freeze(); return nil }} }, NewStatus())
		}); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	streamtest.Eventually(t, "the first owner works", func() bool { return len(f.commits(t)) > 0 })
	f.publish(t, "1")
	f.publish(t, "2")
	f.publish(t, "3")
	<-frozen
	nc.Close()
	mu.Lock()
	before := len(committed)
	mu.Unlock()

	heir := c.join(t)
	streamtest.Eventually(t, "the heir has the lane", func() bool { return len(heir.keeper.Held()) == 1 })
	f.await(t, 3)
	for i := 4; i <= 30; i++ {
		f.publish(t, strconv.Itoa(i))
	}
	f.await(t, 30)
	close(thaw)
	stop()
	for i := 31; i <= 60; i++ {
		f.publish(t, strconv.Itoa(i))
	}
	f.await(t, 60)
	f.verify(t, 60)
	mu.Lock()
	defer mu.Unlock()
	if len(committed) != before {
		t.Errorf("the zombie committed %v", committed[before:])
	}
	if heir.Ready() != nil {
		t.Errorf("the next owner was disturbed: %v", heir.Ready())
	}
}

// stored returns the commits of the lane as the stream has them.
func (f *fixture) stored(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := f.js.Stream(t.Context(), streams.StreamDerived)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var out []*jetstream.RawStreamMsg
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; {
		msg, err := stream.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(f.cfg.OutputSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, msg)
		seq = msg.Sequence + 1
	}
	return out
}
