package rules

import "headwater/web/ui"

// Template is a rule to begin with: the form opens filled in.
type Template struct {
	// Name is the name of the template, and the name proposed for the rule.
	Name, Title string
	// Words say when the rule alerts.
	Words string
	// Fields are the values of the form, beside the name.
	Fields map[string]string
}

// Templates are all templates, in the order in which people choose from them.
var Templates = [...]Template{
	{"fridge-too-warm", "Fridge", "Above 8 for 15 minutes; freezers need another limit.", map[string]string{
		"description": "A fridge is too warm.", "match.device": "fridge-*", "match.metric": "temperature",
		"detector": "limit", "above": "8", "hysteresis": "1", "for": "15m", "severity": "critical",
	}},
	{"door-left-open", "Door left open", "The temperature beside a door rises by 3 within 5 minutes.", map[string]string{
		"description": "A door seems to be open.", "match.device": "door-*", "match.metric": "temperature",
		"detector": "rate", "rise": "3", "within": "5m", "severity": "critical",
	}},
	{"too-warm", "Too warm", "Any temperature above 30; resolved below 29.", map[string]string{
		"description": "It is too warm.", "match.metric": "temperature",
		"detector": "limit", "above": "30", "hysteresis": "1", "severity": "warning",
	}},
	{"server-room", "Server room", "Above 27 for 5 minutes.", map[string]string{
		"description": "The server room is too warm.", "match.device": "server-room*", "match.metric": "temperature",
		"detector": "limit", "above": "27", "hysteresis": "1", "for": "5m", "severity": "critical",
	}},
	{"frost", "Frost", "Below 3, before pipes freeze.", map[string]string{
		"description": "Water may freeze.", "match.metric": "temperature",
		"detector": "limit", "below": "3", "hysteresis": "1", "severity": "critical",
	}},
	{"damp", "Damp", "Relative humidity above 70 for 2 hours.", map[string]string{
		"description": "It is damp; mould may grow.", "match.metric": "humidity",
		"detector": "limit", "above": "70", "hysteresis": "5", "for": "2h", "severity": "warning",
	}},
	{"low-battery", "Low battery", "A battery below 15.", map[string]string{
		"description": "A battery must be replaced soon.", "match.metric": "battery",
		"detector": "limit", "below": "15", "hysteresis": "5", "severity": "info",
	}},
	{"device-silent", "Silent device", "A series has stopped reporting. It learns how often each one does.", map[string]string{
		"description": "A device has stopped reporting.", "detector": "silence", "severity": "warning",
	}},
	{"sensor-broken", "Broken sensor", "More than 10 % of a series of numbers is text, like \"unavailable\".", map[string]string{
		"description": "A sensor sends text in place of numbers.", "detector": "unreadable", "share": "10", "severity": "warning",
	}},
}

// TemplateURL is the address of the form filled in from the template.
func TemplateURL(name string) string { return "/rules/new?template=" + ui.QueryEscape(name) }
