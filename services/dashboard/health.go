package dashboard

import (
	"context"
	"slices"
	"sync"
	"time"

	"headwater/services/dashboard/fleet"
	"headwater/streams"
	"headwater/web/health"
	"headwater/web/view"
)

const (
	// assessEvery is how often all devices are assessed.
	assessEvery = 5 * time.Second
	// assessChunk is how many devices are read at once.
	assessChunk = 500
	// episodesBack is how far back anomalies count.
	episodesBack = 2 * time.Hour
	// lettersBack and mostLetters are how far back the dead letters are read when a dashboard
	// starts; lettersKept of a device, and those of lettersDevices devices, are remembered.
	lettersBack    = time.Hour
	mostLetters    = 10_000
	lettersKept    = 20
	lettersDevices = 10_000
)

type deviceName struct{ site, device string }

// healthSource says which sensors can be believed. It implements health.Source.
type healthSource struct {
	fleet *fleet.Fleet
	book  *fleet.Book
	rules *ruleSource

	mu      sync.Mutex // guards what follows
	letters map[deviceName][]health.Letter
	// found are the findings of the devices that have some, sick these in order.
	found   map[deviceName]health.Item
	sick    []deviceName
	devices map[string]int // by site
	at      time.Time
}

func newHealth(f *fleet.Fleet, b *fleet.Book, r *ruleSource) *healthSource {
	return &healthSource{fleet: f, book: b, rules: r, letters: make(map[deviceName][]health.Letter)}
}

// onLetter takes a dead letter.
func (h *healthSource) onLetter(m message) {
	l, err := streams.ParseDeadLetterMsg(m.subject, m.header, nil)
	if err != nil || l.Site == "" || l.Device == "" {
		return
	}
	n := deviceName{l.Site, l.Device}
	h.mu.Lock()
	defer h.mu.Unlock()
	all, known := h.letters[n]
	if !known && len(h.letters) >= lettersDevices {
		return
	}
	if len(all) == lettersKept {
		all = slices.Delete(all, 0, 1)
	}
	h.letters[n] = append(all, health.Letter{Reason: l.Reason, Detail: clip(l.Detail), Arrived: l.Arrived})
}

// run assesses all devices again and again until ctx ends.
func (h *healthSource) run(ctx context.Context) {
	tick := time.NewTicker(assessEvery)
	defer tick.Stop()
	for {
		h.assess(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// assess assesses all devices.
func (h *healthSource) assess(now time.Time) {
	h.mu.Lock()
	for n, all := range h.letters {
		if now.Sub(all[len(all)-1].Arrived) > lettersBack {
			delete(h.letters, n)
		}
	}
	h.mu.Unlock()
	found := make(map[deviceName]health.Item)
	devices := make(map[string]int)
	var sick []deviceName
	last := deviceName{}
	for {
		chunk := h.fleet.Bare(last.site, last.device, assessChunk, now)
		for _, d := range chunk {
			devices[d.Site]++
			last = deviceName{d.Site, d.Device}
			if len(h.of(d, now)) == 0 {
				continue
			}
			// The whole device knows since when.
			d, ok := h.fleet.Device(d.Site, d.Device, now)
			if all := h.of(d, now); ok && len(all) > 0 {
				found[last] = health.Item{Site: d.Site, Device: d.Device, Name: d.About.Name, Room: d.About.Room, Findings: all}
				sick = append(sick, last)
			}
		}
		if len(chunk) < assessChunk {
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found, h.sick, h.devices, h.at = found, sick, devices, now
}

// of returns the findings of one device.
func (h *healthSource) of(d view.Device, now time.Time) []view.Finding {
	f := health.Known{Device: d, Episodes: h.book.Episodes(d.Site, d.Device, now.Add(-episodesBack), now), Detector: h.rules.detector}
	f.Lag, f.LagKnown = h.fleet.Lag(d.Site, d.Device)
	h.mu.Lock()
	f.Letters = slices.Clone(h.letters[deviceName{d.Site, d.Device}])
	h.mu.Unlock()
	return health.Assess(f, now)
}

// Findings returns what was found about a device when all were assessed last.
func (h *healthSource) Findings(site, device string) []view.Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found[deviceName{site, device}].Findings
}

// Health implements health.Source.
func (h *healthSource) Health(sites []string, kind view.FindingKind) health.Report {
	out := health.Report{Kinds: make(map[view.FindingKind]int)}
	for kind, detector := range health.Detectors() {
		if !h.rules.looks(detector) {
			out.Unwatched = append(out.Unwatched, kind)
		}
	}
	slices.Sort(out.Unwatched)
	h.mu.Lock()
	defer h.mu.Unlock()
	out.At = h.at
	sees := func(site string) bool { return len(sites) == 0 || slices.Contains(sites, site) }
	for site, n := range h.devices {
		if sees(site) {
			out.Devices += n
		}
	}
	for _, n := range h.sick {
		if !sees(n.site) {
			continue
		}
		item := h.found[n]
		out.Doubtful++
		has := make(map[view.FindingKind]bool)
		for _, f := range item.Findings {
			has[f.Kind] = true
		}
		for k := range has {
			out.Kinds[k]++
		}
		if kind != "" && !has[kind] {
			continue
		}
		if out.Matching++; len(out.Items) < health.MaxItems {
			out.Items = append(out.Items, item)
		}
	}
	return out
}
