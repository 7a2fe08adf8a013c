package lane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/ordered"
	"headwater/streams"
)

// load restores the newest snapshot and returns the changes of the configuration that
// were committed after it, with their positions.
func (r *runner) load(ctx context.Context) ([]change, error) {
	var err error
	r.store, err = openStore(ctx, r.JS, r.Service, r.Lane, r.Format)
	if err != nil {
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
	m, chunks, skipped, err := r.store.load(ctx)
	if skipped != nil {
		r.Metrics.badSnapshots.Inc()
		r.log.Error("skipped a snapshot that is damaged; its input is replayed", "err", skipped)
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
		firstCommit, err = r.firstCommit(ctx, output, m)
		if err != nil {
			return nil, err
		}
		r.logGap(input.CachedInfo().State, m)
	}
	r.sinceSnapshot.at = time.Now()
	return r.commits(ctx, input, output, firstCommit)
}

// firstCommit returns the sequence of the first commit that the snapshot does not cover.
// An output stream that was recreated, or lost its end, uses the lost sequences again, so
// the sequence in the snapshot alone does not say that.
func (r *runner) firstCommit(ctx context.Context, output jetstream.Stream, m *manifest) (uint64, error) {
	now, loss, err := m.Output().Resume(ctx, output)
	if err != nil {
		return 0, err
	}
	r.reportLoss(ctx, loss, "what was committed there is gone; the lane continues with what was learned before")
	return now.Sequence + 1, nil
}

// reportLoss raises an alarm if a stream has lost what the lane had read of it. After the
// next input the lane stores a snapshot, which says where it resumes.
func (r *runner) reportLoss(ctx context.Context, loss *streams.Loss, consequence string) {
	if loss == nil {
		return
	}
	r.log.Error("a stream is missing what the lane had read of it", "consequence", consequence, "stream", loss.Stream, "recreated", loss.Recreated, "kept_seq", loss.Kept, "lost_seq", loss.Until, "loss", loss)
	r.Metrics.incarnations.Inc()
	r.sinceSnapshot.readings = snapshotReadings
	if err := loss.Record(ctx, r.JS, r.Service); err != nil {
		r.log.Error("the dashboard cannot show what is lost", "err", err)
	}
}

// logGap logs if input is missing between the snapshot and the beginning of the stream.
func (r *runner) logGap(state jetstream.StreamState, m *manifest) {
	if r.applied == 0 || state.FirstSeq <= r.applied+1 {
		return
	}
	r.log.Warn("the input between the snapshot and the stream's beginning is gone; the lane continues with what was learned before",
		"stream", r.InputStream, "snapshot_seq", r.applied, "first_seq", state.FirstSeq, "written", m.Written.UTC())
}

// restore sets the machine, the configuration and the position to those of a snapshot.
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
	r.reportLoss(ctx, loss, "the lane reads what is new in the input, and continues with what was learned before")
	return nil
}

// change is a configuration that took effect after the input with that sequence.
type change struct {
	ConfigChange
	after uint64
}

// commits reads the lane's commits from the sequence first on. It sets how far they
// reach, and returns the configurations that they carry.
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
	messages := ordered.Messages{MessagesContext: iterator}
	var changes []change
	var newest streams.Place
	for {
		limited, cancel := context.WithTimeout(ctx, loadTimeout)
		msg, meta, _, err := messages.Take(jetstream.NextContext(limited))
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
			// The newest position counts, not the highest: the input may have lost its end
			// in between.
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

// covered sets committed to the input that the newest commit covers, as far as the
// stream still holds that input. Changes that took effect after that take effect at its
// end.
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
	r.reportLoss(ctx, loss, "the lane reads what is new in the input, and continues with what was committed before")
	return nil
}

// replay restores the state of the newest commit. It applies the input that was committed
// before, drops the outputs, and applies the changes of the configuration where they took
// effect. If it has read the first new input, it returns that.
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
			// The rest of the committed input has left the stream; this is the first new
			// input.
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

// drop discards outputs that were committed before.
func (r *runner) drop() error {
	_, err := r.machine.Take(Position{}, nil)
	return err
}
