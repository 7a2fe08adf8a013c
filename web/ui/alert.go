package ui

import (
	"strings"

	"headwater/web/view"
)

// SeverityClass is the class of a severity in the style sheet; an unknown severity
// looks like information.
func SeverityClass(s view.Severity) string {
	switch s {
	case view.SeverityCritical, view.SeverityWarning:
		return string(s)
	}
	return string(view.SeverityInfo)
}

// because is the comment of a silence after its author.
func because(s view.Silence) string {
	if s.Comment == "" {
		return ""
	}
	return ": " + view.Plain(s.Comment)
}

// silenceWord names the state of a silence.
func silenceWord(s view.Silence) string {
	switch {
	case s.State == view.SilenceComing:
		return "silence to come"
	case s.Weekly != nil:
		return "weekly silence"
	}
	return "silence"
}

func severityWord(s view.Severity) string {
	c := SeverityClass(s)
	return strings.ToUpper(c[:1]) + c[1:]
}

// after returns a text behind a separator; nothing if there is no text.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + view.Plain(text)
}
