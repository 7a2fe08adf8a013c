// Package uplink is what an edge and its centre say to each other, over HTTPS: the line
// with which an edge joins, what it is to send, and how readings and anomalies are packed.
//
// An edge is identified by its name and a token of its own. Each message of a stream of the
// edge is one frame, with its place in that stream. The centre keeps the place of the last
// frame beside what it stored, so a frame that is sent again is stored once, whatever broke
// in between.
package uplink

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"headwater/streams"
)

// Paths at the centre. PathJoin exchanges the secret of an invitation for a token,
// PathContact says what the edge is to send and where to begin.
const (
	PathJoin     = "/api/v1/edge/join"
	PathContact  = "/api/v1/edge/contact"
	PathReadings = "/api/v1/edge/readings"
	PathAlerts   = "/api/v1/edge/alerts"
	// PathSummaries takes window summaries, as readings.
	PathSummaries = "/api/v1/edge/summaries"
	// PathRepair takes readings once more, PathHoldings what the edge holds.
	PathRepair   = "/api/v1/edge/repair"
	PathHoldings = "/api/v1/edge/holdings"
	// PathAuthority is where the centre shows the certificate of its own authority.
	PathAuthority = "/trust/ca.crt"
)

// HeaderEdge names the edge in a request.
const HeaderEdge = "Headwater-Edge"

// linePrefix begins the line with which an edge joins. The number is that of its form.
const linePrefix = "headwater-edge-1."

// maxLine bounds the line, in bytes.
const maxLine = 4096

// Invitation is what an edge needs to join a centre.
type Invitation struct {
	// Address is the URL of the centre: https, or http on this machine only.
	Address string `json:"address"`
	// Name is that of the edge.
	Name string `json:"name"`
	// Secret is good once, for a time.
	Secret string `json:"secret,omitempty"`
	// Authority is the SHA-256 of the certificate of the centre's own authority, in
	// hexadecimal digits; empty if its certificate is one that everybody trusts.
	Authority string `json:"authority,omitempty"`
}

// Line is the invitation as one line. It is a secret.
func (i Invitation) Line() string {
	body, err := json.Marshal(i)
	if err != nil {
		return "" // texts always encode
	}
	return linePrefix + base64.RawURLEncoding.EncodeToString(body)
}

// ParseLine undoes Line. Its errors do not repeat the line.
func ParseLine(line string) (Invitation, error) {
	var i Invitation
	text, ok := strings.CutPrefix(strings.TrimSpace(line), linePrefix)
	if !ok || len(line) > maxLine {
		return i, fmt.Errorf("that is not the line of an invitation, which begins with %s: make one at the centre with headwater edge invite", linePrefix)
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(body, &i)
	}
	if err != nil {
		return Invitation{}, errors.New("the line of the invitation is not whole: copy it again")
	}
	return i, i.Validate()
}

