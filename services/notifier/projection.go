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

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/streams"
)

// projectionKey is where the bucket of manifests says how far the bucket of
// alerts reflects ALERTING.
const projectionKey = streams.ServiceNotifier + ".alerts"

// checkpoint is the value of projectionKey.
type checkpoint struct {
	// Incarnation is when ALERTING was created, in nanoseconds since the Unix
	// epoch.
	Incarnation int64 `json:"incarnation"`
	// Sequence is that of the last commit that the bucket reflects.
	Sequence uint64 `json:"sequence"`
	// Channels is that of the last commit whose messages have a consumer, if
	// their channel is to be sent to.
	Channels uint64 `json:"channels"`
}

// projection is the bucket of alerts: each alert as of its last transition. It
// is made of ALERTING alone, and made anew when the bucket is found empty. One
// goroutine only.
type projection struct {
	alerts, manifests jetstream.KeyValue
	incarnation       int64
	metrics           *metrics

	// position is the last commit that is reflected, channels that of the
	// checkpoint. Saved is the position that the bucket of manifests holds.
	position, channels, saved uint64
	savedAt                   time.Time
	// unknown says that there is no checkpoint, anew that it is of another ALERTING,
	// in whose place this one was made.
	unknown, anew bool
	// stale says that somebody else may have written to the bucket.
	stale bool
	// known holds what the bucket holds, without the evidence, and revisions in
	// which revision.
	known     map[string]*alertingv1.Alert
	revisions map[string]uint64
	// resolved counts those in known that are over.
	resolved int
}

// saveEvery is how often the checkpoint is written while commits come in. What
// lies behind it is applied again after a crash, which changes nothing.
const saveEvery = 5 * time.Second

func openProjection(ctx context.Context, js jetstream.JetStream, incarnation time.Time, m *metrics) (*projection, error) {
	p := &projection{
		incarnation: incarnation.UnixNano(), metrics: m,
		known: map[string]*alertingv1.Alert{}, revisions: map[string]uint64{},
	}
	var err error
	if p.alerts, err = js.KeyValue(ctx, streams.BucketAlerts); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketAlerts, err)
	}
	if p.manifests, err = js.KeyValue(ctx, streams.BucketManifests); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketManifests, err)
	}
	if err := p.loadAlerts(ctx); err != nil {
		return nil, err
	}
	return p, p.loadPosition(ctx)
}

func (p *projection) loadAlerts(ctx context.Context) error {
	watch, err := p.alerts.WatchAll(ctx, jetstream.IgnoreDeletes())
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
			a := &alertingv1.Alert{}
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(entry.Value(), a); err != nil || a.GetId() != entry.Key() {
				// It is written anew with its next transition.
				continue
			}
			p.remember(a)
		}
	}
}

// reload reads the bucket again. What it lacks by then is read from ALERTING.
func (p *projection) reload(ctx context.Context) error {
	p.known, p.revisions, p.resolved = map[string]*alertingv1.Alert{}, map[string]uint64{}, 0
	if err := p.loadAlerts(ctx); err != nil {
		return err
	}
	if len(p.known) == 0 {
		p.position = 0
	}
	p.stale = false
	return nil
}

func (p *projection) loadPosition(ctx context.Context) error {
	entry, err := p.manifests.Get(ctx, projectionKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		p.unknown = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s of bucket %s: %w", projectionKey, streams.BucketManifests, err)
	}
	var c checkpoint
	if err := json.Unmarshal(entry.Value(), &c); err != nil {
		p.unknown = true
		return nil //nolint:nilerr // without a checkpoint that can be used, all is read again
	}
	if c.Incarnation != p.incarnation {
		p.anew = true
		return nil
	}
	p.channels = c.Channels
	if len(p.known) > 0 {
		p.position, p.saved = c.Sequence, c.Sequence
	}
	return nil
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
	body, err := json.Marshal(checkpoint{p.incarnation, p.position, p.channels})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if _, err := p.manifests.Put(ctx, projectionKey, body); err != nil {
		return fmt.Errorf("write key %s of bucket %s: %w", projectionKey, streams.BucketManifests, err)
	}
	p.saved, p.savedAt = p.position, time.Now()
	return nil
}

// apply reflects one commit.
func (p *projection) apply(ctx context.Context, sequence uint64, c *alertingv1.Commit) error {
	last := make(map[string]*alertingv1.Alert, len(c.GetAlerts()))
	var order []string
	for _, a := range c.GetAlerts() {
		if last[a.GetId()] == nil {
			order = append(order, a.GetId())
		}
		last[a.GetId()] = a
	}
	for _, id := range order {
		if err := p.put(ctx, last[id]); err != nil {
			return err
		}
		p.remember(last[id])
	}
	if err := p.forget(ctx); err != nil {
		return err
	}
	p.position = sequence
	return p.save(ctx, false)
}

// put writes an alert over the revision that is known: a write that comes late,
// by this process or one that held the lane before, must not bring back what was.
func (p *projection) put(ctx context.Context, a *alertingv1.Alert) error {
	body, err := protojson.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode alert %s: %w", a.GetId(), err)
	}
	var revision uint64
	if before, ok := p.revisions[a.GetId()]; ok {
		revision, err = p.alerts.Update(ctx, a.GetId(), body, before)
	} else {
		revision, err = p.alerts.Create(ctx, a.GetId(), body)
	}
	if err != nil {
		p.stale = true
		return fmt.Errorf("write key %s of bucket %s: %w", a.GetId(), streams.BucketAlerts, err)
	}
	p.revisions[a.GetId()] = revision
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
	p.known[a.GetId()] = &alertingv1.Alert{Id: a.GetId(), State: a.GetState(), Updated: a.GetUpdated()}
	p.metrics.firing.Set(float64(len(p.known) - p.resolved))
}

// forget removes the alerts that have been over for longest.
func (p *projection) forget(ctx context.Context) error {
	if p.resolved < maxResolved+slackResolved {
		return nil
	}
	var old []*alertingv1.Alert
	for _, a := range p.known {
		if over(a) {
			old = append(old, a)
		}
	}
	slices.SortFunc(old, olderFirst)
	for _, a := range old[:len(old)-maxResolved] {
		if err := p.alerts.Purge(ctx, a.GetId()); err != nil {
			return fmt.Errorf("remove key %s of bucket %s: %w", a.GetId(), streams.BucketAlerts, err)
		}
		delete(p.known, a.GetId())
		delete(p.revisions, a.GetId())
		p.resolved--
	}
	return nil
}
