package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/services/internal/silence"
	"headwater/streams"
	"headwater/web/view"
)

// tidyEvery is how often ended silences are removed.
const tidyEvery = 10 * time.Second

// silences are the silences in force. They change by compare-and-set, so any number
// of dashboards may change them.
type silences struct {
	js   jetstream.JetStream
	log  *slog.Logger
	book *fleet.Book
	// current returns nil if the book knows all alerts.
	current func() error
	// changes takes the changes that people make here.
	changes recorder

	mu      sync.Mutex // guards what follows
	all     []silence.Silence
	counted uint64
}

// onSilences applies the entry of the bucket.
func (s *silences) onSilences(key string, value []byte, _ time.Time) {
	if key != streams.SilencesKey {
		return
	}
	var all []silence.Silence
	if value != nil {
		var err error
		all, err = silence.Decode(value)
		if err != nil {
			s.log.Error("silences cannot be read", "err", err)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
	s.counted++
}

// run removes ended silences until ctx ends.
func (s *silences) run(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		all := s.all
		s.mu.Unlock()
		if !slices.ContainsFunc(all, s.over) {
			continue
		}
		if err := s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) { return all, nil }); err != nil && ctx.Err() == nil {
			s.log.Warn("ended silences were not removed", "err", err)
		}
	}
}

// over reports whether a silence mutes nothing any longer. A silence until alerts are
// resolved is kept while one of them fires, or may fire.
func (s *silences) over(one silence.Silence) bool {
	now := time.Now()
	if !one.Until.IsZero() {
		return one.Ended(now)
	}
	if now.Sub(one.From) < time.Minute || s.current() != nil {
		return false
	}
	return !slices.ContainsFunc(s.book.Alerts(0).Active, func(a view.Alert) bool {
		return one.Has(a.Rule, a.Site, a.Device, a.Metric) && one.Holds(now, a.Opened)
	})
}

// update changes the silences and removes ended ones.
func (s *silences) update(ctx context.Context, change func([]silence.Silence) ([]silence.Silence, error)) error {
	bucket, err := s.js.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return fmt.Errorf("%w: bucket %s", view.ErrUnavailable, streams.BucketSilences)
	}
	for range saveAttempts {
		var all []silence.Silence
		var revision uint64
		entry, err := bucket.Get(ctx, streams.SilencesKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		default:
			revision = entry.Revision()
			all, err = silence.Decode(entry.Value())
			if err != nil {
				return err
			}
		}
		all, err = change(slices.DeleteFunc(all, s.over))
		if err != nil {
			return err
		}
		body, err := silence.Encode(all)
		if err != nil {
			return err
		}
		_, err = bucket.Update(ctx, streams.SilencesKey, body, revision)
		if err == nil {
			return nil
		}
		if !streams.IsConflict(err) {
			return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
	}
	return view.ErrConflict
}

// Mute implements alerts.Source.
func (s *silences) Mute(ctx context.Context, v view.Silence) (view.Silence, error) {
	one := silence.Silence{
		ID: strings.ToLower(rand.Text()), Match: silence.Match{Rule: v.Rule, Site: v.Site, Device: v.Device, Metric: v.Metric},
		From: v.From.UTC(), Author: v.Author,
	}
	if !v.UntilResolved {
		one.Until = v.Until.UTC()
	}
	if err := one.Validate(); err != nil {
		return view.Silence{}, err
	}
	err := s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) {
		if len(all) >= silence.Max {
			return nil, fmt.Errorf("there are %d silences already", len(all))
		}
		return append(all, one), nil
	})
	s.changes.record(ctx, audit.Entry{Who: v.Author, Action: audit.SilenceAdd, Object: mutedWords(v), After: untilWords(one)}, err)
	if err != nil {
		return view.Silence{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The next page shows it, before the watch delivers it.
	if !slices.ContainsFunc(s.all, func(o silence.Silence) bool { return o.ID == one.ID }) {
		s.all = append(slices.Clone(s.all), one)
		s.counted++
	}
	return viewed(one), nil
}

// Unmute implements alerts.Source.
func (s *silences) Unmute(ctx context.Context, id string) error {
	is := func(o silence.Silence) bool { return o.ID == id }
	var was silence.Silence
	err := s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) {
		at := slices.IndexFunc(all, is)
		if at < 0 {
			return nil, view.ErrNotFound
		}
		was = all[at]
		return slices.DeleteFunc(all, is), nil
	})
	if errors.Is(err, view.ErrNotFound) {
		return err
	}
	s.changes.record(ctx, audit.Entry{Action: audit.SilenceEnd, Object: mutedWords(viewed(was)), Before: untilWords(was)}, err)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(slices.Clone(s.all), is)
	s.counted++
	return nil
}

// Silences implements alerts.Source.
func (s *silences) Silences() ([]view.Silence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var out []view.Silence
	for _, one := range slices.Backward(s.all) {
		if !one.Ended(now) {
			out = append(out, viewed(one))
		}
	}
	return out, nil
}

// of returns the silence that mutes an alert now; nil for none.
func (s *silences) of(a view.Alert) *view.Silence {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := silence.Find(s.all, time.Now(), a.Rule, a.Site, a.Device, a.Metric, a.Opened)
	if !ok {
		return nil
	}
	v := viewed(one)
	if !v.Until.IsZero() {
		v.Until = v.Until.In(a.Started.Location())
	}
	return &v
}

func (s *silences) version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counted
}

// mutedWords names what a silence mutes.
func mutedWords(v view.Silence) string {
	var parts []string
	for _, p := range []struct{ name, value string }{{"rule", v.Rule}, {"site", v.Site}, {"device", v.Device}, {"metric", v.Metric}} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.Join(parts, ", ")
}

// untilWords says how long a silence lasts.
func untilWords(s silence.Silence) string {
	if s.Until.IsZero() {
		return "until resolved"
	}
	return "until " + s.Until.UTC().Format(time.RFC3339)
}

func viewed(s silence.Silence) view.Silence {
	return view.Silence{
		ID: s.ID, Rule: s.Rule, Site: s.Site, Device: s.Device, Metric: s.Metric,
		From: s.From, Until: s.Until, UntilResolved: s.Until.IsZero(), Author: s.Author,
	}
}

// alertSource implements alerts.Source: the alerts and anomalies of the book, with
// the silences that mute them and what is known of their rules.
type alertSource struct {
	*fleet.Book
	*silences
	rules *ruleSource
}

// Alerts implements alerts.Source.
func (a alertSource) Alerts(resolved int) view.Alerts {
	all := a.Book.Alerts(resolved)
	for i := range all.Active {
		all.Active[i].Mute = a.silences.of(all.Active[i])
	}
	return all
}

// About implements alerts.Source.
func (a alertSource) About(rule string) (view.RuleAbout, bool) { return a.rules.About(rule) }

// unmuted counts the alerts that fire and are muted neither by a silence nor by
// their rule.
func (s *Service) unmuted() int {
	n := 0
	for _, a := range s.alertSource().Alerts(0).Active {
		rule, known := s.rules.About(a.Rule)
		if a.State != view.AlertPending && a.Mute == nil && !(known && rule.State == view.RuleIsMuted) {
			n++
		}
	}
	return n
}
