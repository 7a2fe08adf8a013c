package edge

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// readingsPacker packs the readings of TELEMETRY that the policy selects.
type readingsPacker struct {
	policy   uplink.Policy
	selector *uplink.Selector
	frames   []*telemetryv1.Batch
	items    int
	last     uplink.Place
}

func (p *readingsPacker) begin(policy uplink.Policy) {
	if p.selector == nil || !same(policy, p.policy) {
		p.policy, p.selector = policy, uplink.NewSelector(policy)
	}
	p.frames, p.items = nil, 0
}

func (p *readingsPacker) add(data []byte, at uplink.Place) uplink.Traffic {
	b, err := streams.DecodeTelemetry(data)
	if err != nil || len(b.GetSeries()) == 0 {
		return uplink.Traffic{}
	}
	if f := p.selector.Select(b); f != nil {
		f.Origin = &telemetryv1.Origin{Incarnation: at.Incarnation, Sequence: at.Sequence, Stored: at.Stored}
		p.frames = append(p.frames, f)
		p.items += len(f.GetSeries())
		p.last = at
	}
	return uplink.Whole(b)
}

func (p *readingsPacker) take(context.Context) (upload, error) {
	return pack(p.frames, p.items, p.last)
}

// summariesPacker packs the window summaries of DERIVED that the policy selects.
type summariesPacker struct {
	policy  uplink.Policy
	frames  []*telemetryv1.Batch
	items   int
	last    uplink.Place
	unnamed prometheus.Counter
}

func (p *summariesPacker) begin(policy uplink.Policy) { p.policy, p.frames, p.items = policy, nil, 0 }

func (p *summariesPacker) add(data []byte, at uplink.Place) uplink.Traffic {
	c, err := streams.DecodeDerived(data)
	if err != nil {
		return uplink.Traffic{}
	}
	frames, unnamed := p.policy.SelectSummaries(c, at)
	p.unnamed.Add(float64(unnamed))
	for _, f := range frames {
		p.frames = append(p.frames, f)
		p.items += len(f.GetSeries())
		p.last = at
	}
	return uplink.Traffic{}
}

func (p *summariesPacker) take(context.Context) (upload, error) {
	return pack(p.frames, p.items, p.last)
}

// alertsPacker packs the anomalies of DERIVED.
type alertsPacker struct {
	js     jetstream.JetStream
	frames []*derivedv1.Commit
	items  int
	last   uplink.Place
}

func (p *alertsPacker) begin(uplink.Policy) { p.frames, p.items = nil, 0 }

func (p *alertsPacker) add(data []byte, at uplink.Place) uplink.Traffic {
	c, err := streams.DecodeDerived(data)
	if err != nil || len(c.GetAnomalies()) == 0 {
		return uplink.Traffic{}
	}
	p.frames = append(p.frames, &derivedv1.Commit{
		Input:     &derivedv1.Position{Incarnation: at.Incarnation, Sequence: at.Sequence, Stored: at.Stored},
		Anomalies: c.GetAnomalies(),
	})
	p.items += len(c.GetAnomalies())
	p.last = at
	return uplink.Traffic{}
}

func (p *alertsPacker) take(ctx context.Context) (upload, error) {
	if len(p.frames) == 0 {
		return upload{}, nil
	}
	notifier, err := p.notifier(ctx)
	if err != nil {
		return upload{}, err
	}
	for _, f := range p.frames {
		f.Notifier = notifier
	}
	return pack(p.frames, p.items, p.last)
}

// notifier says who notifies people: this edge if it has channels; empty for the centre.
func (p *alertsPacker) notifier(ctx context.Context) (string, error) {
	c, err := readConfig(ctx, p.js)
	if err != nil || len(c.Channels) == 0 {
		return "", err
	}
	return name, nil
}

// readConfig returns the configuration of this edge.
func readConfig(ctx context.Context, js jetstream.JetStream) (*config.Config, error) {
	bucket, err := js.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	entry, err := bucket.Get(ctx, streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return new(config.Config), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c, err := config.Parse("configuration", entry.Value())
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return c, nil
}

// derivedMetrics returns the metrics that this edge derives itself. They are in its history
// and do not go up.
func derivedMetrics(ctx context.Context, js jetstream.JetStream) (map[string]bool, error) {
	c, err := readConfig(ctx, js)
	if err != nil {
		return nil, err
	}
	out := make(map[string]bool, len(c.Derived))
	for _, d := range c.Derived {
		out[d.Metric] = true
	}
	return out, nil
}

// pack packs frames of which the last one is at a place; no body for none.
func pack[M proto.Message](frames []M, items int, last uplink.Place) (upload, error) {
	if len(frames) == 0 {
		return upload{}, nil
	}
	body, err := uplink.Pack(frames)
	return upload{body, items, last}, err
}
