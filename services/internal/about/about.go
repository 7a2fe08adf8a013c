// Package about is what people say about a device: what it is called, where it is, what
// its metrics mean and which values they may have. It is pure. Nothing of it changes
// how readings are stored or judged; it is shown, and sensors are assessed by it.
//
// It is said in two places: in the section devices of the configuration file, for devices
// of a pattern, and on the page of one device. What the file says counts.
package about

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/services/rule"
)

// Bounds of what is said about one device.
const (
	// MaxName is the greatest length of a name or a room, in bytes.
	MaxName = 80
	// MaxLocation is the greatest length of a location, in bytes.
	MaxLocation = 200
	// MaxNotes is the greatest length of notes, in bytes.
	MaxNotes = 2000
	// MaxMetrics is the greatest number of metrics.
	MaxMetrics = 256
	// MaxUnit is the greatest length of a unit, in bytes.
	MaxUnit = 64
	// MaxPrecision is the greatest number of decimals.
	MaxPrecision = 9
	// MinInterval and MaxInterval bound an expected interval.
	MinInterval = time.Second
	MaxInterval = 366 * 24 * time.Hour
)

// About is what is said about one device. The zero value says nothing. It must not be
// changed once others have it.
type About struct {
	// Name is what people call the device.
	Name string `json:"name,omitempty"`
	Room string `json:"room,omitempty"`
	// Location says where in the room, or anything else about the place.
	Location string `json:"location,omitempty"`
	// Notes may have several lines.
	Notes string `json:"notes,omitempty"`
	// Tags are names of [a-z0-9_-] with values of any text.
	Tags map[string]string `json:"tags,omitempty"`
	// Interval is how often the device is expected to report; 0 when it is not said.
	Interval time.Duration `json:"interval,omitempty"`
	// Metrics are by name.
	Metrics map[string]Metric `json:"metrics,omitempty"`
}

// Metric is what is said about one metric.
type Metric struct {
	// Name is what people call the metric.
	Name string `json:"name,omitempty"`
	// Unit is shown for numbers that come without one.
	Unit string `json:"unit,omitempty"`
	// Precision is the number of decimals that are shown; nil for as many as are needed.
	Precision *int `json:"precision,omitempty"`
	// Low and High bound the values that a working sensor can give; nil when that side is
	// open.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	// Interval is how often the metric is expected; 0 when it is not said.
	Interval time.Duration `json:"interval,omitempty"`
}

// Empty reports whether nothing is said.
func (a About) Empty() bool {
	return a.Name == "" && a.Room == "" && a.Location == "" && a.Notes == "" && len(a.Tags) == 0 && a.Interval == 0 && len(a.Metrics) == 0
}

// Equal reports whether both say the same.
func (a About) Equal(b About) bool {
	return a.Name == b.Name && a.Room == b.Room && a.Location == b.Location && a.Notes == b.Notes && maps.Equal(a.Tags, b.Tags) &&
		a.Interval == b.Interval && maps.EqualFunc(a.Metrics, b.Metrics, Metric.Equal)
}

// Equal reports whether both say the same.
func (m Metric) Equal(o Metric) bool {
	return m.Name == o.Name && m.Unit == o.Unit && same(m.Precision, o.Precision) && same(m.Low, o.Low) && same(m.High, o.High) && m.Interval == o.Interval
}

func equal[T comparable](a, b T) bool { return a == b }

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// Under returns what is said by both, where what over says counts.
func (a About) Under(over About) About {
	a.Name = either(a.Name, over.Name)
	a.Room = either(a.Room, over.Room)
	a.Location = either(a.Location, over.Location)
	a.Notes = either(a.Notes, over.Notes)
	a.Interval = either(a.Interval, over.Interval)
	if len(over.Tags) > 0 {
		a.Tags = cloned(a.Tags)
		maps.Copy(a.Tags, over.Tags)
	}
	if len(over.Metrics) > 0 {
		a.Metrics = cloned(a.Metrics)
		for name, m := range over.Metrics {
			a.Metrics[name] = a.Metrics[name].under(m)
		}
	}
	return a
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return make(map[string]V)
	}
	return maps.Clone(m)
}

func (m Metric) under(over Metric) Metric {
	m.Name = either(m.Name, over.Name)
	m.Unit = either(m.Unit, over.Unit)
	m.Precision = either(m.Precision, over.Precision)
	m.Low = either(m.Low, over.Low)
	m.High = either(m.High, over.High)
	m.Interval = either(m.Interval, over.Interval)
	return m
}

// either returns over unless it says nothing.
func either[T comparable](below, over T) T {
	var nothing T
	if over == nothing {
		return below
	}
	return over
}

