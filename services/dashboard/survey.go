package dashboard

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/proto/figure"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/streams"
	"headwater/web/pipeline"
)

// surveyEvery is how often the state of the streams and of InfluxDB is read.
const surveyEvery = 3 * time.Second

// survey keeps the state of the parts.
type survey struct {
	js, devicesJS jetstream.JetStream
	influx        *influx.Client
	// losses may be nil.
	losses *losses

	mu        sync.Mutex // guards what follows
	started   time.Time
	at        time.Time // when the streams last answered
	streams   []pipeline.Stream
	consumers []pipeline.Consumer
	held      map[string]hold // by the name of a consumer that holds messages
	missing   string          // why the streams could not be read the last time
	failing   time.Time       // since when
	influxNow pipeline.Influx
	influxBad time.Time // since when InfluxDB is unavailable
	lanes     map[int]*lane
	channels  map[string]*pipeline.Channel
	version   uint64
}

// hold is since when, as far as was seen, a consumer that holds messages has
// acknowledged none.
type hold struct {
	floor uint64
	since time.Time
}

type lane struct {
	pipeline.Lane
	// owing is when the first reading arrived that the processor has not committed, as
	// far as is known from commits; zero if there is none. last is the sequence of the
	// last message with readings.
	owing time.Time
	last  uint64
}

func newSurvey(js, devicesJS jetstream.JetStream, client *influx.Client) *survey {
	return &survey{
		js: js, devicesJS: devicesJS, influx: client, started: time.Now(),
		influxNow: pipeline.Influx{URL: client.URL()}, lanes: make(map[int]*lane), channels: make(map[string]*pipeline.Channel),
	}
}

// whole are the streams that lose messages only at their beginning.
var whole = []string{streams.StreamTelemetry, streams.StreamDerived, streams.StreamAlerting}

// purposes are what a stream holds and what a consumer is for, in a few words.
var purposes = map[string]string{
	streams.StreamMQTT:        "commands that devices have not received yet",
	streams.StreamTelemetry:   "readings and the clock",
	streams.StreamDerived:     "window summaries and anomalies",
	streams.StreamAlerting:    "alerts, notifications and deliveries",
	streams.StreamDeadLetters: "what could not be processed",
	streams.ConsumerWriter:    "writes readings to InfluxDB",
}

func purpose(consumer string) string {
	if p, ok := purposes[consumer]; ok {
		return p
	}
	if channel, ok := strings.CutPrefix(consumer, streams.SenderConsumer("")); ok {
		return "sends the notifications of channel " + channel
	}
	if lane, ok := strings.CutPrefix(consumer, "writer-"); ok {
		return "writes the summaries of lane " + lane + " to InfluxDB"
	}
	return ""
}

func (s *survey) runStreams(ctx context.Context) {
	for ctx.Err() == nil {
		s.look(ctx)
		process.Sleep(ctx, surveyEvery)
	}
}

// look reads the state of the streams.
func (s *survey) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var found []pipeline.Stream
	var consumers []pipeline.Consumer
	floors := make(map[string]uint64)
	var problems []error
	ask := func(js jetstream.JetStream, name string) {
		st, co, err := inspect(ctx, js, name, floors)
		if err != nil {
			problems = append(problems, err)
			return
		}
		found = append(found, st)
		consumers = append(consumers, co...)
	}
	if s.devicesJS != nil {
		ask(s.devicesJS, streams.StreamMQTT)
	}
	for _, name := range []string{streams.StreamTelemetry, streams.StreamDerived, streams.StreamAlerting, streams.StreamDeadLetters} {
		ask(s.js, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if err := errors.Join(problems...); err != nil {
		if s.failing.IsZero() {
			s.failing = time.Now()
		}
		s.missing = strings.ReplaceAll(err.Error(), "\n", "; ")
		return // keep what was known
	}
	s.at, s.streams, s.consumers, s.missing, s.failing = time.Now(), found, consumers, "", time.Time{}
	s.hold(s.at, floors)
}

// hold notes the acknowledgement floors of the consumers that hold messages. The
// caller holds the lock.
func (s *survey) hold(now time.Time, floors map[string]uint64) {
	held := make(map[string]hold, len(floors))
	for name, floor := range floors {
		h, known := s.held[name]
		if !known || h.floor != floor {
			h = hold{floor, now}
		}
		held[name] = h
	}
	s.held = held
}

// inspect reads the state of a stream and its consumers, and adds to floors the
// consumers that hold messages.
func inspect(ctx context.Context, js jetstream.JetStream, name string, floors map[string]uint64) (pipeline.Stream, []pipeline.Consumer, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return pipeline.Stream{}, nil, errors.New("stream " + name + ": " + reason(err))
	}
	info := stream.CachedInfo()
	out := pipeline.Stream{
		Name: name, Purpose: purposes[name], Messages: info.State.Msgs, Bytes: info.State.Bytes,
		MaxBytes: uint64(max(0, info.Config.MaxBytes)), Consumers: info.State.Consumers,
	}
	if slices.Contains(whole, name) && info.State.Msgs > 0 {
		out.Gone = info.State.LastSeq + 1 - info.State.FirstSeq - info.State.Msgs
	}
	if info.State.Msgs > 0 {
		out.First, out.Last = info.State.FirstTime, info.State.LastTime
	}
	var consumers []pipeline.Consumer
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		if c.Config.Durable == "" {
			continue
		}
		v := pipeline.Consumer{
			Stream: name, Name: c.Name, Purpose: purpose(c.Name), Pending: c.NumPending, Unacked: c.NumAckPending, Redelivered: c.NumRedelivered,
		}
		if c.Delivered.Last != nil {
			v.Active = *c.Delivered.Last
		}
		consumers = append(consumers, v)
		if c.NumAckPending > 0 {
			floors[c.Name] = c.AckFloor.Consumer
		}
	}
	if err := list.Err(); err != nil {
		return out, nil, errors.New("consumers of " + name + ": " + reason(err))
	}
	slices.SortFunc(consumers, func(a, b pipeline.Consumer) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	})
	return out, consumers, nil
}

