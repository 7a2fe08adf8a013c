package lane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// load brings back the newest snapshot and returns the changes of the
// configuration that were committed after it, with their positions.
func (r *runner) load(ctx context.Context) ([]change, error) {
	var err error
	if r.store, err = openStore(ctx, r.JS, r.Service, r.Lane, r.Format); err != nil {
		return nil, err
	}
	input, err := streams.LookUp(ctx, r.JS, r.InputStream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.InputStream, err)
	}
	output, err := streams.LookUp(ctx, r.JS, r.OutputStream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.OutputStream, err)
	}
	r.incarnation, r.outputIncarnation = input.CachedInfo().Created, output.CachedInfo().Created
	m, chunks, passedOver, err := r.store.load(ctx)
	if passedOver != nil {
		r.Metrics.badSnapshots.Inc()
		r.log.Error("passed over a snapshot that is not whole; its input is replayed", "err", passedOver)
	}
	firstCommit := uint64(0)
	switch {
	case errors.Is(err, errNoSnapshot):
	case err != nil:
		return nil, err
	default:
		if err := r.restore(ctx, input, m, chunks); err != nil {
			return nil, err
		}
		if firstCommit, err = r.firstCommit(ctx, output, m); err != nil {
			return nil, err
		}
		r.tellGap(input.CachedInfo().State, m)
	}
	r.sinceSnapshot.at = time.Now()
	return r.commits(ctx, input, output, firstCommit)
}

// firstCommit returns the sequence of the first commit that the snapshot does
// not cover. An output stream that was recreated, or lost its end, gives the
// sequences of what it lost again.
func (r *runner) firstCommit(ctx context.Context, output jetstream.Stream, m *manifest) (uint64, error) {
	now, loss, err := m.Output().Resume(ctx, output)
	if err != nil {
		return 0, err
	}
	r.reportLoss(ctx, loss, "what was committed there is gone; the lane continues with what was learned before")
	return now.Sequence + 1, nil
}

// reportLoss raises an alarm if a stream has lost what the lane had of it, and has
// the next input make a snapshot that says where the lane resumes.
func (r *runner) reportLoss(ctx context.Context, loss *streams.Loss, consequence string) {
	if loss == nil {
		return
	}
	r.log.Error("a stream is missing what the lane had read of it", "consequence", consequence, "stream", loss.Stream, "recreated", loss.Recreated, "kept_seq", loss.Kept, "lost_seq", loss.Until, "loss", loss)
	r.Metrics.incarnations.Inc()
	r.sinceSnapshot.readings = snapshotReadings
	if err := loss.Record(ctx, r.JS, r.Service); err != nil {
		r.log.Error("the dashboard cannot say what is lost", "err", err)
	}
}

// tellGap says when the input begins only behind what the snapshot covers.
func (r *runner) tellGap(state jetstream.StreamState, m *manifest) {
	if r.applied == 0 || state.FirstSeq <= r.applied+1 {
		return
	}
	r.log.Warn("the input between the snapshot and the stream's beginning is gone; the lane goes on with what was learned before",
		"stream", r.InputStream, "snapshot_seq", r.applied, "first_seq", state.FirstSeq, "written", m.Written.UTC())
}

func (r *runner) restore(ctx context.Context, input jetstream.Stream, m *manifest, chunks []Chunk) error {
	for i, chunk := range chunks {
		if chunk.ID == configChunk {
			r.config = ConfigChange{Revision: m.Revision, Content: chunk.Data}
			chunks = append(chunks[:i:i], chunks[i+1:]...)
			break
		}
	}
	if err := r.machine.Restore(chunks); err != nil {
		return fmt.Errorf("restore the snapshot of input %d: %w", m.InputSequence, err)
	}
	now, loss, err := m.Input().Resume(ctx, input)
	if err != nil {
		return err
	}
	r.applied, r.appliedStored = now.Sequence, now.Stored
	r.committed, r.committedStored = now.Sequence, now.Stored
	r.reportLoss(ctx, loss, "the input is another than what was read: what is new is read, with what was learned before")
	return nil
}

// change is a configuration that took effect behind the input of a sequence.
type change struct {
	ConfigChange
	after uint64
}