// Beside returns a without what over says as well. Differing are the fields, such as
// "metrics.temperature.unit", in which a says something else than over does: they
// can't be changed here.
func (a About) Beside(over About) (rest About, differing []string) {
	text := func(field, mine, other string) string {
		return only(field, mine, other, equal[string], &differing)
	}
	rest.Name, rest.Room = text("name", a.Name, over.Name), text("room", a.Room, over.Room)
	rest.Location, rest.Notes = text("location", a.Location, over.Location), text("notes", a.Notes, over.Notes)
	rest.Interval = only("interval", a.Interval, over.Interval, equal[time.Duration], &differing)
	for _, name := range slices.Sorted(maps.Keys(a.Tags)) {
		value, fixed := over.Tags[name]
		switch {
		case !fixed:
			if rest.Tags == nil {
				rest.Tags = make(map[string]string)
			}
			rest.Tags[name] = a.Tags[name]
		case value != a.Tags[name]:
			differing = append(differing, "tags."+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Metrics)) {
		m, fields := a.Metrics[name].beside(over.Metrics[name])
		for _, f := range fields {
			differing = append(differing, "metrics."+name+"."+f)
		}
		if m.Equal(Metric{}) {
			continue
		}
		if rest.Metrics == nil {
			rest.Metrics = make(map[string]Metric)
		}
		rest.Metrics[name] = m
	}
	return rest, differing
}

func (m Metric) beside(over Metric) (rest Metric, differing []string) {
	rest.Name = only("name", m.Name, over.Name, equal[string], &differing)
	rest.Unit = only("unit", m.Unit, over.Unit, equal[string], &differing)
	rest.Precision = only("precision", m.Precision, over.Precision, same[int], &differing)
	rest.Low = only("low", m.Low, over.Low, same[float64], &differing)
	rest.High = only("high", m.High, over.High, same[float64], &differing)
	rest.Interval = only("interval", m.Interval, over.Interval, equal[time.Duration], &differing)
	return rest, differing
}

// only returns what is said in a field unless over says something in it. If over says
// something else, the field is added to differing.
func only[T comparable](field string, mine, over T, equal func(a, b T) bool, differing *[]string) T {
	var nothing T
	if over == nothing {
		return mine
	}
	if mine != nothing && !equal(mine, over) {
		*differing = append(*differing, field)
	}
	return nothing
}

// Problem is what is wrong with one field.
type Problem struct{ Field, Text string }

// Error returns "field text".
func (p Problem) Error() string { return p.Field + " " + p.Text }

// Problems returns what is wrong with a, field by field.
func (a About) Problems() []Problem {
	var c check
	c.text("name", a.Name, MaxName, false)
	c.text("room", a.Room, MaxName, false)
	c.text("location", a.Location, MaxLocation, false)
	c.text("notes", a.Notes, MaxNotes, true)
	c.interval("interval", a.Interval)
	for _, p := range rule.TagProblems("tags", a.Tags) {
		c.add(p.Field, p.Problem)
	}
	if len(a.Metrics) > MaxMetrics {
		c.add("metrics", fmt.Sprintf("lists %d, at most %d", len(a.Metrics), MaxMetrics))
		return c.found
	}
	for _, name := range slices.Sorted(maps.Keys(a.Metrics)) {
		c.metric("metrics."+name, name, a.Metrics[name])
	}
	return c.found
}

// Validate returns the problems of a joined, or nil.
func (a About) Validate() error {
	var all []error
	for _, p := range a.Problems() {
		all = append(all, p)
	}
	return errors.Join(all...)
}

type check struct{ found []Problem }

func (c *check) add(field, text string) { c.found = append(c.found, Problem{field, text}) }

func (c *check) text(field, s string, most int, lines bool) {
	control := func(r rune) bool { return unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t')) }
	switch {
	case len(s) > most:
		c.add(field, fmt.Sprintf("has %d bytes, at most %d", len(s), most))
	case !utf8.ValidString(s):
		c.add(field, "is not UTF-8")
	case strings.ContainsFunc(s, control):
		c.add(field, "holds control characters")
	}
}

func (c *check) interval(field string, d time.Duration) {
	if d != 0 && (d < MinInterval || d > MaxInterval) {
		c.add(field, "must lie between 1s and 366d")
	}
}

// validMetric reports whether s may name a metric: 1 to 64 letters, digits, hyphens or
// underscores.
func validMetric(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func (c *check) metric(path, name string, m Metric) {
	if !validMetric(name) {
		c.add("metrics", "names a metric that is not 1 to 64 letters, digits, hyphens or underscores")
		return
	}
	c.text(path+".name", m.Name, MaxName, false)
	c.text(path+".unit", m.Unit, MaxUnit, false)
	c.interval(path+".interval", m.Interval)
	if m.Precision != nil && (*m.Precision < 0 || *m.Precision > MaxPrecision) {
		c.add(path+".precision", fmt.Sprintf("must be a whole number from 0 to %d", MaxPrecision))
	}
	for _, v := range []*float64{m.Low, m.High} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			c.add(path, "must have numbers as low and high")
			return
		}
	}
	if m.Low != nil && m.High != nil && *m.Low >= *m.High {
		c.add(path+".low", "must be less than high")
	}
}
