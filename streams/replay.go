package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"headwater/proto/figure"
)

// replayPrefix begins the subjects of what-if replays. No stream keeps them.
const replayPrefix = "replay."

// ReplayStart is where processors take requests for a replay.
const ReplayStart = replayPrefix + "start"

// ReplaySubject is where the processor that runs a replay answers requests for its status,
// and to cancel it. The id must be a valid token.
func ReplaySubject(id string) string { return replayPrefix + "run." + id }

// Bounds of a replay.
const (
	// MaxReplayRule bounds the text of a rule, in bytes.
	MaxReplayRule = 64 << 10
	// MaxReplayPeriod bounds the period, and the time before it in which the
	// detectors learn.
	MaxReplayPeriod = 31 * 24 * time.Hour
	// MaxReplayAlerts is how many alerts an answer holds at most; all are counted.
	MaxReplayAlerts = 2000
	// MaxReplayDevices is how many devices with alerts an answer lists at most.
	MaxReplayDevices = 2000
	// ReplayPatience is how long a replay keeps running without a request for its status.
	// Clients ask every second. ReplayKept is how long its result is kept.
	ReplayPatience = 15 * time.Second
	ReplayKept     = 15 * time.Minute
)

// ErrReplay is wrapped by the error of an invalid request for a replay.
var ErrReplay = errors.New("the replay is not possible")

// ReplayRequest asks which alerts a rule would have raised. Nothing is stored, and nobody
// is notified.
type ReplayRequest struct {
	// ID is chosen by the client: a valid token that is unique.
	ID string `json:"id"`
	// Rule is the text of the rule, by itself or as the only one in a list of rules.
	Rule string `json:"rule"`
	// From and To are the period [From, To) in event time.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Warm is how long before From the detectors start to learn, if there are readings of
	// that time.
	Warm time.Duration `json:"warm"`
}

// Check returns what is wrong with the request. It does not look at the text of the rule.
func (r ReplayRequest) Check() error {
	switch {
	case !ValidToken(r.ID):
		return fmt.Errorf("%w: its id is not a token", ErrReplay)
	case len(r.Rule) == 0 || len(r.Rule) > MaxReplayRule:
		return fmt.Errorf("%w: the text of the rule has %d bytes, must be 1 to %d", ErrReplay, len(r.Rule), MaxReplayRule)
	case !r.From.Before(r.To):
		return fmt.Errorf("%w: the period must end after it begins", ErrReplay)
	case r.To.Sub(r.From) > MaxReplayPeriod:
		return fmt.Errorf("%w: the period is longer than %d days", ErrReplay, MaxReplayPeriod/(24*time.Hour))
	case r.Warm < 0 || r.Warm > MaxReplayPeriod:
		return fmt.Errorf("%w: the time to learn is negative or longer than %d days", ErrReplay, MaxReplayPeriod/(24*time.Hour))
	}
	return nil
}

// Encode is the body of the message that carries the request to ReplayStart.
func (r ReplayRequest) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request to replay: %w", err)
	}
	return data, nil
}

// DecodeReplayRequest undoes ReplayRequest.Encode. The request has passed Check.
func DecodeReplayRequest(data []byte) (ReplayRequest, error) {
	var r ReplayRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode request to replay: %w", err)
	}
	return r, r.Check()
}

// ReplayCancel is the body of a message to ReplaySubject that ends the replay; any other
// body asks for the status.
const ReplayCancel = "cancel"

// ReplayState is the state of a replay.
type ReplayState string

const (
	// ReplayWarming means that the detectors learn from before the period.
	ReplayWarming ReplayState = "warming"
	// ReplayRunning means that readings of the period are evaluated.
	ReplayRunning ReplayState = "running"
	// ReplayDone means that the result is there.
	ReplayDone ReplayState = "done"
	// ReplayFailed means that there is no result; the status has the reason.
	ReplayFailed ReplayState = "failed"
	// ReplayBusy refuses a request: the processor already runs a replay.
	ReplayBusy ReplayState = "busy"
)

// Over reports whether the state is final.
func (s ReplayState) Over() bool { return s != ReplayWarming && s != ReplayRunning }

