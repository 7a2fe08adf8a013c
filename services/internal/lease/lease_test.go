package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"headwater/services/internal/lease"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	service = "test"
	lanes   = 8
)

// world is a server on which workers share lanes, and a record of what they do.
type world struct {
	*streamtest.Server
	js jetstream.JetStream

	mu sync.Mutex
	// owner is the worker of each lane, and freed when the previous owner stopped.
	owner map[int]string
	freed map[int]time.Time
	// gaps are how long lanes were without an owner.
	gaps []time.Duration
	// twice are the lanes that had two owners at a time.
	twice []int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, lanes)
	return &world{Server: s, js: s.JS(t), owner: make(map[int]string), freed: make(map[int]time.Time)}
}

// worker is a process with a share of the lanes.
type worker struct {
	*lease.Keeper
	name string
	nc   *nats.Conn
	stop func() error
}

// start runs a worker until the test ends. Its lanes take a moment to finish.
func (w *world) start(t *testing.T, name string) *worker {
	t.Helper()
	return w.startWith(t, name, func(ctx context.Context, lane int) error {
		w.begin(lane, name)
		<-ctx.Done()
		w.end(lane, name)
		return nil
	})
}

func (w *world) startWith(t *testing.T, name string, own lease.Own) *worker {
	t.Helper()
	r := &worker{name: name, nc: w.Conn(t, natsd.UserCore)}
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	numbers := make([]int, lanes)
	for i := range numbers {
		numbers[i] = i
	}
	r.Keeper = lease.New(service, numbers, lease.Deps{
		JS: js, Log: slog.New(slog.NewTextHandler(t.Output(), nil)).With("worker", name),
		Metrics: lease.NewMetrics(prometheus.NewRegistry(), service),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, own) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = r.stop() })
	return r
}

func (w *world) begin(lane int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner[lane] != "" {
		w.twice = append(w.twice, lane)
	}
	w.owner[lane] = name
	if freed, ok := w.freed[lane]; ok {
		w.gaps = append(w.gaps, time.Since(freed))
	}
}

func (w *world) end(lane int, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owner[lane] == name {
		w.owner[lane] = ""
	}
	w.freed[lane] = time.Now()
}

// works returns how many lanes a worker works on.
func (w *world) works(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, owner := range w.owner {
		if owner == name {
			n++
		}
	}
	return n
}

// settled waits until the workers have their shares, and work on them.
func (w *world) settled(t *testing.T, shares []int, workers ...*worker) time.Duration {
	t.Helper()
	began := time.Now()
	streamtest.Eventually(t, fmt.Sprintf("the shares are %v", shares), func() bool {
		var got []int
		for _, r := range workers {
			if r.Ready() != nil || len(r.Held()) != w.works(r.name) {
				return false
			}
			got = append(got, len(r.Held()))
		}
		slices.Sort(got)
		return slices.Equal(got, shares)
	})
	return time.Since(began)
}

// longest returns the longest time for which a lane had no owner, and resets it.
func (w *world) longest(t *testing.T) time.Duration {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.twice) > 0 {
		t.Errorf("lanes with two owners at a time: %v", w.twice)
	}
	if len(w.gaps) == 0 {
		return 0
	}
	slices.Sort(w.gaps)
	t.Logf("%d lanes changed hands: half of them within %s, all within %s", len(w.gaps), w.gaps[len(w.gaps)/2], w.gaps[len(w.gaps)-1])
	longest := w.gaps[len(w.gaps)-1]
	w.gaps = nil
	return longest
}

// graceful is how long a lane may be without an owner when it is handed over.
const graceful = time.Second

func TestSharesFollowTheWorkers(t *testing.T) {
	w := newWorld(t)
	a := w.start(t, "a")
	t.Logf("one worker has all after %s", w.settled(t, []int{8}, a))
	b, c := w.start(t, "b"), w.start(t, "c")
	t.Logf("three share after %s", w.settled(t, []int{2, 3, 3}, a, b, c))
	for _, r := range []*worker{a, b} {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("one has all again after %s", w.settled(t, []int{8}, c))
	if gap := w.longest(t); gap == 0 || gap > graceful {
		t.Errorf("a lane was without an owner for %s, want less than %s", gap, graceful)
	}
}

// TestKilledWorker cuts off a worker: its work must end before another worker takes the
// lane, and that must happen soon.
func TestKilledWorker(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(t, "a"), w.start(t, "b")
	w.settled(t, []int{4, 4}, a, b)
	killed := time.Now()
	a.nc.Close()
	streamtest.Eventually(t, "the other worker has all lanes", func() bool { return len(b.Held()) == lanes })
	t.Logf("taken over %s after the kill", time.Since(killed))
	if len(a.Held()) != 0 || a.Ready() == nil {
		t.Errorf("the worker that was cut off holds %v: %v", a.Held(), a.Ready())
	}
	w.longest(t)
}

// TestReconnect shows that a short break costs no lane.
func TestReconnect(t *testing.T) {
	w := newWorld(t)
	a := w.start(t, "a")
	w.settled(t, []int{8}, a)
	for range 3 {
		if err := a.nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		b := w.start(t, "b")
		w.settled(t, []int{4, 4}, a, b)
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		w.settled(t, []int{8}, a)
	}
	if gap := w.longest(t); gap > graceful {
		t.Errorf("a lane was without an owner for %s, want less than %s", gap, graceful)
	}
}

// TestBucketsAreLost shows that workers recreate the buckets that a single server loses
// when it restarts, and that each keeps its lanes.
func TestBucketsAreLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(t, "a"), w.start(t, "b")
	w.settled(t, []int{4, 4}, a, b)
	w.longest(t)
	for _, bucket := range []string{streams.BucketLeases, streams.BucketWorkers} {
		if err := w.js.DeleteKeyValue(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
	}
	leased := func() int {
		kv, err := w.js.KeyValue(t.Context(), streams.BucketLeases)
		if err != nil {
			return 0
		}
		keys, err := kv.Keys(t.Context())
		if err != nil {
			return 0
		}
		return len(keys)
	}
	streamtest.Eventually(t, "every lane has a lease again", func() bool { return leased() == lanes })
	w.settled(t, []int{4, 4}, a, b)
	if w.longest(t) != 0 {
		t.Error("lanes changed hands though both workers lived")
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	w.settled(t, []int{8}, b)
}

func TestOwnFails(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("broken")
	r := w.startWith(t, "a", func(ctx context.Context, lane int) error {
		if lane == 3 {
			return broken
		}
		<-ctx.Done()
		return nil
	})
	streamtest.Eventually(t, "the worker ends", func() bool {
		err := r.Ready()
		return err != nil && err.Error() == "stopped"
	})
	if err := r.stop(); !errors.Is(err, broken) {
		t.Errorf("Run returned %v", err)
	}
	if b := w.start(t, "b"); w.settled(t, []int{8}, b) > time.Second {
		t.Error("the lanes were not given back")
	}
}
