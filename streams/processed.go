package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ProcessedThrough returns the sequence up to which a consumer with explicit acks has
// processed everything that its filters match, according to its info: everything up to it
// was delivered and acknowledged. Until is the last sequence of interest. The result may be
// less than the truth, never more, and may lie beyond until. If until is the last sequence
// of the stream, the result is exact while no message waits for an ack.
//
// Use nothing else for this. Nats-server updates the counts of a consumer some time after
// it has stored a message: directly after a PubAck, NumPending was 0 in 10 to 20 % of the
// cases, for up to 20 ms on an idle machine, and NumAckPending is 0 too. So two zeros do
// not mean that everything is processed; sequences do.
//
// The ack floor is such a sequence, but it stays at the last match: later messages that do
// not match move neither it nor the delivered sequence. So the last match is looked up in
// the stream. If it is not after the floor, no message after the floor matches. The leader
// of the stream is asked, because a copy may lag.
func ProcessedThrough(ctx context.Context, js jetstream.JetStream, info *jetstream.ConsumerInfo, until uint64) (uint64, error) {
	floor := info.AckFloor.Stream
	if floor >= until || info.NumAckPending > 0 || info.NumPending > 0 {
		return floor, nil
	}
	stream, err := js.Stream(ctx, info.Stream)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", info.Stream, err)
	}
	// A direct read may be answered by a copy.
	stream.CachedInfo().Config.AllowDirect = false
	filters := info.Config.FilterSubjects
	if info.Config.FilterSubject != "" {
		filters = []string{info.Config.FilterSubject}
	}
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, filter := range filters {
		last, err := stream.GetLastMsgForSubject(ctx, filter)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return 0, fmt.Errorf("look for the last message of stream %s on %s: %w", info.Stream, filter, err)
		case last.Sequence > floor:
			return floor, nil
		}
	}
	return until, nil
}

// Processed reports whether a consumer of a stream has processed everything up to a
// sequence, see ProcessedThrough.
func Processed(ctx context.Context, js jetstream.JetStream, stream, consumer string, sequence uint64) (bool, error) {
	c, err := js.Consumer(ctx, stream, consumer)
	if err != nil {
		return false, fmt.Errorf("look up consumer %s of %s: %w", consumer, stream, err)
	}
	through, err := ProcessedThrough(ctx, js, c.CachedInfo(), sequence)
	return through >= sequence, err
}

// Unprocessed returns how many sequences at the end of a stream a consumer may not have
// processed, see ProcessedThrough. 0 means that it has processed everything that was stored
// before the call.
func Unprocessed(ctx context.Context, js jetstream.JetStream, stream, consumer string) (uint64, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	c, err := s.Consumer(ctx, consumer)
	if err != nil {
		return 0, fmt.Errorf("look up consumer %s of %s: %w", consumer, stream, err)
	}
	last := s.CachedInfo().State.LastSeq
	through, err := ProcessedThrough(ctx, js, c.CachedInfo(), last)
	return last - min(last, through), err
}
