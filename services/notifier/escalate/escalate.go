// Package escalate decides who else is notified of an alert that nobody acknowledges. It
// is pure.
package escalate

import (
	"slices"
	"time"

	"headwater/services/rule"
)

// Step notifies more channels of an alert that lasts.
type Step struct {
	// Severity is the least that the alert must have.
	Severity rule.Severity
	// After is how long the alert has been known.
	After time.Duration
	// Notify lists the channels.
	Notify []string
}

// Alert is what steps look at. Times are nanoseconds since the Unix epoch.
type Alert struct {
	Severity rule.Severity
	// Opened is when it became known.
	Opened int64
	// Notified lists the channels that were notified of it.
	Notified []string
	// Held is set while it is acknowledged or silenced, or if nobody is notified of it.
	Held bool
}

// Due returns the channels that are to be notified now, in the order of the steps.
func Due(steps []Step, a Alert, now int64) []string {
	if a.Held {
		return nil
	}
	var due []string
	for _, s := range steps {
		if !AtLeast(a.Severity, s.Severity) || now-a.Opened < int64(s.After) {
			continue
		}
		for _, channel := range s.Notify {
			if !slices.Contains(a.Notified, channel) && !slices.Contains(due, channel) {
				due = append(due, channel)
			}
		}
	}
	return due
}

// AtLeast reports whether a severity is at least another.
func AtLeast(s, least rule.Severity) bool {
	all := rule.Severities()
	return slices.Index(all, s) >= slices.Index(all, least)
}

// First returns the channels that a rule which names none notifies at once: those that no
// step names. Nil means all of them, also if steps name every channel.
func First(steps []Step, channels []string) []string {
	if len(steps) == 0 {
		return nil
	}
	first := slices.DeleteFunc(slices.Clone(channels), func(channel string) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return slices.Contains(s.Notify, channel) })
	})
	if len(first) == 0 {
		return nil
	}
	return first
}
