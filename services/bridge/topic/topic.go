// Package topic finds the site, the device and the metric in an MQTT topic. It is pure. The
// bridge calls it for every message, and turns its errors into dead letters.
package topic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/services/bridge/escape"
)

// Defaults are the patterns of Headwater's own topics.
func Defaults() []string {
	return []string{"sensors/{site}/{device}/{metric}", "sensors/{site}/{device}"}
}

// Address is what a topic names.
type Address struct {
	// Site and Device are names of 1 to 64 letters and digits of ASCII, hyphens
	// and underscores.
	Site, Device string
	// Metric is such a name too, or empty when the payload names the metrics.
	Metric string
}

// ErrPattern is returned by New for an invalid pattern, a mistake in the configuration.
var ErrPattern = errors.New("topic pattern")

// ErrUnknown is returned by Match for a topic that no pattern matches. Its text explains to
// the owner of the device what is wrong with the topic.
var ErrUnknown = errors.New("unknown topic")

// maxName is the longest name, in bytes.
const maxName = 64

// maxLevels bounds the levels of a pattern.
const maxLevels = 16

// Matcher holds patterns of topics. It does not change, and any number of
// goroutines may use it.
type Matcher struct {
	patterns []pattern
}

type pattern struct {
	text   string
	levels []level
}

// level is a literal, or a placeholder when place is set.
type level struct {
	literal string
	place   place
}

type place int

const (
	literal place = iota
	site
	device
	metric
)

func (p place) String() string {
	return [...]string{"literal", "site", "device", "metric"}[p]
}

// New returns a matcher of patterns such as "sensors/{site}/{device}/{metric}": levels
// divided by slashes, each a literal or one of the placeholders {site}, {device} and
// {metric}. A pattern must have a site and a device, and no placeholder twice. The first
// pattern that fits a topic counts. All problems of all patterns are reported at once; each
// is an ErrPattern.
func New(patterns ...string) (*Matcher, error) {
	if len(patterns) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrPattern)
	}
	m := new(Matcher)
	var problems []error
	for _, text := range patterns {
		p, err := parse(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("%w %q: %w", ErrPattern, text, err))
			continue
		}
		m.patterns = append(m.patterns, p)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return m, nil
}

// Subjects returns the subjects of nats-server that cover all topics of a device. "*" in
// place of a site or a device means all.
func (m *Matcher) Subjects(ofSite, ofDevice string) []string {
	var subjects []string
	for _, p := range m.patterns {
		for _, inSite := range forms(ofSite) {
			for _, inDevice := range forms(ofDevice) {
				levels := make([]string, len(p.levels))
				for j, l := range p.levels {
					levels[j] = [...]string{l.literal, inSite, inDevice, "*"}[l.place]
				}
				subjects = append(subjects, strings.Join(levels, "."))
			}
		}
	}
	return subjects
}

// forms are the tokens of nats-server that stand for a name.
func forms(name string) []string {
	if !strings.Contains(name, "_") {
		return []string{name}
	}
	return []string{name, string(escape.Topic(nil, []byte(strings.ReplaceAll(name, "_", " "))))}
}

func parse(text string) (pattern, error) {
	p := pattern{text: text}
	var seen [metric + 1]bool
	for i, part := range strings.Split(text, "/") {
		name, placeholder := strings.CutPrefix(part, "{")
		if !placeholder {
			if fault := nameFault(part); fault != "" {
				return pattern{}, fmt.Errorf("level %d %s", i+1, fault)
			}
			p.levels = append(p.levels, level{literal: part})
			continue
		}
		at := slices.IndexFunc([]place{site, device, metric}, func(q place) bool { return name == q.String()+"}" })
		if at < 0 {
			return pattern{}, fmt.Errorf("level %d: %s is none of {site}, {device} and {metric}", i+1, part)
		}
		what := site + place(at)
		if seen[what] {
			return pattern{}, fmt.Errorf("{%s} occurs twice", what)
		}
		seen[what] = true
		p.levels = append(p.levels, level{place: what})
	}
	switch {
	case len(p.levels) > maxLevels:
		return pattern{}, fmt.Errorf("%d levels, at most %d", len(p.levels), maxLevels)
	case !seen[site] || !seen[device]:
		return pattern{}, errors.New("it must hold {site} and {device}")
	}
	return p, nil
}

