package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/streams"
)

// drain stores the messages that an earlier version acknowledged to devices and kept in
// nats-server's own stream, and removes them there. That stream has the subjects of
// commands by now; the consumer of the earlier version keeps its messages, and shows that
// there may be some.
//
// Each message that it writes holds the position up to which it has read, so that a crash
// stores nothing twice. Nothing else is written to the lanes before all is drained.
func (c *carrier) drain(ctx context.Context) error {
	devices := c.svc.deps.Devices
	stream, err := devices.Stream(ctx, streams.StreamMQTT)
	if err != nil {
		return err
	}
	if _, err := stream.Consumer(ctx, streams.ConsumerBridge); err != nil {
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		return err
	}
	info := stream.CachedInfo()
	count := 0
	for seq := info.State.FirstSeq; seq > 0 && seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return err
		case !streams.IsCommand(m.Subject) && !c.wasStored(info, seq, m.Subject):
			c.step.add(m.Subject, m.Data, m.Time.UnixNano())
			count++
		}
		if c.step.full() || seq == info.State.LastSeq {
			if err := c.storeDrained(ctx, info.Created, seq); err != nil {
				return err
			}
		}
	}
	if err := stream.DeleteConsumer(ctx, streams.ConsumerBridge); err != nil {
		return fmt.Errorf("remove its consumer %s: %w", streams.ConsumerBridge, err)
	}
	c.svc.deps.Log.Info("the messages that an earlier version kept are stored", "stream", streams.StreamMQTT, "messages", count)
	return nil
}

// wasStored reports whether the lane holds the message. A position beyond the end of the
// stream does not count: the stream lost its end, and used the position again.
func (c *carrier) wasStored(info *jetstream.StreamInfo, seq uint64, subject string) bool {
	address := c.step.route(subject).Address // without a device it has a lane too
	origin := c.lanes.lane[streams.Lane(address.Site, address.Device, len(c.lanes.lane))].drained
	return origin != nil && time.Unix(0, origin.GetIncarnation()).Equal(info.Created) &&
		seq <= origin.GetSequence() && origin.GetSequence() <= info.State.LastSeq
}

func (c *carrier) storeDrained(ctx context.Context, created time.Time, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	batches, dead := c.step.take()
	if err := c.svc.bury(ctx, dead); err != nil {
		return err
	}
	for _, b := range batches {
		b.Batch.Origin = &telemetryv1.Origin{Incarnation: created.UnixNano(), Sequence: seq}
	}
	_, err := c.lanes.commit(ctx, batches, 0)
	return err
}
