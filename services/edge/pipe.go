package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

const (
	// fetchMost bounds the messages that are read at a time.
	fetchMost = 256
	// packBytes is about how large the messages of one upload are before they are packed, and
	// packMost how many they are at most. It is small enough that alerts pass between two
	// uploads of a long catch-up.
	packBytes = 1 << 20
	packMost  = 2048
	// keepEvery is the least time between two writes of how far a stream was sent.
	keepEvery = 5 * time.Second
	// idle is how long the reader waits for a message before it looks around.
	idle = time.Second
	// forgetAfter is how long nats-server keeps the consumer of an upload that waits for the
	// link. A new one is made then.
	forgetAfter = 5 * time.Minute
)

// packer makes uploads of messages. One goroutine only.
type packer interface {
	// begin starts an upload under a policy.
	begin(p uplink.Policy)
	// add adds a message with its place and returns what sending it whole would be. A message
	// that cannot be read is left out: its own service makes it a dead letter.
	add(data []byte, at uplink.Place) uplink.Traffic
	// take returns the upload; it has no body if there is nothing to send.
	take(ctx context.Context) (upload, error)
}

// upload is what is sent at a time.
type upload struct {
	body []byte
	// items is how many readings or anomalies it has.
	items int
	// last is the place of its last frame, which the centre notes. Messages behind it may have
	// had nothing to send.
	last uplink.Place
}

// state is how far a stream was sent, as it is kept.
type state struct {
	streams.Uplink
	// Acked is the place of the last frame that the centre has stored.
	Acked   uplink.Place   `json:"acked"`
	Sent    uplink.Traffic `json:"sent"`
	Whole   uplink.Traffic `json:"whole"`
	Skipped uint64         `json:"skipped"`
	Spent   spent          `json:"spent"`
	// Repair is the last one; after a restart it is one that is over.
	Repair uplink.Repaired `json:"repair,omitzero"`
}

func (s state) at() uplink.Place { return uplink.Place(s.Uplink) }

// spent is what was used of the budget of a day.
type spent struct {
	Day   string `json:"day"`
	Bytes int64  `json:"bytes"`
}

// take uses n bytes of the budget of the day of now, and reports whether they are left. A
// budget of 0 sets no bound.
func (s *spent) take(now time.Time, n, budget int64) bool {
	day := now.UTC().Format(time.DateOnly)
	if s.Day != day {
		*s = spent{Day: day}
	}
	if budget > 0 && s.Bytes+n > budget && s.Bytes > 0 {
		return false
	}
	s.Bytes += n
	return true
}

// on returns what is used of the budget of the day of now.
func (s spent) on(now time.Time) int64 {
	if s.Day != now.UTC().Format(time.DateOnly) {
		return 0
	}
	return s.Bytes
}

// pipe sends one stream, in order.
type pipe struct {
	svc         *Service
	log         *slog.Logger
	stream      string
	incarnation int64
	path        string
	// key is where its state is kept in the bucket of edges.
	key    string
	gather time.Duration
	packer packer

	// lost is the place of the centre when it has less than it acknowledged.
	lost atomic.Pointer[uplink.Place]
	// asked is the repair that the centre asks for, repair the one that is under way.
	asked  atomic.Pointer[uplink.Repair]
	repair *repair

	mu     sync.Mutex
	state  state // guarded by mu, and changed by the goroutine of run alone
	paused bool  // guarded by mu
	kept   time.Time
}

func newPipe(s *Service, stream string, created time.Time, path string, gather time.Duration, p packer) *pipe {
	key := streams.UplinkKey(stream)
	if path == uplink.PathSummaries {
		key = streams.SummaryUplinkKey(stream)
	}
	return &pipe{svc: s, log: s.deps.Log.With("stream", stream), stream: stream, incarnation: created.UnixNano(), path: path, key: key, gather: gather, packer: p}
}

// restore reads how far the stream was sent. It returns false when ctx ends first.
func (p *pipe) restore(ctx context.Context) bool {
	for {
		err := p.read(ctx)
		if err == nil {
			return true
		}
		p.log.Warn("how far the stream was sent cannot be read; retrying", "err", err)
		if !process.Sleep(ctx, time.Second) {
			return false
		}
	}
}

