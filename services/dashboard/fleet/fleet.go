// Package fleet keeps the readings of the last quarter of an hour and the alerts of
// all devices in memory, in the form in which the dashboard shows them. It is pure:
// time is an argument or comes with the readings, and there is no I/O. Everything in
// it is bounded, whatever the devices send.
package fleet

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/services/internal/hearing"
	"headwater/web/explore"
	"headwater/web/overview"
	"headwater/web/view"
)

// Bounds of what is kept in memory.
const (
	maxDevices = 100_000
	maxMetrics = 1_000
	// recentKept is how many of the latest readings of a series are kept,
	// to close the gap between a chart's history and the live readings.
	recentKept = 64
	// rateSeconds is for how many seconds the rate of readings is kept.
	rateSeconds = 128
)

// Silence: a device is silent when it has not reported for longer than
// silentIntervals times its usual interval, at least silentMin. The interval of
// a device with fewer than silentReports reports is not known yet; it has at least
// silentUnknown.
const (
	silentIntervals = 3
	silentMin       = 2 * time.Minute
	silentReports   = 10
	silentUnknown   = 15 * time.Minute
)

// A kind of values is usual for a series with usualCount readings of it, while
// the latest is no older than usualKept against the latest of any kind.
const (
	usualCount = 3
	usualKept  = 24 * time.Hour
)

// Series names a series of a batch.
type Series struct {
	Site, Device, Metric, Unit string
	Kind                       view.Kind
}

// Reading is one reading of a batch.
type Reading struct {
	// Series is the index of the reading's series in the batch.
	Series int
	// Time is the event time in nanoseconds since the Unix epoch.
	Time  int64
	Value view.Value
}

// Fleet is the memory of all devices. It may be used by many goroutines.
type Fleet struct {
	mu      sync.RWMutex // guards what follows and all devices
	devices map[name]*record
	order   []*record      // by site and device, numbers by value
	gone    map[name]int64 // when a device was removed, in nanoseconds
	feeds   map[name][]*Feed
	firing  map[name][]view.Alert // also of devices that are not known yet
	rates   [rateSeconds]second
	waiting []*record // for which the history is still to be queried
	began   int64     // when the memory begins, in nanoseconds; 0 if that is not known
	// listened ticks with the arrivals and the clock of the lanes. A device is not
	// silent in the time in which it did not tick.
	listened hearing.Clock
	clashes  map[name]*clashes
	// said returns what people say about a device.
	said    func(site, device string) view.DeviceAbout
	demo    int64 // the latest arrival from the site of the demo
	demos   string
	version uint64
	dropped uint64
	// droppedClashes are those of devices beyond maxClashing.
	droppedClashes uint64
}

type name struct{ site, id string }

type second struct {
	unix  int64
	count uint64
}

// New returns an empty memory. DemoSite names the site of the demo's devices.
func New(demoSite string) *Fleet {
	return &Fleet{devices: make(map[name]*record), gone: make(map[name]int64), feeds: make(map[name][]*Feed), firing: make(map[name][]view.Alert), clashes: make(map[name]*clashes), listened: hearing.New(), demos: demoSite, said: func(string, string) view.DeviceAbout { return view.DeviceAbout{} }}
}

// Version returns a number that changes with every change.
func (f *Fleet) Version() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.version
}

// Dropped returns how many readings were dropped because there were too many devices
// or metrics.
func (f *Fleet) Dropped() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.dropped
}

// Demo reports whether devices of the demo have reported recently.
func (f *Fleet) Demo() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.demo != 0 && f.listened.Now-f.demo < int64(silentUnknown)
}

// Clock means that everything that arrived by t, in nanoseconds since the Unix epoch,
// has been added. Without it no device becomes silent, because a pipeline that stands
// still says nothing about the devices.
func (f *Fleet) Clock(t int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick(t)
}

// Begin sets the time from which the following readings were stored, in nanoseconds
// since the Unix epoch. A clock that ticks from there on shows that the pipeline ran
// before as well.
func (f *Fleet) Begin(t int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ticked() {
		f.began = t
	}
}

