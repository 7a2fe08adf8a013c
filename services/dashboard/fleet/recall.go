package fleet

import "slices"

// Missing is what the history is to be queried for one device.
type Missing struct {
	Site, Device string
	// Series names the series of which a kind of values is missing, with the kind.
	Series []Series
	// Arrivals reports whether too little is known of when the device reports.
	Arrivals bool
}

// Past is what the history holds of one device.
type Past struct {
	Missing
	// Readings are the latest of each series and kind that were queried, in any order;
	// Series of a reading is an index into the Series of Missing.
	Readings []Reading
	// Units are those of the readings, in their order; nil when none has one.
	Units []string
	// Arrivals are the recent minutes in which the device reported, in nanoseconds
	// since the Unix epoch, in any order.
	Arrivals []int64
}

// PastReadings is how many readings of each series and kind are needed to know what is
// usual for it, PastArrivals how many arrivals to know how often a device reports.
const (
	PastReadings = usualCount
	PastArrivals = 32
)

// await adds a device to the list of those whose history is to be queried.
func (f *Fleet) await(d *record, needed bool) {
	if needed && !d.waiting {
		d.waiting = true
		f.waiting = append(f.waiting, d)
	}
}

// Waiting counts the devices whose history is still to be queried.
func (f *Fleet) Waiting() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := 0
	for _, d := range f.waiting {
		if d.waiting {
			n++
		}
	}
	return n
}

// Missing returns what the history is to be queried next: at most the given number of
// devices of one site, and as many series, except that one device may have more. They
// stay in the list until Recall. Devices that have reported enough in the meantime are
// left out.
func (f *Fleet) Missing(most int) []Missing {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Missing
	left := f.waiting[:0:0]
	series := 0
	for i, d := range f.waiting {
		if len(out) == most || series >= most {
			left = append(left, f.waiting[i:]...)
			break
		}
		if !d.waiting {
			continue
		}
		if len(out) > 0 && out[0].Site != d.site {
			left = append(left, d)
			continue
		}
		m := d.missing()
		if len(m.Series) == 0 && !m.Arrivals {
			f.settle(d)
			continue
		}
		out = append(out, m)
		series += len(m.Series)
		left = append(left, d)
	}
	f.waiting = left
	return out
}

func (d *record) missing() Missing {
	out := Missing{Site: d.site, Device: d.id, Arrivals: !d.asked && d.reports < silentReports}
	for _, m := range d.metrics {
		named := 0
		for _, l := range m.latest {
			if l.known || l.count > 0 {
				named++
			}
		}
		for i, l := range m.latest {
			// How often a kind comes matters only beside another.
			if l.known && !l.asked && (l.count == 0 || named > 1 && l.count < usualCount) {
				out.Series = append(out.Series, Series{Site: d.site, Device: d.id, Metric: m.name, Unit: m.unit, Kind: kinds[i]})
			}
		}
	}
	return out
}

// settle notes that the history need not be queried any further for what is known of a
// device now.
func (f *Fleet) settle(d *record) {
	d.waiting, d.asked = false, true
	for _, m := range d.metrics {
		for i := range m.latest {
			m.latest[i].asked = m.latest[i].known
		}
	}
	f.version++
}

// Recall adds what the history holds of devices. Newer readings from the stream are
// kept.
func (f *Fleet) Recall(past []Past) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range past {
		d := f.devices[name{p.Site, p.Device}]
		if d == nil || !d.waiting {
			continue // removed in the meantime
		}
		counts := make([]int, len(p.Series))
		seen := int64(0)
		for i, r := range p.Readings {
			unit := ""
			if i < len(p.Units) {
				unit = p.Units[i]
			}
			s := p.Series[r.Series]
			m := d.metric(s.Metric)
			if m == nil || r.Value.Kind != s.Kind {
				continue
			}
			l := &m.latest[kindIndex(s.Kind)]
			counts[r.Series]++
			known := l.count // a reading may be known from both sides
			m.put(r, unit)
			l.count = max(known, min(counts[r.Series], usualCount))
			seen = max(seen, r.Time)
		}
		minutes := slices.Compact(slices.Sorted(slices.Values(p.Arrivals)))
		if n := len(minutes); n > 0 {
			seen = max(seen, minutes[n-1])
			d.interval = max(d.interval, usualPause(minutes))
			d.reports = min(d.reports+n, silentReports)
		}
		if !d.heard && seen > d.seen {
			d.seen = seen
			if f.ticked() {
				d.seen = min(seen, f.listened.Now) // a device's clock may be ahead
			}
		}
		// A kind or a metric that was added to the registry in the meantime is next.
		d.asked = true
		for _, s := range p.Series {
			if m := d.metric(s.Metric); m != nil {
				m.latest[kindIndex(s.Kind)].asked = true
			}
		}
		if m := d.missing(); len(m.Series) == 0 {
			f.settle(d)
		}
	}
	f.version++
}

// usualPause returns the second longest pause between the minutes; the longest one may
// be a pause of the pipeline.
func usualPause(minutes []int64) int64 {
	var pauses []int64
	for i := 1; i < len(minutes); i++ {
		pauses = append(pauses, minutes[i]-minutes[i-1])
	}
	slices.Sort(pauses)
	switch n := len(pauses); {
	case n == 0:
		return 0
	case n < 3:
		return pauses[n-1]
	default:
		return pauses[n-2]
	}
}
