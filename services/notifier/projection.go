package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/streams"
)

// projection is the bucket of alerts: each alert as of its last transition. It
// is made of ALERTING alone, and made anew when the bucket is found empty or was
// made anew itself. One goroutine only.
//
// For a while there may be two, when the one before doesn't know yet that it has
// lost the lane, and it may be behind. So that it brings nothing back,
//
//   - each value says which commit it is of, and is never replaced by one of an
//     earlier commit of the same ALERTING;
//   - each write, and each removal, is made over the revision that was seen, deleted
//     keys included: what was seen before somebody else wrote has no effect, however
//     late it arrives;
//   - so is the checkpoint, which therefore never goes back, unless all is to be read
//     again: then it does so before the first write to the bucket;
//   - a removed alert doesn't say which commit removed it. Before a removal the
//     checkpoint is written, and whoever comes upon a removed key reads the
//     checkpoint after it, so goes on behind the removal;
//   - for an ALERTING that was made anew, the checkpoint is written first as well:
//     who works for the one before ends when it sees that, and its values give way
//     to any commit of the new one.
//
// After a write that failed, bucket and checkpoint are read again, and taken as
// they are. What lies between the checkpoint and the values is passed over.
type projection struct {
	alerts, manifests jetstream.KeyValue
	incarnation       int64
	metrics           *metrics

	// position is the last commit that is reflected, channels that of the
	// checkpoint. Saved is the position that the bucket of manifests holds, in the
	// revision checkpoint.
	position, channels, saved, checkpoint uint64
	savedAt                               time.Time
	// positionStored is when that commit was stored, in nanoseconds since the Unix
	// epoch; 0 when that is not known.
	positionStored int64
	// bucket is when the bucket was created, in nanoseconds since the Unix epoch.
	bucket int64
	// unknown says that there is no checkpoint, anew that it is of another ALERTING,
	// in whose place this one was made.
	unknown, anew bool
	// stale says that somebody else may have written to the bucket.
	stale bool
	// known holds what the bucket holds, without the evidence, and revisions in
	// which revision, deleted keys included.
	known     map[string]*alertingv1.Alert
	revisions map[string]uint64
	// resolved counts those in known that are over.
	resolved int
}

// saveEvery is how often the checkpoint is written while commits come in. What
// lies behind it is applied again after a crash, which changes nothing.
const saveEvery = 5 * time.Second

func openProjection(ctx context.Context, js jetstream.JetStream, incarnation time.Time, m *metrics) (*projection, error) {
	p := &projection{incarnation: incarnation.UnixNano(), metrics: m}
	var err error
	if p.alerts, err = js.KeyValue(ctx, streams.BucketAlerts); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketAlerts, err)
	}
	if p.manifests, err = js.KeyValue(ctx, streams.BucketManifests); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketManifests, err)
	}
	if err := p.load(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// load reads the bucket, and then the checkpoint.
func (p *projection) load(ctx context.Context) error {
	var err error
	if p.bucket, err = p.created(ctx); err != nil {
		return err
	}
	p.known, p.revisions, p.resolved = map[string]*alertingv1.Alert{}, map[string]uint64{}, 0
	if err := p.loadAlerts(ctx); err != nil {
		return err
	}
	return p.loadPosition(ctx)
}

// created returns when the bucket was created.
func (p *projection) created(ctx context.Context) (int64, error) {
	status, err := p.alerts.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at bucket %s: %w", streams.BucketAlerts, err)
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, fmt.Errorf("look at bucket %s: it doesn't say when it was created", streams.BucketAlerts)
	}
	return bucket.StreamInfo().Created.UnixNano(), nil
}

// look returns an error, and has all read again, if the bucket is another one than
// when it was read.
func (p *projection) look(ctx context.Context) error {
	created, err := p.created(ctx)
	if err != nil || created == p.bucket {
		return err
	}
	p.stale = true
	return fmt.Errorf("bucket %s was made anew", streams.BucketAlerts)
}

func (p *projection) loadAlerts(ctx context.Context) error {
	watch, err := p.alerts.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", streams.BucketAlerts, err)
	}
	defer func() { _ = watch.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case entry, open := <-watch.Updates():
			if !open {
				return fmt.Errorf("read bucket %s: the watch ended", streams.BucketAlerts)
			}
			if entry == nil {
				return nil
			}
			p.revisions[entry.Key()] = entry.Revision()
			if entry.Operation() != jetstream.KeyValuePut {
				continue
			}
			a := &alertingv1.Alert{}
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(entry.Value(), a); err != nil || a.GetId() != entry.Key() {
				// It is written anew with its next transition.
				continue
			}
			p.remember(a)
		}
	}
}

// reload reads all again after a write that failed, and goes on from the
// checkpoint.
func (p *projection) reload(ctx context.Context) error {
	p.unknown = false
	if err := p.load(ctx); err != nil {
		return err
	}
	switch {
	case p.anew:
		return fmt.Errorf("%w: somebody reflects another %s", errMadeAnew, streams.StreamAlerting)
	case p.unknown:
		p.position, p.positionStored, p.saved = 0, 0, 0
		if err := p.write(ctx); err != nil {
			return err
		}
	}
	p.stale = false
	return nil
}

