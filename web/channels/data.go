package channels

import (
	"context"
	"time"

	"headwater/web/view"
)

// Source is what the page shows and changes. Its methods return a Refusal for what cannot be
// done as asked, and any other error when they failed.
type Source interface {
	// Channels returns the channels, from memory.
	Channels() (List, error)
	// TestChannel sends a test through a channel; with the id of a device, to that device alone.
	// The Refusal has the answer of the other side.
	TestChannel(ctx context.Context, channel, device string) error
	// SaveChannel makes or changes a channel, DeleteChannel removes one. Those of a file are
	// refused, and so is what a file could not say.
	SaveChannel(ctx context.Context, d Draft, by view.Author) error
	DeleteChannel(ctx context.Context, name string, by view.Author) error
	// SendReport sends the morning report as it is now.
	SendReport(ctx context.Context) error
	// PushKey returns the key with which browsers subscribe.
	PushKey(ctx context.Context) (string, error)
	// Notified returns the phones and browsers that are notified.
	Notified(ctx context.Context) ([]Device, error)
	// AddNotified registers a browser, and makes a channel for it if there is none. The same
	// browser stays one device.
	AddNotified(ctx context.Context, s Subscription) (Device, error)
	RemoveNotified(ctx context.Context, id string) error
	// Linked returns what a link in a message would do, and Act does it, once. The Refusal
	// of one that is not valid, has expired, was used or is about what is over says so.
	Linked(ctx context.Context, token string) (Linked, error)
	Act(ctx context.Context, token string) (Linked, error)
}

// Refusal is the error of what cannot be done as asked.
type Refusal struct {
	// Status is the status of the answer.
	Status int
	// Text says why, for people.
	Text string
}

// Error says why.
func (r Refusal) Error() string { return r.Text }

// TypeWebPush is the type of channel that notifies the devices.
const TypeWebPush = "webpush"

// List are the channels.
type List struct {
	Channels []Channel `json:"channels"`
	// Report is the morning report that is declared; nil for none.
	Report *Report `json:"report,omitempty"`
	// Where says where channels of files are changed; empty if there are none.
	Where string `json:"-"`
}

// Report says when the morning report is sent, through which channel, and about which site.
type Report struct {
	// At is the time of day in the time zone.
	At   string `json:"at"`
	Zone string `json:"time_zone"`
	// Channel gets it.
	Channel string `json:"channel"`
	// Site is empty for all sites.
	Site string `json:"site,omitempty"`
}

// words says it in one sentence.
func (r Report) words() string {
	about := "all sites"
	if r.Site != "" {
		about = "site " + r.Site
	}
	return "Every day at " + r.At + " (" + r.Zone + ") through " + r.Channel + ", about " + about + "."
}

// Channel is one way to reach people.
type Channel struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// To says where it leads, without what is secret: a host or a service.
	To string `json:"to,omitempty"`
	// Resolved reports whether it is notified of the end of alerts too.
	Resolved bool `json:"resolved"`
	// Format is what a webhook posts; empty for the others. Signed reports whether it signs.
	Format string `json:"format,omitempty"`
	Signed bool   `json:"signed,omitempty"`
	// ReadOnly reports whether a file is in charge of it.
	ReadOnly bool `json:"read_only"`
	// Deliveries are what became of the latest messages, the newest first.
	Deliveries []Delivery `json:"deliveries"`
}

// Draft is a channel as people fill it in. What is secret is written and never read again:
// what is empty of it stays as it was.
type Draft struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// URL and Secret are secret.
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret,omitempty"`
	// Format is what a webhook posts; empty for the format of Headwater.
	Format   string `json:"format,omitempty"`
	Resolved bool   `json:"resolved"`
	// Unsigned removes the secret.
	Unsigned bool `json:"unsigned,omitempty"`
	// New reports whether there must be no channel of that name yet.
	New bool `json:"-"`
}

// kinds are the types of channels, with what people call them and what their URLs look like.
// Phones and browsers have none.
var kinds = []struct{ name, title, example string }{
	{"ntfy", "ntfy", "https://ntfy.sh/a-topic-that-nobody-guesses"},
	{"webhook", "Webhook", "https://example.org/alerts"},
	{"shoutrrr", "Mail, Slack, Telegram, Teams and others", "smtp://user:password@mail.example.org:587/?from=headwater@example.org&to=me@example.org"},
	{TypeWebPush, "Phones and browsers", ""},
}

// formats are what a webhook may post.
var formats = []string{"headwater", "alertmanager"}

// Delivery is what became of one message.
type Delivery struct {
	At    time.Time `json:"at"`
	Title string    `json:"title"`
	// Outcome is "sent", "failed" or "skipped".
	Outcome  string `json:"outcome"`
	Attempts int    `json:"attempts"`
	// Error is why it was not sent, with the answer of the other side.
	Error string `json:"error,omitempty"`
}

// Outcomes of a message.
const (
	Sent    = "sent"
	Failed  = "failed"
	Skipped = "skipped"
)

// Subscription is a browser as it describes itself, and what its owner calls it.
type Subscription struct {
	Endpoint, P256dh, Auth, Name string
	// Who is the owner; empty while no log-in is required.
	Who string
}

// Device is a phone or browser that is notified.
type Device struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Who  string `json:"who,omitempty"`
	// Service is the host of its push service.
	Service string    `json:"service"`
	Created time.Time `json:"created"`
}

// Linked is what a link in a message does.
type Linked struct {
	// Mutes reports whether it mutes for an hour; else it acknowledges.
	Mutes bool
	// What, Where and Why describe the alert.
	What, Where, Why string
	// Acknowledged reports whether somebody has acknowledged it.
	Acknowledged bool
}

// Do says what the link does, Done that it was done.
func (l Linked) Do() string {
	if l.Mutes {
		return "Silence for 1 h"
	}
	return "Acknowledge"
}

// Done says that it was done.
func (l Linked) Done() string {
	if l.Mutes {
		return "Silenced for 1 h"
	}
	return "Acknowledged"
}

// Facts are what the page shows.
type Facts struct {
	List    List
	Devices []Device
	// Key is that of Source.PushKey.
	Key string
	// Secure is where the browser reaches this server over HTTPS, if it does not and there
	// is such an address.
	Trust bool
	// Draft is what was filled in and not saved, without what is secret; nil for nothing.
	Draft *Draft
	// Done and Problem say what became of the last button; either may be empty.
	Done, Problem string
}
