// Package channel sends messages: it delivers one message to a webhook, an ntfy
// topic or any service of the shoutrrr library, and returns whether it was accepted,
// whether another attempt is worthwhile, and when. It does not retry.
//
// Receivers are often machines on the local network, so private addresses are
// allowed. The addresses under which clouds hand out credentials are refused when
// the connection is made, after the name was resolved. Redirects are not followed,
// replies are read within bounds, and no error contains a URL. Names and texts are data:
// they are escaped for the markup of the receiver.
package channel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headwater/services/internal/config"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

// Message is what is sent.
type Message struct {
	// Key is the idempotency key: the same in every attempt.
	Key string
	// Title is one line, Body a few; both are bounded and hold no control
	// characters but line feeds in Body.
	Title, Body string
	// Severity is the highest of its alerts.
	Severity rule.Severity
	// Resolved is set if the message is about the end.
	Resolved bool
	// URL is where people see it: the chart of the device at that time, or the page
	// of alerts when there are several. Empty when it is not known.
	URL string
	// Home is the address of the dashboard; empty when it is not known.
	Home string
	// Alerts are the alerts that it is about; at least one.
	Alerts []Alert
	// Chart returns the picture of its only alert, as PNG, and what it shows in words, or nil if
	// there is nothing to see; nil if no chart is about the message.
	Chart func(context.Context) (picture []byte, words string)
	// Actions are what people may do about it without a log-in; there may be none.
	Actions []Action
}

// Action is something that people may do about an alert.
type Action struct {
	// Name names it for programs, Title for people.
	Name  string `json:"action"`
	Title string `json:"title"`
	// URL takes a POST, without the host; a GET asks first.
	URL string `json:"url"`
}

// Alert is one alert for programs. Times are RFC 3339 in the time zone of the site.
type Alert struct {
	// ID identifies the episode: the messages about its beginning and its end have the
	// same. AlertID is the same for all episodes of one rule on one series.
	ID          string        `json:"id"`
	AlertID     string        `json:"alert_id"`
	Rule        string        `json:"rule"`
	Description string        `json:"description,omitempty"`
	Status      string        `json:"status"`
	Severity    rule.Severity `json:"severity"`
	Site        string        `json:"site"`
	Device      string        `json:"device"`
	// DeviceName and Room are what people say about the device; absent if they say nothing.
	DeviceName string `json:"device_name,omitempty"`
	Room       string `json:"room,omitempty"`
	Metric     string `json:"metric"`
	Unit       string `json:"unit,omitempty"`
	// Value is the value that was judged, Low and High the band of what is
	// normal, as far as they are known.
	Value *float64 `json:"value,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
	// Score is how far beyond the band the value is; 1 at its edge.
	Score float64 `json:"score"`
	// Sentence is the reason in words: why it fired, also when it is over.
	Sentence string `json:"sentence,omitempty"`
	// End is why it ended: recovered, no_data, rule_changed or by_hand. EndSentence says
	// that in words. Both are empty while it is ongoing.
	End         policy.End `json:"end,omitempty"`
	EndSentence string     `json:"end_sentence,omitempty"`
	// Acknowledged and Resolved say who has done so; absent if nobody has.
	Acknowledged *Note `json:"acknowledged,omitempty"`
	Resolved     *Note `json:"resolved_by_hand,omitempty"`
	// Labels and Runbook come from the rule.
	Labels  map[string]string `json:"labels,omitempty"`
	Runbook string            `json:"runbook,omitempty"`
	// Started and Ended bound the episode in event time; Ended is absent while it is
	// ongoing. Learned is when Headwater learned of the last change.
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Learned time.Time  `json:"learned"`
	// URL is the chart of the device at that time; empty when it is not known.
	URL string `json:"url,omitempty"`
}

// Note says which person did something, when, and why.
type Note struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Text string    `json:"text,omitempty"`
}

// Status of an alert.
const (
	StatusFiring   = "firing"
	StatusResolved = "resolved"
)

// Sender delivers messages to one channel.
type Sender interface {
	// Send delivers the message in one attempt. It returns nil once the receiver has
	// accepted it, else an *Error. It returns soon after ctx ends.
	Send(ctx context.Context, m Message) error
	// Close closes idle connections. Send may be called afterwards.
	Close()
}

// Error is the reason why a message was not accepted.
type Error struct {
	// Permanent is set if another attempt would fail in the same way.
	Permanent bool
	// Gone is set if it would because the receiver no longer exists.
	Gone bool
	// RetryAfter is the pause that the receiver asks for; 0 when it asks for none.
	RetryAfter time.Duration
	// Reason is for people: what happened, and the beginning of what the receiver
	// answered. It contains nothing of the channel's URL but the name of the host.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

func permanent(format string, args ...any) *Error {
	return &Error{Permanent: true, Reason: fmt.Sprintf(format, args...)}
}

// Address is where a channel sends to, and what it signs with.
type Address struct {
	URL config.Secret
	// Secret signs the messages of a webhook; empty for none.
	Secret config.Secret
}

// Open returns the sender of a channel. It does no I/O. Its error does not quote the
// address.
func Open(ch config.Channel, address Address) (Sender, error) {
	if err := config.CheckURL(ch.Type, address.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	switch ch.Type {
	case config.Webhook:
		return newWebhook(ch, address), nil
	case config.Ntfy:
		return newNtfy(address.URL)
	case config.Shoutrrr:
		if scheme(address.URL) == mailScheme {
			return &mail{address.URL}, nil
		}
		return newShoutrrr(address.URL), nil
	default:
		return nil, errors.New("unknown type of channel")
	}
}
