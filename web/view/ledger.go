package view

import "time"

// Groups of the rows of a ledger.
const (
	LedgerByDevice = "device"
	LedgerByMinute = "minute"
)

// LedgerQuery asks for the account of what arrived in [From, To), in whole
// minutes.
type LedgerQuery struct {
	From, To time.Time
	// Site and Device select; empty means all.
	Site, Device string
	// Group is LedgerByDevice or LedgerByMinute.
	Group string
	// Page counts from 1.
	Page int
	// Size is the number of rows on a page.
	Size int
}

// LedgerFigures say what became of what arrived: received is the sum of all the
// others.
type LedgerFigures struct {
	// Received counts readings, and messages that became dead letters instead.
	Received uint64 `json:"received"`
	// Stored counts the readings that InfluxDB has stored; a repeat counts once
	// more.
	Stored uint64 `json:"stored"`
	// Rejected counts messages that became dead letters when they came in, Refused
	// readings that did because InfluxDB would not take them.
	Rejected uint64 `json:"rejected"`
	Refused  uint64 `json:"refused"`
	// InFlight counts what is on its way and may not be stored yet.
	InFlight uint64 `json:"in_flight"`
	// Missing counts what was in TELEMETRY and was not there any more when it was
	// read.
	Missing uint64 `json:"missing"`
}

// Rest sets Stored to what is left of Received.
func (f *LedgerFigures) Rest() {
	f.Stored = f.Received - min(f.Received, f.Rejected+f.Refused+f.InFlight+f.Missing)
}

// LedgerTotals are the figures of all rows.
type LedgerTotals struct {
	LedgerFigures
	// Exact says that nothing of the range was on its way: the figures are final
	// for what had arrived when they were taken.
	Exact bool `json:"exact"`
}

// LedgerRow is the account of one device or one minute.
type LedgerRow struct {
	// Site and Device are empty for messages that did not say; both are empty in
	// rows by minute.
	Site   string `json:"site,omitempty"`
	Device string `json:"device,omitempty"`
	// Minute is the start of the minute of arrival; zero in rows by device.
	Minute time.Time `json:"minute,omitzero"`
	LedgerFigures
}

// LedgerOnTheWay says what is on its way through all of the pipeline, whatever
// range and device are asked for.
type LedgerOnTheWay struct {
	// Waiting counts messages of devices that the bridge has not taken in yet.
	Waiting uint64 `json:"waiting"`
	// Counting counts readings and rejected messages that the processor has not
	// entered yet; it does so when their minute is over, or when nothing more comes.
	Counting uint64 `json:"counting"`
	// Entering counts those whose entries are not in InfluxDB yet.
	Entering uint64 `json:"entering"`
	// Storing counts messages of TELEMETRY that no writer has finished yet, the
	// clock of the lanes included.
	Storing uint64 `json:"storing"`
	// Since is the start of the earliest minute of arrival of all that; zero when
	// there is nothing. The account of earlier minutes is closed.
	Since time.Time `json:"since,omitzero"`
	// Unknown says in words why the figures may not be all; empty when they are.
	Unknown string `json:"unknown,omitempty"`
}

// Received returns how many readings and messages have arrived that are in no
// entry yet.
func (w LedgerOnTheWay) Received() uint64 { return w.Waiting + w.Counting + w.Entering }

// Ledger is the account of what arrived in a range.
type Ledger struct {
	From   time.Time    `json:"from"`
	To     time.Time    `json:"to"`
	Totals LedgerTotals `json:"totals"`
	// Rows are in the order of site and device, or the latest minute first.
	Rows []LedgerRow `json:"rows"`
	// Matching counts the rows over all pages.
	Matching int            `json:"matching"`
	OnTheWay LedgerOnTheWay `json:"on_the_way"`
	// Told is when InfluxDB last told what it holds.
	Told time.Time `json:"told,omitzero"`
}