// commits reads the lane's commits from the sequence first on: how far they
// reach, and which configurations they carry.
func (r *runner) commits(ctx context.Context, input, output jetstream.Stream, first uint64) ([]change, error) {
	last, err := output.GetLastMsgForSubject(ctx, r.OutputSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last commit: %w", err)
	}
	r.output = last.Sequence
	if last.Sequence < first {
		return nil, nil
	}
	consumer, err := r.JS.OrderedConsumer(ctx, r.OutputStream, orderedFrom(first, r.OutputSubject))
	if err != nil {
		return nil, fmt.Errorf("read the commits: %w", err)
	}
	iterator, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return nil, fmt.Errorf("read the commits: %w", err)
	}
	defer iterator.Stop()
	messages := ordered{MessagesContext: iterator}
	var changes []change
	var newest streams.Place
	for {
		limited, cancel := context.WithTimeout(ctx, loadTimeout)
		msg, meta, _, err := messages.take(jetstream.NextContext(limited))
		cancel()
		if err != nil {
			return nil, fmt.Errorf("read the commits: %w", err)
		}
		pos, config, err := r.ReadCommit(msg.Data())
		if err != nil {
			return nil, fmt.Errorf("commit %d of %s: %w", meta.Sequence.Stream, r.OutputSubject, err)
		}
		same := pos.Incarnation.Equal(r.incarnation)
		if same {
			// Not the highest: the input may have lost its end in between.
			newest = streams.Place{Incarnation: pos.Incarnation.UnixNano(), Sequence: pos.Sequence, Stored: pos.Stored}
		}
		if config != nil {
			at := change{ConfigChange: *config}
			if same {
				at.after = pos.Sequence
			}
			changes = append(changes, at)
		}
		if meta.Sequence.Stream >= last.Sequence {
			return changes, r.covered(ctx, input, newest, changes)
		}
	}
}

// covered takes note of the input that the newest commit covers, as far as the
// input still is what that was made of. Changes that took effect behind it do so
// at its end.
func (r *runner) covered(ctx context.Context, input jetstream.Stream, newest streams.Place, changes []change) error {
	now, loss, err := newest.Resume(ctx, input)
	if err != nil {
		return err
	}
	if now.Sequence > r.committed {
		r.committed, r.committedStored = now.Sequence, now.Stored
	}
	for i := range changes {
		changes[i].after = min(changes[i].after, r.committed)
	}
	r.reportLoss(ctx, loss, "the input is another than what was committed: what is new is read, with what was learned before")
	return nil
}

// replay applies what was committed before, drops the outputs, and applies the
// changes of the configuration where they took effect. It returns the first new
// input if it has come upon that.
func (r *runner) replay(ctx context.Context, in *reader, changes []change) (first *Input, err error) {
	if r.config.Content != nil {
		if err := r.machine.Configure(r.config.Revision, r.config.Content); err != nil {
			return nil, fmt.Errorf("configuration %d of the snapshot: %w", r.config.Revision, err)
		}
	}
	configureUpTo := func(sequence uint64) error {
		for len(changes) > 0 && changes[0].after <= sequence {
			if err := r.configure(changes[0].ConfigChange); err != nil {
				return fmt.Errorf("configuration %d of a commit: %w", changes[0].Revision, err)
			}
			changes = changes[1:]
		}
		return nil
	}
	from, until := r.applied, r.committed
	start := time.Now()
	for waiting := in.waiting; waiting > 0 && r.applied < until; waiting-- {
		next, err := in.next(ctx)
		if err != nil {
			return nil, err
		}
		if err := configureUpTo(next.Sequence - 1); err != nil {
			return nil, err
		}
		if next.Sequence > until {
			// What was committed has left the stream; this one is the first new input.
			first = &next
			break
		}
		if err := r.apply(ctx, next); err != nil {
			return nil, err
		}
		if r.machine.Pending() >= maxPending {
			if err := r.drop(); err != nil {
				return nil, err
			}
		}
	}
	if until > r.applied {
		r.applied, r.appliedStored = until, r.committedStored
	}
	if err := configureUpTo(r.applied); err != nil {
		return nil, err
	}
	if r.applied > from {
		r.log.Info("lane replayed its input", "from", from, "to", r.applied, "took", time.Since(start).Round(time.Millisecond))
	}
	return first, r.drop()
}

// drop forgets outputs that were committed before.
func (r *runner) drop() error {
	_, err := r.machine.Take(Position{}, nil)
	return err
}