// ReplayStatus is the answer to a request, and the progress of a replay.
type ReplayStatus struct {
	ID    string      `json:"id"`
	State ReplayState `json:"state"`
	// Rule is the text of the rule, and From and To are the period, as in the request.
	Rule string    `json:"rule,omitempty"`
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Done is the progress, from 0 to 1.
	Done float64 `json:"done"`
	// Readings is how many readings were read in Seconds, those for learning included.
	Readings uint64  `json:"readings"`
	Seconds  float64 `json:"seconds"`
	// Error is the reason for people why it failed.
	Error string `json:"error,omitempty"`
	// Problems are what is wrong with the text of the rule.
	Problems []ReplayProblem `json:"problems,omitempty"`
	// Result is set when it is done.
	Result *ReplayResult `json:"result,omitempty"`
}

// ReplayProblem is one thing that is wrong with the text of a rule.
type ReplayProblem struct {
	// Line counts from 1.
	Line  int    `json:"line"`
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

// ReplayResult is what a rule would have raised.
type ReplayResult struct {
	// Rule is the name of the rule.
	Rule string    `json:"rule"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Since is when the first of the readings was stored; zero when there were none. The
	// detectors learned from the readings between it and From. There is nothing of an
	// earlier time.
	Since time.Time `json:"since,omitzero"`
	// Warmed explains to people what the detectors had learned from until From.
	Warmed string `json:"warmed"`
	// Problem is the first device for which the expression of the rule could not be
	// evaluated, and why.
	Problem string `json:"problem,omitempty"`
	// Matched is how many series the rule watches, or devices when it has an
	// expression.
	Matched int `json:"matched"`
	// Readings is how many readings were read in Seconds.
	Readings uint64  `json:"readings"`
	Seconds  float64 `json:"seconds"`
	// Total counts the alerts that were open at any time of the period, Began the ones that
	// began in it.
	Total int `json:"total"`
	Began int `json:"began"`
	// Alerts are the first MaxReplayAlerts of Total, by their start.
	Alerts []ReplayAlert `json:"alerts"`
	// Devices are the devices with alerts, most alerts first, at most MaxReplayDevices.
	Devices []ReplayDevice `json:"devices"`
}

// ReplayAlert is one alert that a rule would have raised.
type ReplayAlert struct {
	Site     string `json:"site"`
	Device   string `json:"device"`
	Metric   string `json:"metric"`
	Unit     string `json:"unit,omitempty"`
	Severity string `json:"severity"`
	// Start and End are event times; End is zero when it is ongoing at the end of the
	// period.
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
	// Sentence is the reason at the alert's peak, with the value. Low and High bound the
	// band in which the value would be normal; nil is an open end. Baseline is the expected
	// value, if there is a band around it.
	Sentence string   `json:"sentence"`
	Value    float64  `json:"value"`
	Low      *float64 `json:"low,omitempty"`
	High     *float64 `json:"high,omitempty"`
	Baseline *float64 `json:"baseline,omitempty"`
}

// ReplayDevice counts the alerts of one device.
type ReplayDevice struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	// Alerts were open at any time of the period, Began began in it.
	Alerts int `json:"alerts"`
	Began  int `json:"began"`
	// PerWeek is Began per week of the period that has readings.
	PerWeek float64 `json:"per_week"`
}

// Week formats a number of alerts per week for people. Readings of less than a day give no
// number: a week made from that is a guess.
func (r ReplayResult) Week(alerts float64) string {
	since := r.From
	if r.Since.After(since) {
		since = r.Since
	}
	if r.To.Sub(since) < 24*time.Hour {
		return "too little history to say"
	}
	return figure.Number(math.Round(alerts*10) / 10)
}

// Encode is the body of the message that carries the status.
func (s ReplayStatus) Encode() ([]byte, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode status of a replay: %w", err)
	}
	return data, nil
}

// DecodeReplayStatus undoes ReplayStatus.Encode.
func DecodeReplayStatus(data []byte) (ReplayStatus, error) {
	var s ReplayStatus
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("decode status of a replay: %w", err)
	}
	return s, nil
}