func (p *pipe) read(ctx context.Context) error {
	bucket, err := p.svc.deps.JS.KeyValue(ctx, streams.BucketEdges)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketEdges, err)
	}
	entry, err := bucket.Get(ctx, p.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		p.state.Incarnation = p.incarnation
		// From now on the janitor leaves what is not sent.
		return p.keep(ctx)
	}
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", streams.BucketEdges, err)
	}
	if err := json.Unmarshal(entry.Value(), &p.state); err != nil {
		p.log.Error("how far the stream was sent cannot be decoded; it is sent again", "err", err)
		p.state = state{Uplink: streams.Uplink{Incarnation: p.incarnation}}
	}
	if !p.state.Repair.Over() {
		p.state.Repair = uplink.Repaired{} // the centre asks again
	}
	return nil
}

// keep stores how far the stream was sent.
func (p *pipe) keep(ctx context.Context) error {
	bucket, err := p.svc.deps.JS.KeyValue(ctx, streams.BucketEdges)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketEdges, err)
	}
	p.mu.Lock()
	body, err := json.Marshal(p.state)
	p.mu.Unlock()
	if err == nil {
		_, err = bucket.Put(ctx, p.key, body)
	}
	if err != nil {
		return fmt.Errorf("store how far the stream was sent: %w", err)
	}
	p.kept = time.Now()
	return nil
}

// align compares with the place of the last frame that the centre has. A centre that has
// less than it acknowledged has lost it, and gets it again. One that has more got it before
// the edge wrote its own note; it leaves out what is sent again.
func (p *pipe) align(centre uplink.Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if centre.Incarnation != p.incarnation {
		centre = uplink.Place{Incarnation: p.incarnation}
	}
	acked := p.state.Acked
	if acked.Incarnation == p.incarnation && centre.Sequence < acked.Sequence {
		p.log.Warn("the centre has lost what it had stored; it is sent again", "from_seq", centre.Sequence+1, "until_seq", acked.Sequence)
		p.state.Uplink = streams.Uplink(centre)
	}
}

// compare notes if the centre has less than it had acknowledged before it was asked.
func (p *pipe) compare(acked, centre uplink.Place) {
	if acked.Sequence > 0 && (centre.Incarnation != acked.Incarnation || centre.Sequence < acked.Sequence) {
		p.lost.Store(&centre)
	}
}

