package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/streams"
)

// projection keeps the bucket of alerts, which holds each alert as of its last
// transition. It is built from ALERTING alone, and rebuilt when the bucket is
// empty or was recreated. One goroutine only.
//
// For a while two workers may write to the bucket: one that has lost the lane and
// does not know it yet, which may lag behind, and its successor. These rules keep
// the first from undoing what the second wrote:
//
//  1. Each value names the commit that it is from. It is never replaced by a value
//     from an earlier commit of the same ALERTING.
//  2. Each write and each removal names the revision of the key that was seen, also
//     when that is a deletion. If somebody else has written since, the operation
//     fails, however late it arrives.
//  3. The checkpoint is written like that too, so it never moves back, with one
//     exception: before all commits are applied again, it is set to 0, and this
//     comes before the first write to the bucket.
//  4. A removed alert does not name the commit that removed it. So the checkpoint is
//     written before a removal, and a worker that finds a removed key reads the
//     checkpoint after it. It then continues behind the removal.
//  5. When ALERTING was recreated, the checkpoint is written first as well. A worker
//     of the old stream stops when it sees this, and any commit of the new stream
//     overwrites its values.
//
// After a write that failed, bucket and checkpoint are read again and taken as they
// are. Commits that the values already reflect are skipped.
type projection struct {
	alerts, manifests jetstream.KeyValue
	incarnation       int64
	metrics           *metrics

	// position is the last commit that is reflected. channels is the last commit
	// whose messages have a consumer, if their channel is to be sent to. saved is the position in
	// the stored checkpoint, and checkpoint the revision of that.
	position, channels, saved, checkpoint uint64
	savedAt                               time.Time
	// positionStored is when the commit at position was stored, in nanoseconds since
	// the Unix epoch; 0 when it is not known.
	positionStored int64
	// bucket is when the bucket was created, in nanoseconds since the Unix epoch.
	bucket int64
	// unknown means that there is no checkpoint. recreated means that the checkpoint
	// belongs to an earlier ALERTING.
	unknown, recreated bool
	// stale means that another worker may have written to the bucket.
	stale bool
	// known holds the alerts in the bucket, without their evidence. revisions holds
	// the revision of each key, deleted keys included.
	known     map[string]*alertingv1.Alert
	revisions map[string]uint64
	// resolved counts the alerts in known that are over.
	resolved int
	// acknowledged counts those that somebody has acknowledged.
	acknowledged int
}

// saveEvery is how often the checkpoint is written while commits come in. Commits
// after it are applied again after a crash, which changes nothing.
const saveEvery = 5 * time.Second

func openProjection(ctx context.Context, js jetstream.JetStream, incarnation int64, m *metrics) (*projection, error) {
	p := &projection{incarnation: incarnation, metrics: m}
	var err error
	p.alerts, err = js.KeyValue(ctx, streams.BucketAlerts)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketAlerts, err)
	}
	p.manifests, err = js.KeyValue(ctx, streams.BucketManifests)
	if err != nil {
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
	p.bucket, err = p.created(ctx)
	if err != nil {
		return err
	}
	p.known, p.revisions, p.resolved, p.acknowledged = map[string]*alertingv1.Alert{}, map[string]uint64{}, 0, 0
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
	created, err := streams.BucketCreated(status)
	return created.UnixNano(), err
}

// checkBucket returns an error, and makes the next round read everything again, if
// the bucket was recreated since it was read.
func (p *projection) checkBucket(ctx context.Context) error {
	created, err := p.created(ctx)
	if err != nil || created == p.bucket {
		return err
	}
	p.stale = true
	return fmt.Errorf("bucket %s was recreated", streams.BucketAlerts)
}

