package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/services/internal/calendar"
	"headwater/services/internal/silence"
	"headwater/services/rule"
	"headwater/web/silences"
	"headwater/web/view"
)

const (
	// tidyEvery is how often silences that mute nothing any longer are ended, and old
	// ones removed.
	tidyEvery = 10 * time.Second
	// keepEnded and maxEnded bound how long and how many ended silences are kept, to be
	// shown.
	keepEnded = 7 * 24 * time.Hour
	maxEnded  = 100
	// previewShown is how many alerts a preview lists.
	previewShown = 10
)

// silenceSource holds the silences. They change by compare-and-set, so any number
// of dashboards may change them.
type silenceSource struct {
	log  *slog.Logger
	book *fleet.Book
	// current returns nil if the book knows all alerts.
	current func() error
	// zone returns the time zone of a site, or that of all sites for a name that is of
	// none.
	zone func(site string) *time.Location
	// tags returns those of a device.
	tags func(site, device string) map[string]string
	// changes takes the changes that people make here.
	changes recorder
	list    list[silence.Silence]
}

// run ends silences that mute nothing any longer, until ctx ends.
func (s *silenceSource) run(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		over := func(one silence.Silence) bool {
			return s.over(one, now) && (!one.Ended(now) || now.Sub(one.Until) > keepEnded)
		}
		if !slices.ContainsFunc(s.list.known(), over) {
			continue
		}
		if err := s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) { return all, nil }); err != nil && ctx.Err() == nil {
			s.log.Warn("ended silences were not removed", "err", err)
		}
	}
}

// over reports whether a silence mutes nothing any longer. A silence until alerts are
// resolved is in force while one of them fires, or may fire.
func (s *silenceSource) over(one silence.Silence, now time.Time) bool {
	if !one.UntilResolved() {
		return one.Ended(now)
	}
	if now.Sub(one.From) < time.Minute || s.current() != nil {
		return false
	}
	return !slices.ContainsFunc(s.book.Alerts(0).Active, func(a view.Alert) bool {
		_, holds := one.Holds(now, s.silenced(a))
		return holds && one.Has(s.silenced(a))
	})
}

// tidy ends what is over, and drops what ended long ago and the oldest of too many.
func (s *silenceSource) tidy(all []silence.Silence, now time.Time) []silence.Silence {
	ended := 0
	for i, one := range slices.Backward(all) {
		if !s.over(one, now) {
			continue
		}
		if !one.Ended(now) {
			all[i].Until = now.UTC()
		}
		ended++
		if ended > maxEnded || now.Sub(all[i].Until) > keepEnded {
			all = slices.Delete(all, i, i+1)
		}
	}
	return all
}

// update changes the silences, and ends what is over.
func (s *silenceSource) update(ctx context.Context, change func([]silence.Silence) ([]silence.Silence, error)) error {
	return s.list.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) { return change(s.tidy(all, time.Now())) })
}

// Mute implements silences.Source and alerts.Source.
func (s *silenceSource) Mute(ctx context.Context, v view.Silence) (view.Silence, error) {
	id := v.ID
	if id == "" {
		v.ID = strings.ToLower(rand.Text())
	}
	one, err := asked(v)
	if err != nil {
		return view.Silence{}, err
	}
	entry := audit.Entry{Who: v.Author, Action: audit.SilenceAdd, Object: inSentence(v.What()), After: words(one)}
	err = s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) {
		if id != "" {
			i := slices.IndexFunc(all, func(o silence.Silence) bool { return o.ID == id && !o.Ended(time.Now()) })
			if i < 0 {
				return nil, view.ErrNotFound
			}
			entry.Action, entry.Before = audit.SilenceChange, words(all[i])
			all[i] = one
			return all, nil
		}
		for len(all) >= silence.Max {
			i := slices.IndexFunc(all, func(o silence.Silence) bool { return o.Ended(time.Now()) })
			if i < 0 {
				return nil, fmt.Errorf("there are %d silences already", len(all))
			}
			all = slices.Delete(all, i, i+1)
		}
		return append(all, one), nil
	})
	if errors.Is(err, view.ErrNotFound) {
		return view.Silence{}, err
	}
	s.changes.record(ctx, entry, err)
	if err != nil {
		return view.Silence{}, err
	}
	return s.viewed(one, time.Now()), nil
}

// Unmute implements silences.Source and alerts.Source.
func (s *silenceSource) Unmute(ctx context.Context, id string) error {
	var was silence.Silence
	err := s.update(ctx, func(all []silence.Silence) ([]silence.Silence, error) {
		now := time.Now().UTC()
		i := slices.IndexFunc(all, func(o silence.Silence) bool { return o.ID == id && !o.Ended(now) })
		if i < 0 {
			return nil, view.ErrNotFound
		}
		was = all[i]
		if !now.After(was.From) { // it has muted nothing yet
			return slices.Delete(all, i, i+1), nil
		}
		all[i].Until = now
		return all, nil
	})
	if errors.Is(err, view.ErrNotFound) {
		return err
	}
	s.changes.record(ctx, audit.Entry{Action: audit.SilenceEnd, Object: inSentence(s.viewed(was, time.Now()).What()), Before: words(was)}, err)
	return err
}

// Silences implements silences.Source and alerts.Source.
func (s *silenceSource) Silences() ([]view.Silence, error) {
	now := time.Now()
	all := s.list.known()
	out := make([]view.Silence, 0, len(all))
	for _, one := range slices.Backward(all) {
		out = append(out, s.viewed(one, now))
	}
	held := make(map[string]int)
	for _, a := range s.book.Alerts(0).Active {
		if one, _, ok := silence.Find(all, now, s.silenced(a)); ok {
			held[one.ID]++
		}
	}
	for i := range out {
		out[i].Held = held[out[i].ID]
	}
	return out, nil
}

