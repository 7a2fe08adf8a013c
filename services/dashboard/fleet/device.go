package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headwater/proto/units"
	"headwater/web/device"
	"headwater/web/view"
)

// record is what is known of one device.
type record struct {
	name
	search   string // what a query's text is searched in, in lower case
	seen     int64  // latest arrival; 0 for none
	heard    bool   // whether seen is from the stream, and not from the history
	interval int64  // usual time between arrivals
	reports  int    // arrivals, counted up to silentReports
	first    time.Time
	metrics  []*metric // by name
	firing   []view.Alert
	about    view.DeviceAbout
	// lags are how much later the newest readings of the last reports arrived than their
	// time; lagged counts them. Newest is the newest of the report that is being added.
	lags    [lagsKept]int64
	lagged  int
	newest  int64
	waiting bool // whether the history is still to be queried
	asked   bool // whether the arrivals were queried
}

type metric struct {
	name string
	// unit is that of the latest number, units are all in which numbers came, in the
	// order in which they did first. A number without a unit is in the first.
	unit   string
	units  []string
	latest [len(kinds)]latest
	slots  []slot
	recent []device.Point
	// changed is the event time at which the latest value differed from the previous one; 0
	// when it has not.
	changed int64
}

// kinds are the kinds of values. A series with several kinds has the first one that
// is usual for it.
var kinds = [...]view.Kind{view.KindNumber, view.KindFlag, view.KindText}

// latest is what is known of the readings of one kind in a series.
type latest struct {
	value view.Value
	time  int64 // event time of value
	count int   // readings, counted up to usualCount; 0 for none
	known bool  // the registry names the kind
	asked bool  // the history has answered
}

// slot is a slot of a sparkline; number is its start in slot widths since the
// Unix epoch.
type slot struct {
	number         int64
	at             int64 // event time of last
	min, max, last float64
}

func (d *record) index() {
	var b strings.Builder
	b.WriteString(d.site + "/" + d.id)
	for _, text := range append([]string{d.about.Name, d.about.Room, d.about.Location}, d.about.TagList()...) {
		b.WriteString("\n" + text)
	}
	for _, m := range d.metrics {
		b.WriteString("\n" + m.name)
	}
	d.search = strings.ToLower(b.String())
}

// metric returns the metric, created if necessary, or nil if there are too many.
func (d *record) metric(called string) *metric {
	i, ok := slices.BinarySearchFunc(d.metrics, called, func(m *metric, n string) int { return strings.Compare(m.name, n) })
	if ok {
		return d.metrics[i]
	}
	if len(d.metrics) >= maxMetrics {
		return nil
	}
	m := &metric{name: called}
	d.metrics = slices.Insert(d.metrics, i, m)
	d.index()
	return m
}

// reported notes that the device has reported, and learns its usual interval: the
// longest recent one, so that a burst does not hide the pause after it. Time in which
// Headwater did not listen is not a pause of the device.
func (f *Fleet) reported(d *record, arrival int64) {
	if arrival <= d.seen {
		return
	}
	d.reports = min(d.reports+1, silentReports)
	if d.seen != 0 {
		d.interval = max(f.listened.Listened(d.seen, arrival), d.interval-d.interval/20)
	}
	d.seen, d.heard = arrival, true
}

// quiet returns for how long the fleet has listened without hearing the device. Time
// before the memory begins counts if the pipeline ran then.
func (f *Fleet) quiet(d *record) int64 {
	return f.listened.Listened(d.since(), f.listened.Now)
}

// since returns when the device last reported, as far as is known.
func (d *record) since() int64 {
	if d.seen == 0 && !d.first.IsZero() {
		return d.first.UnixNano()
	}
	return d.seen
}

func (f *Fleet) state(d *record) view.State {
	if len(d.firing) > 0 {
		return view.StateFiring
	}
	if expected := int64(d.about.Interval); expected > 0 { // people know better
		return f.silentAfter(d, max(int64(silentMin), silentIntervals*expected))
	}
	least := silentMin
	if d.reports < silentReports {
		least = silentUnknown
	}
	return f.silentAfter(d, max(int64(least), silentIntervals*d.interval))
}

// silentAfter returns the state of a device that is silent when it has not reported for
// longer than patience.
func (f *Fleet) silentAfter(d *record, patience int64) view.State {
	switch {
	case f.ticked() && f.listened.Now-d.since() <= patience:
		return view.StateOK
	case d.waiting || f.quiet(d) <= patience:
		return view.StateUnknown
	}
	return view.StateSilent
}

// maxUnits bounds the units of one metric that are remembered.
const maxUnits = 8

// in returns the first spelling of a unit by the metric. A unit beyond those that are
// remembered stays as it is.
func (m *metric) in(unit string) string {
	switch i := slices.IndexFunc(m.units, func(u string) bool { return units.Same(u, unit) }); {
	case unit == "" && len(m.units) > 0:
		return m.units[0]
	case i >= 0:
		return m.units[i]
	case unit != "" && len(m.units) < maxUnits:
		m.units = append(m.units, strings.Clone(unit))
	}
	return unit
}

// add adds a reading and returns it as a point of a chart, if it can be one.
func (m *metric) add(r Reading, unit string) (device.Point, bool) {
	m.put(r, unit)
	p := device.Point{Metric: m.name, TimeMS: r.Time / int64(time.Millisecond)}
	switch r.Value.Kind {
	case view.KindNumber:
		p.Value, p.Unit = r.Value.Number, m.in(unit)
		if p.Unit == m.unit {
			m.addSlot(r.Time, p.Value)
		}
	case view.KindFlag:
		if r.Value.Flag {
			p.Value = 1
		}
	default:
		return p, false
	}
	if len(m.recent) == 2*recentKept {
		m.recent = append(m.recent[:0], m.recent[recentKept:]...)
	}
	m.recent = append(m.recent, p)
	return p, true
}

