package notifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/notifier/policy"
	"headwater/services/notifier/watch"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	// healthSite and healthMetric are parts of the series of alerts about Headwater itself.
	healthSite   = "headwater"
	healthMetric = "health"
	// healthEvery is how often the parts of Headwater are looked at, and healthWithin bounds
	// that.
	healthEvery  = 30 * time.Second
	healthWithin = 10 * time.Second
)

// health raises and ends alerts about Headwater itself.
func (m *machine) health(content []byte) error {
	s, err := watch.Decode(content)
	if err != nil {
		return err
	}
	wrong := map[string]bool{}
	for _, p := range s.Problems {
		if !streams.ValidToken(p.Part) {
			return fmt.Errorf("%q is no part of Headwater", p.Part)
		}
		a := healthAnomaly(p.Part, s.At, derivedv1.Phase_PHASE_OPEN)
		a.Start, a.Evidence.Sentence = p.Since.UnixNano(), p.Text
		if p.Critical {
			a.Severity = derivedv1.Severity_SEVERITY_CRITICAL
		}
		id := streams.AlertID(rule.HealthName, a.GetSeries())
		wrong[id] = true
		if known := m.firing[id]; known == nil {
			m.apply(a, "")
		}
	}
	var over []string
	for id, a := range m.firing {
		if a.state.GetRule() == rule.HealthName && !wrong[id] {
			over = append(over, id)
		}
	}
	slices.Sort(over)
	for _, id := range over {
		known := m.firing[id].state
		a := healthAnomaly(known.GetSeries().GetDevice(), s.At, derivedv1.Phase_PHASE_CLOSE)
		a.Start, a.Severity, a.End, a.Evidence.Sentence = known.GetStarted(), known.GetSeverity(), derivedv1.End_END_RECOVERED, "It is all right again."
		m.apply(a, "")
	}
	return nil
}

// healthAnomaly is one about a part of Headwater.
func healthAnomaly(part string, at time.Time, phase derivedv1.Phase) *derivedv1.Anomaly {
	return &derivedv1.Anomaly{
		Rule: rule.HealthName, Series: &derivedv1.Series{Site: healthSite, Device: part, Metric: healthMetric},
		Time: at.UnixNano(), Learned: at.UnixNano(), Phase: phase, Severity: derivedv1.Severity_SEVERITY_WARNING, Evidence: &derivedv1.Evidence{},
	}
}

// watching looks at the parts of Headwater until stop is called, or ctx ends.
func (s *Service) watching(ctx context.Context) (stop func()) {
	if s.js.Conn() == nil {
		return func() {} // a simulation
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.watch(ctx) })
	return func() { cancel(); running.Wait() }
}

func (s *Service) watch(ctx context.Context) {
	var w *watch.Watch
	unstored, failing := false, false
	for process.Sleep(ctx, s.healthEvery) {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, healthWithin)
			defer cancel()
			bucket, err := s.js.KeyValue(ctx, streams.BucketSilences)
			if err != nil {
				return fmt.Errorf("open bucket %s: %w", streams.BucketSilences, err)
			}
			if w == nil {
				if w, err = continued(ctx, bucket); err != nil {
					return err
				}
			}
			state, changed := w.See(time.Now(), s.look(ctx))
			if unstored = unstored || changed; !unstored {
				return nil
			}
			body, err := state.Encode()
			if err != nil {
				return err
			}
			if _, err := bucket.Put(ctx, streams.HealthKey, body); err != nil {
				return fmt.Errorf("write key %s of bucket %s: %w", streams.HealthKey, streams.BucketSilences, err)
			}
			unstored = false
			return nil
		}()
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Warn("no alert is raised about Headwater itself; the next attempt follows", "err", err)
		}
		failing = err != nil
	}
}

// continued returns a watch that continues from what is stored.
func continued(ctx context.Context, bucket jetstream.KeyValue) (*watch.Watch, error) {
	entry, err := bucket.Get(ctx, streams.HealthKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return watch.From(watch.State{}), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key %s of bucket %s: %w", streams.HealthKey, streams.BucketSilences, err)
	}
	state, err := watch.Decode(entry.Value())
	if err != nil {
		return watch.From(watch.State{}), nil //nolint:nilerr // the next state takes its place
	}
	return watch.From(state), nil
}

// look returns what is seen. What does not answer is left out: it is not known.
func (s *Service) look(ctx context.Context) watch.Facts {
	f := watch.Facts{Full: map[string]float64{}}
	for _, name := range []string{streams.StreamTelemetry, streams.StreamDerived, streams.StreamAlerting, streams.StreamDeadLetters} {
		stream, err := s.js.Stream(ctx, name)
		if err != nil {
			continue
		}
		info := stream.CachedInfo()
		switch name {
		case streams.StreamTelemetry:
			f.Telemetry = info.State.LastTime
			if c, err := stream.Consumer(ctx, streams.ConsumerWriter); err == nil {
				f.Waiting = c.CachedInfo().NumPending
			}
		case streams.StreamDerived:
			f.Derived = info.State.LastTime
		case streams.StreamDeadLetters:
			f.Buried = info.State.LastSeq
			continue // the oldest are dropped when it is full
		}
		if most := info.Config.MaxBytes; most > 0 {
			f.Full[name] = float64(info.State.Bytes) / float64(most)
		}
	}
	if s.disk != nil {
		if d, err := s.disk(); err == nil {
			f.Disk = d
		}
	}
	if s.pictures.past != nil {
		if _, err := s.pictures.past.Ping(ctx); err != nil {
			f.Influx = policy.Clean(influx.Reason(err))
		}
	}
	return f
}
