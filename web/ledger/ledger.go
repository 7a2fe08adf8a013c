package ledger

import (
	"math"
	"net/url"
	"strconv"
	"strings"

	"headwater/web/ui"
	"headwater/web/view"
)

// Ranges are the spans of the page of the ledger; the first is the default.
var Ranges = [...]view.Range{view.Ranges[1], view.Ranges[3], view.Ranges[4]}

// RangeNamed returns the range of that name, or the default for an empty name.
func RangeNamed(name string) (view.Range, bool) { return view.RangeIn(Ranges[:], name) }

// Facts are what the page of the ledger shows.
type Facts struct {
	Query  Query
	Range  view.Range
	Ledger Ledger
	// Problem says in words why the account is not known now; empty if it is known.
	// OnTheWay and Answered of the ledger are valid in both cases.
	Problem string
}

// Verdict is what the figures come to.
type Verdict string

// Verdicts.
const (
	// Closed: everything that arrived is stored or a dead letter, but for
	// what arrived since the earliest minute that is on its way.
	Closed Verdict = "closed"
	// Open: something is on its way that may be of any minute.
	Open Verdict = "open"
	// Broken: something is missing.
	Broken Verdict = "broken"
	// Unknown: the account is not known now.
	Unknown Verdict = "unknown"
)

// Verdict returns what the figures come to.
func (f Facts) Verdict() Verdict {
	l := f.Ledger
	switch {
	case f.Problem != "":
		return Unknown
	case l.Totals.Missing > 0:
		return Broken
	case l.Totals.Exact:
		return Closed
	case l.OnTheWay.Unknown != "":
		return Unknown
	case l.Totals.InFlight == 0 && l.OnTheWay.Since.After(l.From):
		return Closed
	}
	return Open
}

// ofDevice reports whether the page is about one device.
func (f Facts) ofDevice() bool { return f.Query.Device != "" }

// summary is the verdict in a sentence.
func (f Facts) summary() string {
	t := f.Ledger.Totals
	switch f.Verdict() {
	case Unknown:
		return "Not known right now."
	case Broken:
		return "Not balanced: " + ui.Plural(int(min(t.Missing, math.MaxInt)), "reading is missing", "readings are missing") + "."
	case Open:
		return ui.Plural(f.onTheWay(), "on its way.", "on their way.")
	}
	if t.Received == 0 && t.Exact {
		return "Nothing arrived in the last " + f.Range.Words + "."
	}
	return "Balanced: nothing missing."
}

// onTheWay counts everything that has arrived and may not be stored yet.
func (f Facts) onTheWay() uint64 {
	return f.Ledger.Totals.InFlight + f.Ledger.OnTheWay.Received()
}

// advice explains the verdict and says what to do.
func (f Facts) advice() string {
	t := f.Ledger.Totals
	switch f.Verdict() {
	case Unknown:
		if f.Problem != "" {
			return ui.Sentence(f.Problem)
		}
		return ui.Sentence(f.Ledger.OnTheWay.Unknown)
	case Broken:
		return "They were stored in TELEMETRY and gone before they were counted: the stream was purged or deleted, or its disk lost data. " +
			"The rows by minute show when. Look at the logs of that time, and let devices send again what they still hold. " +
			"What the writers had read by then is in the history."
	case Open:
		return "They are kept in the streams until they are stored. If the number does not fall, the page Pipeline shows why."
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
func (w OnTheWay) stages() (out []stage) {
	for _, s := range []stage{
		{"Storing", "messages of TELEMETRY that the writers have not finished, including the clocks of the lanes", w.Storing},
		{"Counting", "readings that the processor has not entered; it enters them when their minute is over", w.Counting},
		{"Entering", "readings whose entries are not in InfluxDB", w.Entering},
	} {
		if s.N > 0 {
			out = append(out, s)
		}
	}
	return out
}

// pages returns how many pages the rows have, at least 1.
func (f Facts) pages() int {
	if f.Query.Size <= 0 {
		return 1
	}
	return max(1, (f.Ledger.Matching+f.Query.Size-1)/f.Query.Size)
}

// url is the address of the page with something changed.
func (f Facts) url(change func(*Facts)) string {
	f.Query.Page = 1
	change(&f)
	v := url.Values{}
	if f.Range.Name != Ranges[0].Name {
		v.Set("range", f.Range.Name)
	}
	if f.Query.Site != "" {
		v.Set("site", f.Query.Site)
	}
	if f.ofDevice() {
		v.Set("device", f.Query.Device)
	} else if f.Query.Group == ByMinute {
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

func (f Facts) rangeURL(r view.Range) string {
	return f.url(func(f *Facts) { f.Range = r })
}

func (f Facts) groupURL(group string) string {
	return f.url(func(f *Facts) { f.Query.Group = group })
}

func (f Facts) deviceURL(site, device string) string {
	return f.url(func(f *Facts) { f.Query.Site, f.Query.Device = site, device })
}

func (f Facts) pageURL(page int) string {
	return f.url(func(f *Facts) { f.Query.Page = page })
}

// caption says what the table holds.
func (f Facts) caption() string {
	what := "What became of what arrived in the last " + f.Range.Words
	switch {
	case f.ofDevice():
		return what + " from " + f.Query.Site + "/" + f.Query.Device + ", by minute, the latest first"
	case f.Query.Group == ByMinute:
		return what + ", by minute, the latest first"
	}
	return what + ", by device"
}

// letters is the number of dead letters in words, by where they were refused.
func (t Totals) letters() string {
	var parts []string
	if t.Rejected > 0 {
		parts = append(parts, ui.FormatCount(t.Rejected)+" on arrival")
	}
	if t.Refused > 0 {
		parts = append(parts, ui.FormatCount(t.Refused)+" refused by InfluxDB")
	}
	return strings.Join(parts, ", ")
}
