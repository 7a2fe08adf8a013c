package rulebook

import "headwater/web/rules"

// templates are rules to begin with, in the order in which people choose from them.
var templates = []rules.Template{
	{Name: "fridge-too-warm", Title: "Fridge", Words: "Above 8 for 15 minutes; freezers need another limit.", Fields: map[string]string{
		"description": "A fridge is too warm.", "match.device": "fridge-*", "match.metric": "temperature",
		"detector": "limit", "above": "8", "hysteresis": "1", "for": "15m", "severity": "critical",
	}},
	{Name: "door-left-open", Title: "Door left open", Words: "The temperature beside a door rises by 3 within 5 minutes.", Fields: map[string]string{
		"description": "A door seems to be open.", "match.device": "door-*", "match.metric": "temperature",
		"detector": "rate", "rise": "3", "within": "5m", "severity": "critical",
	}},
	{Name: "too-warm", Title: "Too warm", Words: "Any temperature above 30; resolved below 29.", Fields: map[string]string{
		"description": "It is too warm.", "match.metric": "temperature",
		"detector": "limit", "above": "30", "hysteresis": "1", "severity": "warning",
	}},
	{Name: "server-room", Title: "Server room", Words: "Above 27 for 5 minutes.", Fields: map[string]string{
		"description": "The server room is too warm.", "match.device": "server-room*", "match.metric": "temperature",
		"detector": "limit", "above": "27", "hysteresis": "1", "for": "5m", "severity": "critical",
	}},
	{Name: "frost", Title: "Frost", Words: "Below 3, before pipes freeze.", Fields: map[string]string{
		"description": "Water may freeze.", "match.metric": "temperature",
		"detector": "limit", "below": "3", "hysteresis": "1", "severity": "critical",
	}},
	{Name: "damp", Title: "Damp", Words: "Relative humidity above 70 for 2 hours.", Fields: map[string]string{
		"description": "It is damp; mould may grow.", "match.metric": "humidity",
		"detector": "limit", "above": "70", "hysteresis": "5", "for": "2h", "severity": "warning",
	}},
	{Name: "low-battery", Title: "Low battery", Words: "A battery below 15.", Fields: map[string]string{
		"description": "A battery must be replaced soon.", "match.metric": "battery",
		"detector": "limit", "below": "15", "hysteresis": "5", "severity": "info",
	}},
	{Name: "device-silent", Title: "Silent device", Words: "A series has stopped reporting. It learns how often each one does.", Fields: map[string]string{
		"description": "A device has stopped reporting.", "detector": "silence", "severity": "warning",
	}},
	{Name: "sensor-broken", Title: "Broken sensor", Words: "More than 10 % of a series of numbers is text, like \"unavailable\".", Fields: map[string]string{
		"description": "A sensor sends text in place of numbers.", "detector": "unreadable", "share": "10", "severity": "warning",
	}},
	{Name: "sensor-stuck", Title: "Stuck sensor", Words: "A series gives the same value again and again. It learns how often each one does.", Fields: map[string]string{
		"description": "A sensor gives the same value again and again.", "detector": "stuck", "severity": "info",
	}},
	{Name: "sensor-drifts", Title: "Drifting sensor", Words: "The mean of the days leaves that of the week before.", Fields: map[string]string{
		"description": "A sensor may need calibration.", "detector": "drift", "severity": "info",
	}},
}
