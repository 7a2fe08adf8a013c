package functions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	// fetchMessages bounds the messages that a function has at a time, and fetchWait how
	// long it waits for one.
	fetchMessages = 64
	fetchWait     = time.Second
	// maxOutputs bounds the outputs of one step: the writer counts on it that a message has
	// fewer readings than its keys.
	maxOutputs = 4000
	// failurePause is how many times as long as a failed call the function pauses, so that
	// one that always fails takes a quarter of a processor, and maxPause the longest pause.
	failurePause = 3
	maxPause     = 10 * time.Second
)

// runner runs one version of a function on what its trigger brings: a durable consumer of a
// stream, a clock, or requests. Without a
// shadow its outputs are stored; with one it runs both versions from the same state on the
// same input, and stores nothing but how they differ.
type runner struct {
	s       *Service
	log     *slog.Logger
	f       function.Function
	trigger function.Trigger
	durable string
	lanes   int

	live, shadow *side
	record       *record
	status       *reporter
	consumer     jetstream.Consumer
	incarnation  int64
	// delivered is the last delivery of the consumer.
	delivered uint64
	// handled is the last message that was delivered, or known to be gone.
	handled uint64
	// complained is the error that was logged last.
	complained string
	// requests are those to a function that runs on them, and key that of the one it has.
	requests *nats.Subscription
	// dropped is how many of them were counted as dropped.
	dropped int
	key     string
	// owed is the pause that a function owes after a request on which it failed.
	owed time.Duration
}

// side is one of the versions.
type side struct {
	version function.Version
	caller  caller
	state   *state
	tally   tally
	// reply is what the last call answers to a request.
	reply contract.Reply
}

// caller calls a function once. A *sandbox.Failure says that the function is to blame.
type caller interface {
	call(ctx context.Context, input []byte, st *overlay, log func(string)) ([]byte, error)
	memory() uint64
	close()
}

func newRunner(s *Service, f function.Function, durable string, lanes int) *runner {
	return &runner{s: s, log: s.log.With("function", f.Name), f: f, trigger: f.Trigger(), durable: durable, lanes: lanes}
}

// run runs until ctx ends.
func (r *runner) run(ctx context.Context) {
	hard, cancel := process.HardStop(ctx, grace)
	defer cancel()
	for ctx.Err() == nil {
		err := r.session(ctx, hard)
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != r.complained {
			r.log.Warn("the function does not run; trying again", "err", err)
			r.complained = text
		}
		if r.status != nil {
			r.status.problem(ctx, err)
		}
		process.Sleep(ctx, retryAfter)
	}
}

// session runs until ctx ends or something fails that is not the function's fault.
func (r *runner) session(ctx, hard context.Context) (err error) {
	bucket, err := r.s.store.Bucket(ctx)
	if err != nil {
		return err
	}
	live, shadow := numbers(r.f, r.durable)
	if r.status, err = newReporter(ctx, bucket, r.f, live, shadow); err != nil {
		return err
	}
	if r.record, err = loadRecord(ctx, r.s, bucket, r.f.Name, r.trigger, r.lanes); err != nil {
		return err
	}
	if shadow == 0 {
		// What a crash has left half done comes first.
		if err := r.record.publish(hard); err != nil {
			return err
		}
	}
	if r.live, err = r.open(ctx, live, r.record.state); err != nil {
		return err
	}
	defer r.live.caller.close()
	r.live.tally.Counts = r.status.counts(shadow != 0)
	r.shadow = nil
	if shadow != 0 {
		if r.shadow, err = r.open(ctx, shadow, r.record.state.clone()); err != nil {
			return err
		}
		defer r.shadow.caller.close()
		r.shadow.tally.Counts, r.live.tally.Counts = r.live.tally.Counts, function.Counts{}
	}
	step, end, err := r.begin(ctx, hard)
	if err != nil {
		return err
	}
	defer end()
	r.log.Info("function runs", "version", live, "shadow", shadow)
	r.report(ctx, true)
	for ctx.Err() == nil {
		if err := step(ctx, hard); err != nil {
			return err
		}
		r.report(ctx, false)
	}
	r.report(context.WithoutCancel(ctx), true)
	return nil
}

// begin prepares the trigger, and returns what handles it once and what ends it.
func (r *runner) begin(ctx, hard context.Context) (step func(ctx, hard context.Context) error, end func(), err error) {
	switch r.trigger {
	case function.Schedule:
		return r.tick, func() {}, r.schedule(hard)
	case function.HTTP:
		return r.serve, func() { _ = r.requests.Unsubscribe() }, r.listen() // the connection may be closed
	}
	return r.step, func() {}, r.resume(ctx)
}

