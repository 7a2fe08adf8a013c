package streams

import (
	"encoding/json"
	"fmt"
)

// redrivePrefix begins the subjects of requests to process dead letters again. No stream
// keeps them: the client repeats a request without an answer.
const redrivePrefix = "redrive."

// RedriveSubject is where a service takes requests to process its dead letters again. The
// service must be a valid token.
func RedriveSubject(service string) string { return redrivePrefix + service }

// MaxRedrive bounds the dead letters of one request.
const MaxRedrive = 500

// NotRedrivable returns why letters of a service with a reason cannot be redriven; empty if
// they can.
func NotRedrivable(service, reason string) string {
	switch {
	case service == ServiceBridge:
		return ""
	case reason == ReasonMalformed:
		return "it is a message between services, which no device sent: this version of Headwater cannot read it"
	case service == ServiceWriter && reason == ReasonRejected:
		return "it is a point that InfluxDB refused; once the conflict is gone, write its line to InfluxDB, or send the reading again"
	case service == ServiceNotifier && reason == ReasonUndeliverable:
		return "it is a notification, and its alert may be over by now; the page of alerts shows its state"
	case service == ServiceFunctions:
		return "it is what a function was given; mend the function, then send the readings again if their outputs matter"
	}
	return "no service processes letters of " + service + " again"
}

// RedriveRequest asks a service to process its own dead letters again, unchanged, with
// their original time of arrival.
type RedriveRequest struct {
	// Sequences are the sequences of the letters in StreamDeadLetters, 1 to MaxRedrive, in
	// the order of processing.
	Sequences []uint64 `json:"sequences"`
}

// Msg is the message that carries the request to a service.
func (r RedriveRequest) Msg(service string) (subject string, data []byte, err error) {
	data, err = json.Marshal(r)
	if err != nil {
		return "", nil, fmt.Errorf("encode request to redrive: %w", err)
	}
	return RedriveSubject(service), data, nil
}

// DecodeRedriveRequest undoes RedriveRequest.Msg. The number of letters is within its
// bounds.
func DecodeRedriveRequest(data []byte) (RedriveRequest, error) {
	var r RedriveRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode request to redrive: %w", err)
	}
	if n := len(r.Sequences); n == 0 || n > MaxRedrive {
		return r, fmt.Errorf("decode request to redrive: %d letters, must be 1 to %d", n, MaxRedrive)
	}
	return r, nil
}

// Outcome is the result of redriving a dead letter.
type Outcome string

const (
	// OutcomeRedriven means that its readings are stored and the letter is gone.
	OutcomeRedriven Outcome = "redriven"
	// OutcomeRefused means that it was refused again. A new letter with the new reason
	// replaces it.
	OutcomeRefused Outcome = "refused"
	// OutcomeKept means that it cannot be redriven and stays unchanged.
	OutcomeKept Outcome = "kept"
	// OutcomeGone means that the letter does not exist any more.
	OutcomeGone Outcome = "gone"
	// OutcomeFailed means that a server was not available or full; a retry may help.
	OutcomeFailed Outcome = "failed"
)

// Redriven is the result for one dead letter.
type Redriven struct {
	Sequence uint64  `json:"sequence"`
	Outcome  Outcome `json:"outcome"`
	// Readings is how many readings were stored.
	Readings int `json:"readings,omitempty"`
	// Reason is the reason of the new letter, for OutcomeRefused.
	Reason string `json:"reason,omitempty"`
	// Detail is the reason for people why it was not redriven.
	Detail string `json:"detail,omitempty"`
}

// RedriveAnswer answers a RedriveRequest.
type RedriveAnswer struct {
	// Results has one entry for each letter of the request, in its order.
	Results []Redriven `json:"results"`
	// Error, if not empty, is the reason for people why nothing was done.
	Error string `json:"error,omitempty"`
}

// Encode is the body of the message that carries the answer.
func (a RedriveAnswer) Encode() ([]byte, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode answer of a redrive: %w", err)
	}
	return data, nil
}

// DecodeRedriveAnswer undoes RedriveAnswer.Encode.
func DecodeRedriveAnswer(data []byte) (RedriveAnswer, error) {
	var a RedriveAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("decode answer of a redrive: %w", err)
	}
	return a, nil
}
