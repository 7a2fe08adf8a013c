package deadletters

import (
	"context"
	"time"

	"headwater/streams"
)

// Source reads what could not be processed, and changes it as people decide. An
// error that wraps view.ErrUnavailable means that the letters cannot be reached
// or, for a redrive, that no service runs that could do it.
type Source interface {
	// DeadLetters reads one page of them.
	DeadLetters(ctx context.Context, q Query) (Letters, error)
	// DeadLetter reads one of them; view.ErrNotFound when it does not exist.
	DeadLetter(ctx context.Context, sequence uint64) (Letter, error)
	// Redrive has the selected letters processed again, the oldest first, a bounded
	// number at a time: Next of the result is where to continue. One letter that
	// does not exist counts as gone.
	Redrive(ctx context.Context, s Selection) (Redrive, error)
	// Try returns what becomes of a message of a device, which is not stored.
	Try(ctx context.Context, topic string, payload []byte) (Tried, error)
	// Purge deletes the selected letters permanently and returns their number.
	Purge(ctx context.Context, s Selection) (uint64, error)
}

// Query selects dead letters, the newest first.
type Query struct {
	// Service and Reason select; empty means all.
	Service, Reason string
	// Sites are the sites beyond which nothing is there; none means all sites.
	Sites []string
	// Before is the sequence below which the page begins; 0 means the newest.
	Before uint64
	// Size is the number of letters on a page.
	Size int
}

// Letters is one page of dead letters.
type Letters struct {
	Items []Letter `json:"dead_letters"`
	// Next is the Before of the next page, 0 when there is none.
	Next uint64 `json:"next,omitempty"`
	// Counts are over all dead letters, by service and reason; of the latest ones only if
	// the query is limited to sites.
	Counts []Count `json:"counts"`
	Total  uint64  `json:"total"`
	// Last is the highest sequence when the page was read. A decision about all
	// letters covers those up to it, and none that came later.
	Last uint64 `json:"last"`
}

// Count is the number of dead letters of one service and reason.
type Count struct {
	Service string `json:"service"`
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
}

// Letter is one message that could not be processed.
type Letter struct {
	Sequence uint64 `json:"sequence"`
	Service  string `json:"service"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail"`
	// From is where the message came from: a topic, a path, a subject.
	From    string    `json:"from"`
	Site    string    `json:"site,omitempty"`
	Device  string    `json:"device,omitempty"`
	Arrived time.Time `json:"arrived,omitzero"`
	// Payload begins with the original bytes; Size is the length of them all.
	Payload []byte `json:"payload"`
	Size    int    `json:"size"`
	// NotRedrivable says why the letter cannot be redriven; empty if it can.
	NotRedrivable string `json:"not_redrivable,omitempty"`
}

// Selection says which dead letters are to be redriven or purged.
type Selection struct {
	// Sequence selects one letter; 0 selects by what follows.
	Sequence uint64
	// Service and Reason select; empty means all.
	Service, Reason string
	// Sites are the sites beyond which nothing is there; none means all sites. A purge has
	// none.
	Sites []string
	// Through is the highest sequence that is selected.
	Through uint64
	// From is the lowest sequence that is selected, when a redrive is continued.
	From uint64
}

// Redrive is the result of a redrive.
type Redrive struct {
	// Redriven counts the letters that became readings, Readings those readings.
	Redriven int `json:"redriven"`
	Readings int `json:"readings"`
	// Refused counts the letters that were refused again and are new letters now.
	Refused int `json:"refused"`
	// Kept counts the letters that cannot be redriven, Failed those for which
	// something was unavailable or full, Gone those that no longer existed.
	Kept   int `json:"kept"`
	Failed int `json:"failed"`
	Gone   int `json:"gone"`
	// Next is the From of the rest; 0 when all that was selected is done.
	Next uint64 `json:"next,omitempty"`
	// Letters are the results of the letters, in order.
	Letters []Redriven `json:"letters"`
}

// Outcomes of a redrive.
const (
	OutcomeRedriven = "redriven"
	OutcomeRefused  = "refused"
	OutcomeKept     = "kept"
	OutcomeFailed   = "failed"
	OutcomeGone     = "gone"
)

// Redriven is the result of one dead letter.
type Redriven struct {
	Sequence uint64 `json:"sequence"`
	// Outcome is one of the Outcome constants.
	Outcome  string `json:"outcome"`
	Readings int    `json:"readings,omitempty"`
	// Reason is the reason of the new letter of a refused letter; Detail says in
	// words why a letter was not redriven.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Add adds the result of one more letter.
func (r *Redrive) Add(l Redriven) {
	switch l.Outcome {
	case OutcomeRedriven:
		r.Redriven++
		r.Readings += l.Readings
	case OutcomeRefused:
		r.Refused++
	case OutcomeKept:
		r.Kept++
	case OutcomeGone:
		r.Gone++
	default:
		r.Failed++
	}
	r.Letters = append(r.Letters, l)
}

// NotRedrivable says why a letter cannot be redriven; empty if it can.
func NotRedrivable(l Letter) string { return streams.NotRedrivable(l.Service, l.Reason) }
