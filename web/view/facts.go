package view

import (
	"encoding/json"
	"math"
	"time"

	"headwater/proto/figure"
)

// State says how a device does.
type State string

const (
	// StateOK is a device that reports and has no firing alert.
	StateOK State = "ok"
	// StateFiring is a device with at least one firing alert.
	StateFiring State = "firing"
	// StateSilent is a device that has not reported for longer than it used to.
	StateSilent State = "silent"
	// StateUnknown is a device that is due, but Headwater has not listened for
	// long enough to call it silent: it has just started, or stood still.
	StateUnknown State = "unknown"
)

// Severity is how much an alert matters.
type Severity string

// The severities, in rising order.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// Kind is the type of a metric's values.
type Kind string

// The kinds of values.
const (
	KindNumber Kind = "value"
	KindFlag   Kind = "flag"
	KindText   Kind = "text"
)

// Value is the value of one reading. The zero Value means that there is none.
type Value struct {
	Kind   Kind
	Number float64
	Flag   bool
	Text   string
}

// Number returns a numeric value; -0 is 0.
func Number(v float64) Value { return Value{Kind: KindNumber, Number: figure.Zero(v)} }

// Flag returns a value that is true or false.
func Flag(v bool) Value { return Value{Kind: KindFlag, Flag: v} }

// Text returns a value that is a text.
func Text(v string) Value { return Value{Kind: KindText, Text: v} }

// String returns the value for people, without its unit.
func (v Value) String() string {
	switch v.Kind {
	case KindNumber:
		return FormatNumber(v.Number)
	case KindFlag:
		if v.Flag {
			return "on"
		}
		return "off"
	case KindText:
		return plain(v.Text)
	}
	return "–"
}

// MarshalJSON writes the value as a number, a bool or a string, and no value or
// one that JSON cannot express as null.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.Kind {
	case KindNumber:
		if math.IsNaN(v.Number) || math.IsInf(v.Number, 0) {
			return []byte("null"), nil
		}
		return json.Marshal(v.Number)
	case KindFlag:
		return json.Marshal(v.Flag)
	case KindText:
		return json.Marshal(v.Text)
	}
	return []byte("null"), nil
}