// tick moves the clock. The first tick shows whether the pipeline ran before the
// memory begins: it did if the tick follows right after that time; otherwise Headwater
// has not listened until now.
func (f *Fleet) tick(t int64) {
	if f.ticked() {
		f.listened.Tick(t)
		return
	}
	f.listened.Tick(f.began)
	f.listened.Tick(t)
	if f.listened.Missed(f.began) {
		f.listened.Gaps[0].From = 0
	}
}

// ticked reports whether the clock has ticked.
func (f *Fleet) ticked() bool { return f.listened.Now != hearing.Never }

// Add adds the readings of one batch. Arrival is in nanoseconds since the Unix
// epoch.
func (f *Fleet) Add(arrival int64, batch []Series, readings iter.Seq[Reading]) {
	f.add(arrival, batch, readings, sent)
}

// origin is where readings come from.
type origin int

const (
	sent     origin = iota // by the device
	derived                // from others of the device
	ofGroups               // from those of several devices
)

// AddDerived is Add for readings that Headwater has derived from others. They show like
// those, and are no sign of life of the device.
func (f *Fleet) AddDerived(arrival int64, batch []Series, readings iter.Seq[Reading]) {
	f.add(arrival, batch, readings, derived)
}

// AddOfGroups is Add for readings of groups of devices. A group shows like a device that sends
// them, and they do not count as arrived.
func (f *Fleet) AddOfGroups(arrival int64, batch []Series, readings iter.Seq[Reading]) {
	f.add(arrival, batch, readings, ofGroups)
}

func (f *Fleet) add(arrival int64, batch []Series, readings iter.Seq[Reading], from origin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	type place struct {
		device *record
		metric *metric
		feeds  []*Feed
		used   bool
		gone   bool
	}
	places := make([]place, len(batch))
	for i, s := range batch {
		n := name{s.Site, s.Device}
		if removed, ok := f.gone[n]; ok && arrival <= removed {
			places[i].gone = true
			continue
		}
		d := f.device(n)
		if d == nil {
			continue
		}
		places[i] = place{device: d, metric: d.metric(s.Metric), feeds: f.feeds[d.name]}
	}
	if from == sent {
		f.tick(arrival)
	}
	count := uint64(0)
	for r := range readings {
		if from == sent {
			count++
		}
		p := &places[r.Series]
		if p.metric == nil {
			if !p.gone {
				f.dropped++
			}
			continue
		}
		if !p.used && from != derived {
			p.used = true
			f.reported(p.device, arrival)
			if p.device.site == f.demos && from == sent {
				f.demo = max(f.demo, arrival)
			}
		}
		if from == sent {
			p.device.newest = max(p.device.newest, r.Time)
		}
		point, ok := p.metric.add(r, batch[r.Series].Unit)
		if ok {
			for _, feed := range p.feeds {
				feed.put(point)
			}
		}
	}
	for _, p := range places {
		if d := p.device; d != nil && d.newest > 0 {
			d.lags[d.lagged%lagsKept] = arrival - d.newest
			d.lagged++
			d.newest = 0
		}
	}
	at := arrival / int64(time.Second)
	if s := &f.rates[at%rateSeconds]; s.unix == at {
		s.count += count
	} else if s.unix < at {
		*s = second{at, count}
	}
	f.version++
}

// Know adds a device of the registry, which may not have reported recently.
func (f *Fleet) Know(site, dev string, first time.Time, metrics []Series) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.device(name{site, dev})
	if d == nil {
		return
	}
	d.first = first
	for _, s := range metrics {
		m := d.metric(s.Metric)
		if m == nil {
			continue
		}
		if s.Kind == view.KindNumber {
			if u := m.in(s.Unit); m.latest[kindIndex(s.Kind)].count == 0 {
				m.unit = u
			}
		} else if m.unit == "" {
			m.unit = s.Unit
		}
		l := &m.latest[kindIndex(s.Kind)]
		l.known = true
		f.await(d, !l.asked)
	}
	f.await(d, !d.asked)
	f.version++
}

