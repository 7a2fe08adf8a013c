package view

import "time"

// RuleStats are the alerts of a rule that began in the last days. Times are in
// milliseconds, and 0 when there is none.
type RuleStats struct {
	Days int `json:"days"`
	// Alerts counts the episodes, Ongoing those of them that still last.
	Alerts  int `json:"alerts"`
	Ongoing int `json:"ongoing"`
	// LastedMS is the median of how long the others lasted, LongestMS the longest.
	LastedMS  int64 `json:"lasted_ms"`
	LongestMS int64 `json:"longest_ms"`
	// Acknowledged counts the acknowledged ones, and AcknowledgedAfterMS is the median
	// time until that.
	Acknowledged        int   `json:"acknowledged"`
	AcknowledgedAfterMS int64 `json:"acknowledged_after_ms"`
	// NeverActed counts those that ended and that nobody acknowledged, commented on, took
	// over or resolved.
	NeverActed int `json:"never_acted_on"`
	// NoData counts those that ended because no readings came any more.
	NoData int `json:"ended_without_data"`
}

// Lasted returns LastedMS as a duration.
func (s RuleStats) Lasted() time.Duration { return time.Duration(s.LastedMS) * time.Millisecond }

// Longest returns LongestMS as a duration.
func (s RuleStats) Longest() time.Duration { return time.Duration(s.LongestMS) * time.Millisecond }

// AcknowledgedAfter returns AcknowledgedAfterMS as a duration.
func (s RuleStats) AcknowledgedAfter() time.Duration {
	return time.Duration(s.AcknowledgedAfterMS) * time.Millisecond
}
