package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/batch"
	"headwater/streams"
)

// maxReadings bounds the readings of one message.
const maxReadings = 1000

// errDisconnected fails a commit at once while there is no connection. Otherwise nats.go
// would keep its messages and send them after their senders were answered.
var errDisconnected = errors.New("there is no connection to NATS")

// committer stores requests, one commit after the other. One goroutine only.
type committer struct {
	*Service
	packer *batch.Packer
	// senders holds, for each lane, the requests with readings in the packer.
	senders [][]*request
	sent    []message

	// expected is how many requests the next commit should have, and until when it
	// waits for them.
	expected int
	until    time.Time
}

// message is a message that the stream has not answered yet.
type message struct {
	ack     jetstream.PubAckFuture
	lane    int
	batch   *telemetryv1.Batch
	senders []*request
}

func newCommitter(s *Service, lanes int) *committer {
	return &committer{Service: s, packer: batch.New(lanes), senders: make([][]*request, lanes)}
}

// longestGather bounds how long a commit waits for senders.
const longestGather = 20 * time.Millisecond

// gather takes the requests of the next commit. Senders that were just answered send
// again in a moment. A commit without them would split the senders into two alternating
// groups, each of which pays for all the syncs. The wait is at most half as long as the
// last commit took. So it is short where the disk is fast, and there is none unless a
// commit has just ended.
func (c *committer) gather(ctx context.Context) []*request {
	if patience := time.Until(c.until); patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		for waiting := true; waiting && c.queue.requests() < c.expected; {
			select {
			case <-c.queue.wake:
			case <-timer.C:
				waiting = false
			case <-ctx.Done():
				waiting = false
			}
		}
	}
	return c.queue.take()
}

// expect sets what the next commit waits for, after a commit of requests that took so
// long.
func (c *committer) expect(requests int, took time.Duration) {
	c.expected = requests + c.queue.requests()
	c.until = time.Now().Add(min(took/2, longestGather))
}

// commit publishes the readings of all requests, waits until each message is stored or
// refused, and answers every request. PublishTimeout bounds it; the end of ctx does not
// stop it.
func (c *committer) commit(ctx context.Context, requests []*request) {
	if len(requests) == 0 {
		return
	}
	start, readings := time.Now(), 0
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.patience())
	defer cancel()
	for _, r := range requests {
		readings += r.readings
		if r.decide {
			c.publish() // a decision is about the readings of one request
		}
		for _, item := range r.items {
			if c.packer.Len()+len(item.Readings) > maxReadings {
				c.publish()
			}
			lane := c.packer.Add(item.Site, item.Device, item.Readings, r.arrival)
			if s := c.senders[lane]; len(s) == 0 || s[len(s)-1] != r {
				c.senders[lane] = append(s, r)
			}
		}
		if r.decide {
			c.publish()
		}
	}
	c.publish()
	c.await(ctx)
	took := time.Since(start)
	c.metrics.commit.Observe(took.Seconds())
	c.metrics.batch.Observe(float64(readings))
	c.note(requests)
	c.expect(len(requests), took)
	for _, r := range requests {
		r.done <- r.err
	}
}

// patience is how long a commit may take. After a commit without an answer the next ones
// get less, so that the requests that waited behind it are answered in time.
func (c *committer) patience() time.Duration {
	if c.health.unanswered() {
		return c.cfg.PublishTimeout / 3
	}
	return c.cfg.PublishTimeout
}

// publish sends the packed readings, one message for each lane.
func (c *committer) publish() {
	for _, b := range c.packer.Take() {
		senders := c.senders[b.Lane]
		c.senders[b.Lane] = nil
		b.Batch.Decide = len(senders) == 1 && senders[0].decide
		ack, err := c.send(b)
		if err != nil {
			fail(senders, err)
			continue
		}
		c.sent = append(c.sent, message{ack, b.Lane, b.Batch, senders})
	}
}

func (c *committer) send(b batch.ForLane) (jetstream.PubAckFuture, error) {
	if c.js.Conn().Status() != nats.CONNECTED {
		return nil, errDisconnected
	}
	m, err := streams.TelemetryMsg(b.Lane, streams.SourceHTTP, b.Batch)
	if err != nil {
		return nil, err
	}
	ack, err := c.js.PublishMsgAsync(m)
	if err != nil {
		return nil, fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	return ack, nil
}

// await waits for the answer to each message and sets the errors of its senders.
func (c *committer) await(ctx context.Context) {
	for _, m := range c.sent {
		ack, err := streams.Stored(ctx, m.ack)
		if streams.IsFull(err) {
			err = fmt.Errorf("stream %s takes no more until its readings have been processed and stored: %w", streams.StreamTelemetry, err)
		}
		if err != nil {
			fail(m.senders, err)
			continue
		}
		if m.batch.Decide {
			m.senders[0].places = append(m.senders[0].places, place{m.lane, ack.Sequence})
		}
		c.metrics.readings.Add(float64(len(m.batch.GetSeries())))
		c.registry.See(m.batch)
	}
	clear(c.sent)
	c.sent = c.sent[:0]
}

func fail(senders []*request, err error) {
	for _, r := range senders {
		if r.err == nil {
			r.err = err
		}
	}
}

// note logs when commits start to fail and when they are stored again.
func (c *committer) note(requests []*request) {
	var failure error
	for _, r := range requests {
		if r.err != nil {
			failure = r.err
			break
		}
	}
	if failure == nil {
		if n := c.health.succeed(); n > 0 {
			c.log.Info("readings are stored again", "failed_commits", n)
		}
		return
	}
	if c.health.fail(failure, time.Now()) {
		c.log.Warn("readings could not be stored; their senders have to send them again", "stream", streams.StreamTelemetry, "err", failure)
	}
}