// Forget removes a device that was removed from the registry at that time, with all
// its earlier readings. A later reading makes it known again.
func (f *Fleet) Forget(site, dev string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := name{site, dev}
	if len(f.gone) < maxDevices {
		f.gone[n] = at.UnixNano()
	}
	d := f.devices[n]
	if d == nil || d.seen > at.UnixNano() {
		return
	}
	delete(f.devices, n)
	delete(f.clashes, n)
	d.waiting = false
	f.order = slices.DeleteFunc(f.order, func(o *record) bool { return o == d })
	f.version++
}

// SetFiring replaces the firing alerts of a device, which need not be known yet
// and is not made known by them.
func (f *Fleet) SetFiring(site, dev string, alerts []view.Alert) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := name{site, dev}
	if len(alerts) == 0 {
		delete(f.firing, n)
	} else {
		f.firing[n] = alerts
	}
	if d := f.devices[n]; d != nil {
		d.firing = alerts
	}
	f.version++
}

// Say sets where it is known what people say about devices. It is called before anything
// is added. Said must not call the fleet.
func (f *Fleet) Say(said func(site, device string) view.DeviceAbout) { f.said = said }

// Describe takes what people say about one device, if it is known.
func (f *Fleet) Describe(site, dev string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.devices[name{site, dev}]; d != nil {
		f.describe(d)
	}
}

// DescribeAll takes what people say about every device.
func (f *Fleet) DescribeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.order {
		f.describe(d)
	}
}

func (f *Fleet) describe(d *record) {
	d.about = f.said(d.site, d.id)
	d.index()
	f.version++
}

// Label returns the name and the room of a device, as far as people say them.
func (f *Fleet) Label(site, dev string) (called, room string) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.devices[name{site, dev}]
	if d == nil {
		return "", ""
	}
	return d.about.Name, d.about.Room
}

// After returns at most size devices of the sites, of which none means all, that contain
// the text, in the order of their names, from the one after the given device on; from the
// first one after none.
func (f *Fleet) After(text string, sites []string, site, dev string, size int, now time.Time) []view.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	text = strings.ToLower(text)
	var out []view.Device
	for _, d := range f.from(site, dev) {
		if len(out) == size {
			break
		}
		if (len(sites) == 0 || slices.Contains(sites, d.site)) && strings.Contains(d.search, text) {
			out = append(out, f.view(d, now))
		}
	}
	return out
}

// from returns the devices after the given one, all of them for none.
func (f *Fleet) from(site, dev string) []*record {
	if site == "" {
		return f.order
	}
	at, there := slices.BinarySearchFunc(f.order, &record{name: name{site, dev}}, compareDevices)
	if there {
		at++
	}
	return f.order[at:]
}

// Bare is After for all devices, without their sparklines and other units.
func (f *Fleet) Bare(site, dev string, size int, now time.Time) []view.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	rest := f.from(site, dev)
	out := make([]view.Device, 0, min(size, len(rest)))
	for _, d := range rest[:min(size, len(rest))] {
		out = append(out, f.bare(d, now))
	}
	return out
}

// device returns the device, created if necessary, or nil if there are too many.
func (f *Fleet) device(n name) *record {
	d := f.devices[n]
	if d != nil {
		return d
	}
	if len(f.devices) >= maxDevices {
		return nil
	}
	d = &record{name: n, firing: f.firing[n], about: f.said(n.site, n.id)}
	d.index()
	f.devices[n] = d
	at, _ := slices.BinarySearchFunc(f.order, d, compareDevices)
	f.order = slices.Insert(f.order, at, d)
	return d
}

