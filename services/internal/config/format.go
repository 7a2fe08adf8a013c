package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/services/rule"
)

// Format writes a rule as people would: what it says and no default.
func Format(r rule.Rule) string {
	var f formatter
	f.text("name", r.Name, "")
	f.text("description", r.Description, "")
	f.match(r.Match)
	f.text("state", string(r.State), string(rule.Enabled))
	f.text("detector", string(r.Detector), string(rule.Expression))
	f.text("expression", r.Expression, "")
	f.text("resolve", r.Resolve, "")
	f.text("metric", r.Metric, "")
	f.pointer("above", r.Above)
	f.pointer("below", r.Below)
	f.number("hysteresis", r.Hysteresis, 0)
	f.span("for", r.For, 0)
	f.number("rise", r.Rise, 0)
	f.number("fall", r.Fall, 0)
	f.number("share", r.Share, rule.DefaultShare)
	f.span("within", r.Within, usualWithin(r.Detector))
	f.span("settle", r.Settle, rule.DefaultSettle)
	f.number("false_alarms", r.FalseAlarms, rule.DefaultFalseAlarms)
	f.text("direction", string(r.Direction), string(rule.DefaultDirection))
	f.span("silence", r.Silence, rule.DefaultSilence)
	f.text("severity", string(r.Severity), string(rule.DefaultSeverity))
	if r.Notify != nil {
		all := make([]string, len(r.Notify))
		for i, c := range r.Notify {
			all[i] = scalar(c)
		}
		f.line("notify", "["+strings.Join(all, ", ")+"]")
	}
	f.span("remind", r.Remind, 0)
	f.words("labels", r.Labels)
	f.text("runbook", r.Runbook, "")
	return f.b.String()
}

// usualWithin is the time in which something is measured when none is given; 0:
// one must be.
func usualWithin(d rule.Detector) time.Duration {
	if d == rule.Unreadable {
		return rule.DefaultShareWithin
	}
	return 0
}

type formatter struct{ b strings.Builder }

func (f *formatter) line(field, value string) { fmt.Fprintf(&f.b, "%s: %s\n", field, value) }

func (f *formatter) text(field, value, usual string) {
	if value != "" && value != usual {
		f.line(field, scalar(value))
	}
}

func (f *formatter) pointer(field string, v *float64) {
	if v != nil {
		f.line(field, decimal(*v))
	}
}

func (f *formatter) number(field string, v, usual float64) {
	if v != 0 && v != usual {
		f.line(field, decimal(v))
	}
}

func (f *formatter) span(field string, d, usual time.Duration) {
	if d != 0 && d != usual {
		f.line(field, Span(d))
	}
}

func (f *formatter) words(field string, words map[string]string) {
	if len(words) > 0 {
		f.line(field, mapping(words))
	}
}

func (f *formatter) match(m rule.Match) {
	var parts []string
	for _, p := range []struct{ field, glob string }{{"site", m.Site}, {"device", m.Device}, {"metric", m.Metric}} {
		if p.glob != "" && p.glob != "*" {
			parts = append(parts, p.field+": "+scalar(p.glob))
		}
	}
	if len(m.Tags) > 0 {
		parts = append(parts, "tags: "+mapping(m.Tags))
	}
	if len(parts) > 0 {
		f.line("match", "{"+strings.Join(parts, ", ")+"}")
	}
}

func mapping(words map[string]string) string {
	parts := make([]string, 0, len(words))
	for _, key := range slices.Sorted(maps.Keys(words)) {
		parts = append(parts, scalar(key)+": "+scalar(words[key]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// scalar writes a text as YAML; plain where nothing else could be meant.
func scalar(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && r != '-' && r != '_'
	}) && s[0] >= 'a' && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"}, s)
	if plain {
		return s
	}
	return strconv.Quote(s)
}

func decimal(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-9 || a >= 1e15) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// Span writes a time as the configuration has it: whole days, then what
// time.Duration writes, without parts that are zero.
func Span(d time.Duration) string {
	days := d / (24 * time.Hour)
	rest := d % (24 * time.Hour)
	var s string
	if days > 0 {
		s = strconv.Itoa(int(days)) + "d"
	}
	if rest == 0 && days > 0 {
		return s
	}
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return s + text
}