// open prepares a version.
func (r *runner) open(ctx context.Context, number int, st *state) (*side, error) {
	v, ok := r.f.Version(number)
	if !ok {
		return nil, fmt.Errorf("version %d is gone", number)
	}
	c, err := r.s.caller(ctx, r.f.Name, v)
	if err != nil {
		return nil, fmt.Errorf("version %d: %w", number, err)
	}
	return &side{version: v, caller: c, state: st}, nil
}

// resume makes the consumer deliver again what is not acknowledged, in order. What was
// committed already is passed over.
func (r *runner) resume(ctx context.Context) error {
	name := r.trigger.Stream()
	stream, err := r.s.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	r.consumer, err = stream.Consumer(ctx, r.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		r.consumer, err = stream.CreateConsumer(ctx, streams.FunctionConfig(name, r.durable))
	}
	if err != nil {
		return fmt.Errorf("make consumer %s of %s: %w", r.durable, name, err)
	}
	place, loss, err := r.record.at.Resume(ctx, stream)
	if err != nil {
		return err
	}
	if loss != nil {
		r.log.Warn("the stream has lost what the function had already", "loss", loss.String())
	}
	r.record.at = place
	if _, err := r.s.js.ResetConsumer(ctx, name, r.durable); err != nil {
		return fmt.Errorf("reset consumer %s: %w", r.durable, err)
	}
	r.incarnation, r.delivered, r.handled = stream.CachedInfo().Created.UnixNano(), 0, r.consumer.CachedInfo().AckFloor.Stream
	return nil
}

// input is one message of the stream, a time of the schedule or a request.
type input struct {
	msg      jetstream.Msg
	place    streams.Place
	readings []contract.Reading
}

// errGap is returned when messages were lost on their way to the consumer. The next session
// begins behind the last one that was handled.
var errGap = errors.New("messages were lost on their way")

// step handles what the consumer has.
func (r *runner) step(ctx, hard context.Context) error {
	batch, err := r.consumer.FetchNoWait(fetchMessages)
	if err != nil {
		return fmt.Errorf("fetch the input: %w", err)
	}
	n, err := r.handle(ctx, hard, batch)
	if err != nil || n > 0 {
		return err
	}
	within, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err = r.consumer.Fetch(1, jetstream.FetchContext(within))
	if err != nil && within.Err() == nil {
		return fmt.Errorf("fetch the input: %w", err)
	}
	if err != nil {
		return nil // nothing came in time
	}
	_, err = r.handle(ctx, hard, batch)
	return err
}

// handle handles a batch, in parts with as many readings as a call may have.
func (r *runner) handle(ctx, hard context.Context, batch jetstream.MessageBatch) (n int, err error) {
	var part []input
	readings := 0
	flush := func() error {
		if len(part) == 0 {
			return nil
		}
		defer func() { part, readings = part[:0], 0 }()
		return r.settle(ctx, hard, part)
	}
	for msg := range batch.Messages() {
		n++
		if err != nil || ctx.Err() != nil {
			continue // the channel is read to its end
		}
		var in input
		if in, err = r.read(msg); err != nil {
			continue
		}
		if readings+len(in.readings) > contract.MaxReadings {
			if err = flush(); err != nil {
				continue
			}
		}
		part, readings = append(part, in), readings+len(in.readings)
	}
	if err == nil && ctx.Err() == nil {
		err = flush()
	}
	if err == nil && batch.Error() != nil && !errors.Is(batch.Error(), context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("fetch the input: %w", batch.Error())
	}
	return n, err
}

// read decodes a message and selects the readings that the function wants.
func (r *runner) read(msg jetstream.Msg) (in input, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return in, fmt.Errorf("read the place of a message: %w", err)
	}
	if meta.Sequence.Consumer != r.delivered+1 {
		return in, errGap
	}
	r.delivered, r.handled = meta.Sequence.Consumer, meta.Sequence.Stream
	in = input{msg: msg, place: streams.Place{Incarnation: r.incarnation, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp.UnixNano()}}
	if r.shadow == nil && in.place.Sequence <= r.record.at.Sequence {
		return in, nil
	}
	switch r.trigger {
	case function.Summaries, function.Anomalies:
		if c, err := streams.DecodeDerived(msg.Data()); err == nil {
			in.readings = r.derived(c)
		}
	case function.Alerts:
		if c, err := streams.DecodeAlerting(msg.Data()); err == nil {
			for _, a := range c.GetAlerts() {
				if k := a.GetSeries(); r.wants(k.GetSite(), k.GetDevice(), k.GetMetric()) {
					in.readings = append(in.readings, contract.Alert(a))
				}
			}
		}
	default:
		// The writer makes a dead letter of what does not decode.
		if b, err := streams.DecodeTelemetry(msg.Data()); err == nil {
			in.readings = r.telemetry(b)
		}
	}
	return in, nil
}