// Preview implements silences.Source.
func (s *silenceSource) Preview(v view.Silence) (silences.Preview, error) {
	v.ID = "preview"
	one, err := asked(v)
	if err != nil {
		return silences.Preview{}, err
	}
	active := s.book.Alerts(0).Active
	p := silences.Preview{Firing: len(active)}
	for _, a := range active {
		if !one.Has(s.silenced(a)) {
			continue
		}
		p.Matching++
		if _, holds := one.Holds(time.Now(), s.silenced(a)); holds {
			p.Held++
		}
		if len(p.Alerts) < previewShown {
			p.Alerts = append(p.Alerts, a)
		}
	}
	return p, nil
}

// Place implements silences.Source.
func (s *silenceSource) Place(site string) *time.Location { return s.zone(site) }

// SilencesOf returns the silences in force, or to come, that can mute alerts of a device.
func (s *silenceSource) SilencesOf(site, device string) []view.Silence {
	return s.where(func(one silence.Silence) bool { return one.HasDevice(site, device) })
}

// SilencesOfRule returns the silences in force, or to come, that can mute alerts of a rule.
func (s *silenceSource) SilencesOfRule(name string) []view.Silence {
	return s.where(func(one silence.Silence) bool { return rule.Glob(one.Rule, name) })
}

func (s *silenceSource) where(is func(silence.Silence) bool) []view.Silence {
	now := time.Now()
	var out []view.Silence
	for _, one := range slices.Backward(s.list.known()) {
		if !one.Ended(now) && is(one) {
			out = append(out, s.viewed(one, now))
		}
	}
	return out
}

// of returns the silence that mutes an alert now; nil for none.
func (s *silenceSource) of(a view.Alert) *view.Silence {
	now := time.Now()
	one, until, ok := silence.Find(s.list.known(), now, s.silenced(a))
	if !ok {
		return nil
	}
	v := s.viewed(one, now)
	if !until.IsZero() {
		v.Until = until.In(a.Started.Location())
	}
	return &v
}

// silenced returns an alert as silences look at it.
func (s *silenceSource) silenced(a view.Alert) silence.Alert {
	out := silence.Alert{
		Rule: a.Rule, Site: a.Site, Device: a.Device, Metric: a.Metric, Severity: rule.Severity(a.Severity), Opened: a.Opened, Place: a.Started.Location(), Tags: s.tags,
	}
	for _, l := range a.Labels {
		if out.Labels == nil {
			out.Labels = make(map[string]string, len(a.Labels))
		}
		out.Labels[l.Name] = l.Value
	}
	return out
}

// asked returns a silence as it is stored.
func asked(v view.Silence) (silence.Silence, error) {
	one := silence.Silence{
		ID: v.ID, Match: silence.Match{Rule: v.Rule, Site: v.Site, Device: v.Device, Metric: v.Metric, Severity: rule.Severity(v.Severity)},
		From: v.From.UTC(), Author: v.Author, Comment: v.Comment,
	}
	for _, l := range v.Labels {
		if one.Labels == nil {
			one.Labels = make(map[string]string, len(v.Labels))
		}
		one.Labels[l.Name] = l.Value
	}
	if !v.UntilResolved && !v.Until.IsZero() {
		one.Until = v.Until.UTC()
	}
	if v.Weekly != nil {
		days, err := calendar.ParseDays(v.Weekly.Days)
		if err != nil {
			return one, fmt.Errorf("days: %w", err)
		}
		start, err := calendar.ParseClock(v.Weekly.Start)
		if err != nil {
			return one, fmt.Errorf("start: %w", err)
		}
		end, err := calendar.ParseClock(v.Weekly.End)
		if err != nil {
			return one, fmt.Errorf("end: %w", err)
		}
		one.Weekly = &calendar.Weekly{Days: days, Start: start, End: end}
	}
	return one, one.Validate()
}

// viewed returns a silence as pages show it at a time.
func (s *silenceSource) viewed(one silence.Silence, now time.Time) view.Silence {
	v := view.Silence{
		ID: one.ID, Rule: one.Rule, Site: one.Site, Device: one.Device, Metric: one.Metric, Severity: view.Severity(one.Severity),
		From: one.From, Until: one.Until, UntilResolved: one.UntilResolved(), Author: one.Author, Comment: one.Comment, State: view.SilenceActive,
	}
	for name, value := range one.Labels {
		v.Labels = append(v.Labels, view.RuleLabel{Name: name, Value: value})
	}
	slices.SortFunc(v.Labels, func(a, b view.RuleLabel) int { return strings.Compare(a.Name, b.Name) })
	if one.Weekly != nil {
		v.Weekly = &view.Weekly{Days: one.Weekly.Days.String(), Start: one.Weekly.Start.String(), End: one.Weekly.End.String()}
	}
	switch {
	case one.Ended(now):
		v.State = view.SilenceExpired
	case now.Before(one.From):
		v.State = view.SilenceComing
	}
	return v
}

// words says when a silence mutes, and why.
func words(s silence.Silence) string {
	var parts []string
	if s.Weekly != nil {
		parts = append(parts, s.Weekly.String())
	}
	if s.From.After(time.Now()) {
		parts = append(parts, "from "+s.From.UTC().Format(time.RFC3339))
	}
	switch {
	case s.UntilResolved():
		parts = append(parts, "until resolved")
	case !s.Until.IsZero():
		parts = append(parts, "until "+s.Until.UTC().Format(time.RFC3339))
	}
	if s.Comment != "" {
		parts = append(parts, "because: "+s.Comment)
	}
	return strings.Join(parts, ", ")
}

// inSentence begins a text with a small letter, for the middle of a sentence.
func inSentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
