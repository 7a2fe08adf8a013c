package oncall

import "headwater/web/view"

// example is a text that the page shows.
const example = `rotas:
  - name: duty
    handover: mon 09:00        # days and time of day; daily 08:00 changes every day
    time_zone: Europe/Berlin
    first: 2026-11-30          # the day on which the turn of the first person begins
    people:
      - {name: Ann, notify: [ann-phone]}
      - {name: Ben, notify: [ben-phone, ben-mail]}
quiet_hours:
  - {severity: warning, from: "22:00", until: "07:00"}   # what is critical goes through
escalation:
  - {severity: warning, after: 15m, notify: [duty]}
report: {at: "07:00", channel: ann-phone}   # what was unusual, what is silent, what needs a battery
`

// because says why somebody is on call.
func because(s Shift) string {
	switch s.Reason {
	case StandsIn:
		return "stands in"
	case Gone:
		return "who was to stand in is not there any more"
	}
	return "in turn"
}

// upTo names the severities that can wait.
func upTo(s view.Severity) string {
	if s == view.SeverityInfo {
		return "Infos"
	}
	return "Infos and warnings"
}

// and ends a severity that is the least.
func and(s view.Severity) string {
	if s == view.SeverityCritical {
		return ""
	}
	return " and above"
}
