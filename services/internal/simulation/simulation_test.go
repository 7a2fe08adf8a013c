package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/simulation"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// outcome describes what an operation returned, in words that are the same for
// the simulation and for nats-server: values, error codes and sentinel errors.
func outcome(value any, err error) string {
	if err == nil {
		return fmt.Sprint(value)
	}
	var words []string
	for _, known := range []error{
		jetstream.ErrStreamNotFound, jetstream.ErrBucketNotFound, jetstream.ErrBucketExists, jetstream.ErrKeyNotFound,
		jetstream.ErrKeyExists, jetstream.ErrKeyRevisionMismatch, jetstream.ErrMsgNotFound, jetstream.ErrObjectNotFound,
		jetstream.ErrNoStreamResponse, jetstream.ErrMsgIteratorClosed, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, known) {
			words = append(words, known.Error())
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		words = append(words, fmt.Sprintf("code %d, %d: %s", api.Code, api.ErrorCode, api.Description))
	}
	if len(words) == 0 {
		return "another error: " + err.Error()
	}
	return "error: " + strings.Join(words, "; ")
}

// script does the same to either.
type script struct {
	t   *testing.T
	js  jetstream.JetStream
	log []string
}

func (s *script) note(what string, value any, err error) {
	s.log = append(s.log, what+": "+outcome(value, err))
}

func (s *script) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

const (
	conformStream = "CONFORM"
	conformBucket = "conform"
)

// run creates the streams to compare and does all operations of the table.
func (s *script) run() {
	ctx := s.t.Context()
	_, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: conformStream, Subjects: []string{"conform.*"}, Discard: jetstream.DiscardNew, MaxBytes: 4096,
	})
	s.must(err)
	_, err = s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: conformBucket, History: 2})
	s.must(err)
	for _, part := range []func(context.Context){s.publishes, s.reads, s.buckets, s.watches, s.objects, s.missing, s.full, s.recreated, s.acksEach} {
		part(ctx)
	}
}

func (s *script) publish(ctx context.Context, subject, data string, opts ...jetstream.PublishOpt) {
	ack, err := s.js.Publish(ctx, subject, []byte(data), opts...)
	if err != nil {
		s.note("publish "+data, nil, err)
		return
	}
	s.note("publish "+data, fmt.Sprint(ack.Stream, ack.Sequence, ack.Duplicate), nil)
}

func (s *script) publishes(ctx context.Context) {
	s.publish(ctx, "conform.a", "first expects none", jetstream.WithExpectLastSequencePerSubject(0))
	s.publish(ctx, "conform.a", "again none", jetstream.WithExpectLastSequencePerSubject(0))
	s.publish(ctx, "conform.a", "the previous one", jetstream.WithExpectLastSequencePerSubject(1))
	s.publish(ctx, "conform.b", "other subject", jetstream.WithExpectLastSequencePerSubject(0))
	s.publish(ctx, "conform.a", "last of the stream", jetstream.WithExpectLastSequencePerSubject(3))
	s.publish(ctx, "conform.a", "with an id", jetstream.WithMsgID("x"))
	s.publish(ctx, "conform.a", "same id", jetstream.WithMsgID("x"))
	s.publish(ctx, "conform.c", "later")
}

func (s *script) reads(ctx context.Context) {
	stream, err := s.js.Stream(ctx, conformStream)
	s.must(err)
	for _, subject := range []string{"conform.a", "conform.none"} {
		m, err := stream.GetLastMsgForSubject(ctx, subject)
		s.note("last of "+subject, raw(m), err)
	}
	for _, sequence := range []uint64{3, 99} {
		m, err := stream.GetMsg(ctx, sequence)
		s.note("message", raw(m), err)
	}
	s.read(ctx, "all", 0, 5)
	s.read(ctx, "one subject", 0, 3, "conform.a")
	s.read(ctx, "from 3", 3, 3)
	s.read(ctx, "beyond the end", 50, 0)
	s.must(stream.Purge(ctx, jetstream.WithPurgeSequence(3)))
	s.read(ctx, "purged from 1", 0, 3)
	s.state(ctx)
	s.must(stream.Purge(ctx))
	s.state(ctx)
	s.read(ctx, "empty", 0, 0)
	m, err := stream.GetLastMsgForSubject(ctx, "conform.a")
	s.note("last of what was purged", raw(m), err)
	s.publish(ctx, "conform.a", "none is left", jetstream.WithExpectLastSequencePerSubject(0))
	s.state(ctx)
}

