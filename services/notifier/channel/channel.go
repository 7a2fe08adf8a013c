// Package channel speaks to the outside: it hands one message to a webhook, an
// ntfy topic or any service of the shoutrrr library, and says whether it was
// taken, whether another attempt is worth while, and when. It does not retry.
//
// Sinks are often machines on the local network, so private addresses are
// allowed; those under which clouds hand out credentials are refused when the
// connection is made, after the name was resolved. Redirects are not followed,
// replies are read within bounds, and no error holds a URL.
package channel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"headwater/services/internal/config"
	"headwater/services/rule"
)

// Message is what is sent.
type Message struct {
	// Key is the idempotency key: the same in every attempt.
	Key string
	// Title is one line, Body a few; both are bounded and hold no control
	// characters but line feeds in Body.
	Title, Body string
	// Severity is that of the worst alert in it.
	Severity rule.Severity
	// Resolved says that the message tells of the end.
	Resolved bool
	// URL is where people see it: the chart of the device at that time, or the page
	// of alerts when there are several. Empty when it is not known.
	URL string
	// Alerts are those it tells of; at least one.
	Alerts []Alert
}

// Alert is one alert as a program reads it. Times are RFC 3339 in the time zone of
// the site.
type Alert struct {
	// ID is that of the episode: its beginning and its end have the same, another
	// episode has another. AlertID is the same for all episodes of one rule on one
	// series.
	ID          string        `json:"id"`
	AlertID     string        `json:"alert_id"`
	Rule        string        `json:"rule"`
	Description string        `json:"description,omitempty"`
	Status      string        `json:"status"`
	Severity    rule.Severity `json:"severity"`
	Site        string        `json:"site"`
	Device      string        `json:"device"`
	Metric      string        `json:"metric"`
	Unit        string        `json:"unit,omitempty"`
	// Value is the value that was judged, Low and High the band of what is
	// normal, as far as they are known.
	Value *float64 `json:"value,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
	// Score is how far beyond the band the value is; 1 at its edge.
	Score float64 `json:"score"`
	// Sentence says why, in words.
	Sentence string `json:"sentence,omitempty"`
	// Labels and Runbook are those of the rule.
	Labels  map[string]string `json:"labels,omitempty"`
	Runbook string            `json:"runbook,omitempty"`
	// Started and Ended bound the episode in event time; Ended is absent while
	// it lasts. Learned is when Headwater came to know of the last change.
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Learned time.Time  `json:"learned"`
	// URL is the chart of the device at that time; empty when it is not known.
	URL string `json:"url,omitempty"`
}

// Status of an alert.
const (
	StatusFiring   = "firing"
	StatusResolved = "resolved"
)

// Sender hands messages to one channel.
type Sender interface {
	// Send hands the message over, in one attempt. It returns nil once the
	// other side has taken it, else an *Error. It returns soon after ctx ends.
	Send(ctx context.Context, m Message) error
	// Close closes connections that are kept for the next message. Send may be
	// called afterwards.
	Close()
}

// Error says why a message was not taken.
type Error struct {
	// Permanent says that another attempt would end alike.
	Permanent bool
	// RetryAfter is how long the other side asks to be left alone; 0 when it
	// does not say.
	RetryAfter time.Duration
	// Reason is for people. It holds no part of the channel's URL but the name
	// of the host.
	Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

func permanent(format string, args ...any) *Error {
	return &Error{Permanent: true, Reason: fmt.Sprintf(format, args...)}
}

// Open returns the sender of a channel. It does no I/O. The error says what is
// wrong with the URL, without quoting it.
func Open(kind config.ChannelType, url config.Secret) (Sender, error) {
	if err := config.CheckURL(kind, url); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	switch kind {
	case config.Webhook:
		return newWebhook(url), nil
	case config.Ntfy:
		return newNtfy(url)
	case config.Shoutrrr:
		return newShoutrrr(url), nil
	default:
		return nil, errors.New("unknown type of channel")
	}
}