// Device is what is known of one device now.
type Device struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	State  State  `json:"state"`
	// LastSeen is when the latest reading arrived, of one from before the memory
	// of the dashboard to the minute; zero when no reading is kept.
	LastSeen  time.Time `json:"last_seen,omitzero"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	// Metrics are in the order of their names.
	Metrics []Metric `json:"metrics"`
	// Firing holds the sentences of the firing alerts, the worst first.
	Firing []Alert `json:"firing,omitempty"`
	// Waiting says that the history has not been asked for the latest values yet:
	// those that are missing may come.
	Waiting bool `json:"waiting,omitempty"`
}

// Metric is one series with its latest value.
type Metric struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	Kind Kind   `json:"kind"`
	// Value is that of the latest reading of this kind by event time.
	Value Value `json:"value"`
	// Time is the event time of that reading; zero when there is none.
	Time time.Time `json:"time,omitzero"`
	// Odd is the latest reading when it is newer and of another kind, such as a
	// text among numbers.
	Odd *Odd `json:"odd,omitempty"`
	// Spark is the recent past in slots of equal width, oldest first, without
	// the empty ones.
	Spark []Slot `json:"-"`
}

// Odd is a reading of another kind than is usual for its series.
type Odd struct {
	Kind  Kind      `json:"kind"`
	Value Value     `json:"value"`
	Time  time.Time `json:"time"`
}

// Drawn reports whether the metric has a chart: its latest value is no text, or
// numbers came lately, as from a sensor that says "unavailable" for a while.
func (m Metric) Drawn() bool { return m.Kind != KindText || len(m.Spark) > 0 }

// Slot is what a series did in one slot of a sparkline.
type Slot struct {
	// Start is the start of the slot, which is SlotWidth wide.
	Start          time.Time
	Min, Max, Last float64
}

// SlotWidth and SlotCount say what a sparkline covers: a quarter of an hour.
const (
	SlotWidth = 15 * time.Second
	SlotCount = 60
)

// DeviceQuery selects devices.
type DeviceQuery struct {
	// Text must be part of "site/device" or of a metric's name, in any case.
	Text string
	// State selects devices of one state; empty means all.
	State State
	// Page counts from 1.
	Page int
	// Size is the number of devices on a page.
	Size int
}

// Devices is one page of devices with the counts of all.
type Devices struct {
	// Items are in the order of state (firing, silent, ok) and then of name.
	Items []Device `json:"devices"`
	// Matching counts the devices that the query selects, over all pages.
	Matching int `json:"matching"`
	// Total, Firing, Silent and Unknown count over all devices, whatever the
	// query.
	Total   int `json:"total"`
	Firing  int `json:"firing"`
	Silent  int `json:"silent"`
	Unknown int `json:"unknown"`
}

// Alert is the life of one rule on one series.
type Alert struct {
	// ID is the same for all episodes of one rule on one series, Episode is that of
	// this one alone.
	ID          string   `json:"alert_id"`
	Episode     string   `json:"id"`
	Rule        string   `json:"rule"`
	Description string   `json:"description,omitempty"`
	Site        string   `json:"site"`
	Device      string   `json:"device"`
	Metric      string   `json:"metric"`
	Unit        string   `json:"unit,omitempty"`
	State       string   `json:"state"`
	Severity    Severity `json:"severity"`
	// Started and Ended are event times, in the time zone of the site as all times of
	// an alert; Ended is zero while the alert lasts.
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Updated is the event time of the last transition, Learned when Headwater
	// came to know of it.
	Updated time.Time `json:"updated,omitzero"`
	Learned time.Time `json:"learned,omitzero"`
	// Sentence says why, in words.
	Sentence string `json:"sentence"`
	// Labels and Runbook are those of the rule when the alert was last told of.
	Labels  []RuleLabel `json:"labels,omitempty"`
	Runbook string      `json:"runbook,omitempty"`
	// Opened is when it was learned that the episode had begun.
	Opened time.Time `json:"-"`
	// Mute is the silence that holds back news of it; nil for none.
	Mute *Silence `json:"mute,omitempty"`
	// About is the rule as it is now; nil when it is not there or not known.
	About *RuleAbout `json:"-"`
}

// Silence is what people are not notified of for a time: the alerts of a rule, of
// series, or both; empty parts are any.
type Silence struct {
	ID     string `json:"id"`
	Rule   string `json:"rule,omitempty"`
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	Metric string `json:"metric,omitempty"`
	// From and Until bound it. UntilResolved says that it is about the alerts that
	// fired at From, each until it is resolved; then there is no Until.
	From          time.Time `json:"from"`
	Until         time.Time `json:"until,omitzero"`
	UntilResolved bool      `json:"until_resolved,omitempty"`
	Author        string    `json:"author"`
}

// what says in words which alerts are meant.
func (s Silence) what() string {
	what := "Every alert"
	if s.Rule != "" {
		what = "Rule " + s.Rule
	}
	switch {
	case s.Metric != "" && s.Device != "":
		what += " for " + s.Metric + " of " + s.Device
	case s.Metric != "":
		what += " for " + s.Metric
	case s.Device != "":
		what += " of " + s.Device
	}
	if s.Site != "" {
		what += " at " + s.Site
	}
	return what
}

// Late says by how much the last transition was learned of late, and whether
// that is worth telling people.
func (a Alert) Late() (time.Duration, bool) {
	if a.Learned.IsZero() || a.Updated.IsZero() {
		return 0, false
	}
	d := a.Learned.Sub(a.Updated)
	return d, d >= 2*time.Minute
}

// Active says whether the alert has not been resolved.
func (a Alert) Active() bool { return a.State != AlertResolved }

// The states of an alert.
const (
	AlertPending      = "pending"
	AlertFiring       = "firing"
	AlertAcknowledged = "acknowledged"
	AlertResolved     = "resolved"
)

// Alerts are the alerts that last, and the latest of those that are over.
type Alerts struct {
	// Active are the worst first, then the newest.
	Active []Alert `json:"active"`
	// Resolved are the newest first.
	Resolved []Alert `json:"resolved"`
	// ResolvedTotal counts all resolved alerts that are remembered.
	ResolvedTotal int `json:"resolved_total"`
}

// Episode is one anomaly on a series, as a chart marks it.
type Episode struct {
	Rule     string   `json:"rule"`
	Metric   string   `json:"metric"`
	Severity Severity `json:"severity"`
	// Start and End are event times; End is zero while the episode lasts.
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"`
	Sentence string    `json:"sentence"`
	// Low and High bound what is not abnormal; nil is open.
	Low  *float64 `json:"low,omitempty"`
	High *float64 `json:"high,omitempty"`
	// Baseline is what was expected; nil when there is no band about it.
	Baseline *float64 `json:"baseline,omitempty"`
	// About is the rule as it is now; nil when it is not there or not known.
	About *RuleAbout `json:"-"`
}