func raw(m *jetstream.RawStreamMsg) string {
	if m == nil {
		return "none"
	}
	return fmt.Sprint(m.Subject, m.Sequence, string(m.Data))
}

func (s *script) state(ctx context.Context) {
	stream, err := s.js.Stream(ctx, conformStream)
	s.must(err)
	state := stream.CachedInfo().State
	s.note("state", fmt.Sprint(state.Msgs, state.FirstSeq, state.LastSeq), nil)
}

// read records n messages from a sequence on, and that no more come.
func (s *script) read(ctx context.Context, what string, from uint64, n int, filters ...string) {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: filters}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	consumer, err := s.js.OrderedConsumer(ctx, conformStream, cfg)
	s.must(err)
	info, err := consumer.Info(ctx)
	s.must(err)
	s.note(what+" pending", info.NumPending, nil)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(16))
	s.must(err)
	for range n {
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		m, err := messages.Next(jetstream.NextContext(within))
		cancel()
		s.must(err)
		meta, err := m.Metadata()
		s.must(err)
		s.note(what, fmt.Sprint(m.Subject(), string(m.Data()), meta.Sequence, meta.NumDelivered, meta.Stream), nil)
	}
	within, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = messages.Next(jetstream.NextContext(within))
	s.note(what+" ends", nil, err)
	messages.Stop()
	_, err = messages.Next()
	s.note(what+" stopped", nil, err)
}

func (s *script) buckets(ctx context.Context) {
	kv, err := s.js.KeyValue(ctx, conformBucket)
	s.must(err)
	get := func() {
		e, err := kv.Get(ctx, "k")
		if err != nil {
			s.note("get", nil, err)
			return
		}
		s.note("get", fmt.Sprint(e.Key(), string(e.Value()), e.Revision(), e.Operation()), nil)
	}
	history := func() {
		all, err := kv.History(ctx, "k")
		var texts []string
		for _, e := range all {
			texts = append(texts, fmt.Sprint(e.Key(), string(e.Value()), e.Revision(), e.Operation()))
		}
		s.note("history", texts, err)
	}
	number := func(what string) func(uint64, error) {
		return func(n uint64, err error) { s.note(what, n, err) }
	}
	get()
	history()
	number("update what is not there")(kv.Update(ctx, "k", []byte("u"), 7))
	number("create")(kv.Create(ctx, "k", []byte("v1")))
	number("create again")(kv.Create(ctx, "k", []byte("v1")))
	get()
	number("update")(kv.Update(ctx, "k", []byte("v2"), 1))
	number("update an old one")(kv.Update(ctx, "k", []byte("v3"), 1))
	number("put")(kv.Put(ctx, "k", []byte("v4")))
	history()
	s.note("delete an old one", nil, kv.Delete(ctx, "k", jetstream.LastRevision(1)))
	s.note("delete", nil, kv.Delete(ctx, "k", jetstream.LastRevision(3)))
	get()
	history()
	number("create what was deleted")(kv.Create(ctx, "k", []byte("v5")))
	s.note("delete any", nil, kv.Delete(ctx, "k"))
	number("put other")(kv.PutString(ctx, "group.one", "1"))
	number("put other")(kv.PutString(ctx, "group.two", "2"))
	status, err := kv.Status(ctx)
	s.must(err)
	s.note("ttl", status.TTL(), nil)
}

func (s *script) watches(ctx context.Context) {
	kv, err := s.js.KeyValue(ctx, conformBucket)
	s.must(err)
	watch, err := kv.Watch(ctx, "group.*")
	s.must(err)
	next := func() {
		select {
		case e, open := <-watch.Updates():
			if !open || e == nil {
				s.note("watch", fmt.Sprint("nothing", open), nil)
				return
			}
			s.note("watch", fmt.Sprint(e.Key(), string(e.Value()), e.Revision(), e.Operation()), nil)
		case <-time.After(10 * time.Second):
			s.t.Fatal("the watch does not tell")
		}
	}
	next()
	next()
	next()
	_, err = kv.PutString(ctx, "k", "not watched")
	s.must(err)
	_, err = kv.PutString(ctx, "group.one", "3")
	s.must(err)
	s.must(kv.Delete(ctx, "group.two"))
	next()
	next()
	s.must(watch.Stop())
	next()
}

