package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

const (
	// readBuffer is how many messages wait for the next step, beside those that
	// the server has handed out ahead.
	readBuffer = maxStepReadings

	// longestGather is what a step gathers at most while the disk is slow.
	longestGather = 500 * time.Millisecond

	// requestTimeout bounds one question to the server, commitTimeout the time
	// until a round is stored, which includes a disk that is slow.
	requestTimeout = 5 * time.Second
	commitTimeout  = 8 * time.Second

	// firstRetry and lastRetry bound the pause after a failure.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Causes for which reading begins anew at the first message that is not
// acknowledged. They are values of a metric's label.
var (
	errReconnect = errors.New("the connection was lost")
	errGap       = errors.New("messages are missing")
	errRepeat    = errors.New("a message came again")
	errSilence   = errors.New("the server fell silent")
	errMadeAnew  = errors.New("the stream of the devices was made anew")
)

func cause(err error) string {
	for sentinel, name := range map[error]string{
		errReconnect: "reconnect", errGap: "gap", errRepeat: "redelivery", errSilence: "heartbeat", errMadeAnew: "incarnation", errMoved: "moved",
	} {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	return "error"
}

// reader stores what devices send with QoS 1 and 2. A session reads in order
// without a break; whatever breaks the order ends it, and the next one begins
// at the first message that is not acknowledged. The lanes know what of that is
// stored already.
type reader struct {
	svc *Service
	// devices is the connection that it reads by.
	devices connection
	lanes   *lanes
	step    *step
	// round is how long a round takes, as a moving average.
	round time.Duration
	// progress says that the session has stored something.
	progress bool
}

// connection tells when it is lost, as a *nats.Conn does.
type connection interface {
	StatusChanged(...nats.Status) chan nats.Status
	RemoveStatusListener(chan nats.Status)
}

func newReader(svc *Service, devices connection, n int) *reader {
	return &reader{svc: svc, devices: devices, lanes: newLanes(svc, n), step: newStep(svc.topics, svc.cfg.limits(), n)}
}

// run reads until ctx ends and what was read is stored and acknowledged.
func (r *reader) run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	for {
		r.progress = false
		err := r.session(ctx)
		if ctx.Err() != nil {
			r.svc.status.set(errors.New("stopped"))
			return nil //nolint:nilerr // it was told to stop, so nothing is wrong
		}
		r.svc.status.set(err)
		r.svc.metrics.resumes.WithLabelValues(cause(err)).Inc()
		if r.progress {
			retry.Reset()
		}
		wait := retry.NextBackOff()
		r.svc.deps.Log.Warn("reading begins anew at the last acknowledged message", "stream", streams.StreamMQTT, "err", err, "after", wait)
		if !pause(ctx, wait) {
			return nil
		}
	}
}

// session is one unbroken reading.
type session struct {
	*reader
	inputs <-chan input
	// broken gets why the reading broke, and probes gets how far it must come.
	broken <-chan error
	probes <-chan probe
	// failure is what came from broken, if anything has.
	failure error
	// committed is the input sequence up to which everything is stored.
	committed uint64
	// last is the last message of the step that is being gathered, if any.
	last input
	// asked is the probe that waits for its sequence to be stored.
	asked *probe
}

// session reads until ctx ends or the order breaks, and returns why.
func (r *reader) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	broken := make(chan error, 3)
	stopWatching := watchConnection(r.devices, broken)
	defer stopWatching()
	source, err := r.open(ctx)
	if err != nil {
		return err
	}
	inputs := make(chan input, readBuffer)
	probes := make(chan probe)
	done := make(chan struct{}, 2)
	go func() { defer func() { done <- struct{}{} }(); r.deliver(ctx, source, inputs, broken) }()
	go func() { defer func() { done <- struct{}{} }(); r.ask(ctx, source, probes, broken) }()
	defer func() {
		cancel()
		source.iterator.Stop()
		<-done
		<-done
	}()
	r.svc.status.set(nil)
	s := session{reader: r, inputs: inputs, broken: broken, probes: probes, committed: source.floor}
	return s.run(ctx)
}

