// Package silence holds the silences: which alerts people are not notified of,
// and for how long. It defines the form in which dashboard and notifier keep
// them. It is pure.
package silence

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"headwater/streams"
)

// Bounds of what is kept.
const (
	// Max is the largest number of silences.
	Max = 500
	// MaxAuthor bounds the author, in bytes.
	MaxAuthor = 100
	// Longest is the longest that a silence may last. A longer silence belongs
	// into the rule.
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
	// Until is when it ends. A zero Until means that it covers the alerts that
	// fire at From, each until it is resolved.
	Until time.Time `json:"until,omitzero"`
	// Author is the person who asked for it.
	Author string `json:"author"`
}

// Match names a rule and a series; empty parts match any, but not all of them may
// be empty.
type Match struct {
	Rule   string `json:"rule,omitempty"`
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	Metric string `json:"metric,omitempty"`
}

// Has reports whether the alert of a rule on a series matches.
func (m Match) Has(rule, site, device, metric string) bool {
	for _, p := range [...][2]string{{m.Rule, rule}, {m.Site, site}, {m.Device, device}, {m.Metric, metric}} {
		if p[0] != "" && p[0] != p[1] {
			return false
		}
	}
	return true
}

// Holds reports whether the silence, at a time, holds back notifications of a
// matching alert whose episode became known at opened.
func (s Silence) Holds(at, opened time.Time) bool {
	if at.Before(s.From) {
		return false
	}
	if s.Until.IsZero() {
		return !opened.After(s.From)
	}
	return at.Before(s.Until)
}

// Ended reports whether the silence has ended.
func (s Silence) Ended(at time.Time) bool { return !s.Until.IsZero() && !at.Before(s.Until) }

// Validate returns what is wrong with the silence.
func (s Silence) Validate() error {
	switch {
	case !streams.ValidToken(s.ID):
		return errors.New("id must be 1 to 64 letters, digits, hyphens or underscores")
	case s.Match == Match{}:
		return errors.New("rule, site, device or metric must say which alerts it covers")
	case s.From.IsZero():
		return errors.New("from must say when it begins")
	case !s.Until.IsZero() && !s.Until.After(s.From):
		return errors.New("until must be after from")
	case s.Until.Sub(s.From) > Longest && !s.Until.IsZero():
		return errors.New("until must be within a year")
	case len(s.Author) > MaxAuthor:
		return fmt.Errorf("author must have at most %d bytes", MaxAuthor)
	}
	for name, token := range map[string]string{"rule": s.Rule, "site": s.Site, "device": s.Device, "metric": s.Metric} {
		if token != "" && !streams.ValidToken(token) {
			return fmt.Errorf("%s must be 1 to 64 letters, digits, hyphens or underscores", name)
		}
	}
	return nil
}

// Find returns the silence that holds back notifications of an alert for the
// longest, and whether there is one.
func Find(all []Silence, at time.Time, rule, site, device, metric string, opened time.Time) (Silence, bool) {
	var found *Silence
	for i := range all {
		s := &all[i]
		if s.Has(rule, site, device, metric) && s.Holds(at, opened) && (found == nil || later(s, found)) {
			found = s
		}
	}
	if found == nil {
		return Silence{}, false
	}
	return *found, true
}

// later reports whether a silence ends after another or, if they end together,
// has the greater id.
func later(s, than *Silence) bool {
	switch {
	case s.Until.IsZero() != than.Until.IsZero():
		return s.Until.IsZero()
	case !s.Until.Equal(than.Until):
		return s.Until.After(than.Until)
	}
	return s.ID > than.ID
}

// Encode encodes silences for storage.
func Encode(all []Silence) ([]byte, error) {
	if all == nil {
		all = []Silence{}
	}
	return json.Marshal(all)
}

// Decode decodes what Encode returned.
func Decode(content []byte) ([]Silence, error) {
	var all []Silence
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("decode silences: %w", err)
	}
	if len(all) > Max {
		return nil, fmt.Errorf("%d silences, at most %d", len(all), Max)
	}
	for i, s := range all {
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("silence %q: %w", s.ID, err)
		}
		if slices.ContainsFunc(all[:i], func(o Silence) bool { return o.ID == s.ID }) {
			return nil, fmt.Errorf("silence %q occurs twice", s.ID)
		}
	}
	return all, nil
}