func (s *script) objects(ctx context.Context) {
	store, err := s.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: conformBucket})
	s.must(err)
	get := func() {
		data, err := store.GetBytes(ctx, "a/b-1")
		s.note("object", string(data), err)
	}
	get()
	s.note("delete what is not there", nil, store.Delete(ctx, "a/b-1"))
	info, err := store.PutBytes(ctx, "a/b-1", []byte("content"))
	s.must(err)
	s.note("put object", fmt.Sprint(info.Name, info.Size), nil)
	get()
	_, err = store.PutBytes(ctx, "a/b-1", []byte("other"))
	s.must(err)
	get()
	s.note("delete object", nil, store.Delete(ctx, "a/b-1"))
	get()
}

func (s *script) missing(ctx context.Context) {
	_, err := s.js.Stream(ctx, "MISSING")
	s.note("stream", nil, err)
	_, err = s.js.KeyValue(ctx, "missing")
	s.note("bucket", nil, err)
	_, err = s.js.ObjectStore(ctx, "missing")
	s.note("object store", nil, err)
	_, err = s.js.OrderedConsumer(ctx, "MISSING", jetstream.OrderedConsumerConfig{MaxResetAttempts: 1})
	s.note("reader", nil, err)
	s.publish(ctx, "nobody.listens", "into the void")
	_, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: conformBucket, History: 3})
	s.note("make a bucket that is there", nil, err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.js.Publish(ended, "conform.a", nil)
	s.note("publish when it is over", nil, err)
}

func (s *script) full(ctx context.Context) {
	large := strings.Repeat("x", 1500)
	for range 3 {
		_, err := s.js.Publish(ctx, "conform.full", []byte(large))
		s.note("publish much", nil, err)
	}
}

// recreated has a reader begin beyond the end of a recreated stream: what is
// below never comes.
func (s *script) recreated(ctx context.Context) {
	before, err := s.js.Stream(ctx, conformStream)
	s.must(err)
	s.must(s.js.DeleteStream(ctx, conformStream))
	after, err := s.js.CreateOrUpdateStream(ctx, before.CachedInfo().Config)
	s.must(err)
	s.note("another incarnation", !before.CachedInfo().Created.Equal(after.CachedInfo().Created), nil)
	s.publish(ctx, "conform.a", "one")
	s.publish(ctx, "conform.a", "two")
	s.read(ctx, "from 3 on", 3, 0)
	s.state(ctx)
}

const conformEach = "CONFORMEACH"

// acksEach has one message in hand at a time.
func (s *script) acksEach(ctx context.Context) {
	_, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: conformEach, Subjects: []string{"each.*"}, MaxBytes: 1 << 20})
	s.must(err)
	for i := range 6 {
		s.publish(ctx, "each.a", fmt.Sprint(i))
	}
	_, err = s.js.CreateConsumer(ctx, conformEach, jetstream.ConsumerConfig{
		Durable: "durable", FilterSubject: "each.>", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 2,
	})
	s.must(err)
	d := s.durable(ctx, conformEach)
	messages := d.begin()
	s.must(d.next(messages).DoubleAck(ctx))
	d.state()
	s.must(d.next(messages).Nak())
	again := d.next(messages)
	d.state()
	s.must(again.InProgress())
	s.must(again.DoubleAck(ctx))
	d.state()
	d.next(messages)
	messages.Stop()
	d.reset()
	rest := d.begin()
	for range 3 {
		s.must(d.next(rest).DoubleAck(ctx))
	}
	d.state()
	within, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = next(within, rest)
	s.note("no more", nil, err)
	rest.Drain()
	_, err = rest.Next(jetstream.NextMaxWait(time.Second))
	s.note("drained", nil, err)
	stream, err := s.js.Stream(ctx, conformEach)
	s.must(err)
	var names []string
	lister := stream.ConsumerNames(ctx)
	for name := range lister.Name() {
		names = append(names, name)
	}
	s.note("consumers", names, lister.Err())
}

