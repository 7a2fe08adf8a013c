package connect

import (
	"time"

	"headwater/web/view"
)

// Source is what came from devices. Its methods answer from memory, at once.
type Source interface {
	// Device returns a device; false when it is unknown.
	Device(site, device string) (view.Device, bool)
	// NewDevices returns devices whose first reading arrived at a time or later, a few
	// of them, the newest first.
	NewDevices(since time.Time) []view.Device
	// Refused returns what was refused at a time or later, in any order.
	Refused(since time.Time) []Refused
	// Undecoded returns messages that arrived at a time or later and became dead letters,
	// the newest first. It may be some seconds late.
	Undecoded(since time.Time) []Undecoded
}

// Refused is a sender that was refused.
type Refused struct {
	// What was refused: one of the Refused constants.
	What string
	// Who is the sender, Why the reason, a sentence.
	Who, Why string
	At       time.Time
}

// What is refused of a sender.
const (
	RefusedLogIn   = "log-in"
	RefusedMQTT    = "mqtt"
	RefusedRequest = "request"
)

// Undecoded is a message that holds no reading.
type Undecoded struct {
	// Reason is that of its dead letter; Detail explains it.
	Reason, Detail string
	// Topic is where it came from. Site and Device are empty if the topic does not name
	// them.
	Topic, Site, Device string
	// Payload begins with the original bytes; Size is how many there are.
	Payload []byte
	Size    int
	At      time.Time
}