// reason returns an error of JetStream in words.
func reason(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrNoResponders):
		return "no answer"
	case errors.Is(err, nats.ErrConnectionClosed):
		return "the connection is closed"
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return "it has not been made"
	}
	return err.Error()
}

// influxReason returns in a few words why InfluxDB gave no answer.
func influxReason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within " + figure.Duration(callWithin)
	}
	return influx.Reason(err)
}

func (s *survey) runInflux(ctx context.Context) {
	for ctx.Err() == nil {
		s.ping(ctx)
		process.Sleep(ctx, surveyEvery)
	}
}

func (s *survey) ping(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	begin := time.Now()
	version, err := s.influx.Ping(within)
	now := time.Now()
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	i := &s.influxNow
	i.CheckedAt = now
	if err != nil {
		if i.Problem == "" {
			s.influxBad = now
		}
		i.Problem = influxReason(err)
		return
	}
	i.Problem, i.Version, i.AnsweredAt, i.Latency = "", version, now, now.Sub(begin)
	s.influxBad = time.Time{}
}

func (s *survey) lane(n int) *lane {
	l := s.lanes[n]
	if l == nil {
		l = &lane{Lane: pipeline.Lane{Lane: n}}
		s.lanes[n] = l
	}
	return l
}

// batch notes a message of TELEMETRY.
func (s *survey) batch(n int, sequence, readings uint64, arrived, caughtUp time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(n)
	l.Sequence = sequence
	l.Readings += readings
	if readings > 0 {
		l.Arrived, l.last = arrived, sequence
		if l.owing.IsZero() && sequence > l.Processed {
			l.owing = arrived
		}
	}
	if !caughtUp.IsZero() {
		l.CaughtUp = caughtUp
	}
}

// commit notes a message of DERIVED.
func (s *survey) commit(n int, position uint64, stored time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lane(n)
	l.Processed, l.ProcessedAt = position, stored
	if position >= l.last {
		l.owing = time.Time{}
	}
}

// maxChannels bounds the channels that are kept.
const maxChannels = 1000

// delivery notes the outcome of a notification.
func (s *survey) delivery(channel string, sent bool, when time.Time, title, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[channel]
	if c == nil {
		if len(s.channels) >= maxChannels {
			return
		}
		c = &pipeline.Channel{Name: channel}
		s.channels[channel] = c
	}
	if sent {
		c.Sent++
	} else {
		c.Failed++
	}
	c.Last, c.LastSent, c.LastTitle, c.LastError = when, sent, title, problem
	s.version++
}

// facts returns what is known, and the problems in words.
func (s *survey) facts(now time.Time, connected bool) pipeline.Pipeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pipeline.Pipeline{At: s.at, Streams: s.streams, Consumers: s.consumers, Influx: s.influxNow}
	for _, l := range s.lanes {
		p.Lanes = append(p.Lanes, l.Lane)
	}
	slices.SortFunc(p.Lanes, func(a, b pipeline.Lane) int { return cmp.Compare(a.Lane, b.Lane) })
	for _, c := range s.channels {
		p.Channels = append(p.Channels, *c)
	}
	slices.SortFunc(p.Channels, func(a, b pipeline.Channel) int { return strings.Compare(a.Name, b.Name) })
	p.Problems = s.problems(now, connected)
	return p
}
