package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"headwater/web/alerts"
	"headwater/web/annotations"
	"headwater/web/app"
	"headwater/web/consumption"
	"headwater/web/deadletters"
	"headwater/web/device"
	"headwater/web/explore"
	"headwater/web/health"
	"headwater/web/ledger"
	"headwater/web/overview"
	"headwater/web/registry"
	"headwater/web/silences"
	"headwater/web/view"
)

// limited returns the sources for those who are limited to sites: what belongs to another
// site is not there. It is the one place where that is decided. A source that is returned as
// it is has no route that is declared BySite.
func (s Sources) limited(sites []string) Sources {
	if len(sites) == 0 {
		return s
	}
	of := ofSites(sites)
	s.Shell = siteShell{s.Shell, s.Alerts, of}
	s.Overview = siteOverview{s.Overview, of}
	s.Device = siteDevice{s.Device, of}
	s.Consumption = siteConsumption{s.Consumption, of}
	s.Explore = siteExplore{s.Explore, of}
	s.Alerts = siteAlerts{s.Alerts, of}
	s.Silences = siteSilences{s.Silences, s.Alerts, of}
	s.Ledger = siteLedger{s.Ledger, of}
	s.DeadLetters = siteLetters{s.DeadLetters, of}
	s.Registry = siteRegistry{s.Registry, of}
	s.Health = siteHealth{s.Health, of}
	s.Annotations = siteAnnotations{s.Annotations, of}
	return s
}

// ofSites are the sites that there are.
type ofSites []string

func (o ofSites) sees(site string) bool { return slices.Contains(o, site) }

// siteShell is what each page shows to those who are limited to sites.
type siteShell struct {
	app.Source
	alerts alerts.Source
	of     ofSites
}

// general are the parts whose problems concern every site.
var general = []string{"NATS", "InfluxDB", "Bridge", "Streams", "TELEMETRY", "Starting"}

// Status implements app.Source. The text of a notice may name devices, so it is left out.
func (s siteShell) Status() view.Status {
	var out view.Status
	for _, n := range s.Source.Status().Notices {
		known := slices.ContainsFunc(out.Notices, func(o view.Problem) bool { return o.Part == n.Part })
		if !known && slices.Contains(general, n.Part) {
			out.Notices = append(out.Notices, view.Problem{Part: n.Part, Text: "It does not work as it should: values may be old or missing.", Since: n.Since})
		}
	}
	out.Firing = siteAlerts{s.alerts, s.of}.Alerts(0).Waiting(s.alerts.About)
	return out
}

type siteOverview struct {
	overview.Source
	of ofSites
}

// Devices implements overview.Source.
func (s siteOverview) Devices(q overview.Query) overview.Devices {
	q.Sites = s.of
	return s.Source.Devices(q)
}

// Alerts implements overview.Source.
func (s siteOverview) Alerts(resolved int) view.Alerts {
	return s.Source.Alerts(math.MaxInt).OfSites(s.of.sees, resolved)
}

// Rates implements overview.Source: they are those of all sites.
func (siteOverview) Rates() (now float64, seconds []float64) { return 0, nil }

type siteDevice struct {
	device.Source
	of ofSites
}

// Device implements device.Source. Whatever else is asked about a device is asked after it.
func (s siteDevice) Device(site, dev string) (view.Device, bool) {
	if !s.of.sees(site) {
		return view.Device{}, false
	}
	return s.Source.Device(site, dev)
}

// Alerts implements device.Source.
func (s siteDevice) Alerts(resolved int) view.Alerts {
	return s.Source.Alerts(math.MaxInt).OfSites(s.of.sees, resolved)
}

// AnnotationsOf implements device.Source. A device may continue one of another site.
func (s siteDevice) AnnotationsOf(site, dev string, from, to time.Time) []view.Annotation {
	return slices.DeleteFunc(s.Source.AnnotationsOf(site, dev, from, to), func(a view.Annotation) bool { return !s.of.sees(a.Site) })
}

type siteAnnotations struct {
	annotations.Source
	of ofSites
}

// Annotations implements annotations.Source.
func (s siteAnnotations) Annotations(q annotations.Query) ([]view.Annotation, bool) {
	q.Sites = s.of
	return s.Source.Annotations(q)
}

// Annotation implements annotations.Source.
func (s siteAnnotations) Annotation(id string) (view.Annotation, bool) {
	a, ok := s.Source.Annotation(id)
	return a, ok && s.of.sees(a.Site)
}