// wants reports whether a version that runs matches a series.
func (r *runner) wants(site, device, metric string) bool {
	return r.live.version.Matches(site, device, metric) || r.shadow != nil && r.shadow.version.Matches(site, device, metric)
}

func (r *runner) telemetry(b *telemetryv1.Batch) (out []contract.Reading) {
	dictionary := b.Dictionary()
	wanted := make([]bool, len(dictionary))
	for i, d := range dictionary {
		wanted[i] = r.wants(d.Site, d.Device, d.Metric)
	}
	for reading := range b.Readings() {
		if wanted[reading.Series] {
			out = append(out, contract.Reading{
				Series: dictionary[reading.Series], Time: reading.Time, Value: reading.Value, Flag: reading.Flag, Text: reading.Text,
			})
		}
	}
	return out
}

func (r *runner) derived(c *derivedv1.Commit) (out []contract.Reading) {
	if r.trigger == function.Anomalies {
		for _, a := range c.GetAnomalies() {
			if k := a.GetSeries(); r.wants(k.GetSite(), k.GetDevice(), k.GetMetric()) {
				out = append(out, contract.Anomaly(a))
			}
		}
		return out
	}
	for _, w := range c.GetSummaries() {
		if k := w.GetSeries(); r.wants(k.GetSite(), k.GetDevice(), k.GetMetric()) {
			out = append(out, contract.Summary(w))
		}
	}
	return out
}

// settle runs the function on some messages, commits, and acknowledges them.
func (r *runner) settle(ctx, hard context.Context, part []input) error {
	last := part[len(part)-1]
	readings := 0
	for _, in := range part {
		readings += len(in.readings)
	}
	switch {
	case readings == 0:
	case r.shadow != nil:
		if err := r.compare(ctx, part); err != nil {
			return err
		}
	case readings <= contract.MaxReadings:
		var all []contract.Reading
		for _, in := range part {
			all = append(all, in.readings...)
		}
		outputs, failure, err := r.live.try(ctx, r, all)
		if err != nil {
			return err
		}
		if failure == nil {
			if err := r.record.commit(hard, last.place, outputs, nil, r.live.version.Number); err != nil {
				return err
			}
			break
		}
		r.failed(ctx, failure)
		if len(part) == 1 {
			if err := r.record.commit(hard, last.place, nil, []letter{newLetter(failure, r.trigger, all)}, r.live.version.Number); err != nil {
				return err
			}
			break
		}
		// Which message it cannot take shows when each comes alone.
		for i := range part {
			if err := r.alone(ctx, hard, part[i]); err != nil {
				return err
			}
		}
	default:
		if err := r.alone(ctx, hard, last); err != nil {
			return err
		}
	}
	if err := last.msg.Ack(); err != nil {
		return fmt.Errorf("acknowledge the input: %w", err)
	}
	return nil
}

// alone runs the function on one message, in several calls if it has too many readings for
// one, and commits.
func (r *runner) alone(ctx, hard context.Context, in input) error {
	var outputs []contract.Reading
	var letters []letter
	for rest := in.readings; len(rest) > 0; {
		chunk := rest[:min(len(rest), contract.MaxReadings)]
		rest = rest[len(chunk):]
		made, failure, err := r.live.try(ctx, r, chunk)
		if err != nil {
			return err
		}
		if failure == nil && len(outputs)+len(made) > maxOutputs {
			failure = tooMany()
		}
		if failure != nil {
			r.failed(ctx, failure)
			letters = append(letters, newLetter(failure, r.trigger, chunk))
			continue
		}
		outputs = append(outputs, made...)
	}
	if r.key != "" && len(letters) == 0 {
		r.record.answered = &answered{Key: r.key, Reply: r.live.reply}
	}
	return r.record.commit(hard, in.place, outputs, letters, r.live.version.Number)
}