// Match returns what the topic names, by the first pattern that fits, or an ErrUnknown that
// explains what is wrong with it. A space in a name stands for an underscore.
func (m *Matcher) Match(topic string) (Address, error) {
	var array [maxLevels]string
	levels, ok := split(array[:0], topic)
	if ok {
		for i := range m.patterns {
			if a, ok := m.patterns[i].match(levels); ok {
				return a, nil
			}
		}
	}
	return Address{}, fmt.Errorf("%w: %s", ErrUnknown, m.fault(topic))
}

// split appends the levels of the topic to dst while it has room. It returns false when
// there are more.
func split(dst []string, topic string) ([]string, bool) {
	for {
		head, rest, more := strings.Cut(topic, "/")
		if len(dst) == cap(dst) {
			return dst, false
		}
		dst = append(dst, head)
		if !more {
			return dst, true
		}
		topic = rest
	}
}

func (p *pattern) match(levels []string) (Address, bool) {
	var a Address
	if len(levels) != len(p.levels) {
		return a, false
	}
	for i, l := range p.levels {
		if l.place == literal {
			if levels[i] != l.literal {
				return a, false
			}
			continue
		}
		name := normal(levels[i])
		if !validName(name) {
			return a, false
		}
		switch l.place {
		case site:
			a.Site = name
		case device:
			a.Device = name
		case metric:
			a.Metric = name
		}
	}
	return a, true
}

// fault returns why no pattern matches the topic. It compares with the closest pattern: the
// one with the most literals in common, then with the same number of levels.
func (m *Matcher) fault(topic string) string {
	if topic == "" {
		return "the topic is empty"
	}
	levels := strings.Split(topic, "/")
	best, score := -1, 0
	fewest, most := maxLevels+1, 0
	for i := range m.patterns {
		s, fits := m.patterns[i].likeness(levels)
		if !fits {
			continue
		}
		fewest, most = min(fewest, len(m.patterns[i].levels)), max(most, len(m.patterns[i].levels))
		if s > score {
			best, score = i, s
		}
	}
	if best < 0 {
		return "no pattern fits it; known are " + m.known()
	}
	closest := m.patterns[best]
	if len(levels) != len(closest.levels) {
		number := "too many levels"
		if len(levels) < fewest {
			number = "too few levels"
		} else if len(levels) < most {
			number = "another number of levels than any pattern"
		}
		return fmt.Sprintf("%s: %d; known are %s", number, len(levels), m.known())
	}
	for i, l := range closest.levels {
		if l.place == literal {
			continue
		}
		if fault := nameFault(normal(levels[i])); fault != "" {
			return fmt.Sprintf("level %d, the %s, %s", i+1, l.place, fault)
		}
	}
	return "no pattern fits it; known are " + m.known()
}

// likeness rates how close the pattern is to the levels. It returns false when a literal
// differs.
func (p *pattern) likeness(levels []string) (int, bool) {
	score := 1
	for i, l := range p.levels {
		if l.place != literal {
			continue
		}
		if i >= len(levels) {
			break
		}
		if levels[i] != l.literal {
			return 0, false
		}
		score += 2
	}
	if len(levels) == len(p.levels) {
		score++
	}
	return score, true
}

// Patterns returns the patterns as they were given.
func (m *Matcher) Patterns() []string {
	texts := make([]string, len(m.patterns))
	for i, p := range m.patterns {
		texts[i] = p.text
	}
	return texts
}

func (m *Matcher) known() string { return strings.Join(m.Patterns(), ", ") }

// normal returns the name that a level stands for. Gateways pass on names that people give
// to devices, such as "living room": a space stands for an underscore. A level that holds
// both is no name, so that a device has at most two forms.
func normal(level string) string {
	if strings.Contains(level, "_") {
		return level
	}
	return strings.ReplaceAll(level, " ", "_")
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// nameFault returns what is wrong with a name, as the end of a sentence; empty for a valid
// one.
func nameFault(s string) string {
	if s == "" {
		return "is empty"
	}
	for i := range len(s) {
		if nameByte(s[i]) {
			continue
		}
		r, _ := utf8.DecodeRuneInString(s[i:])
		kind := "a character"
		if strings.ContainsRune("*>+#", r) {
			kind = "a wildcard character"
		}
		return fmt.Sprintf("holds %s that is not allowed: %q (letters, digits, - and _ are)", kind, r)
	}
	if len(s) > maxName {
		return fmt.Sprintf("has %d characters, at most %d are allowed", len(s), maxName)
	}
	return ""
}
