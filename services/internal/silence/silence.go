// Package silence holds the silences: which alerts people are not notified of,
// when, and for how long. It defines the form in which dashboard and notifier keep
// them. It is pure.
package silence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/services/internal/calendar"
	"headwater/services/internal/listed"
	"headwater/services/rule"
	"headwater/streams"
)

// Bounds of what is kept.
const (
	// Max is the largest number of silences, those that have ended included.
	Max = 500
	// MaxAuthor bounds the author, in bytes.
	MaxAuthor = 100
	// MaxComment bounds the comment, in bytes.
	MaxComment = 200
	// MaxLabels bounds the labels that one silence may look at.
	MaxLabels = 4
	// Longest is the longest that a silence may last that does not come back every
	// week. A longer silence belongs into the rule.
	Longest = 366 * 24 * time.Hour
)

// Silence holds back notifications of some alerts between two times.
type Silence struct {
	// ID is a token that no other silence has.
	ID string `json:"id"`
	// Match says which alerts it covers.
	Match
	// From is when it begins.
	From time.Time `json:"from"`
	// Until is when it ends. A zero Until means that it has no end if it is weekly,
	// else that it covers the alerts that fire at From, each until it is resolved.
	Until time.Time `json:"until,omitzero"`
	// Weekly restricts it to a span of some days of the week, in the time zone of the
	// site of each alert; nil for none.
	Weekly *calendar.Weekly `json:"weekly,omitempty"`
	// Author is the person who asked for it.
	Author string `json:"author"`
	// Comment says why.
	Comment string `json:"comment,omitempty"`
}

// TagPrefix precedes the name of a tag of the device among the labels of a Match.
const TagPrefix = "tag:"

// Match selects alerts by globs, as those of rules; empty parts match any, but not all
// of them may be empty.
type Match struct {
	Rule   string `json:"rule,omitempty"`
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	Metric string `json:"metric,omitempty"`
	// Severity is the one that the alert must have.
	Severity rule.Severity `json:"severity,omitempty"`
	// Labels are globs by the name of a label, which the alert must have, or of a tag of
	// its device after TagPrefix.
	Labels map[string]string `json:"labels,omitempty"`
}

// Alert is what a silence looks at.
type Alert struct {
	Rule, Site, Device, Metric string
	Severity                   rule.Severity
	Labels                     map[string]string
	// Tags returns the tags of a device; nil means that none has any.
	Tags func(site, device string) map[string]string
	// Opened is when its episode became known.
	Opened time.Time
	// Place is the time zone of its site; nil means UTC.
	Place *time.Location
}

// empty reports whether it would match every alert.
func (m Match) empty() bool {
	return m.Rule == "" && m.Site == "" && m.Device == "" && m.Metric == "" && m.Severity == "" && len(m.Labels) == 0
}

// Has reports whether the alert matches.
func (m Match) Has(a Alert) bool {
	if m.Severity != "" && m.Severity != a.Severity || !rule.Glob(m.Rule, a.Rule) || !m.HasDevice(a.Site, a.Device) || !rule.Glob(m.Metric, a.Metric) {
		return false
	}
	for name, glob := range m.Labels {
		if value, labelled := a.label(name); !labelled || !rule.Glob(glob, value) {
			return false
		}
	}
	return true
}

func (a Alert) label(name string) (value string, ok bool) {
	if tag, is := strings.CutPrefix(name, TagPrefix); !is {
		value, ok = a.Labels[name]
	} else if a.Tags != nil {
		value, ok = a.Tags(a.Site, a.Device)[tag]
	}
	return value, ok
}

// TagNames are the names of the tags that silences look at.
func TagNames(all []Silence) []string {
	var names []string
	for _, s := range all {
		for name := range s.Labels {
			if tag, is := strings.CutPrefix(name, TagPrefix); is {
				names = append(names, tag)
			}
		}
	}
	return names
}

// HasDevice reports whether alerts of the device can match.
func (m Match) HasDevice(site, device string) bool {
	return rule.Glob(m.Site, site) && rule.Glob(m.Device, device)
}

// Holds reports whether the silence holds back notifications of a matching alert at a
// time, and until when; zero until the alert is resolved.
func (s Silence) Holds(at time.Time, a Alert) (until time.Time, ok bool) {
	switch {
	case at.Before(s.From) || s.Ended(at):
		return time.Time{}, false
	case s.Weekly != nil:
		_, end, in := s.Weekly.In(at, a.place())
		if in && !s.Until.IsZero() && s.Until.Before(end) {
			end = s.Until
		}
		return end, in
	case s.Until.IsZero():
		return time.Time{}, !a.Opened.After(s.From)
	}
	return s.Until, true
}

