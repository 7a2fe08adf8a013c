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

func severityWord(s view.Severity) string {
	c := SeverityClass(s)
	return strings.ToUpper(c[:1]) + c[1:]
}
