package config

import (
	"slices"
	"strconv"
	"time"
	_ "time/tzdata" // a machine may have no time zones of its own

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// WindowKind is the way in which windows divide time.
type WindowKind string

const (
	// Tumbling windows follow one another.
	Tumbling WindowKind = "tumbling"
	// Hopping windows have a width, and one begins every so often.
	Hopping WindowKind = "hopping"
	// Sliding windows end with a reading; one is emitted every so often.
	Sliding WindowKind = "sliding"
	// Session windows end when there is no reading for a while.
	Session WindowKind = "session"
)

// WindowKinds lists every kind.
func WindowKinds() []WindowKind { return []WindowKind{Tumbling, Hopping, Sliding, Session} }

// Window is one way to divide time into windows.
type Window struct {
	// Name is made of the other fields, such as 10s, hopping-10m-1m, sliding-5m-30s
	// and session-5m-1h. Summaries and the history use it.
	Name string
	Kind WindowKind
	// Width is the width of the windows; of sessions, the greatest one.
	Width time.Duration
	// Every is the distance of hopping windows, and of the times at which a
	// sliding one is emitted; else 0.
	Every time.Duration
	// Gap ends a session; else 0.
	Gap time.Duration
	// Delay is how long after its end a window waits before it closes.
	Delay time.Duration
	// Lateness is how late, beyond the delay, in event time behind the watermark,
	// a reading may come and still change the summary of its window.
	Lateness time.Duration
}

// Bounds of windows.
const (
	// MaxWindows is how many there may be, beside the roll-ups.
	MaxWindows = 8
	// MaxWidth is the greatest width: readings stay in memory for that long.
	MaxWidth = 6 * time.Hour
	// MaxDelay is the longest delay.
	MaxDelay = 10 * time.Minute
	// MaxOverlap is in how many windows of one kind a reading lies at most.
	MaxOverlap = 60
	// MaxSites is how many sites may be declared.
	MaxSites = 200
	// minWidth is the least width, distance and gap.
	minWidth = time.Second
)

// RollUp is the width of the windows that are always there, and that hours and
// days are made of.
const RollUp = time.Minute

// Short names a time by its largest whole unit: 90s, 10m, 2h.
func Short(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if d%unit.size == 0 {
			return strconv.FormatInt(int64(d/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}

// windows reads the list of windows. A plain time is a tumbling window.
func (o *object) windows(lateness time.Duration) []Window {
	all := []Window{}
	items, _ := o.list("windows", MaxWindows)
	for _, item := range items {
		before := len(o.r.found)
		w, ok := o.r.window(item, lateness)
		if !ok || len(o.r.found) > before {
			continue
		}
		if slices.ContainsFunc(all, func(known Window) bool { return known.Name == w.Name }) {
			o.r.problem(item.line, item.path, "%s is listed twice", w.Name)
			continue
		}
		all = append(all, w)
	}
	if !slices.ContainsFunc(all, func(w Window) bool { return w.Kind == Tumbling && w.Width == RollUp }) {
		all = append(all, Window{Name: Short(RollUp), Kind: Tumbling, Width: RollUp, Lateness: lateness})
	}
	slices.SortStableFunc(all, func(a, b Window) int {
		switch {
		case a.Kind == Tumbling && b.Kind == Tumbling:
			return int(a.Width - b.Width)
		case a.Kind == Tumbling:
			return -1
		case b.Kind == Tumbling:
			return 1
		}
		return 0
	})
	return all
}

// window reads one window.
func (r *reader) window(item value, lateness time.Duration) (Window, bool) {
	w := Window{Kind: Tumbling, Lateness: lateness}
	if _, mapping := item.node.(ast.MapNode); !mapping {
		width, problem := duration(item.node)
		if problem == "" {
			problem = w.setWidth(width)
		}
		if problem != "" {
			r.problem(item.line, item.path, "%s", problem)
		}
		return w, problem == ""
	}
	o := r.object(item, "kind", "width", "every", "gap", "max", "delay", "lateness")
	kind := string(Tumbling)
	o.string("kind", &kind)
	w.Kind = WindowKind(kind)
	if !slices.Contains(WindowKinds(), w.Kind) {
		o.fail("kind", "%q is not a kind of window: one of tumbling, hopping, sliding, session", clip(kind))
		return w, false
	}
	o.bounded("delay", &w.Delay, 0, MaxDelay)
	o.bounded("lateness", &w.Lateness, 0, MaxLateness)
	switch w.Kind {
	case Session:
		o.only(kind, "gap", "max")
		w.Width = time.Hour
		o.required("gap")
		o.bounded("max", &w.Width, minWidth, MaxWidth)
		o.bounded("gap", &w.Gap, minWidth, w.Width)
		w.Name = kind + "-" + Short(w.Gap) + "-" + Short(w.Width)
	case Hopping, Sliding:
		o.only(kind, "width", "every")
		o.required("width")
		o.required("every")
		o.bounded("width", &w.Width, minWidth, MaxWidth)
		o.bounded("every", &w.Every, max(minWidth, (w.Width+MaxOverlap-1)/MaxOverlap), w.Width)
		w.Name = kind + "-" + Short(w.Width) + "-" + Short(w.Every)
	default:
		o.only(kind, "width")
		o.required("width")
		o.duration("width", &w.Width)
		if problem := w.setWidth(w.Width); problem != "" && !o.failed["width"] {
			o.fail("width", "%s", problem)
		}
	}
	return w, true
}

// setWidth makes the window a tumbling one, or says why not.
func (w *Window) setWidth(width time.Duration) (problem string) {
	switch {
	case width == time.Hour || width == 24*time.Hour:
		return Short(width) + " is always there: minutes are rolled up to hours and days"
	case width < minWidth || width > MaxWidth:
		return rule.OutOfRange(width, minWidth, MaxWidth)
	}
	w.Width, w.Name = width, Short(width)
	return ""
}

// required records a problem when the field is missing.
func (o *object) required(field string) {
	if _, given := o.fields[field]; !given && !o.failed[field] {
		o.fail(field, "is missing")
	}
}

// only records a problem for fields that this kind of window does not have.
func (o *object) only(kind string, fields ...string) {
	for _, field := range []string{"width", "every", "gap", "max"} {
		if _, given := o.fields[field]; given && !slices.Contains(fields, field) {
			o.fail(field, "is not a field of a %s window", kind)
		}
	}
}

// bounded is duration for a field with bounds.
func (o *object) bounded(field string, into *time.Duration, least, most time.Duration) {
	o.duration(field, into)
	if _, given := o.fields[field]; given && !o.failed[field] && (*into < least || *into > most) {
		o.fail(field, "%s", rule.OutOfRange(*into, least, most))
	}
}

// zones reads the time zones of single sites.
func (o *object) zones(c *Config) {
	v, given := o.fields["sites"]
	if !given {
		return
	}
	if _, null := v.node.(*ast.NullNode); null {
		return
	}
	m, ok := v.node.(ast.MapNode)
	if !ok {
		o.fail("sites", "must be a mapping of sites (name: {time_zone: Europe/Berlin}), not %s", kind(v.node))
		return
	}
	sites := make(map[string]string)
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		switch {
		case !ok:
			o.r.problem(line(it.Key()), v.path, "the name of a site must be plain text, not %s", kind(it.Key()))
			continue
		case !validSite(key.Value):
			o.r.problem(line(key), v.path, "%q is not a site: 1 to 64 letters, digits, - and _", clip(key.Value))
			continue
		case len(sites) == MaxSites:
			o.fail("sites", "lists more than %d", MaxSites)
			return
		}
		path := join(v.path, key.Value)
		if _, twice := sites[key.Value]; twice {
			o.r.problem(line(key), path, "is given twice")
			continue
		}
		zone := c.TimeZone
		if so := o.r.object(value{node: it.Value(), line: line(key), path: path}, "time_zone"); so != nil {
			so.zone(&zone)
		}
		sites[key.Value] = zone
	}
	c.siteZones = sites
}

// zone reads the name of a time zone.
func (o *object) zone(into *string) {
	const field = "time_zone"
	name := *into
	o.string(field, &name)
	if _, given := o.fields[field]; !given || o.failed[field] {
		return
	}
	// "Local" would depend on the machine.
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" || len(name) > 64 {
		o.fail(field, "%q is not a time zone; write one like Europe/Berlin or UTC", clip(name))
		return
	}
	*into = name
}

func validSite(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