// Validate returns what is wrong with the invitation, or nil.
func (i Invitation) Validate() error {
	at, err := url.Parse(i.Address)
	switch {
	case err != nil || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" || at.Scheme != "https" && at.Scheme != "http":
		return fmt.Errorf("%q is not an address such as https://headwater.example.org", clip(i.Address))
	case at.Scheme == "http" && !loopback(at.Hostname()):
		return fmt.Errorf("%s has no TLS: others could read and change what an edge sends. Start the centre with --tls auto, or put a proxy with TLS in front and name it with --public-url", clip(i.Address))
	case !streams.ValidToken(i.Name):
		return fmt.Errorf("%q cannot name an edge: use 1 to 64 letters, digits, - and _", clip(i.Name))
	case i.Authority != "" && !isHash(i.Authority):
		return errors.New("the fingerprint of the authority is not 64 hexadecimal digits")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// Place is a place in a stream of an edge. A stream that lost its end in a power cut
// assigns a sequence again, with a later time.
type Place struct {
	// Incarnation is when the stream was created, and Stored when it stored the message, in
	// nanoseconds since the Unix epoch.
	Incarnation int64  `json:"incarnation"`
	Sequence    uint64 `json:"sequence"`
	Stored      int64  `json:"stored"`
}

// Covers reports whether a message at o is stored already when p is the place of the last
// one.
func (p Place) Covers(o Place) bool {
	return p.Incarnation == o.Incarnation && o.Sequence <= p.Sequence && o.Stored <= p.Stored
}

// Join is what an edge sends to PathJoin, with the secret of its invitation as the bearer's
// token. The edge makes the token itself and keeps it first, so the request may be repeated.
type Join struct {
	Token string `json:"token"`
}

// Contact is what an edge reports every few seconds.
type Contact struct {
	Version string `json:"version"`
	// Started is when the edge started.
	Started time.Time `json:"started"`
	// Readings, Alerts and Summaries are how far they were sent: readings in one stream, alerts
	// and summaries in another.
	Readings  Progress `json:"readings"`
	Alerts    Progress `json:"alerts"`
	Summaries Progress `json:"summaries,omitzero"`
	// Sent is what was sent since the edge joined, Whole what sending each reading as one
	// message of MQTT would have been.
	Sent  Traffic `json:"sent"`
	Whole Traffic `json:"whole"`
	// Skipped counts the messages of the stream that the edge had to remove for lack of room
	// before it could send them. Their readings are in the history of the edge.
	Skipped uint64 `json:"skipped"`
	// Paused is set while the budget of the day is used up, of which SpentToday are the bytes
	// that are used.
	Paused     bool  `json:"paused,omitempty"`
	SpentToday int64 `json:"spent_today,omitempty"`
	// Disk is that of the data folder of the edge, Clock how its clock stood at the contact
	// before.
	Disk  Disk  `json:"disk,omitzero"`
	Clock Clock `json:"clock,omitzero"`
	// Repair is how far the edge has come with the last repair.
	Repair Repaired `json:"repair,omitzero"`
}

// Disk is the room on a disk, in bytes; zero if it is not known.
type Disk struct {
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
}

// Clock is how far the clock of an edge is ahead of that of the centre. The error is at most
// Within, half a round trip, which is 0 while nothing is known.
type Clock struct {
	Ahead  time.Duration `json:"ahead"`
	Within time.Duration `json:"within"`
}

// ClockOf returns how the clock stands of an edge that asked and got its answer at these
// times, while the clock of the centre was at now.
func ClockOf(asked, answered, now time.Time) Clock {
	if now.IsZero() {
		return Clock{} // an older centre does not say
	}
	half := max(answered.Sub(asked)/2, time.Microsecond)
	return Clock{Ahead: asked.Add(half).Sub(now), Within: half}
}

// Progress is how far a stream was sent.
type Progress struct {
	Place
	// Last is the last sequence of the stream.
	Last uint64 `json:"last"`
}

// Waiting is how many messages of the stream are not sent yet.
func (p Progress) Waiting() uint64 { return p.Last - min(p.Last, p.Sequence) }

// Traffic counts what goes over the link. Bytes are those of the bodies, compressed.
type Traffic struct {
	Readings uint64 `json:"readings"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Add adds o.
func (t *Traffic) Add(o Traffic) {
	t.Readings += o.Readings
	t.Messages += o.Messages
	t.Bytes += o.Bytes
}

// Answer is what the centre answers to a contact.
type Answer struct {
	Policy Policy `json:"policy"`
	// Readings, Alerts and Summaries are the last places that the centre has stored; zero if it
	// has nothing of this edge.
	Readings  Place `json:"readings"`
	Alerts    Place `json:"alerts"`
	Summaries Place `json:"summaries,omitzero"`
	// Repair is asked for until the edge reports that it knows of it.
	Repair *Repair `json:"repair,omitempty"`
	// Now is the time at the centre.
	Now time.Time `json:"now,omitzero"`
}

// Fault is the body of an answer that is an error.
type Fault struct {
	Error string `json:"error"`
}

// clip bounds what a message repeats.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
