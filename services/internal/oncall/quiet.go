package oncall

import (
	"slices"
	"time"

	"headwater/services/internal/calendar"
	"headwater/services/rule"
)

// MaxQuiet is the greatest number of quiet hours.
const MaxQuiet = 20

// Quiet are hours in which some channels are not notified of what can wait.
type Quiet struct {
	// Severity is the greatest that can wait: info or warning.
	Severity rule.Severity
	// Weekly is when.
	Weekly calendar.Weekly
	// Place is the time zone; nil for that of the site of each alert.
	Place *time.Location
	// Channels are those that rest; nil for all.
	Channels []string
	// Instead lists the channels that are notified in their place; without any, the
	// messages wait until the hours end.
	Instead []string
}

// Equal reports whether two quiet hours are the same.
func (q Quiet) Equal(o Quiet) bool {
	return q.Severity == o.Severity && q.Weekly == o.Weekly && (q.Place == nil) == (o.Place == nil) && q.Place.String() == o.Place.String() && slices.Equal(q.Channels, o.Channels) && slices.Equal(q.Instead, o.Instead)
}

// rests reports whether the hours are for the channel.
func (q Quiet) rests(channel string) bool {
	return (q.Channels == nil || slices.Contains(q.Channels, channel)) && !slices.Contains(q.Instead, channel)
}

// Hush names what becomes of a message.
type Hush string

const (
	// HushNone means: no quiet hours are in force for the channel; it is notified.
	HushNone Hush = "none"
	// HushSevere means: quiet hours are in force, but the alert cannot wait; it is notified.
	HushSevere Hush = "severe"
	// HushWaits means: the message waits until the quiet hours end.
	HushWaits Hush = "waits"
	// HushInstead means: other channels are notified in its place.
	HushInstead Hush = "instead"
)

// Rest is what quiet hours do to a message.
type Rest struct {
	Hush Hush
	// Until is when the hours end, if it waits or other channels are notified.
	Until time.Time
	// Instead are the other channels.
	Instead []string
}

// Resting returns what becomes of a message to a channel about an alert of a severity, at a
// site in a time zone. Of several quiet hours the first counts that the alert can wait for.
func Resting(all []Quiet, channel string, severity rule.Severity, at time.Time, site *time.Location) Rest {
	out := Rest{Hush: HushNone}
	for _, q := range all {
		if !q.rests(channel) {
			continue
		}
		place := q.Place
		if place == nil {
			place = site
		}
		_, end, in := q.Weekly.In(at, place)
		if !in {
			continue
		}
		if order(severity) > order(q.Severity) {
			out.Hush = HushSevere
			continue
		}
		if len(q.Instead) > 0 {
			return Rest{Hush: HushInstead, Until: end, Instead: q.Instead}
		}
		return Rest{Hush: HushWaits, Until: end}
	}
	return out
}

func order(s rule.Severity) int { return slices.Index(rule.Severities(), s) }
