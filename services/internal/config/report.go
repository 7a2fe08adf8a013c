package config

import (
	"slices"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/internal/calendar"
)

// reportSection is the section of a file that holds the morning report.
const reportSection = "report"

// Report says when and where the morning report goes. Without a channel there is none.
type Report struct {
	// At is the time of day, in the time zone of the site.
	At calendar.Clock
	// Channel gets it.
	Channel string
	// Site is the site that it is about; empty for all, in the time zone of the
	// configuration.
	Site string
}

// ReportZone returns the name of the time zone of the morning report.
func (c *Config) ReportZone() string {
	if c.Report.Site == "" {
		return c.TimeZone
	}
	return c.Zone(c.Report.Site)
}

func (o *object) report(channels []Channel) (r Report) {
	v, given := o.fields[reportSection]
	if !given {
		return r
	}
	if _, null := v.node.(*ast.NullNode); null {
		return r
	}
	ro := o.r.object(v, "at", "channel", "site")
	if ro == nil {
		return r
	}
	var at string
	ro.required("at")
	ro.string("at", &at)
	clock, err := calendar.ParseClock(at)
	if _, given := ro.fields["at"]; given && err != nil && !ro.failed["at"] {
		ro.fail("at", "%s", err.Error())
	}
	r.At = clock
	ro.required("channel")
	ro.string("channel", &r.Channel)
	if r.Channel != "" && o.r.channelsKnown && !slices.Contains(names(channels), r.Channel) {
		ro.fail("channel", "there is no channel %q", clip(r.Channel))
	}
	ro.string("site", &r.Site)
	if r.Site != "" && !validSite(r.Site) {
		ro.fail("site", "%q is not a site: 1 to 64 letters, digits, - and _", clip(r.Site))
	}
	return r
}