// try calls a version once. What a failed call did to the state is undone.
func (d *side) try(ctx context.Context, r *runner, readings []contract.Reading) (outputs []contract.Reading, failed *failure, err error) {
	readings = d.matching(readings)
	if len(readings) == 0 {
		return nil, nil, nil
	}
	input := contract.Append(make([]byte, 0, 128*len(readings)+16), r.trigger, readings)
	st := &overlay{below: d.state}
	start := time.Now()
	data, err := d.caller.call(ctx, input, st, r.status.line)
	took := time.Since(start)
	if err == nil {
		outputs, err = contract.Parse(data, readings, streams.ValidToken)
	}
	if err == nil && r.trigger == function.HTTP {
		d.reply, err = contract.ParseReply(data)
	}
	if err == nil && r.trigger.Derived() {
		err = r.s.all.circles(outputs)
	}
	failed, err = blame(err)
	if err != nil {
		return nil, nil, err
	}
	if failed == nil {
		st.apply()
	} else {
		failed.took = took
		outputs = nil
		d.reply = contract.Reply{Status: http.StatusInternalServerError, Type: "text/plain", Body: failed.Error()}
	}
	d.tally.add(took, len(readings), len(outputs), failed)
	r.s.metrics.observe(r.f.Name, took, len(readings), len(outputs), failed, r.shadow != nil)
	return outputs, failed, nil
}

// matching returns the readings that the version matches. Beside a shadow with other
// patterns they may be fewer than were read.
func (d *side) matching(readings []contract.Reading) []contract.Reading {
	for i := range readings {
		if !d.version.Matches(readings[i].Site, readings[i].Device, readings[i].Metric) {
			out := append([]contract.Reading(nil), readings[:i]...)
			for _, r := range readings[i+1:] {
				if d.version.Matches(r.Site, r.Device, r.Metric) {
					out = append(out, r)
				}
			}
			return out
		}
	}
	return readings
}

// failed reports a failed call and pauses.
func (r *runner) failed(ctx context.Context, f *failure) {
	r.log.Warn("a call of the function failed; its input becomes a dead letter unless it works in smaller parts", "reason", f.Reason, "detail", f.Detail)
	r.report(ctx, true)
	r.owed = min(failurePause*f.took, maxPause)
	if r.trigger != function.HTTP {
		// Who waits for the reply of a request does not wait for this.
		r.pause(ctx)
	}
}

func (r *runner) pause(ctx context.Context) {
	process.Sleep(ctx, r.owed)
	r.owed = 0
}

// report writes the status, if it is due or must be.
func (r *runner) report(ctx context.Context, now bool) {
	side := r.live
	if r.shadow != nil {
		side = r.shadow
	}
	side.tally.Memory = side.caller.memory()
	r.status.report(ctx, now, r.backlog, side.tally.counts())
}

// backlog returns how many messages wait, and how many the stream has removed for lack of
// room since the last call.
func (r *runner) backlog(ctx context.Context) (waiting, skipped uint64) {
	if r.consumer == nil {
		return 0, 0
	}
	info, err := r.consumer.Info(ctx)
	if err != nil {
		return 0, 0
	}
	waiting = info.NumPending + uint64(info.NumAckPending)
	if waiting == 0 {
		r.handled = max(r.handled, info.Delivered.Stream)
		return 0, 0
	}
	stream, err := r.s.js.Stream(ctx, r.trigger.Stream())
	if err != nil {
		return waiting, 0
	}
	if first := stream.CachedInfo().State.FirstSeq; r.handled > 0 && first > r.handled+1 {
		skipped, r.handled = first-1-r.handled, first-1
	}
	return waiting, skipped
}

// batchOf packs readings into one batch for each lane.
func batchOf(outputs []contract.Reading, lanes int, now time.Time, place streams.Place) map[int]*telemetryv1.Batch {
	builders := make(map[int]*telemetryv1.Builder)
	for i := range outputs {
		o := &outputs[i]
		lane := streams.Lane(o.Site, o.Device, lanes)
		b := builders[lane]
		if b == nil {
			b = new(telemetryv1.Builder)
			builders[lane] = b
		}
		switch o.Kind {
		case telemetryv1.Kind_KIND_FLAG:
			b.Flag(o.Key, o.Time, o.Flag)
		case telemetryv1.Kind_KIND_TEXT:
			b.Text(o.Key, o.Time, o.Text)
		default:
			b.Value(o.Key, o.Time, o.Value)
		}
	}
	out := make(map[int]*telemetryv1.Batch, len(builders))
	for lane, b := range builders {
		batch := b.Take(now.UnixNano())
		batch.Origin = &telemetryv1.Origin{Incarnation: place.Incarnation, Sequence: place.Sequence, Stored: place.Stored}
		out[lane] = batch
	}
	return out
}
