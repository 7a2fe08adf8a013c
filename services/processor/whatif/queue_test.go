package whatif

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"headwater/services/processor/machine"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk has a queue without a processor, and a replay that runs until it is cancelled.
type desk struct {
	t     *testing.T
	queue *Queue
	nc    *nats.Conn
	long  *entry
}

func newDesk(t *testing.T) *desk {
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	d := &desk{t: t, nc: server.Conn(t, natsd.UserOf(streams.ServiceDashboard))}
	d.queue = New(Deps{
		JS: server.JS(t), Log: slog.New(slog.DiscardHandler), Limits: machine.DefaultLimits(), Metrics: prometheus.NewRegistry(),
	})
	d.long = &entry{id: "long", job: new(job), began: time.Now(), wanted: time.Now()}
	d.long.work = func(ctx context.Context) (*streams.ReplayResult, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	var err error
	d.long.subs, err = d.queue.deps.JS.Conn().ChanSubscribe(streams.ReplaySubject("long"), d.queue.questions)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run answers until the returned function is called.
func (d *desk) run() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	d.queue.launch(ctx, d.long)
	go func() { done <- d.queue.Run(ctx, 2) }()
	streamtest.Eventually(d.t, "that questions are answered", func() bool {
		_, err := d.nc.Request(streams.ReplaySubject("long"), nil, time.Second)
		return err == nil
	})
	return func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	}
}

func (d *desk) ask(subject string, body []byte) streams.ReplayStatus {
	d.t.Helper()
	m, err := d.nc.Request(subject, body, 10*time.Second)
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := streams.DecodeReplayStatus(m.Data)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// awaitEnd asks until the long replay has ended.
func (d *desk) awaitEnd() streams.ReplayStatus {
	d.t.Helper()
	var s streams.ReplayStatus
	streamtest.Eventually(d.t, "that the replay ends", func() bool {
		s = d.ask(streams.ReplaySubject("long"), nil)
		return s.State.Over()
	})
	return s
}

func TestReplaysOneAtATime(t *testing.T) {
	d := newDesk(t)
	defer d.run()()
	body, err := streams.ReplayRequest{ID: "other", Rule: above30, From: time.Unix(1, 0), To: time.Unix(2, 0)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if s := d.ask(streams.ReplayStart, body); s.State != streams.ReplayBusy {
		t.Errorf("a second replay is %s, want busy", s.State)
	}
	if s := d.ask(streams.ReplaySubject("long"), []byte(streams.ReplayCancel)); s.State.Over() && s.State != streams.ReplayFailed {
		t.Errorf("the answer to its end is %s", s.State)
	}
	if s := d.awaitEnd(); s.State != streams.ReplayFailed || s.Error != errCancelled.Error() {
		t.Errorf("the replay ended as %s: %s", s.State, s.Error)
	}
}

func TestReplaysEndWithTheirProcessor(t *testing.T) {
	d := newDesk(t)
	d.run()()
	if d.long.last.State != streams.ReplayFailed || d.long.last.Error != errStopped.Error() {
		t.Errorf("the replay ended as %s: %s", d.long.last.State, d.long.last.Error)
	}
}

// TestReplaysAreWaitedFor checks that a replay is ended when nobody has asked for
// it in a while, and its result forgotten when it is old.
func TestReplaysAreWaitedFor(t *testing.T) {
	d := newDesk(t)
	now := time.Now()
	d.long.wanted = now
	d.queue.launch(t.Context(), d.long)
	d.queue.check(now.Add(streams.ReplayPatience))
	select {
	case <-d.queue.done:
		t.Fatal("the replay was ended while somebody waited")
	default:
	}
	d.queue.check(now.Add(streams.ReplayPatience + 1))
	d.queue.finish(<-d.queue.done)
	if d.long.last.Error != errAbandoned.Error() {
		t.Errorf("it ended with %q", d.long.last.Error)
	}
	d.queue.check(d.long.ended.Add(streams.ReplayKept))
	if len(d.queue.entries) != 1 {
		t.Error("the result was forgotten too early")
	}
	d.queue.check(d.long.ended.Add(streams.ReplayKept + 1))
	if len(d.queue.entries) != 0 {
		t.Error("an old result is kept")
	}
}
