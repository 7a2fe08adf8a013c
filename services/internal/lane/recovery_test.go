package lane

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/services/internal/simulation"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// journal is a log that tests can read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.text.String(), text)
}

// listen makes the lane write its log into a journal.
func (f *fixture) listen() *journal {
	j := new(journal)
	f.deps.Log = slog.New(slog.NewTextHandler(j, nil))
	return j
}

func (f *fixture) publishAll(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		f.publish(t, strconv.Itoa(i))
	}
}

func (f *fixture) purge(t *testing.T, name string) {
	t.Helper()
	stream, err := f.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// recreate deletes a stream and creates it again.
func (f *fixture) recreate(t *testing.T, name string) {
	t.Helper()
	if err := f.js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Ensure(t.Context(), f.js, streams.Options{Lanes: 1, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
}

// sums returns the outputs of the commits in the stream.
func (f *fixture) sums(t *testing.T) []output {
	t.Helper()
	var all []output
	for _, c := range f.commits(t) {
		all = append(all, c.Outputs...)
	}
	return all
}

// expect waits for the output of every third input from the first to the last. Before is
// the sum before the first.
func (f *fixture) expect(t *testing.T, first, last, sum int) {
	t.Helper()
	f.await(t, last)
	got := f.sums(t)
	var want []output
	for i := first; i <= last; i++ {
		sum += i
		if i%3 == 0 {
			want = append(want, output{i, sum})
		}
	}
	if len(got) != len(want) {
		t.Fatalf("outputs %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("output %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// TestOffForLongerThanStreamsKeep purges input and output while nobody owns the
// lane, together with input that nobody has read: the lane continues with what it
// had learned, and logs what is missing.
func TestOffForLongerThanStreamsKeep(t *testing.T) {
	f := newFixture(t)
	log := f.listen()
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	stop()
	f.publishAll(t, 31, 40)
	f.purge(t, streams.StreamTelemetry)
	f.purge(t, streams.StreamDerived)
	defer f.start(t, never)()
	f.publishAll(t, 41, 60)
	f.expect(t, 41, 60, 30*31/2)
	if !log.has("continues with what was learned before") {
		t.Error("the log doesn't say that input is missing")
	}
}

// TestOtherFormatIsRebuilt starts a program whose machine writes its state in
// another way: the snapshot is not read, the state is rebuilt from the input.
func TestOtherFormatIsRebuilt(t *testing.T) {
	f := newFixture(t)
	log := f.listen()
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	stop()
	f.cfg.Format = 2
	defer f.start(t, never)()
	f.publishAll(t, 31, 60)
	f.expect(t, 1, 60, 0)
	if n := testutil.ToFloat64(f.deps.Metrics.badSnapshots); n != 1 || !log.has("format 1, this program reads 2") {
		t.Errorf("%v snapshots skipped, want 1, and the reason in the log", n)
	}
}

// TestInputRecreated recreates the input while a lane works, and again while nobody owns
// it. The new input is processed from its first message on, with what was learned before,
// and an alarm is raised.
func TestInputRecreated(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	f.recreate(t, streams.StreamTelemetry)
	f.publishAll(t, 31, 33)
	f.expect(t, 1, 33, 0)
	if n := testutil.ToFloat64(f.deps.Metrics.incarnations); n == 0 {
		t.Error("no alarm for the first time")
	}
	before := testutil.ToFloat64(f.deps.Metrics.incarnations)
	stop()
	f.recreate(t, streams.StreamTelemetry)
	f.publishAll(t, 34, 36)
	defer f.start(t, never)()
	f.expect(t, 1, 36, 0)
	if n := testutil.ToFloat64(f.deps.Metrics.incarnations); n == before {
		t.Error("no alarm for the second time")
	}
}

// TestStopBeforeASnapshotThatIsDue stops a lane between a commit and the snapshot that is
// due after it. The input is recreated before the next owner starts, so only the last
// snapshot of the lane can hold what it had learned.
func TestStopBeforeASnapshotThatIsDue(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	stop()
	f.recreate(t, streams.StreamTelemetry)
	ctx, cancel := context.WithCancel(t.Context())
	f.deps.Committed = func(int, uint64, []byte) { cancel() }
	f.publish(t, "33")
	if err := Run(ctx, f.cfg, f.deps, func() Machine { return &adder{fail: never} }, NewStatus()); err != nil {
		t.Fatal(err)
	}
	f.deps.Committed = nil
	f.recreate(t, streams.StreamTelemetry)
	f.publish(t, "36")
	defer f.start(t, never)()
	f.await(t, 36)
	learned := 30 * 31 / 2
	got, want := f.sums(t)[10:], []output{{33, learned + 33}, {36, learned + 33 + 36}}
	if !slices.Equal(got, want) {
		t.Errorf("outputs %v, want %v", got, want)
	}
}

// TestOutputRecreated recreates the output while a lane works: the lane continues, and the
// next owner finds each of its commits once.
func TestOutputRecreated(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	stop()
	f.recreate(t, streams.StreamDerived)
	ctx, cancel := context.WithCancel(t.Context())
	crashing := &unwritable{JetStream: f.js}
	f.deps.JS = crashing
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Run(ctx, f.cfg, f.deps, func() Machine { return &adder{fail: never} }, NewStatus())
	}()
	f.publishAll(t, 31, 33)
	f.expect(t, 31, 33, 30*31/2)
	cancel()
	<-done
	// The previous owner left no snapshot of what it did.
	f.deps.JS = f.js
	defer f.start(t, never)()
	f.publishAll(t, 34, 36)
	f.expect(t, 31, 36, 30*31/2)
	if n := testutil.ToFloat64(f.deps.Metrics.incarnations); n == 0 {
		t.Error("no alarm")
	}
}

// unwritable is JetStream whose object stores can't be written to.
type unwritable struct{ jetstream.JetStream }

func (u *unwritable) ObjectStore(ctx context.Context, name string) (jetstream.ObjectStore, error) {
	store, err := u.JetStream.ObjectStore(ctx, name)
	return &unwritableObjects{store}, err
}

type unwritableObjects struct{ jetstream.ObjectStore }

func (*unwritableObjects) PutBytes(context.Context, string, []byte) (*jetstream.ObjectInfo, error) {
	return nil, context.DeadlineExceeded
}

// silent is JetStream whose object stores don't answer for a while.
type silent struct {
	jetstream.JetStream
	reads atomic.Int64
}

func (s *silent) ObjectStore(ctx context.Context, name string) (jetstream.ObjectStore, error) {
	store, err := s.JetStream.ObjectStore(ctx, name)
	return &silentObjects{store, s}, err
}

type silentObjects struct {
	jetstream.ObjectStore
	silent *silent
}

func (o *silentObjects) GetBytes(ctx context.Context, name string, opts ...jetstream.GetObjectOpt) ([]byte, error) {
	if o.silent.reads.Add(1) <= 3 {
		return nil, context.DeadlineExceeded
	}
	return o.ObjectStore.GetBytes(ctx, name, opts...)
}

// TestUnansweredSnapshotIsNotDamaged has a server that does not answer when the lane reads
// the snapshot, and only the snapshot holds what was learned. The lane must wait for it and
// not begin with an empty state.
func TestUnansweredSnapshotIsNotDamaged(t *testing.T) {
	f := newFixture(t)
	f.configure(t, 1)
	stop := f.start(t, never)
	f.publishAll(t, 1, 30)
	f.await(t, 30)
	stop()
	f.purge(t, streams.StreamTelemetry)
	js := &silent{JetStream: f.js}
	f.deps.JS = js
	defer f.start(t, never)()
	f.publishAll(t, 31, 60)
	f.expect(t, 1, 60, 0)
	streamtest.Eventually(t, "that the snapshot was read in the end", func() bool { return js.reads.Load() > 3 })
	if n := testutil.ToFloat64(f.deps.Metrics.badSnapshots); n != 0 {
		t.Errorf("%v snapshots skipped", n)
	}
}

// halting is an adder that waits before one input, once.
type halting struct {
	adder
	before  string
	reached chan struct{}
	resume  chan struct{}
}

func (h *halting) Apply(in Input) (int, error) {
	if string(in.Data) == h.before && h.reached != nil {
		close(h.reached)
		h.reached = nil
		<-h.resume
	}
	return h.adder.Apply(in)
}

// TestCleanedUpUnderAReplay has another owner write a snapshot while the lane replays from
// its beginning, and purges the input that the snapshot covers. The replay then misses the
// middle of its input, and the lane must not continue with it.
func TestCleanedUpUnderAReplay(t *testing.T) {
	// More than a lane reads ahead.
	const n = 3 * readAhead
	f := newFixture(t)
	f.configure(t, 1)
	other := f.start(t, never)
	f.publishAll(t, 1, n)
	f.await(t, n)

	reached, resume := make(chan struct{}), make(chan struct{})
	slow := &halting{adder: adder{fail: never}, before: "10", reached: reached, resume: resume}
	machines := []Machine{slow}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := Run(ctx, f.cfg, f.deps, func() Machine {
			if len(machines) > 0 {
				m := machines[0]
				machines = nil
				return m
			}
			return &adder{fail: never}
		}, NewStatus())
		if err != nil {
			t.Error(err)
		}
	}()
	<-reached
	// The other owner writes its snapshot when it stops.
	other()
	stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(n)); err != nil {
		t.Fatal(err)
	}
	close(resume)
	f.publishAll(t, n+1, n+30)
	f.await(t, n+30)
	cancel()
	<-done
	f.verify(t, n+30)
}

// remaking is JetStream in which a stream is recreated at the moment at which somebody
// begins to read it.
type remaking struct {
	jetstream.JetStream
	stream string
	once   sync.Once
	remake func()
}

func (r *remaking) OrderedConsumer(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	consumer, err := r.JetStream.OrderedConsumer(ctx, stream, cfg)
	if err != nil || stream != r.stream {
		return consumer, err
	}
	return &remakingConsumer{consumer, r}, nil
}

type remakingConsumer struct {
	jetstream.Consumer
	*remaking
}

func (c *remakingConsumer) Messages(opts ...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	c.once.Do(c.remake)
	return c.Consumer.Messages(opts...)
}

// TestRecreatedWhileTheLaneLoads recreates the output, or the input, while a lane reads
// what it knows to be there: it must not wait for that forever.
func TestRecreatedWhileTheLaneLoads(t *testing.T) {
	for _, stream := range []string{streams.StreamDerived, streams.StreamTelemetry} {
		t.Run(stream, func(t *testing.T) {
			err := simulation.Run(t, func(t *testing.T) error {
				cluster := simulation.NewCluster()
				js := cluster.Connect(1, "worker", nil)
				if _, err := streams.Ensure(t.Context(), js, streams.Options{Lanes: 1}); err != nil {
					return err
				}
				f := fixtureOf(js, 0)
				f.configure(t, 1)
				// Without a snapshot, all is read again.
				f.deps.JS = &unwritable{JetStream: js}
				stop := f.start(t, never)
				f.publishAll(t, 1, 30)
				f.await(t, 30)
				stop()
				f.deps.JS = &remaking{JetStream: js, stream: stream, remake: func() { cluster.Recreate(stream) }}
				defer f.start(t, never)()
				f.publishAll(t, 31, 33)
				time.Sleep(2 * loadTimeout) //nolint:forbidigo // the clock of the bubble
				f.publishAll(t, 34, 36)
				f.await(t, 36)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