func (a Alert) place() *time.Location {
	if a.Place == nil {
		return time.UTC
	}
	return a.Place
}

// Ended reports whether the silence has ended.
func (s Silence) Ended(at time.Time) bool { return !s.Until.IsZero() && !at.Before(s.Until) }

// UntilResolved reports whether it covers the alerts that fire at From.
func (s Silence) UntilResolved() bool { return s.Until.IsZero() && s.Weekly == nil }

// Validate returns what is wrong with the silence.
func (s Silence) Validate() error {
	switch {
	case !streams.ValidToken(s.ID):
		return errors.New("id must be 1 to 64 letters, digits, hyphens or underscores")
	case s.Match.empty():
		return errors.New("rule, site, device, metric, severity or a label must say which alerts it covers")
	case s.From.IsZero():
		return errors.New("from must say when it begins")
	case !s.Until.IsZero() && !s.Until.After(s.From):
		return errors.New("until must be after from")
	case s.Until.Sub(s.From) > Longest && !s.Until.IsZero() && s.Weekly == nil:
		return errors.New("until must be within a year")
	case len(s.Author) > MaxAuthor:
		return fmt.Errorf("author must have at most %d bytes", MaxAuthor)
	case len(s.Comment) > MaxComment || !utf8.ValidString(s.Comment) || strings.ContainsFunc(s.Comment, unicode.IsControl):
		return fmt.Errorf("comment must be one line of at most %d bytes", MaxComment)
	case s.Severity != "" && !slices.Contains(rule.Severities(), s.Severity):
		return errors.New("severity must be info, warning or critical")
	case len(s.Labels) > MaxLabels:
		return fmt.Errorf("at most %d labels", MaxLabels)
	}
	if s.Weekly != nil {
		if err := s.Weekly.Validate(); err != nil {
			return err
		}
	}
	for _, p := range [...][2]string{{"rule", s.Rule}, {"site", s.Site}, {"device", s.Device}, {"metric", s.Metric}} {
		if err := checkGlob(p[0], p[1]); err != nil {
			return err
		}
	}
	for name, glob := range s.Labels {
		if !rule.ValidName(strings.TrimPrefix(name, TagPrefix)) {
			return errors.New("the name of a label or tag must be 1 to 64 characters of a-z, 0-9, _ and -")
		}
		if err := checkGlob("label "+name, glob); err != nil {
			return err
		}
	}
	return nil
}

func checkGlob(name, glob string) error {
	if problem := rule.CheckGlob(glob); problem != "" {
		return errors.New(name + " " + problem)
	}
	if !utf8.ValidString(glob) || strings.ContainsFunc(glob, unicode.IsControl) {
		return errors.New(name + " holds control characters")
	}
	return nil
}

// Find returns the silence that holds back notifications of an alert for the
// longest, until when it does so (zero until the alert is resolved), and whether there
// is one.
func Find(all []Silence, at time.Time, a Alert) (found Silence, until time.Time, ok bool) {
	for _, s := range all {
		if at.Before(s.From) || s.Ended(at) || !s.Has(a) {
			continue
		}
		if end, holds := s.Holds(at, a); holds && (!ok || later(s, end, found, until)) {
			found, until, ok = s, end, true
		}
	}
	return found, until, ok
}

// later reports whether a silence that holds until end holds longer than another or, if
// they end together, has the greater id.
func later(s Silence, end time.Time, than Silence, until time.Time) bool {
	switch {
	case end.IsZero() != until.IsZero():
		return end.IsZero()
	case !end.Equal(until):
		return end.After(until)
	}
	return s.ID > than.ID
}

// Next returns the next time after at at which Find may answer otherwise than at that
// time, for any alert; false if it never does by itself.
func Next(all []Silence, at time.Time) (next time.Time, ok bool) {
	consider := func(t time.Time) {
		if t.After(at) && (!ok || t.Before(next)) {
			next, ok = t, true
		}
	}
	for _, s := range all {
		consider(s.From)
		consider(s.Until)
		if s.Weekly != nil && !s.Ended(at) {
			// Wherever a site is, its clock shows full minutes when others do.
			consider(at.Truncate(time.Minute).Add(time.Minute))
		}
	}
	return next, ok
}

// Encode encodes silences for storage.
func Encode(all []Silence) ([]byte, error) { return listed.Encode(all) }

// Decode decodes what Encode returned.
func Decode(content []byte) ([]Silence, error) {
	return listed.Decode(content, "silence", Max, func(s Silence) string { return s.ID })
}
