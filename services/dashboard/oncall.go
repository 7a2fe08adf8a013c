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

	"headwater/proto/figure"
	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/oncall"
	pages "headwater/web/oncall"
	"headwater/web/view"
)

const (
	// plannedFor is how far the calendar of who is on call reaches.
	plannedFor = 15 * 24 * time.Hour
	// keepOverrides is how long overrides are kept after their end.
	keepOverrides = 7 * 24 * time.Hour
)

// dutySource implements oncall.Source: the declarations are part of the configuration, the
// overrides are changed by compare-and-set, as the silences are.
type dutySource struct {
	log     *slog.Logger
	rules   *ruleSource
	changes recorder
	// list has the overrides.
	list list[oncall.Override]
}

// OnCall implements oncall.Source.
func (s *dutySource) OnCall() (pages.State, error) {
	_, c, err := s.rules.ready()
	if err != nil {
		return pages.State{}, err
	}
	now := time.Now()
	s.rules.mu.Lock()
	version := s.rules.version
	s.rules.mu.Unlock()
	out := pages.State{Revision: version.Revision}
	text, inFile := version.Parts.OnCallText()
	out.Text = text
	if inFile {
		out.File = version.Parts.FileName
	}
	overrides := s.list.known()
	for _, r := range c.Rotas {
		out.Rotas = append(out.Rotas, rotaOf(c, r, overrides, now))
	}
	for _, q := range c.QuietHours {
		one := pages.Quiet{Severity: view.Severity(q.Severity), When: q.Weekly.String(), Channels: q.Channels, Instead: q.Instead}
		place := q.Place
		if place != nil {
			one.Zone = place.String()
		} else {
			place = location(c.TimeZone)
		}
		_, _, one.Now = q.Weekly.In(now, place)
		out.Quiet = append(out.Quiet, one)
	}
	for _, e := range c.Escalation {
		out.Steps = append(out.Steps, pages.Step{Severity: view.Severity(e.Severity), After: figure.Duration(e.After), Notify: e.Notify})
	}
	return out, nil
}

func location(zone string) *time.Location {
	place, err := time.LoadLocation(zone)
	if err != nil {
		return time.UTC // cannot be: the configuration was read with it
	}
	return place
}

func rotaOf(c *config.Config, r oncall.Rota, overrides []oncall.Override, now time.Time) pages.Rota {
	out := pages.Rota{Name: r.Name, Handover: r.Days.String() + " " + r.At.String(), Zone: r.Place.String(), Place: r.Place}
	for _, m := range r.Members {
		out.People = append(out.People, pages.Person(m))
	}
	for _, ch := range c.Channels {
		if !slices.ContainsFunc(r.Members, func(m oncall.Member) bool { return m.Name == ch.Name }) {
			out.StandIns = append(out.StandIns, ch.Name)
		}
	}
	for _, shift := range c.Plans(r, overrides).Plan(now, now.Add(plannedFor)) {
		out.Shifts = append(out.Shifts, pages.Shift{Person: pages.Person(shift.Member), From: shift.From.In(r.Place), Until: shift.Until.In(r.Place), Reason: string(shift.Reason)})
	}
	for _, o := range overrides {
		if o.Rota == r.Name && o.Until.After(now) {
			out.Overrides = append(out.Overrides, overrideOf(o, r.Place))
		}
	}
	slices.SortStableFunc(out.Overrides, func(a, b pages.Override) int { return a.From.Compare(b.From) })
	return out
}

func overrideOf(o oncall.Override, place *time.Location) pages.Override {
	return pages.Override{ID: o.ID, Rota: o.Rota, Who: o.Who, From: o.From.In(place), Until: o.Until.In(place), Author: o.Author, Comment: o.Comment}
}