func (p *projection) loadAlerts(ctx context.Context) error {
	return streams.ReadBucket(ctx, p.alerts, nil, func(entry jetstream.KeyValueEntry) {
		p.revisions[entry.Key()] = entry.Revision()
		if entry.Operation() != jetstream.KeyValuePut {
			return
		}
		a := &alertingv1.Alert{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(entry.Value(), a); err != nil || a.GetId() != entry.Key() {
			// Its next transition overwrites it.
			return
		}
		p.remember(a)
	})
}

// reload reads bucket and checkpoint after a write that failed, and continues from
// the checkpoint.
func (p *projection) reload(ctx context.Context) error {
	p.unknown = false
	if err := p.load(ctx); err != nil {
		return err
	}
	switch {
	case p.recreated:
		return fmt.Errorf("stream %s: %w, and another worker reflects the new one", streams.StreamAlerting, streams.ErrRecreated)
	case p.unknown:
		p.position, p.positionStored, p.saved = 0, 0, 0
		if err := p.write(ctx); err != nil {
			return err
		}
	}
	p.stale = false
	return nil
}

// loadPosition reads the checkpoint, or finds out why there is none. If the bucket
// is empty or was recreated, all commits are applied again. A crash in the middle of
// that leaves a bucket that is not empty, so the checkpoint is reset first.
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
		return nil //nolint:nilerr // without a usable checkpoint, all commits are applied again
	}
	if c.Incarnation != p.incarnation {
		p.recreated = true
		return nil
	}
	p.channels = max(p.channels, c.Channels)
	p.position, p.positionStored, p.saved = c.Sequence, c.Stored, c.Sequence
	recreated := c.Bucket != 0 && c.Bucket != p.bucket
	if c.Sequence == 0 || len(p.known) > 0 && !recreated {
		return nil
	}
	p.position, p.positionStored = 0, 0
	return p.write(ctx)
}

// place returns the place of the last commit that is reflected.
func (p *projection) place() streams.Place {
	return streams.Place{Incarnation: p.incarnation, Sequence: p.position, Stored: p.positionStored}
}

// rewind makes the projection continue from an earlier place: the commits after it
// are gone, and others get their sequences.
func (p *projection) rewind(ctx context.Context, to streams.Place) error {
	p.position, p.positionStored, p.channels = to.Sequence, to.Stored, to.Sequence
	return p.write(ctx)
}

// save writes the checkpoint if it changed and is due, or if now is set.
func (p *projection) save(ctx context.Context, now bool) error {
	if p.position == p.saved || !now && time.Since(p.savedAt) < saveEvery {
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

// apply reflects one commit, which the stream stored at stored.
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

// put writes an alert as of a commit, unless the bucket has it as of that commit or
// a later one. A commit with a higher sequence that was stored earlier is not later:
// it was lost with the end of the stream.
func (p *projection) put(ctx context.Context, sequence uint64, stored int64, a *alertingv1.Alert) error {
	last := p.known[a.GetId()].GetCommitted()
	lost := last.GetStored() != 0 && last.GetStored() < stored
	if last.GetIncarnation() == p.incarnation && last.GetSequence() >= sequence && !lost {
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

// settled reports whether an episode in a commit is over, acknowledged or unknown, so that
// nobody needs to be notified of it any more. It is false while the commit is not reflected.
func (p *projection) settled(episode string, sequence uint64) bool {
	if p.position < sequence {
		return false
	}
	id, _, _ := strings.Cut(episode, "-")
	a := p.known[id]
	return a == nil || a.GetState() != alertingv1.State_STATE_FIRING || streams.EpisodeID(a) != episode
}

func over(a *alertingv1.Alert) bool { return a.GetState() == alertingv1.State_STATE_RESOLVED }

func acknowledged(a *alertingv1.Alert) bool {
	return a.GetState() == alertingv1.State_STATE_ACKNOWLEDGED
}

func (p *projection) remember(a *alertingv1.Alert) {
	if over(p.known[a.GetId()]) {
		p.resolved--
	}
	if over(a) {
		p.resolved++
	}
	if acknowledged(p.known[a.GetId()]) {
		p.acknowledged--
	}
	if acknowledged(a) {
		p.acknowledged++
	}
	p.known[a.GetId()] = &alertingv1.Alert{Id: a.GetId(), State: a.GetState(), Started: a.GetStarted(), Updated: a.GetUpdated(), Committed: a.GetCommitted()}
	p.metrics.firing.Set(float64(len(p.known) - p.resolved - p.acknowledged))
	p.metrics.acknowledged.Set(float64(p.acknowledged))
}

// forget removes the alerts that have been over for longest. Nats-server does not
// return the revision of a removal, so the next write of such an alert fails and
// makes the projection read everything again.
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