// Summary is what a series did in one window.
type Summary struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit,omitempty"`
	// Window is the name of the window, such as 1m or hopping-10m-1m.
	Window string `json:"window"`
	// At tells the summary from others of its window.
	At    time.Time     `json:"-"`
	Start time.Time     `json:"start"`
	Width time.Duration `json:"-"`
	// Count is the number of readings; 0 when the window is no more.
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
	From, To             time.Time
	// Points is the largest number of buckets to return.
	Points int
}

// Series is the history of one series in columns of equal length, in the order
// of time. A bucket keeps the extremes of the readings in it; a bucket of one
// reading has that reading's value in all columns.
type Series struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Metric string `json:"metric"`
	Unit   string `json:"unit,omitempty"`
	Kind   Kind   `json:"kind"`
	// From and To bound the half-open range that was asked for.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// BucketMS is the width of a bucket in milliseconds; 0 when every reading
	// is told by itself.
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
	// Episodes are the anomalies of the series that touch the range.
	Episodes []Episode `json:"episodes"`
}

// Point is one new reading for a chart. A flag is 0 or 1.
type Point struct {
	Metric string
	// TimeMS is the event time in milliseconds since the Unix epoch.
	TimeMS int64
	Value  float64
}

// Pipeline says what the parts of Headwater do.
type Pipeline struct {
	// At is when the streams were last asked; zero when that never worked.
	At time.Time `json:"at,omitzero"`
	// Rate is the number of readings a second over the last ten seconds.
	Rate float64 `json:"readings_per_second"`
	// Rates are the readings of each of the last 60 seconds, oldest first.
	Rates []float64 `json:"-"`
	// Problems say what is wrong, in words; empty when nothing is.
	Problems  []Problem  `json:"problems"`
	Streams   []Stream   `json:"streams"`
	Consumers []Consumer `json:"consumers"`
	Lanes     []Lane     `json:"lanes"`
	Influx    Influx     `json:"influxdb"`
	Channels  []Channel  `json:"channels"`
}

// Problem is one thing that is wrong, for people.
type Problem struct {
	// Part names what has the problem: a stream, a service, "InfluxDB".
	Part string `json:"part"`
	Text string `json:"text"`
	// Since is when it began; zero when unknown.
	Since time.Time `json:"since,omitzero"`
}

// Stream is the state of one stream.
type Stream struct {
	Name string `json:"name"`
	// Purpose says in a few words what it holds.
	Purpose  string `json:"purpose"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// MaxBytes is the limit, 0 when there is none.
	MaxBytes  uint64    `json:"max_bytes"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Consumers int       `json:"consumers"`
	// Gone counts the messages that are missing between the first and the last, of a
	// stream in which none may be.
	Gone uint64 `json:"gone,omitempty"`
}

// Full returns how full the stream is, between 0 and 1; 0 without a limit.
func (s Stream) Full() float64 {
	if s.MaxBytes == 0 {
		return 0
	}
	return min(1, float64(s.Bytes)/float64(s.MaxBytes))
}

// Consumer is the state of one durable consumer.
type Consumer struct {
	Stream  string `json:"stream"`
	Name    string `json:"name"`
	Purpose string `json:"purpose"`
	// Pending counts messages that were not delivered yet, Unacked those that
	// were delivered and not acknowledged, Redelivered those delivered again.
	Pending     uint64    `json:"pending"`
	Unacked     int       `json:"unacked"`
	Redelivered int       `json:"redelivered"`
	Active      time.Time `json:"active,omitzero"`
}

// Lane is the state of one lane.
type Lane struct {
	Lane int `json:"lane"`
	// Readings counts those that the dashboard has seen in the lane, Sequence
	// is the last message of it and Arrived when its last reading arrived.
	Readings uint64    `json:"readings"`
	Sequence uint64    `json:"sequence"`
	Arrived  time.Time `json:"arrived,omitzero"`
	// CaughtUp is up to when the bridge has filled the lane.
	CaughtUp time.Time `json:"caught_up,omitzero"`
	// Processed is the position of the processor's last commit, and
	// ProcessedAt when that was stored.
	Processed   uint64    `json:"processed"`
	ProcessedAt time.Time `json:"processed_at,omitzero"`
}

// Influx is the state of InfluxDB.
type Influx struct {
	URL string `json:"url"`
	// Problem is empty when InfluxDB answers.
	Problem string `json:"problem,omitempty"`
	Version string `json:"version,omitempty"`
	// CheckedAt is when it was last asked, AnsweredAt when it last answered.
	CheckedAt  time.Time     `json:"checked_at,omitzero"`
	AnsweredAt time.Time     `json:"answered_at,omitzero"`
	Latency    time.Duration `json:"-"`
}

