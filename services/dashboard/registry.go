package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/about"
	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/registry"
	"headwater/streams"
	registrypages "headwater/web/registry"
	"headwater/web/view"
)

// maxSaid bounds the devices about which something is remembered.
const maxSaid = 100_000

// registrySource holds what people say about devices: in the configuration file, and on the
// pages, and what became of devices that they removed. It implements registry.Source of
// package web.
type registrySource struct {
	*departed

	mu   sync.Mutex // guards what follows
	said map[string]said
	// file is the configuration in force, of that revision.
	file     *config.Config
	revision uint64
	// changed is set if the configuration may not hold the tags that its rules match.
	changed bool
}

// said is what is said on the page about a device, as of a revision of its entry.
type said struct {
	about.About
	revision uint64
}

func newRegistry(d *departed) *registrySource {
	s := &registrySource{departed: d, said: make(map[string]said)}
	d.fleet.Say(s.about)
	return s
}

// about returns what is said about a device in both places.
func (s *registrySource) about(site, device string) view.DeviceAbout {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.said[streams.AboutKey(site, device)].About
	if s.file != nil {
		all = all.Under(s.file.About(site, device))
	}
	return shownAbout(all)
}

// onEntry applies an entry of the bucket. One that cannot be read says nothing, so that people
// can say it again.
func (s *registrySource) onEntry(entry jetstream.KeyValueEntry) {
	site, device, ok := streams.ParseAboutKey(entry.Key())
	if !ok {
		s.on(entry)
		return
	}
	var a about.About
	if entry.Operation() == jetstream.KeyValuePut {
		var err error
		a, err = registry.DecodeAbout(entry.Value())
		if err != nil {
			a = about.About{}
		}
	}
	s.put(site, device, said{a, entry.Revision()})
}

// put shows what is said on the page about a device, unless something newer is known.
func (s *registrySource) put(site, device string, now said) {
	key := streams.AboutKey(site, device)
	s.mu.Lock()
	have, known := s.said[key]
	newer := now.revision > have.revision && (known || len(s.said) < maxSaid)
	if newer {
		s.said[key], s.changed = now, true
	}
	s.mu.Unlock()
	if newer {
		s.fleet.Describe(site, device)
	}
}

// onConfig takes a configuration unless a newer one is known.
func (s *registrySource) onConfig(c *config.Config, revision uint64) {
	s.mu.Lock()
	newer := revision > s.revision
	same := s.file != nil && config.SameDevices(s.file, c)
	if newer {
		s.file, s.revision, s.changed = c, revision, true
	}
	s.mu.Unlock()
	if newer && !same {
		s.fleet.DescribeAll()
	}
}

// After implements registry.Source.
func (s *registrySource) After(q registrypages.Query) []view.Device {
	return s.fleet.After(q.Text, q.Sites, q.Site, q.Device, q.Size, time.Now())
}

// Device implements registry.Source.
func (s *registrySource) Device(site, device string) (view.Device, bool) {
	return s.fleet.Device(site, device, time.Now())
}

// Fixed implements registry.Source.
func (s *registrySource) Fixed(site, device string) view.DeviceAbout {
	return shownAbout(s.fixed(site, device))
}

func (s *registrySource) fixed(site, device string) about.About {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return about.About{}
	}
	return s.file.About(site, device)
}

// Describe implements registry.Source.
func (s *registrySource) Describe(ctx context.Context, by, what string, changes []registrypages.Change) (registrypages.Outcome, error) {
	var out registrypages.Outcome
	var names []string
	var failed error
	var entry audit.Entry
	for _, c := range changes {
		before, after, err := s.describe(ctx, c)
		if err != nil && !errors.Is(err, registrypages.ErrDraft) {
			failed = fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
			break // what follows would fail as well
		}
		switch {
		case err != nil:
			if out.Failures++; len(out.Failed) < registrypages.MaxFailed {
				out.Failed = append(out.Failed, registrypages.Failure{Site: c.Site, Device: c.Device, Reason: strings.TrimPrefix(err.Error(), registrypages.ErrDraft.Error()+": ")})
			}
		case before.Equal(after):
			out.Unchanged++
		default:
			out.Changed++
			names = append(names, c.Site+"/"+c.Device)
			entry.Before, entry.After = saidWords(before), saidWords(after)
		}
	}
	if out.Changed+out.Failures == 0 && failed == nil {
		return out, nil
	}
	entry.Who, entry.Action = by, audit.DeviceDescribe
	if len(changes) == 1 {
		entry.Object = changes[0].Site + "/" + changes[0].Device
		if failed == nil && out.Failures > 0 {
			s.changes.record(ctx, entry, errors.New(out.Failed[0].Reason))
			return out, nil
		}
	} else {
		entry.Object, entry.Before, entry.After = fmt.Sprintf("%d devices", out.Changed), "", strings.Join(names, "\n")
		entry.Detail = what
	}
	s.changes.record(ctx, entry, failed)
	return out, failed
}

// saidWords is what is said about a device in the words of the audit.
func saidWords(a about.About) string {
	if a.Empty() {
		return ""
	}
	body, err := json.Marshal(shownAbout(a))
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// describe makes one change and shows it at once, before the watch delivers it.
func (s *registrySource) describe(ctx context.Context, c registrypages.Change) (before, after about.About, err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	fixed := s.fixed(c.Site, c.Device)
	made, err := registry.SetAbout(ctx, s.js, c.Site, c.Device, func(own about.About) (about.About, error) {
		now := storedAbout(c.Apply(shownAbout(own)))
		if err := now.Validate(); err != nil {
			return own, fmt.Errorf("%w: %w", registrypages.ErrDraft, err)
		}
		rest, differing := now.Beside(fixed)
		if len(differing) > 0 {
			return own, fmt.Errorf("%w: the configuration file says %s, change it there", registrypages.ErrDraft, strings.Join(differing, ", "))
		}
		if err := rest.Under(fixed).Validate(); err != nil {
			return own, fmt.Errorf("%w: with what the configuration file says: %w", registrypages.ErrDraft, err)
		}
		return rest, nil
	})
	if err == nil {
		s.put(c.Site, c.Device, said{made.After, made.Revision})
	}
	return made.Before, made.After, err
}

func shownAbout(a about.About) view.DeviceAbout {
	out := view.DeviceAbout{Name: a.Name, Room: a.Room, Location: a.Location, Notes: a.Notes, Tags: a.Tags, Interval: view.Span(a.Interval)}
	for name, m := range a.Metrics {
		if out.Metrics == nil {
			out.Metrics = make(map[string]view.MetricAbout, len(a.Metrics))
		}
		out.Metrics[name] = view.MetricAbout{Name: m.Name, Unit: m.Unit, Precision: m.Precision, Low: m.Low, High: m.High, Interval: view.Span(m.Interval)}
	}
	return out
}

func storedAbout(a view.DeviceAbout) about.About {
	out := about.About{Name: a.Name, Room: a.Room, Location: a.Location, Notes: a.Notes, Tags: a.Tags, Interval: time.Duration(a.Interval)}
	for name, m := range a.Metrics {
		if out.Metrics == nil {
			out.Metrics = make(map[string]about.Metric, len(a.Metrics))
		}
		out.Metrics[name] = about.Metric{Name: m.Name, Unit: m.Unit, Precision: m.Precision, Low: m.Low, High: m.High, Interval: time.Duration(m.Interval)}
	}
	return out
}
