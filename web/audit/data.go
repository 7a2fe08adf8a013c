package audit

import (
	"context"
	"time"
)

// Source reads who changed what. An error that wraps view.ErrUnavailable means that the
// entries cannot be read now.
type Source interface {
	Audit(ctx context.Context, q Query) (Entries, error)
}

// Query selects entries, the newest first.
type Query struct {
	// Who and Action must be equal, empty means all. Text is contained in any text of an
	// entry, in either case.
	Who, Action, Text string
	// Before is the sequence below which the page begins; 0 means the newest.
	Before uint64
	// Size is the number of entries on a page.
	Size int
}

// Entries is one page.
type Entries struct {
	Items []Entry `json:"entries"`
	// Next is the Before of the next page, 0 when there is none. A page with few entries
	// may have a next one: each looks through a bounded number of entries.
	Next uint64 `json:"next,omitempty"`
}

// Entry is one change.
type Entry struct {
	Sequence uint64    `json:"sequence"`
	At       time.Time `json:"at"`
	// Who made the change, From which address; empty for this machine.
	Who  string `json:"who"`
	From string `json:"from,omitempty"`
	// Action, such as rule.save, was done to Object.
	Action string `json:"action"`
	Object string `json:"object,omitempty"`
	// Result is one of the Result constants; Detail says why, or how much was changed.
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Service is the service that recorded it.
	Service string `json:"service,omitempty"`
}

// Results of a change.
const (
	ResultDone    = "done"
	ResultRefused = "refused"
	ResultFailed  = "failed"
)
