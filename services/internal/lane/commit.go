package lane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// change puts a new configuration in force and commits it with its position. A
// configuration that the machine refuses is logged, and the previous one stays in force.
func (r *runner) change(ctx context.Context, config ConfigChange) error {
	if err := r.configure(config); err != nil {
		r.log.Error("a configuration can't be used; the previous one stays in force", "bucket", r.bucketOf(config), "revision", config.Revision, "err", err)
		return nil
	}
	r.log.Info("a configuration is in force", "bucket", r.bucketOf(config), "revision", config.Revision)
	return r.commit(ctx, &config)
}

func (r *runner) bucketOf(config ConfigChange) string {
	if config.Extra != "" {
		return r.ExtraBucket
	}
	return streams.BucketConfig
}

// commit stores all outputs, and the position up to which they were made, in one message.
func (r *runner) commit(ctx context.Context, config *ConfigChange) error {
	body, err := r.machine.Take(Position{Incarnation: r.incarnation, Sequence: r.applied, Stored: r.appliedStored}, config)
	if err != nil {
		return fmt.Errorf("encode the commit of input %d: %w", r.applied, err)
	}
	// A publish that is cut short may or may not be stored. So the end of ctx does not
	// cut it short; only the timeout does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	start := time.Now()
	ack, err := r.JS.PublishMsg(ctx, &nats.Msg{Subject: r.OutputSubject, Data: body},
		jetstream.WithExpectLastSequencePerSubject(r.output))
	if err != nil {
		return fmt.Errorf("commit input %d: %w", r.applied, err)
	}
	r.Metrics.commitSeconds.Observe(time.Since(start).Seconds())
	r.Metrics.commits.Inc()
	r.output, r.committed, r.committedStored, r.lastCommit = ack.Sequence, r.applied, r.appliedStored, time.Now()
	if r.Committed != nil {
		r.Committed(r.Lane, ack.Sequence, body)
	}
	return nil
}

// snapshotIfDue stores a snapshot if a new owner had too much to replay without it.
func (r *runner) snapshotIfDue(ctx context.Context) error {
	since := &r.sinceSnapshot
	if since.readings < snapshotReadings && since.messages < snapshotMessages && time.Since(since.at) < snapshotEvery {
		return nil
	}
	if err := r.commitRest(ctx); err != nil {
		return err
	}
	return r.snapshot(ctx)
}

// commitRest commits the input since the last commit, even if there are no outputs: a
// commit also carries counts, which a snapshot leaves out.
func (r *runner) commitRest(ctx context.Context) error {
	if r.machine.Pending() == 0 && r.applied == r.committed {
		return nil
	}
	return r.commit(ctx, nil)
}

// finish commits the rest and stores a snapshot, so the next owner has nothing to replay.
func (r *runner) finish(ctx context.Context) error {
	if r.config.Revision == 0 {
		return nil
	}
	if err := r.commitRest(ctx); err != nil {
		return err
	}
	if !r.unsaved() {
		return nil
	}
	return r.snapshot(ctx)
}

// unsaved reports whether there is something that the newest snapshot does not hold: input
// since then, or a snapshot that failed.
func (r *runner) unsaved() bool {
	return r.sinceSnapshot.messages > 0 || r.store.incomplete
}

// outputStored returns when the lane's last commit was stored, in nanoseconds since the
// Unix epoch, or 0 if that is not known.
func (r *runner) outputStored(ctx context.Context) int64 {
	stream, err := r.JS.Stream(ctx, r.OutputStream)
	if err != nil {
		return 0
	}
	msg, err := stream.GetMsg(ctx, r.output)
	if err != nil {
		return 0
	}
	return msg.Time.UnixNano()
}

// snapshot stores the state after the last applied input. No output may wait. If that
// fails, the lane continues: the previous snapshot and the input are still there. Only
// errLost ends it. If ctx was canceled, nothing failed: finish stores the snapshot.
func (r *runner) snapshot(ctx context.Context) error {
	start := time.Now()
	all := r.store.needsAll()
	chunks, err := r.machine.Snapshot(all)
	if err != nil {
		return fmt.Errorf("snapshot at input %d: %w", r.applied, err)
	}
	if all || r.store.current.Revision != r.config.Revision {
		chunks = append(chunks, Chunk{ID: configChunk, Data: r.config.Content})
	}
	size, err := r.store.write(ctx, manifest{
		Revision: r.config.Revision, Written: start,
		Holding: streams.Holding{
			Incarnation: r.incarnation.UnixNano(), OutputIncarnation: r.outputIncarnation.UnixNano(),
			InputStream: r.InputStream, InputSequence: r.applied, InputStored: r.appliedStored,
			OutputStream: r.OutputStream, OutputSequence: r.output, OutputStored: r.outputStored(ctx),
		},
	}, chunks, all)
	r.sinceSnapshot.readings, r.sinceSnapshot.messages, r.sinceSnapshot.at = 0, 0, start
	if errors.Is(err, errLost) {
		return fmt.Errorf("snapshot at input %d: %w", r.applied, err)
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	if err != nil {
		r.Metrics.failedSnapshots.Inc()
		r.log.Error("the snapshot could not be stored; the next one is tried as usual", "err", err)
		return nil
	}
	r.Metrics.snapshotSeconds.Observe(time.Since(start).Seconds())
	r.Metrics.snapshotBytes.Add(float64(size))
	return nil
}
