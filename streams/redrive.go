package streams

import (
	"encoding/json"
	"fmt"
)

// redrivePrefix begins the subjects of requests to process dead letters again.
// No stream keeps them: a request that nobody answers is asked again.
const redrivePrefix = "redrive."

// RedriveSubject is where the service that made dead letters is asked to
// process them again. The service must be a valid token.
func RedriveSubject(service string) string { return redrivePrefix + service }

// MaxRedrive bounds the dead letters of one request.
const MaxRedrive = 500

// NotRedrivable says in words why letters of a service with a reason cannot be
// redriven; it is empty for those that somebody processes again.
func NotRedrivable(service, reason string) string {
	switch {
	case service == ServiceBridge:
		return ""
	case reason == ReasonMalformed:
		return "it is a message between services, which no device sent: this version of Headwater cannot read it"
	case service == ServiceWriter && reason == ReasonRejected:
		return "it is a point that InfluxDB refused; once the conflict is gone, write its line to InfluxDB, or send the reading again"
	case service == ServiceNotifier && reason == ReasonUndeliverable:
		return "it is a notification, and what it tells may be over by now; the page of alerts tells how it stands"
	}
	return "no service processes letters of " + service + " again"
}

// RedriveRequest asks a service to process dead letters of its own again, as
// they came in, with their original time of arrival.
type RedriveRequest struct {
	// Sequences are those of the letters in StreamDeadLetters, 1 to MaxRedrive of
	// them, in the order in which they are processed.
	Sequences []uint64 `json:"sequences"`
}

// Msg is the message that carries the request to a service.
func (r RedriveRequest) Msg(service string) (subject string, data []byte, err error) {
	if data, err = json.Marshal(r); err != nil {
		return "", nil, fmt.Errorf("encode request to redrive: %w", err)
	}
	return RedriveSubject(service), data, nil
}

// DecodeRedriveRequest undoes RedriveRequest.Msg. The number of letters of what
// it returns is in bounds.
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

// Outcome is what became of a dead letter that was to be redriven.
type Outcome string

const (
	// OutcomeRedriven means that its readings are stored and the letter is gone.
	OutcomeRedriven Outcome = "redriven"
	// OutcomeRefused means that it was refused once more: a new letter with the
	// new reason is stored in its place.
	OutcomeRefused Outcome = "refused"
	// OutcomeKept means that nobody can redrive it; it stays as it is.
	OutcomeKept Outcome = "kept"
	// OutcomeGone means that there is no such letter any more.
	OutcomeGone Outcome = "gone"
	// OutcomeFailed means that something was away or full; it may be tried again.
	OutcomeFailed Outcome = "failed"
)

// Redriven is what became of one dead letter.
type Redriven struct {
	Sequence uint64  `json:"sequence"`
	Outcome  Outcome `json:"outcome"`
	// Readings is how many readings were stored.
	Readings int `json:"readings,omitempty"`
	// Reason is the token of the new letter of a refused one.
	Reason string `json:"reason,omitempty"`
	// Detail says in words why it was not redriven.
	Detail string `json:"detail,omitempty"`
}

// RedriveAnswer answers a RedriveRequest.
type RedriveAnswer struct {
	// Results has one entry for each letter of the request, in its order.
	Results []Redriven `json:"results"`
	// Error, if not empty, says in words why nothing was done.
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
