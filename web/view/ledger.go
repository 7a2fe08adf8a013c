package view

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

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
func (w LedgerOnTheWay) Received() uint64 { return w.Counting + w.Entering }

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

// DeadLetters counts what became a dead letter, when it came in or later.
func (f *LedgerFigures) DeadLetters() uint64 { return f.Rejected + f.Refused }

// LedgerRanges are the spans of the page of the ledger; the first is the
// default.
var LedgerRanges = [...]Range{Ranges[1], Ranges[3], Ranges[4]}

// LedgerRangeNamed returns the range of that name, or the default for an empty
// name.
func LedgerRangeNamed(name string) (Range, bool) {
	if name == "" {
		return LedgerRanges[0], true
	}
	for _, r := range LedgerRanges {
		if r.Name == name {
			return r, true
		}
	}
	return Range{}, false
}

// LedgerFacts are what the page of the ledger shows.
type LedgerFacts struct {
	Query  LedgerQuery
	Range  Range
	Ledger Ledger
	// Problem says in words why the account cannot be told now; empty when it is
	// told. OnTheWay and Told of the ledger hold even so.
	Problem string
}

// LedgerVerdict is what the figures come to.
type LedgerVerdict string

// Verdicts.
const (
	// LedgerClosed: everything that arrived is stored or a dead letter, but for
	// what arrived since the earliest minute that is on its way.
	LedgerClosed LedgerVerdict = "closed"
	// LedgerOpen: something is on its way that may be of any minute.
	LedgerOpen LedgerVerdict = "open"
	// LedgerBroken: something is missing.
	LedgerBroken LedgerVerdict = "broken"
	// LedgerUntold: it cannot be told now.
	LedgerUntold LedgerVerdict = "untold"
)

// Verdict returns what the figures come to.
func (f LedgerFacts) Verdict() LedgerVerdict {
	l := f.Ledger
	switch {
	case f.Problem != "":
		return LedgerUntold
	case l.Totals.Missing > 0:
		return LedgerBroken
	case l.Totals.Exact:
		return LedgerClosed
	case l.OnTheWay.Unknown != "":
		return LedgerUntold
	case l.Totals.InFlight == 0 && l.OnTheWay.Since.After(l.From):
		return LedgerClosed
	}
	return LedgerOpen
}

// ofDevice says that the page tells of one device.
func (f LedgerFacts) ofDevice() bool { return f.Query.Device != "" }

// summary is the verdict in a sentence.
func (f LedgerFacts) summary() string {
	t := f.Ledger.Totals
	switch f.Verdict() {
	case LedgerUntold:
		return "Cannot be told now."
	case LedgerBroken:
		return "Not balanced: " + plural(int(min(t.Missing, math.MaxInt)), "reading is missing", "readings are missing") + "."
	case LedgerOpen:
		return plural(f.onTheWay(), "on its way.", "on their way.")
	}
	if t.Received == 0 && t.Exact {
		return "Nothing arrived in the last " + f.Range.Words + "."
	}
	return "Balanced: nothing missing."
}

// onTheWay counts all that has arrived and may not be stored yet.
func (f LedgerFacts) onTheWay() uint64 {
	return f.Ledger.Totals.InFlight + f.Ledger.OnTheWay.Received()
}

// advice says what to make of the verdict, and what to do.
func (f LedgerFacts) advice() string {
	t := f.Ledger.Totals
	switch f.Verdict() {
	case LedgerUntold:
		if f.Problem != "" {
			return sentence(f.Problem)
		}
		return sentence(f.Ledger.OnTheWay.Unknown)
	case LedgerBroken:
		return "They were stored in TELEMETRY and gone before they were counted: the stream was purged or removed, or its disk lost data. " +
			"By minute one sees when. Look what the logs say of that time, and have devices send again what they still hold. " +
			"What the writers had taken by then is in the history all the same."
	case LedgerOpen:
		return "They are kept in the streams until they are stored. If the number does not fall, the pipeline says what is in the way."
	}
	if t.DeadLetters() > 0 {
		return ""
	}
	return "There are no dead letters among them."
}

// stage is one step of the pipeline with what waits before it.
type stage struct {
	Name, What string
	N          uint64
}

// stages are the steps at which something waits.
func (w LedgerOnTheWay) stages() (out []stage) {
	for _, s := range []stage{
		{"Storing", "messages of TELEMETRY that the writers have not finished, the clocks of the lanes included", w.Storing},
		{"Counting", "readings that the processor has not entered; it does so when their minute is over", w.Counting},
		{"Entering", "readings whose entries are not in InfluxDB", w.Entering},
	} {
		if s.N > 0 {
			out = append(out, s)
		}
	}
	return out
}

// pages returns how many pages the rows have, at least 1.
func (f LedgerFacts) pages() int {
	if f.Query.Size <= 0 {
		return 1
	}
	return max(1, (f.Ledger.Matching+f.Query.Size-1)/f.Query.Size)
}

// url is the address of the page with something changed.
func (f LedgerFacts) url(change func(*LedgerFacts)) string {
	f.Query.Page = 1
	change(&f)
	v := url.Values{}
	if f.Range.Name != LedgerRanges[0].Name {
		v.Set("range", f.Range.Name)
	}
	if f.Query.Site != "" {
		v.Set("site", f.Query.Site)
	}
	if f.ofDevice() {
		v.Set("device", f.Query.Device)
	} else if f.Query.Group == LedgerByMinute {
		v.Set("group", f.Query.Group)
	}
	if f.Query.Page > 1 {
		v.Set("page", strconv.Itoa(f.Query.Page))
	}
	if len(v) == 0 {
		return "/ledger"
	}
	return "/ledger?" + v.Encode()
}

func (f LedgerFacts) rangeURL(r Range) string {
	return f.url(func(f *LedgerFacts) { f.Range = r })
}

func (f LedgerFacts) groupURL(group string) string {
	return f.url(func(f *LedgerFacts) { f.Query.Group = group })
}

func (f LedgerFacts) deviceURL(site, device string) string {
	return f.url(func(f *LedgerFacts) { f.Query.Site, f.Query.Device = site, device })
}

func (f LedgerFacts) pageURL(page int) string {
	return f.url(func(f *LedgerFacts) { f.Query.Page = page })
}

// caption says what the table holds.
func (f LedgerFacts) caption() string {
	what := "What became of what arrived in the last " + f.Range.Words
	switch {
	case f.ofDevice():
		return what + " from " + f.Query.Site + "/" + f.Query.Device + ", by minute, the latest first"
	case f.Query.Group == LedgerByMinute:
		return what + ", by minute, the latest first"
	}
	return what + ", by device"
}

// letters is the number of dead letters in words, by where they were refused.
func (t LedgerTotals) letters() string {
	var parts []string
	if t.Rejected > 0 {
		parts = append(parts, FormatCount(t.Rejected)+" when they came in")
	}
	if t.Refused > 0 {
		parts = append(parts, FormatCount(t.Refused)+" refused by InfluxDB")
	}
	return strings.Join(parts, ", ")
}