// Rates returns the readings of each of the last 60 whole seconds before now,
// oldest first, and the mean of the last ten.
func (f *Fleet) Rates(now time.Time) (rate float64, rates []float64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	rates = make([]float64, 60)
	end := now.Unix()
	for i := range rates {
		at := end - int64(len(rates)-i)
		if s := f.rates[at%rateSeconds]; s.unix == at {
			rates[i] = float64(s.count)
		}
	}
	for _, r := range rates[50:] {
		rate += r
	}
	return rate / 10, rates
}

// Devices returns one page of the devices that a query selects, in their state
// now.
func (f *Fleet) Devices(q overview.Query, now time.Time) overview.Devices {
	f.mu.RLock()
	defer f.mu.RUnlock()
	text := strings.ToLower(q.Text)
	var groups [3][]*record // firing, silent, ok
	var out overview.Devices
	var states []view.State // of the site at hand
	site := ""
	closeSite := func(next string) {
		if q.BySite && len(states) > 0 && site != next {
			out.Sites = append(out.Sites, overview.NewSite(site, states))
			states = states[:0]
		}
		site = next
	}
	for _, d := range f.order {
		if len(q.Sites) > 0 && !slices.Contains(q.Sites, d.site) {
			continue
		}
		out.Total++
		state := f.state(d)
		closeSite(d.site)
		states = append(states, state)
		group := 2
		switch state {
		case view.StateFiring:
			out.Firing++
			group = 0
		case view.StateSilent:
			out.Silent++
			group = 1
		case view.StateUnknown:
			out.Unknown++
		}
		if q.BySite {
			group = 0
		}
		if (q.State == "" || q.State == state) && (q.Site == "" || q.Site == d.site) && strings.Contains(d.search, text) {
			groups[group] = append(groups[group], d)
			out.Matching++
		}
	}
	closeSite("")
	skip := (max(1, q.Page) - 1) * q.Size
	for _, group := range groups {
		passed := min(skip, len(group))
		skip -= passed
		for _, d := range group[passed:] {
			if len(out.Items) == q.Size {
				break
			}
			out.Items = append(out.Items, f.view(d, now))
		}
	}
	return out
}

// Find returns the series that a query selects, in the order of their names, and whether
// there are more.
func (f *Fleet) Find(q explore.Query, now time.Time) (found []explore.Found, more bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	words := strings.Fields(strings.ToLower(q.Text))
	for _, d := range f.order {
		if len(q.Sites) > 0 && !slices.Contains(q.Sites, d.site) || !hold(d.search, words) {
			continue
		}
		name := strings.ToLower(d.site + "/" + d.id + " ")
		for _, m := range f.view(d, now).Metrics {
			if !m.Drawn() || !hold(name+strings.ToLower(m.Name), words) {
				continue
			}
			if len(found) == q.Most {
				return found, true
			}
			found = append(found, explore.Found{Site: d.site, Device: d.id, Metric: m})
		}
	}
	return found, false
}

// hold reports whether a text holds every word.
func hold(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// FirstSeen returns the devices whose first reading arrived at a time or later, at most
// that many, the newest first.
func (f *Fleet) FirstSeen(since, now time.Time, most int) []view.Device {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var found []*record
	for _, d := range f.order {
		if !d.first.Before(since) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b *record) int { return b.first.Compare(a.first) })
	var out []view.Device
	for _, d := range found[:min(len(found), most)] {
		out = append(out, f.view(d, now))
	}
	return out
}

// Device returns one device.
func (f *Fleet) Device(site, dev string, now time.Time) (view.Device, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.devices[name{site, dev}]
	if d == nil {
		return view.Device{}, false
	}
	return f.view(d, now), true
}

// Series calls each for every device and its metrics, whose sparklines are left
// out, in the order of the devices. It must not call the fleet.
func (f *Fleet) Series(each func(site, dev string, metrics iter.Seq[view.Metric])) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, d := range f.order {
		each(d.site, d.id, func(yield func(view.Metric) bool) {
			for _, m := range d.metrics {
				usual := m.usual()
				if !yield(view.Metric{Name: m.name, Unit: m.unit, Kind: kinds[usual], Value: m.latest[usual].value}) {
					return
				}
			}
		})
	}
}