// progress returns how far the stream was sent, and its last sequence.
func (p *pipe) progress(ctx context.Context) (st state, last uint64, paused bool) {
	stream, err := p.svc.deps.JS.Stream(ctx, p.stream)
	if err == nil {
		last = stream.CachedInfo().State.LastSeq
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, max(last, p.state.Sequence), p.paused
}

// run sends until ctx ends.
func (p *pipe) run(ctx context.Context, c *client) {
	for ctx.Err() == nil {
		if err := p.session(ctx, c); err != nil && ctx.Err() == nil {
			p.log.Warn("the stream cannot be read; retrying", "err", err)
			process.Sleep(ctx, time.Second)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := p.keep(last); err != nil {
		p.log.Debug("how far the stream was sent was not stored; some is sent again", "err", err)
	}
}

// errGap ends a session whose consumer has left out messages.
var errGap = errors.New("messages are missing from what was read")

// session reads the stream from where it was sent, and sends, until something is wrong.
func (p *pipe) session(ctx context.Context, c *client) error {
	stream, err := streams.LookUp(ctx, p.svc.deps.JS, p.stream)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", p.stream, err)
	}
	from, loss, err := p.state.Place().Resume(ctx, stream)
	if err != nil {
		return err
	}
	if loss != nil {
		p.log.Warn("the stream lost messages that were sent", "loss", loss.String())
	}
	p.mu.Lock()
	p.state.Uplink = streams.Uplink(from)
	p.mu.Unlock()
	p.incarnation = from.Incarnation
	consumer, err := p.svc.deps.JS.CreateConsumer(ctx, p.stream, jetstream.ConsumerConfig{
		Description: "What an edge sends to its centre.", DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from.Sequence + 1,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: forgetAfter, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return fmt.Errorf("make a consumer of stream %s: %w", p.stream, err)
	}
	defer func() {
		// One that stays is removed by nats-server.
		_ = p.svc.deps.JS.DeleteConsumer(context.WithoutCancel(ctx), p.stream, consumer.CachedInfo().Name)
	}()
	r := &reader{pipe: p, consumer: consumer}
	for ctx.Err() == nil {
		if centre := p.lost.Swap(nil); centre != nil {
			p.align(*centre)
			return nil // the next session begins there
		}
		if err := r.step(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// reader reads one consumer.
type reader struct {
	*pipe
	consumer jetstream.Consumer
	// delivered is the number of the last delivery.
	delivered uint64
}

// step reads what there is, up to one upload, and sends it.
func (r *reader) step(ctx context.Context, c *client) error {
	r.begin()
	next, wait := r.state, idle // only this goroutine changes it
	if r.repair != nil {
		wait = repairLook
	}
	first, err := r.consumer.Next(jetstream.FetchMaxWait(wait))
	if errors.Is(err, nats.ErrTimeout) {
		if err := r.mend(ctx, c); err != nil {
			return err
		}
		return r.keepNow(ctx)
	}
	if err != nil {
		return err
	}
	r.packer.begin(r.svc.policy())
	messages, size := 1, len(first.Data())
	if err := r.add(&next, first); err != nil {
		return err
	}
	for gathered := false; !gathered && size < packBytes && messages < packMost; {
		more, err := r.consumer.Fetch(fetchMost, jetstream.FetchMaxWait(r.gather))
		if err != nil {
			return err
		}
		n := 0
		for msg := range more.Messages() {
			if err == nil {
				err = r.add(&next, msg)
			}
			n++
			size += len(msg.Data())
		}
		if err != nil {
			return err
		}
		if err := more.Error(); err != nil {
			return err
		}
		messages += n
		gathered = n < fetchMost
	}
	u, err := r.packer.take(ctx)
	if err != nil {
		return err
	}
	if len(u.body) > 0 {
		if !r.deliver(ctx, c, r.path, &next, u.body) {
			return nil
		}
		next.Acked = u.last
		next.Sent.Add(uplink.Traffic{Readings: uint64(u.items), Messages: 1, Bytes: uint64(len(u.body))})
		r.svc.metrics.readings.Add(float64(u.items))
		r.svc.metrics.bytes.Add(float64(len(u.body)))
	}
	r.mu.Lock()
	r.state = next
	r.mu.Unlock()
	if err := r.mend(ctx, c); err != nil {
		return err
	}
	return r.keepNow(ctx)
}

// keepNow stores how far the stream was sent, if that is due. What was sent and is not
// noted is sent again after a crash, and stored once all the same.
func (r *reader) keepNow(ctx context.Context) error {
	if time.Since(r.kept) < keepEvery {
		return nil
	}
	return r.keep(ctx)
}

// add adds a message to the upload.
func (r *reader) add(next *state, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read a message of stream %s: %w", r.stream, err)
	}
	r.delivered++
	if meta.Sequence.Consumer != r.delivered {
		return errGap
	}
	if gap := meta.Sequence.Stream - next.Sequence - 1; gap > 0 && next.Sequence > 0 {
		r.log.Error("messages were removed for lack of room before they were sent; their readings are in the history of this edge", "count", gap, "from_seq", next.Sequence+1)
		r.svc.metrics.skipped.Add(float64(gap))
		next.Skipped += gap
	}
	next.Uplink = streams.Uplink{Incarnation: r.incarnation, Sequence: meta.Sequence.Stream, Stored: meta.Timestamp.UnixNano()}
	next.Whole.Add(r.packer.add(msg.Data(), next.at()))
	return nil
}

// deliver sends an upload until the centre has stored it, within the budget. It returns
// false when ctx ends first.
func (r *reader) deliver(ctx context.Context, c *client, path string, next *state, body []byte) bool {
	readings := path == uplink.PathReadings || path == uplink.PathRepair
	if readings && !r.afford(ctx, next, int64(len(body))) {
		return false
	}
	var pause backoff
	for {
		err := c.upload(ctx, path, body)
		if err == nil {
			break
		}
		r.svc.metrics.up.Set(0)
		if !pause.wait(ctx, r.log, err) {
			return false
		}
	}
	r.svc.metrics.up.Set(1)
	pause.reset(r.log)
	if rate := r.svc.policy().Rate; readings && rate > 0 {
		return process.Sleep(ctx, time.Duration(float64(len(body))/float64(rate)*float64(time.Second)))
	}
	return true
}

// afford waits until the budget of the day has room. It returns false when ctx ends first.
func (r *reader) afford(ctx context.Context, next *state, n int64) bool {
	for !next.Spent.take(time.Now(), n, r.svc.policy().Budget) {
		r.setPaused(true)
		if !process.Sleep(ctx, mostPause) {
			return false
		}
	}
	r.setPaused(false)
	return true
}

func (p *pipe) setPaused(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if paused && !p.paused {
		p.log.Info("the budget of the day is used up; readings wait until midnight UTC, alerts do not")
	}
	p.paused = paused
}