// kept is a durable consumer from which the script reads.
type kept struct {
	*script
	ctx    context.Context
	stream string
}

func (s *script) durable(ctx context.Context, stream string) kept { return kept{s, ctx, stream} }

func (k kept) begin() jetstream.MessagesContext {
	consumer, err := k.js.Consumer(k.ctx, k.stream, "durable")
	k.must(err)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(2*time.Second))
	k.must(err)
	return messages
}

// next returns the next message. A late heartbeat of the server, as on a busy
// machine, does not end the iterator.
func next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if !errors.Is(err, jetstream.ErrNoHeartbeat) {
			return m, err
		}
	}
}

func (k kept) next(messages jetstream.MessagesContext) jetstream.Msg {
	k.t.Helper()
	within, cancel := context.WithTimeout(k.ctx, 10*time.Second)
	defer cancel()
	m, err := next(within, messages)
	k.must(err)
	meta, err := m.Metadata()
	k.must(err)
	k.note("next", fmt.Sprint(m.Subject(), string(m.Data()), meta.Sequence, meta.NumDelivered, meta.Stream, meta.Consumer), nil)
	return m
}

// state records what is acknowledged and what the stream keeps. What was
// delivered depends on how far the client reads ahead.
func (k kept) state() {
	consumer, err := k.js.Consumer(k.ctx, k.stream, "durable")
	k.must(err)
	floor := consumer.CachedInfo().AckFloor
	k.note("acknowledged", fmt.Sprint(floor.Stream, floor.Consumer), nil)
	stream, err := k.js.Stream(k.ctx, k.stream)
	k.must(err)
	state := stream.CachedInfo().State
	k.note("kept", fmt.Sprint(state.Msgs, state.FirstSeq, state.LastSeq), nil)
}

func (k kept) reset() {
	// A request of the previous reader would take the first message.
	streamtest.Eventually(k.t, "no request waits", func() bool {
		consumer, err := k.js.Consumer(k.ctx, k.stream, "durable")
		k.must(err)
		return consumer.CachedInfo().NumWaiting == 0
	})
	answer, err := k.js.ResetConsumer(k.ctx, k.stream, "durable")
	k.must(err)
	k.note("set back to", answer.ResetSeq, nil)
	k.state()
}

// TestConformance does the same to the simulation and to nats-server, and
// expects the same of both.
func TestConformance(t *testing.T) {
	real := &script{t: t, js: streamtest.Run(t).JS(t)}
	real.run()
	simulated := &script{t: t, js: simulation.NewCluster().Connect(1, "client", nil)}
	simulated.run()
	for i := range max(len(real.log), len(simulated.log)) {
		got, want := "nothing", "nothing"
		if i < len(simulated.log) {
			got = simulated.log[i]
		}
		if i < len(real.log) {
			want = real.log[i]
		}
		if got != want {
			t.Errorf("operation %d: simulated\n  %s\nnats-server\n  %s", i, got, want)
		}
	}
	t.Logf("%d results compared", len(real.log))
}

// TestWhatIsNotSimulatedPanics checks that a method that is not simulated
// panics.
func TestWhatIsNotSimulatedPanics(t *testing.T) {
	js := simulation.NewCluster().Connect(1, "client", nil)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_, _ = js.AccountInfo(t.Context())
}

// TestKeysRunOut checks the lifetime of keys, by the fake clock.
func TestKeysRunOut(t *testing.T) {
	err := simulation.Run(t, func(t *testing.T) error {
		js := simulation.NewCluster().Connect(1, "client", nil)
		kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: streams.BucketLeases, TTL: time.Second})
		if err != nil {
			return err
		}
		var got []string
		for range 3 {
			_, err = kv.Create(t.Context(), "k", nil)
			got = append(got, outcome("made", err))
			time.Sleep(700 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
		}
		if got[0] != "made" || got[1] == "made" || got[2] != "made" {
			return fmt.Errorf("%q", slices.Clone(got))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