// turn has the metric be in a unit.
func (m *metric) turn(unit string) {
	if m.unit != "" && unit != m.unit {
		m.slots = nil
	}
	m.unit = unit
}

// put keeps a reading as the latest of its kind, unless a later one is known. What
// came in another unit than the latest number is nothing to draw beside it.
func (m *metric) put(r Reading, unit string) {
	l := &m.latest[kindIndex(r.Value.Kind)]
	if l.count == 0 || r.Time >= l.time {
		if l.count > 0 && l.value != r.Value {
			m.changed = r.Time
		}
		l.time, l.value = r.Time, r.Value
		if r.Value.Kind == view.KindNumber {
			m.turn(m.in(unit))
		}
	}
	l.count = min(l.count+1, usualCount)
}

func kindIndex(k view.Kind) int { return max(0, slices.Index(kinds[:], k)) }

// newest returns the kind of the latest reading; -1 when there is none.
func (m *metric) newest() int {
	newest := -1
	for i, l := range m.latest {
		if l.count > 0 && (newest < 0 || l.time > m.latest[newest].time) {
			newest = i
		}
	}
	return newest
}

// usual returns the kind of the series. A sensor that sometimes sends a text in place
// of a number is a series of numbers; a single number among texts does not make the
// series one of numbers. A kind without a reading for usualKept is no longer usual.
func (m *metric) usual() int {
	newest := m.newest()
	if newest < 0 { // by the registry
		for i, l := range m.latest {
			if l.known {
				return i
			}
		}
		return 0
	}
	most := 0
	for _, l := range m.latest {
		most = max(most, l.count)
	}
	for i, l := range m.latest {
		if l.count > 0 && m.latest[newest].time-l.time <= int64(usualKept) && (l.count == most || most < usualCount) {
			return i
		}
	}
	return newest
}

func (m *metric) addSlot(t int64, v float64) {
	number := floorDiv(t, int64(view.SlotWidth))
	i := len(m.slots)
	for i > 0 && m.slots[i-1].number > number {
		i--
	}
	if i > 0 && m.slots[i-1].number == number {
		s := &m.slots[i-1]
		s.min, s.max = min(s.min, v), max(s.max, v)
		if t >= s.at {
			s.at, s.last = t, v
		}
		return
	}
	if i == 0 && len(m.slots) > 0 && m.slots[len(m.slots)-1].number-number >= view.SlotCount {
		return // older than the memory
	}
	m.slots = slices.Insert(m.slots, i, slot{number: number, at: t, min: v, max: v, last: v})
	oldest := m.slots[len(m.slots)-1].number - view.SlotCount + 1
	drop := 0
	for m.slots[drop].number < oldest {
		drop++
	}
	m.slots = slices.Delete(m.slots, 0, drop)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// lagsKept is of how many reports the lag is remembered.
const lagsKept = 8

// Lag returns how much later all of the last reports of a device arrived than the time of
// their newest reading, at least; below 0 if all came before their time. False means that it
// has not reported often enough to say that.
func (f *Fleet) Lag(site, dev string) (time.Duration, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.devices[name{site, dev}]
	if d == nil || d.lagged < lagsKept {
		return 0, false
	}
	least, most := slices.Min(d.lags[:]), slices.Max(d.lags[:])
	switch {
	case least > 0:
		return time.Duration(least), true
	case most < 0:
		return time.Duration(most), true
	}
	return 0, true
}

// view returns a device in its state now.
func (f *Fleet) view(d *record, now time.Time) view.Device {
	out := f.bare(d, now)
	begin := now.Add(-view.SlotCount * view.SlotWidth).UnixNano()
	for i, m := range d.metrics {
		v := &out.Metrics[i]
		if len(m.units) > 1 {
			v.Units = slices.Clone(m.units)
		}
		for _, s := range m.slots {
			start := s.number * int64(view.SlotWidth)
			if start >= begin {
				v.Spark = append(v.Spark, view.Slot{Start: time.Unix(0, start), Min: s.min, Max: s.max, Last: s.last})
			}
		}
	}
	return out
}

// bare is view without what takes much memory: sparklines and other units.
func (f *Fleet) bare(d *record, now time.Time) view.Device {
	out := view.Device{
		Site: d.site, Device: d.id, State: f.state(d), FirstSeen: d.first,
		Metrics: make([]view.Metric, len(d.metrics)), Firing: d.firing, Waiting: d.waiting,
		Clashes: f.clashes[d.name].within(now), About: d.about,
	}
	if d.seen != 0 {
		out.LastSeen = time.Unix(0, d.seen)
	}
	for i, m := range d.metrics {
		usual, newest := m.usual(), m.newest()
		v := view.Metric{Name: m.name, Unit: m.unit, Kind: kinds[usual], About: d.about.Metrics[m.name]}
		if m.changed != 0 {
			v.Changed = time.Unix(0, m.changed)
		}
		if l := m.latest[usual]; l.count > 0 {
			v.Value, v.Time = l.value, time.Unix(0, l.time)
		}
		if newest >= 0 && newest != usual {
			l := m.latest[newest]
			v.Odd = &view.Odd{Kind: kinds[newest], Value: l.value, Time: time.Unix(0, l.time)}
		}
		out.Metrics[i] = v
	}
	return out
}

func compareDevices(a, b *record) int {
	return cmp.Or(natural(a.site, b.site), natural(a.id, b.id))
}

// natural orders names so that door-2 comes before door-10. Names that differ
// only in leading zeros are ordered by their bytes.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n > 0 && m > 0 {
			p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if c := cmp.Or(cmp.Compare(len(p), len(q)), strings.Compare(p, q)); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// digits returns the length of the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
