package edges

import (
	"context"
	"errors"
	"time"
)

// ErrDraft is returned for an edge that cannot be; the details say why.
var ErrDraft = errors.New("it does not fit")

// Source keeps the edges. Errors wrap view.ErrUnavailable when they cannot be reached,
// view.ErrNotFound for an edge that does not exist, and ErrDraft.
type Source interface {
	// Edges returns all edges by name.
	Edges(ctx context.Context) ([]Edge, error)
	// InviteEdge makes an edge, or gives one that there is a new invitation.
	InviteEdge(ctx context.Context, d Draft) (Invited, error)
	// SetEdgePolicy changes what an edge is to send.
	SetEdgePolicy(ctx context.Context, name string, p Policy) (Edge, error)
	// Gaps compares what an edge holds with what is here.
	Gaps(ctx context.Context, name string) (Gaps, error)
	// RepairEdge asks an edge for what is missing here, and returns the comparison. It asks
	// for nothing if nothing is missing.
	RepairEdge(ctx context.Context, name string) (Gaps, error)
	// RevokeEdge lets an edge in no more.
	RevokeEdge(ctx context.Context, name string) (Edge, error)
}

// Policy is what an edge sends besides its alerts, which always go.
type Policy struct {
	// Readings are selections such as all, hall/*/temperature=every 10, or
	// hall/*/*=deadband 0.5. The first that matches counts; without any, no reading goes.
	Readings []string `json:"readings"`
	// Summaries are the window summaries that go too, at once, such as all=1m or
	// hall/*/temperature=1h: each is the series of its metric with _1m_min, _1m_mean, _1m_max
	// and _1m_count behind. The windows are 1m, 1h and 1d.
	Summaries []string `json:"summaries,omitempty"`
	// Budget is how many bytes of readings may go in a day of UTC, Rate how many in a second
	// on average; 0 sets no bound.
	Budget int64 `json:"budget"`
	Rate   int64 `json:"rate"`
}

// Draft is an edge that is to be invited.
type Draft struct {
	Name string `json:"name"`
	// Sites are those whose readings it may send; empty for all.
	Sites []string `json:"sites"`
	// Policy may be absent: then it is that of before, or alerts only.
	Policy *Policy `json:"policy"`
	// Address is the URL under which the edge reaches this centre; empty for that of the
	// dashboard.
	Address string `json:"address"`
}

// Invited is an edge with the line with which it joins, which nobody can see again.
type Invited struct {
	Edge  Edge      `json:"edge"`
	Line  string    `json:"line"`
	Until time.Time `json:"until"`
}

// State is how an edge stands.
type State string

const (
	// StateInvited has not joined yet.
	StateInvited State = "invited"
	// StateOnline was in contact lately.
	StateOnline State = "online"
	// StateOffline was not.
	StateOffline State = "offline"
	// StateRevoked may not send.
	StateRevoked State = "revoked"
)

// OfflineAfter is how long an edge may be silent before it counts as offline. Edges report
// every 30 s.
const OfflineAfter = 90 * time.Second

// Traffic is what went over the link, or would have. Bytes are without TCP/IP and TLS.
type Traffic struct {
	Readings uint64 `json:"readings"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Disk is the room on a disk, in bytes; zero if it is not known.
type Disk struct {
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
}

// Clock is how far the clock of an edge is ahead of that of the centre, measured to within
// half a round trip.
type Clock struct {
	AheadMS  int64 `json:"ahead_ms"`
	WithinMS int64 `json:"within_ms"`
}

// Edge is an edge and what is known of it.
type Edge struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`
	Sites   []string  `json:"sites"`
	Policy  Policy    `json:"policy"`
	Version string    `json:"version,omitempty"`
	Joined  time.Time `json:"joined,omitzero"`
	// InviteEnds is until when its invitation is good; zero if there is none.
	InviteEnds time.Time `json:"invite_ends,omitzero"`
	// Seen is when it was last in contact, Started when its process began.
	Seen    time.Time `json:"seen,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// Waiting is how many messages of its streams it had not sent at its last report.
	Waiting uint64 `json:"waiting"`
	// Skipped counts messages that it removed for lack of room before it sent them, Refused
	// the readings and anomalies that it may not send.
	Skipped uint64 `json:"skipped"`
	Refused uint64 `json:"refused"`
	// Paused is set while its budget of the day is used up, of which SpentToday are the bytes
	// that are used.
	Paused     bool  `json:"paused"`
	SpentToday int64 `json:"spent_today"`
	// Disk is that of its data folder; Clock is nil while it is not known.
	Disk  Disk   `json:"disk,omitzero"`
	Clock *Clock `json:"clock,omitempty"`
	// Sent is what it sent, Whole what sending each reading as one message of MQTT would
	// have been.
	Sent  Traffic `json:"sent"`
	Whole Traffic `json:"whole"`
}