// loadPosition reads the checkpoint, or says why there is none. If the bucket is
// empty or another, all is read again; should that end in the middle, the bucket
// isn't empty any more, so the checkpoint says it first.
func (p *projection) loadPosition(ctx context.Context) error {
	entry, err := p.manifests.Get(ctx, streams.AlertsKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		p.unknown, p.checkpoint = true, 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s of bucket %s: %w", streams.AlertsKey, streams.BucketManifests, err)
	}
	p.checkpoint = entry.Revision()
	var c streams.Checkpoint
	if err := json.Unmarshal(entry.Value(), &c); err != nil {
		p.unknown = true
		return nil //nolint:nilerr // without a checkpoint that can be used, all is read again
	}
	if c.Incarnation != p.incarnation {
		p.anew = true
		return nil
	}
	p.channels = max(p.channels, c.Channels)
	p.position, p.positionStored, p.saved = c.Sequence, c.Stored, c.Sequence
	another := c.Bucket != 0 && c.Bucket != p.bucket
	if c.Sequence == 0 || len(p.known) > 0 && !another {
		return nil
	}
	p.position, p.positionStored = 0, 0
	return p.write(ctx)
}

// place is that of the last commit that is reflected.
func (p *projection) place() streams.Place {
	return streams.Place{Incarnation: p.incarnation, Sequence: p.position, Stored: p.positionStored}
}

// back has the projection go on from an earlier place: the commits behind it are
// gone, and others get their sequences.
func (p *projection) back(ctx context.Context, to streams.Place) error {
	p.position, p.positionStored, p.channels = to.Sequence, to.Stored, to.Sequence
	return p.write(ctx)
}

// save writes the checkpoint if it is due, or at any rate.
func (p *projection) save(ctx context.Context, atAnyRate bool) error {
	if p.position == p.saved || !atAnyRate && time.Since(p.savedAt) < saveEvery {
		return nil
	}
	return p.write(ctx)
}

func (p *projection) write(ctx context.Context) error {
	p.channels = max(p.channels, p.position)
	body, err := json.Marshal(streams.Checkpoint{Incarnation: p.incarnation, Bucket: p.bucket, Sequence: p.position, Stored: p.positionStored, Channels: p.channels})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	var revision uint64
	if p.checkpoint == 0 {
		revision, err = p.manifests.Create(ctx, streams.AlertsKey, body)
	} else {
		revision, err = p.manifests.Update(ctx, streams.AlertsKey, body, p.checkpoint)
	}
	if err != nil {
		p.stale = true
		return fmt.Errorf("write key %s of bucket %s: %w", streams.AlertsKey, streams.BucketManifests, err)
	}
	p.checkpoint, p.saved, p.savedAt = revision, p.position, time.Now()
	return nil
}

// apply reflects one commit, which was stored at stored.
func (p *projection) apply(ctx context.Context, sequence uint64, stored int64, c *alertingv1.Commit) error {
	last := make(map[string]*alertingv1.Alert, len(c.GetAlerts()))
	var order []string
	for _, a := range c.GetAlerts() {
		if last[a.GetId()] == nil {
			order = append(order, a.GetId())
		}
		last[a.GetId()] = a
	}
	for _, id := range order {
		if err := p.put(ctx, sequence, stored, last[id]); err != nil {
			return err
		}
	}
	p.position, p.positionStored = sequence, stored
	if err := p.forget(ctx); err != nil {
		return err
	}
	return p.save(ctx, false)
}

// put writes an alert as of a commit, unless the bucket has it as of that one or
// a later one. One with a higher sequence that was stored earlier is not later: it
// was lost with the end of the stream.
func (p *projection) put(ctx context.Context, sequence uint64, stored int64, a *alertingv1.Alert) error {
	before := p.known[a.GetId()].GetCommitted()
	lost := before.GetStored() != 0 && before.GetStored() < stored
	if before.GetIncarnation() == p.incarnation && before.GetSequence() >= sequence && !lost {
		return nil
	}
	a = proto.CloneOf(a)
	a.Committed = &derivedv1.Position{Incarnation: p.incarnation, Sequence: sequence, Stored: stored}
	body, err := protojson.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode alert %s: %w", a.GetId(), err)
	}
	revision, err := p.alerts.Update(ctx, a.GetId(), body, p.revisions[a.GetId()])
	if err != nil {
		p.stale = true
		return fmt.Errorf("write key %s of bucket %s: %w", a.GetId(), streams.BucketAlerts, err)
	}
	p.revisions[a.GetId()] = revision
	p.remember(a)
	return nil
}

func over(a *alertingv1.Alert) bool { return a.GetState() == alertingv1.State_STATE_RESOLVED }

func (p *projection) remember(a *alertingv1.Alert) {
	if over(p.known[a.GetId()]) {
		p.resolved--
	}
	if over(a) {
		p.resolved++
	}
	p.known[a.GetId()] = &alertingv1.Alert{Id: a.GetId(), State: a.GetState(), Updated: a.GetUpdated(), Committed: a.GetCommitted()}
	p.metrics.firing.Set(float64(len(p.known) - p.resolved))
}

// forget removes the alerts that have been over for longest. Which revision a
// removal makes isn't told: the next write of such an alert fails, and has all
// read again.
func (p *projection) forget(ctx context.Context) error {
	if p.resolved < maxResolved+slackResolved {
		return nil
	}
	if err := p.save(ctx, true); err != nil {
		return err
	}
	var old []*alertingv1.Alert
	for _, a := range p.known {
		if over(a) {
			old = append(old, a)
		}
	}
	slices.SortFunc(old, olderFirst)
	for _, a := range old[:len(old)-maxResolved] {
		if err := p.alerts.Purge(ctx, a.GetId(), jetstream.LastRevision(p.revisions[a.GetId()])); err != nil {
			p.stale = true
			return fmt.Errorf("remove key %s of bucket %s: %w", a.GetId(), streams.BucketAlerts, err)
		}
		delete(p.known, a.GetId())
		delete(p.revisions, a.GetId())
		p.resolved--
	}
	return nil
}
