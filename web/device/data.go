package device

import (
	"context"
	"time"

	"headwater/web/view"
)

// Source is what the page of a device shows. All but Series and States answer from
// memory, at once.
type Source interface {
	// Device returns one device; false when it is not known.
	Device(site, device string) (view.Device, bool)
	// Follow collects the new readings of a device until the feed is closed.
	Follow(site, device string) Feed
	// Summaries returns the latest windows of a device, the newest first.
	Summaries(site, device string) []Summary
	// Episodes returns the anomalies of a device that touch [from, to), the newest
	// first.
	Episodes(site, device string, from, to time.Time) []view.Episode
	// Alerts returns the active alerts, and at most resolved of the others.
	Alerts(resolved int) view.Alerts
	// About returns what an anomaly shows of its rule; false when there is no rule
	// of the name.
	About(rule string) (view.RuleAbout, bool)
	// SilencesOf returns the silences, in force or to come, that can mute alerts of a
	// device.
	SilencesOf(site, device string) []view.Silence
	// AnnotationsOf returns what was written about a device or its site and touches [from, to),
	// bounded: of too many, those about the latest times.
	AnnotationsOf(site, device string, from, to time.Time) []view.Annotation
	// Metered reports whether a metric of a device is declared as a counter.
	Metered(site, device string) bool
	// Troubles returns what is wrong with what a device sends.
	Troubles(site, device string) []view.Problem
	// Series returns the history of a series without its episodes. An error that
	// wraps view.ErrUnavailable means that the database cannot be reached.
	Series(ctx context.Context, q SeriesQuery) (Series, error)
	// States returns the changes of a flag or a text, the oldest first, beginning with the
	// one in force at the start of the range, if that is known, and whether there were too
	// many readings to begin there. Its errors are as of Series.
	States(ctx context.Context, q StatesQuery) (changes []Change, more bool, err error)
}

// Feed is the readings of one device as they come. It is for one goroutine.
type Feed interface {
	// Recent returns the latest readings that are remembered, oldest first.
	Recent() []Point
	// Take returns the readings that came since the last Take, bounded: of too many
	// in a series, those that keep its extremes.
	Take() []Point
	// Close ends the collecting.
	Close()
}

// Summary is what a series did in one window.
type Summary struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit,omitempty"`
	// Window is the name of the window, such as 1m or hopping-10m-1m.
	Window string `json:"window"`
	// At distinguishes the summary from others of its window.
	At    time.Time     `json:"-"`
	Start time.Time     `json:"start"`
	Width time.Duration `json:"-"`
	// Count is the number of readings; 0 if the window no longer exists.
	Count     uint64  `json:"count"`
	Sum       float64 `json:"sum"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
	Mean      float64 `json:"mean"`
	First     float64 `json:"first"`
	Last      float64 `json:"last"`
	Deviation float64 `json:"deviation"`
	// TimeMean is the mean over time, Rate the change per second.
	TimeMean float64 `json:"time_mean"`
	Rate     float64 `json:"rate"`
	P50      float64 `json:"p50"`
	P90      float64 `json:"p90"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
	Revision uint32  `json:"revision"`
}

// SeriesQuery asks for the history of one series in [From, To).
type SeriesQuery struct {
	Site, Device, Metric string
	// Unit selects the numbers in that unit; Bare says that those without one count
	// too.
	Unit     string
	Bare     bool
	From, To time.Time
	// Points is the largest number of buckets to return.
	Points int
}

// Series is the history of one series in columns of equal length, in the order
// of time. A bucket keeps the extremes of the readings in it; a bucket of one
// reading has that reading's value in all columns.
type Series struct {
	Site   string    `json:"site"`
	Device string    `json:"device"`
	Metric string    `json:"metric"`
	Unit   string    `json:"unit,omitempty"`
	Kind   view.Kind `json:"kind"`
	// From and To bound the half-open range that was asked for.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// BucketMS is the width of a bucket in milliseconds; 0 if every reading is a
	// point.
	BucketMS int64 `json:"bucket_ms"`
	// Tier is what the buckets are made of: "1m", "1h" or "1d" for a roll-up, "raw"
	// for the readings.
	Tier string `json:"tier"`
	// Source is "history" or, while that cannot be reached, "memory": the last
	// quarter of an hour as the dashboard remembers it.
	Source string `json:"source"`
	// TimeMS is in milliseconds since the Unix epoch.
	TimeMS []int64   `json:"time_ms"`
	Min    []float64 `json:"min"`
	Max    []float64 `json:"max"`
	Mean   []float64 `json:"mean"`
	// Last are the values of the latest readings and Count the numbers of readings of
	// the buckets; a flag has no count. An answer has them if they are asked for.
	Last  []float64 `json:"last,omitempty"`
	Count []float64 `json:"count,omitempty"`
	// Episodes are the anomalies of the series that touch the range.
	Episodes []view.Episode `json:"episodes"`
	// Silences are those, in force or to come, that can mute alerts of the series and
	// do not come back every week.
	Silences []view.Silence `json:"silences"`
	// Annotations are those of the device and its site that touch the range.
	Annotations []view.Annotation `json:"annotations"`
}

// Point is one new reading for a chart. A flag is 0 or 1.
type Point struct {
	Metric string
	// Unit is empty for a number that came without one.
	Unit string
	// TimeMS is the event time in milliseconds since the Unix epoch.
	TimeMS int64
	Value  float64
}