// Annotate implements annotations.Source.
func (s siteAnnotations) Annotate(ctx context.Context, a view.Annotation) (view.Annotation, error) {
	if !s.of.sees(a.Site) {
		return view.Annotation{}, view.ErrNotFound
	}
	return s.Source.Annotate(ctx, a)
}

// RemoveAnnotation implements annotations.Source.
func (s siteAnnotations) RemoveAnnotation(ctx context.Context, id string) error {
	if _, ok := s.Annotation(id); !ok {
		return view.ErrNotFound
	}
	return s.Source.RemoveAnnotation(ctx, id)
}

type siteConsumption struct {
	consumption.Source
	of ofSites
}

// Meters implements consumption.Source.
func (s siteConsumption) Meters(site, dev string) ([]string, error) {
	if !s.of.sees(site) {
		return nil, nil
	}
	return s.Source.Meters(site, dev)
}

// Consumption implements consumption.Source.
func (s siteConsumption) Consumption(ctx context.Context, q consumption.Query) (consumption.Consumption, error) {
	if !s.of.sees(q.Site) {
		return consumption.Consumption{}, view.ErrNotFound
	}
	return s.Source.Consumption(ctx, q)
}

// siteExplore is asked for series of the sites of its sender; Device is what else it shows.
type siteExplore struct {
	explore.Source
	of ofSites
}

// Device implements explore.Source.
func (s siteExplore) Device(site, dev string) (view.Device, bool) {
	if !s.of.sees(site) {
		return view.Device{}, false
	}
	return s.Source.Device(site, dev)
}

// Find implements explore.Source.
func (s siteExplore) Find(q explore.Query) ([]explore.Found, bool) {
	q.Sites = s.of
	return s.Source.Find(q)
}

type siteAlerts struct {
	alerts.Source
	of ofSites
}

// Alerts implements alerts.Source.
func (s siteAlerts) Alerts(resolved int) view.Alerts {
	return s.Source.Alerts(math.MaxInt).OfSites(s.of.sees, resolved)
}

// Story implements alerts.Source.
func (s siteAlerts) Story(episode string) (view.Story, bool) {
	story, ok := s.Source.Story(episode)
	if !ok || !s.of.sees(story.Site) {
		return view.Story{}, false
	}
	return story, true
}

// Silences implements alerts.Source.
func (s siteAlerts) Silences() ([]view.Silence, error) { return s.of.silences(s.Source.Silences()) }

// Mute implements alerts.Source.
func (s siteAlerts) Mute(ctx context.Context, one view.Silence) (view.Silence, error) {
	if err := s.of.mayMute(one, s.Source); err != nil {
		return view.Silence{}, err
	}
	return s.Source.Mute(ctx, one)
}

// Unmute implements alerts.Source.
func (s siteAlerts) Unmute(ctx context.Context, id string) error {
	if err := s.of.has(id, s.Source); err != nil {
		return err
	}
	return s.Source.Unmute(ctx, id)
}

// Handle implements alerts.Source.
func (s siteAlerts) Handle(ctx context.Context, episode string, action view.AlertAction, note view.Note) (view.Alert, error) {
	all := s.Alerts(math.MaxInt)
	if !slices.ContainsFunc(slices.Concat(all.Active, all.Resolved), func(a view.Alert) bool { return a.Episode == episode }) {
		return view.Alert{}, view.ErrNotFound
	}
	return s.Source.Handle(ctx, episode, action, note)
}

// lister lists silences.
type lister interface {
	Silences() ([]view.Silence, error)
}

// silences returns those of the sites. One that names no site, or names sites by a pattern,
// is of others too.
func (o ofSites) silences(all []view.Silence, err error) ([]view.Silence, error) {
	return slices.DeleteFunc(slices.Clone(all), func(one view.Silence) bool { return !o.sees(one.Site) }), err
}

// has returns nil if the silence of an id is of the sites.
func (o ofSites) has(id string, from lister) error {
	all, err := o.silences(from.Silences())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(one view.Silence) bool { return one.ID == id }) {
		return view.ErrNotFound
	}
	return nil
}

// mayMute returns nil if a new silence is of the sites, and so is the one that it changes.
func (o ofSites) mayMute(one view.Silence, from lister) error {
	if !o.sees(one.Site) {
		return errSite
	}
	if one.ID == "" {
		return nil
	}
	return o.has(one.ID, from)
}

// errSite is returned for a silence that would mute other sites too.
var errSite = errors.New("name one of your sites: you may not mute others")

type siteSilences struct {
	silences.Source
	alerts alerts.Source
	of     ofSites
}

// Silences implements silences.Source.
func (s siteSilences) Silences() ([]view.Silence, error) { return s.of.silences(s.Source.Silences()) }