// StandIn implements oncall.Source.
func (s *dutySource) StandIn(ctx context.Context, asked pages.Override) (pages.Override, error) {
	_, c, err := s.rules.ready()
	if err != nil {
		return asked, err
	}
	i := slices.IndexFunc(c.Rotas, func(r oncall.Rota) bool { return r.Name == asked.Rota })
	if i < 0 {
		return asked, fmt.Errorf("%w: there is no rota of that name", view.ErrNotFound)
	}
	r := c.Rotas[i]
	now := time.Now()
	o := oncall.Override{ID: strings.ToLower(rand.Text()), Rota: r.Name, Who: asked.Who, From: asked.From.UTC(), Until: asked.Until.UTC(), Author: asked.Author, Comment: asked.Comment}
	if asked.From.IsZero() {
		o.From = now.UTC()
	}
	plans := c.Plans(r, s.list.known())
	if asked.Until.IsZero() {
		o.Until = plans.At(o.From).Until.UTC()
	}
	if _, member := r.Member(o.Who); !member && !plans.IsChannel(o.Who) {
		return asked, errors.New("who must name a person of the rota or a channel")
	}
	if err := o.Validate(); err != nil {
		return asked, err
	}
	if !o.Until.After(now) {
		return asked, errors.New("until is in the past")
	}
	err = s.update(ctx, func(all []oncall.Override) ([]oncall.Override, error) {
		if len(all) >= oncall.MaxOverrides {
			return nil, fmt.Errorf("there are %d overrides already", len(all))
		}
		return append(all, o), nil
	})
	s.changes.record(ctx, audit.Entry{Who: o.Author, Action: audit.OnCallOverride, Object: o.Rota, After: overrideWords(o)}, err)
	if err != nil {
		return asked, err
	}
	return overrideOf(o, r.Place), nil
}

// Return implements oncall.Source.
func (s *dutySource) Return(ctx context.Context, id string) error {
	var was oncall.Override
	err := s.update(ctx, func(all []oncall.Override) ([]oncall.Override, error) {
		now := time.Now().UTC()
		i := slices.IndexFunc(all, func(o oncall.Override) bool { return o.ID == id && o.Until.After(now) })
		if i < 0 {
			return nil, view.ErrNotFound
		}
		was = all[i]
		if !now.After(was.From) {
			return slices.Delete(all, i, i+1), nil
		}
		all[i].Until = now
		return all, nil
	})
	if errors.Is(err, view.ErrNotFound) {
		return err
	}
	s.changes.record(ctx, audit.Entry{Action: audit.OnCallReturn, Object: was.Rota, Before: overrideWords(was)}, err)
	return err
}

// overrideWords says who stands in when, and why.
func overrideWords(o oncall.Override) string {
	words := o.Who + " from " + o.From.UTC().Format(time.RFC3339) + " until " + o.Until.UTC().Format(time.RFC3339)
	if o.Comment != "" {
		words += ", because: " + o.Comment
	}
	return words
}

// update changes the overrides, and drops those that ended long ago.
func (s *dutySource) update(ctx context.Context, change func([]oncall.Override) ([]oncall.Override, error)) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	return s.list.update(ctx, func(all []oncall.Override) ([]oncall.Override, error) {
		now := time.Now()
		return change(slices.DeleteFunc(all, func(o oncall.Override) bool { return now.Sub(o.Until) > keepOverrides }))
	})
}

// Declare implements oncall.Source.
func (s *dutySource) Declare(ctx context.Context, text string, revision uint64, by view.Author) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	before, err := s.OnCall()
	if err != nil {
		return err
	}
	store, err := s.rules.store(ctx)
	if err != nil {
		return err
	}
	v, err := store.SaveOnCall(ctx, text, authorOf(by), max(1, revision))
	s.changes.record(ctx, audit.Entry{Who: by.Who, Action: audit.OnCallDeclare, Object: "on call", Before: before.Text, After: text}, err)
	if problems := config.Problems(err); problems != nil {
		p := problems[0]
		what := strings.TrimSuffix(p.Text, config.KeptNote)
		if p.Field != "" {
			what = p.Field + " " + what
		}
		return fmt.Errorf("line %d: %s", p.Line, what)
	}
	switch {
	case errors.Is(err, configstore.ErrConflict):
		return view.ErrConflict
	case errors.Is(err, configstore.ErrOnCallFile):
		return err
	case err != nil:
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	s.rules.take(v)
	return nil
}