// Channel is what became of the notifications of one channel.
type Channel struct {
	Name   string `json:"name"`
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"`
	// The last one: when its outcome was known, whether it was sent, what it
	// said and why it failed.
	Last      time.Time `json:"last,omitzero"`
	LastSent  bool      `json:"last_sent"`
	LastTitle string    `json:"last_title,omitempty"`
	LastError string    `json:"last_error,omitempty"`
}

// DeadLetterQuery selects dead letters, the newest first.
type DeadLetterQuery struct {
	// Service and Reason select; empty means all.
	Service, Reason string
	// Before is the sequence below which the page begins; 0 means the newest.
	Before uint64
	// Size is the number of letters on a page.
	Size int
}

// DeadLetters is one page of dead letters.
type DeadLetters struct {
	Items []DeadLetter `json:"dead_letters"`
	// Next is the Before of the next page, 0 when there is none.
	Next uint64 `json:"next,omitempty"`
	// Counts are over all dead letters, by service and reason.
	Counts []DeadLetterCount `json:"counts"`
	Total  uint64            `json:"total"`
	// Last is the highest sequence that there was. What people decide about all
	// that they saw reaches up to it, and not to what came since.
	Last uint64 `json:"last"`
}

// DeadLetterCount is the number of dead letters of one service and reason.
type DeadLetterCount struct {
	Service string `json:"service"`
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
}

// DeadLetter is one message that could not be processed.
type DeadLetter struct {
	Sequence uint64 `json:"sequence"`
	Service  string `json:"service"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
	// From is where the message came from: a topic, a path, a subject.
	From    string    `json:"from"`
	Site    string    `json:"site,omitempty"`
	Device  string    `json:"device,omitempty"`
	Arrived time.Time `json:"arrived,omitzero"`
	// Payload begins with the original bytes; Size is the length of them all.
	Payload []byte `json:"payload"`
	Size    int    `json:"size"`
	// NotRedrivable says why nobody can redrive the letter; empty if it can be.
	NotRedrivable string `json:"not_redrivable,omitempty"`
}

// Status is what every page shows besides its own content.
type Status struct {
	// Firing counts the firing alerts.
	Firing int
	// DeadLetters counts the dead letters.
	DeadLetters uint64
	// Notices say what is down and how old the data is.
	Notices []Problem
	// Demo is set while devices of the demo report.
	Demo bool
}

// DeadLetterSelection says which dead letters are to be redriven or purged.
type DeadLetterSelection struct {
	// Sequence selects one letter; 0 selects by what follows.
	Sequence uint64
	// Service and Reason select; empty means all.
	Service, Reason string
	// Through is the highest sequence that is selected.
	Through uint64
	// From is the lowest sequence that is selected, of a redrive that goes on.
	From uint64
}

// Redrive tells what became of dead letters that were to be redriven.
type Redrive struct {
	// Redriven counts the letters that became readings, Readings those readings.
	Redriven int `json:"redriven"`
	Readings int `json:"readings"`
	// Refused counts those that were refused again and are new letters now.
	Refused int `json:"refused"`
	// Kept counts those that cannot be redriven, Failed those for which something
	// was away or full, Gone those that were not there any more.
	Kept   int `json:"kept"`
	Failed int `json:"failed"`
	Gone   int `json:"gone"`
	// Next is the From of the rest; 0 when all that was selected is done.
	Next uint64 `json:"next,omitempty"`
	// Letters tells of each letter, in order.
	Letters []RedrivenLetter `json:"letters"`
}

// Outcomes of a redrive.
const (
	OutcomeRedriven = "redriven"
	OutcomeRefused  = "refused"
	OutcomeKept     = "kept"
	OutcomeFailed   = "failed"
	OutcomeGone     = "gone"
)

// RedrivenLetter tells what became of one dead letter.
type RedrivenLetter struct {
	Sequence uint64 `json:"sequence"`
	// Outcome is one of the Outcome constants.
	Outcome  string `json:"outcome"`
	Readings int    `json:"readings,omitempty"`
	// Reason is that of the new letter of a refused one; Detail says in words why
	// a letter was not redriven.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Add takes in what became of one more letter.
func (r *Redrive) Add(l RedrivenLetter) {
	switch l.Outcome {
	case OutcomeRedriven:
		r.Redriven++
		r.Readings += l.Readings
	case OutcomeRefused:
		r.Refused++
	case OutcomeKept:
		r.Kept++
	case OutcomeGone:
		r.Gone++
	default:
		r.Failed++
	}
	r.Letters = append(r.Letters, l)
}
