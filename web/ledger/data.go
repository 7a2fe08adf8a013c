package ledger

import (
	"context"
	"time"
)

// Source is what became of what arrived.
type Source interface {
	// Ledger returns the account of a range. An error that wraps
	// view.ErrUnavailable means that the database or NATS cannot be reached; OnTheWay
	// and Answered are set even so.
	Ledger(ctx context.Context, q Query) (Ledger, error)
}

// Groups of the rows of a ledger.
const (
	ByDevice = "device"
	ByMinute = "minute"
)

// Query asks for the account of what arrived in [From, To), in whole
// minutes.
type Query struct {
	From, To time.Time
	// Site and Device select; empty means all.
	Site, Device string
	// Sites are the sites beyond which nothing is there; none means all sites.
	Sites []string
	// Group is ByDevice or ByMinute.
	Group string
	// Page counts from 1.
	Page int
	// Size is the number of rows on a page.
	Size int
}

// Figures say what became of what arrived: received is the sum of all the
// others but the conflicts.
type Figures struct {
	// Received counts readings, and messages that became dead letters instead.
	Received uint64 `json:"received"`
	// Stored counts the readings that InfluxDB has stored; a repeat counts once
	// more.
	Stored uint64 `json:"stored"`
	// Rejected counts messages that became dead letters on arrival, Refused readings
	// that became dead letters because InfluxDB refused them.
	Rejected uint64 `json:"rejected"`
	Refused  uint64 `json:"refused"`
	// InFlight counts the readings that are on their way and may not be stored yet.
	InFlight uint64 `json:"in_flight"`
	// Missing counts what was in TELEMETRY and was gone when the stream was read.
	Missing uint64 `json:"missing"`
	// Conflicts counts the readings, received as any other, that gave another
	// value for an event time that had one: the last one stands.
	Conflicts uint64 `json:"conflicts"`
}

// Rest sets Stored to the rest of Received.
func (f *Figures) Rest() {
	f.Stored = f.Received - min(f.Received, f.Rejected+f.Refused+f.InFlight+f.Missing)
}

// DeadLetters counts what became a dead letter, when it came in or later.
func (f *Figures) DeadLetters() uint64 { return f.Rejected + f.Refused }

// Totals are the figures of all rows.
type Totals struct {
	Figures
	// Exact reports whether nothing of the range was on its way: the figures are
	// final for everything that had arrived when they were read.
	Exact bool `json:"exact"`
}

// Row is the account of one device or one minute.
type Row struct {
	// Site and Device are empty for messages that did not name them, and in rows by
	// minute.
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	// Minute is the start of the minute of arrival; zero in rows by device.
	Minute time.Time `json:"minute,omitzero"`
	Figures
}

// OnTheWay counts what is on its way through the whole pipeline, whichever range and
// device are asked for.
type OnTheWay struct {
	// Counting counts readings and rejected messages that the processor has not
	// entered yet; it enters them when their minute is over, or when nothing more
	// comes.
	Counting uint64 `json:"counting"`
	// Entering counts the readings whose entries are not in InfluxDB yet.
	Entering uint64 `json:"entering"`
	// Storing counts messages of TELEMETRY that no writer has finished yet, the
	// clock of the lanes included.
	Storing uint64 `json:"storing"`
	// Since is the start of the earliest minute in which any of them arrived; zero
	// if there are none. The account of earlier minutes is closed.
	Since time.Time `json:"since,omitzero"`
	// Unknown says in words why the figures may be incomplete; empty if they are
	// complete.
	Unknown string `json:"unknown,omitempty"`
}

// Received returns how many readings and messages have arrived that are in no
// entry yet.
func (w OnTheWay) Received() uint64 { return w.Counting + w.Entering }

// Ledger is the account of what arrived in a range.
type Ledger struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Totals Totals    `json:"totals"`
	// Rows are in the order of site and device, or the latest minute first.
	Rows []Row `json:"rows"`
	// Matching counts the rows over all pages.
	Matching int      `json:"matching"`
	OnTheWay OnTheWay `json:"on_the_way"`
	// Answered is when InfluxDB last answered.
	Answered time.Time `json:"told,omitzero"`
}