// Preview implements silences.Source.
func (s siteSilences) Preview(one view.Silence) (silences.Preview, error) {
	if err := s.of.mayMute(one, s.Source); err != nil {
		return silences.Preview{}, err
	}
	p, err := s.Source.Preview(one)
	p.Firing = len(s.alerts.Alerts(0).Active)
	return p, err
}

// Mute implements silences.Source.
func (s siteSilences) Mute(ctx context.Context, one view.Silence) (view.Silence, error) {
	if err := s.of.mayMute(one, s.Source); err != nil {
		return view.Silence{}, err
	}
	return s.Source.Mute(ctx, one)
}

// Unmute implements silences.Source.
func (s siteSilences) Unmute(ctx context.Context, id string) error {
	if err := s.of.has(id, s.Source); err != nil {
		return err
	}
	return s.Source.Unmute(ctx, id)
}

type siteLedger struct {
	ledger.Source
	of ofSites
}

// Ledger implements ledger.Source. What is on its way is that of all sites.
func (s siteLedger) Ledger(ctx context.Context, q ledger.Query) (ledger.Ledger, error) {
	q.Sites = s.of
	return s.Source.Ledger(ctx, q)
}

type siteRegistry struct {
	registry.Source
	of ofSites
}

// After implements registry.Source.
func (s siteRegistry) After(q registry.Query) []view.Device {
	q.Sites = s.of
	return s.Source.After(q)
}

// Device implements registry.Source.
func (s siteRegistry) Device(site, dev string) (view.Device, bool) {
	if !s.of.sees(site) {
		return view.Device{}, false
	}
	return s.Source.Device(site, dev)
}

// Describe implements registry.Source.
func (s siteRegistry) Describe(ctx context.Context, by, what string, changes []registry.Change) (registry.Outcome, error) {
	for _, c := range changes {
		if !s.of.sees(c.Site) {
			return registry.Outcome{}, fmt.Errorf("%w: there is no site %s", registry.ErrDraft, c.Site)
		}
	}
	return s.Source.Describe(ctx, by, what, changes)
}

// Former implements registry.Source.
func (s siteRegistry) Former(site, device string) []registry.Name {
	return slices.DeleteFunc(s.Source.Former(site, device), func(n registry.Name) bool { return !s.of.sees(n.Site) })
}

// DeleteDevice implements registry.Source.
func (s siteRegistry) DeleteDevice(ctx context.Context, by, site, device string, force bool) (registry.Removed, error) {
	if !s.of.sees(site) || slices.ContainsFunc(s.Source.Former(site, device), func(n registry.Name) bool { return !s.of.sees(n.Site) }) {
		return registry.Removed{}, view.ErrNotFound
	}
	return s.Source.DeleteDevice(ctx, by, site, device, force)
}

// MergeDevice implements registry.Source.
func (s siteRegistry) MergeDevice(ctx context.Context, by string, from, into registry.Name) error {
	for _, n := range []registry.Name{from, into} {
		if !s.of.sees(n.Site) {
			return fmt.Errorf("%w: there is no site %s", registry.ErrDraft, n.Site)
		}
	}
	return s.Source.MergeDevice(ctx, by, from, into)
}

type siteHealth struct {
	health.Source
	of ofSites
}

// Health implements health.Source.
func (s siteHealth) Health(_ []string, kind view.FindingKind) health.Report {
	return s.Source.Health(s.of, kind)
}

type siteLetters struct {
	deadletters.Source
	of ofSites
}

// DeadLetters implements deadletters.Source.
func (s siteLetters) DeadLetters(ctx context.Context, q deadletters.Query) (deadletters.Letters, error) {
	q.Sites = s.of
	return s.Source.DeadLetters(ctx, q)
}

// DeadLetter implements deadletters.Source.
func (s siteLetters) DeadLetter(ctx context.Context, sequence uint64) (deadletters.Letter, error) {
	l, err := s.Source.DeadLetter(ctx, sequence)
	if err == nil && !s.of.sees(l.Site) {
		return deadletters.Letter{}, view.ErrNotFound
	}
	return l, err
}

// Redrive implements deadletters.Source.
func (s siteLetters) Redrive(ctx context.Context, sel deadletters.Selection) (deadletters.Redrive, error) {
	sel.Sites = s.of
	return s.Source.Redrive(ctx, sel)
}

// Purge implements deadletters.Source. Only administrators purge, who see every site.
func (siteLetters) Purge(context.Context, deadletters.Selection) (uint64, error) {
	return 0, view.ErrNotFound
}