// run stores step after step.
func (s *session) run(ctx context.Context) error {
	for {
		more := s.gather(ctx)
		stopping := ctx.Err() != nil
		if err := s.store(ctx, stopping); err != nil {
			return err
		}
		switch {
		case stopping:
			return ctx.Err()
		case !more && s.failure == nil:
			return <-s.broken
		case !more:
			return s.failure
		}
		select {
		case err := <-s.broken:
			return err
		case p := <-s.openProbes():
			s.asked = &p
		default:
		}
	}
}

// openProbes is where the next probe comes from; nowhere as long as one waits,
// as a later one would only be answered later.
func (s *session) openProbes() <-chan probe {
	if s.asked != nil {
		return nil
	}
	return s.probes
}

// gather fills a step: until it is full, or some time after its first message.
// It returns early with a probe that can be answered, and says whether more
// may come.
func (s *session) gather(ctx context.Context) (more bool) {
	var timeout <-chan time.Time
	for !s.step.full() {
		var in input
		var ok bool
		select {
		case in, ok = <-s.inputs:
		default:
			if s.last.msg == nil && s.answerable() {
				return true
			}
			select {
			case in, ok = <-s.inputs:
			case p := <-s.openProbes():
				s.asked = &p
				continue
			case s.failure = <-s.broken:
				return false
			case <-timeout:
				return true
			case <-ctx.Done():
				return false
			}
		}
		if !ok {
			return false
		}
		if timeout == nil {
			timer := time.NewTimer(s.patience())
			defer timer.Stop()
			timeout = timer.C
		}
		s.add(in)
		s.last = in
	}
	return true
}

// patience is how long a step gathers: longer when storing takes long, as each
// lane of a step may cost a sync of the disk.
func (s *session) patience() time.Duration {
	return min(max(s.svc.cfg.Step, 2*s.round), longestGather)
}

func (s *session) add(in input) {
	var stored func(site, device string) bool
	if in.sequence <= s.lanes.highest {
		stored = func(site, device string) bool { return s.lanes.stored(site, device, in.sequence) }
	}
	dead := len(s.step.dead)
	if !s.step.add(in.msg.Subject(), in.msg.Data(), in.arrival, stored) {
		s.svc.metrics.repeated.Inc()
	}
	if in.sequence <= s.lanes.buried {
		s.step.dead = s.step.dead[:dead]
	}
}

// answerable says that everything the probe asks for is stored.
func (s *session) answerable() bool { return s.asked != nil && s.committed >= s.asked.sequence }

// store stores what was gathered, moves the clock if the probe can be answered,
// and acknowledges.
func (s *session) store(ctx context.Context, stopping bool) error {
	last, messages := s.last, s.step.messages
	s.last = input{}
	r := round{sequence: s.committed}
	r.batches, r.dead = s.step.take()
	if last.msg != nil {
		r.sequence = last.sequence
	}
	if s.asked != nil && r.sequence >= s.asked.sequence {
		r.clock = s.asked.time
		s.asked = nil
	}
	if last.msg == nil && r.clock == 0 {
		return nil
	}
	// What was read is stored even if the bridge is told to stop meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	began := time.Now()
	if err := s.lanes.commit(ctx, r); err != nil {
		return err
	}
	s.round += (time.Since(began) - s.round) / 8
	s.committed = r.sequence
	s.progress = true
	if last.msg == nil {
		return nil
	}
	s.svc.metrics.messages.WithLabelValues(qosKept).Add(float64(messages))
	return acknowledge(ctx, last.msg, stopping)
}

// acknowledge lets go of everything up to the message. The last ack of a
// bridge is confirmed, so that the next one need not read it again.
func acknowledge(ctx context.Context, msg jetstream.Msg, confirmed bool) error {
	var err error
	if confirmed {
		err = msg.DoubleAck(ctx)
	} else {
		err = msg.Ack()
	}
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}
