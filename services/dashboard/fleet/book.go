package fleet

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/web/device"
	"headwater/web/view"
)

// Bounds of what is kept of alerts, anomalies and windows.
const (
	maxAlerts        = 20_000
	maxResolved      = 1_000
	maxEpisodes      = 200 // of a device
	maxEpisodesAll   = 50_000
	maxSummaries     = 10 // of a series
	summariesShown   = 40
	maxSummarySeries = 50_000
)

// Book keeps alerts, anomalies and window summaries in memory. It may be used by many
// goroutines.
type Book struct {
	mu        sync.RWMutex // guards what follows
	alerts    map[string]view.Alert
	lasting   map[name]map[string]view.Alert // the alerts that are not resolved
	resolved  []view.Alert                   // the newest first
	episodes  map[name][]view.Episode
	kept      int // episodes of all devices
	summaries map[name]map[window][]device.Summary
	series    int // windows of all devices
	version   uint64
}

type window struct{ metric, name, unit string }

// NewBook returns an empty book.
func NewBook() *Book {
	return &Book{
		alerts: make(map[string]view.Alert), lasting: make(map[name]map[string]view.Alert), episodes: make(map[name][]view.Episode),
		summaries: make(map[name]map[window][]device.Summary),
	}
}

// Version returns a number that changes with every change.
func (b *Book) Version() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.version
}

// PutAlert applies a transition of an alert and reports whether it is new; the same
// transition may arrive twice, and late. It returns the firing alerts of that device,
// the worst first.
func (b *Book) PutAlert(a view.Alert) (firing []view.Alert, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	have, known := b.alerts[a.ID]
	sameEpisode := known && have.Started.Equal(a.Started)
	if known && (older(a, have) || sameEpisode && !have.Active() && a.Active()) {
		// An older episode that has ended still belongs to the history.
		if !a.Active() && !sameEpisode {
			b.addResolved(a)
		}
		return nil, false
	}
	if !known && len(b.alerts) >= maxAlerts {
		return nil, false
	}
	if sameEpisode && !a.Active() && have.Active() && have.Sentence != "" {
		a.Sentence = have.Sentence // why it fired matters more than why it was resolved
	}
	b.alerts[a.ID] = a
	b.setLasting(a, a.Active())
	if !a.Active() {
		b.addResolved(a)
	}
	b.version++
	return b.firing(a), true
}

// older reports whether one state of an alert comes before another.
func older(a, than view.Alert) bool {
	return cmp.Or(a.Learned.Compare(than.Learned), cmp.Compare(a.Version, than.Version)) < 0
}

// Alert returns the newest episode of an alert.
func (b *Book) Alert(id string) (a view.Alert, known bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	a, known = b.alerts[id]
	return a, known
}

// Find returns an episode: the newest of its alert, or one of the resolved ones that are
// kept.
func (b *Book) Find(alert, episode string) (a view.Alert, known bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if a, known = b.alerts[alert]; known && a.Episode == episode {
		return a, true
	}
	for _, a := range b.resolved {
		if a.Episode == episode {
			return a, true
		}
	}
	return view.Alert{}, false
}

// RemoveAlert forgets an alert and returns it, with the firing alerts of its device.
func (b *Book) RemoveAlert(id string) (removed view.Alert, firing []view.Alert, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	removed, ok = b.alerts[id]
	if !ok {
		return removed, nil, false
	}
	delete(b.alerts, id)
	b.setLasting(removed, false)
	b.version++
	return removed, b.firing(removed), true
}

func (b *Book) addResolved(a view.Alert) {
	for i, o := range b.resolved {
		if o.ID == a.ID && o.Started.Equal(a.Started) {
			b.resolved[i] = a
			return
		}
	}
	at, _ := slices.BinarySearchFunc(b.resolved, a, func(o, t view.Alert) int {
		return cmp.Or(t.Ended.Compare(o.Ended), strings.Compare(o.ID, t.ID))
	})
	b.resolved = slices.Insert(b.resolved, at, a)
	if len(b.resolved) > maxResolved {
		b.resolved = b.resolved[:maxResolved]
	}
}

// severityRank orders the worst first.
func severityRank(s view.Severity) int {
	switch s {
	case view.SeverityCritical:
		return 0
	case view.SeverityWarning:
		return 1
	}
	return 2
}

func (b *Book) setLasting(a view.Alert, lasts bool) {
	n := name{a.Site, a.Device}
	of := b.lasting[n]
	if !lasts {
		delete(of, a.ID)
		if len(of) == 0 {
			delete(b.lasting, n)
		}
		return
	}
	if of == nil {
		of = make(map[string]view.Alert)
		b.lasting[n] = of
	}
	of[a.ID] = a
}

// sortAlerts puts the worst first, then the newest.
func sortAlerts(out []view.Alert) []view.Alert {
	slices.SortFunc(out, func(x, y view.Alert) int {
		return cmp.Or(severityRank(x.Severity)-severityRank(y.Severity), y.Started.Compare(x.Started), strings.Compare(x.ID, y.ID))
	})
	return out
}

// firing returns the alerts that fire on the device of a, the worst first.
func (b *Book) firing(a view.Alert) []view.Alert {
	var out []view.Alert
	for _, o := range b.lasting[name{a.Site, a.Device}] {
		if o.State != view.AlertPending {
			out = append(out, o)
		}
	}
	return sortAlerts(out)
}

// Alerts returns the active alerts, and at most the given number of resolved ones.
func (b *Book) Alerts(resolved int) view.Alerts {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var active []view.Alert
	for _, of := range b.lasting {
		for _, a := range of {
			active = append(active, a)
		}
	}
	return view.Alerts{
		Active:        sortAlerts(active),
		Resolved:      slices.Clone(b.resolved[:min(resolved, len(b.resolved))]),
		ResolvedTotal: len(b.resolved),
	}
}

// Firing counts the alerts that fire.
func (b *Book) Firing() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	n := 0
	for _, of := range b.lasting {
		for _, a := range of {
			if a.State != view.AlertPending {
				n++
			}
		}
	}
	return n
}

// PutEpisode applies the current state of an anomaly. What e does not contain is kept
// as it was known: the end, and the sentence of the episode's peak.
func (b *Book) PutEpisode(site, device string, e view.Episode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := name{site, device}
	all := b.episodes[n]
	b.version++
	for i := range all {
		have := &all[i]
		if have.Rule != e.Rule || have.Metric != e.Metric || !have.Start.Equal(e.Start) {
			continue
		}
		if have.End.IsZero() {
			have.End = e.End
		}
		if e.Sentence != "" && (e.End.IsZero() && have.End.IsZero() || have.Sentence == "") {
			have.Sentence, have.Severity = e.Sentence, e.Severity
			have.Low, have.High, have.Baseline = e.Low, e.High, e.Baseline
		}
		return
	}
	if b.kept >= maxEpisodesAll && len(all) == 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(all, e, func(o, t view.Episode) int {
		return cmp.Or(t.Start.Compare(o.Start), strings.Compare(o.Metric, t.Metric), strings.Compare(o.Rule, t.Rule))
	})
	all = slices.Insert(all, at, e)
	b.kept++
	if len(all) > maxEpisodes {
		all = all[:maxEpisodes]
		b.kept--
	}
	b.episodes[n] = all
}

// Episodes returns the anomalies of a device that touch [from, to), the newest
// first.
func (b *Book) Episodes(site, device string, from, to time.Time) []view.Episode {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []view.Episode
	for _, e := range b.episodes[name{site, device}] {
		if e.Start.Before(to) && (e.End.IsZero() || !e.End.Before(from)) {
			out = append(out, e)
		}
	}
	return out
}

// Found is an episode with its device.
type Found struct {
	Site, Device string
	view.Episode
}

// Search returns the anomalies of watched series that touch [from, to), in the order
// of their start, at most the given number, and whether there are more.
func (b *Book) Search(watched func(site, device, metric string) bool, from, to time.Time, most int) (found []Found, more bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for n, all := range b.episodes {
		for _, e := range all {
			if e.Start.Before(to) && (e.End.IsZero() || !e.End.Before(from)) && watched(n.site, n.id, e.Metric) {
				found = append(found, Found{n.site, n.id, e})
			}
		}
	}
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device),
			strings.Compare(a.Metric, b.Metric), strings.Compare(a.Rule, b.Rule))
	})
	return found[:min(most, len(found))], len(found) > most
}

// PutSummary adds a window summary; a higher revision replaces a lower one.
func (b *Book) PutSummary(site, dev string, s device.Summary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, w := name{site, dev}, window{s.Metric, s.Window, s.Unit}
	byWindow := b.summaries[n]
	all := byWindow[w]
	if all == nil {
		if b.series >= maxSummarySeries {
			return
		}
		b.series++
	}
	if byWindow == nil {
		byWindow = make(map[window][]device.Summary)
		b.summaries[n] = byWindow
	}
	at, found := slices.BinarySearchFunc(all, s, func(o, t device.Summary) int { return t.At.Compare(o.At) })
	b.version++
	if found {
		if s.Revision >= all[at].Revision {
			all[at] = s
		}
		return
	}
	all = slices.Insert(all, at, s)
	byWindow[w] = all[:min(len(all), maxSummaries)]
}

// Summaries returns the latest windows of a device, the newest first.
func (b *Book) Summaries(site, dev string) []device.Summary {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []device.Summary
	for _, all := range b.summaries[name{site, dev}] {
		for _, s := range all {
			if s.Count > 0 {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(x, y device.Summary) int {
		return cmp.Or(y.Start.Compare(x.Start), strings.Compare(x.Metric, y.Metric), cmp.Compare(x.Width, y.Width), strings.Compare(x.Window, y.Window),
			strings.Compare(x.Unit, y.Unit))
	})
	return out[:min(len(out), summariesShown)]
}
