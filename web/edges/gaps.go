package edges

import (
	"fmt"
	"time"

	"headwater/web/ui"
)

// Gaps is what an edge and this centre hold, hour by hour, of the readings that the edge is
// to send.
type Gaps struct {
	// Counted is when the edge counted; zero if it has not. It counts every few minutes.
	Counted time.Time `json:"counted,omitzero"`
	// Hours are in their order, by event time. Totals are their sums.
	Hours  []Hour `json:"hours"`
	Totals Held   `json:"totals"`
	// Devices is how many devices were compared. Uncounted is how many there are if they are
	// too many to be compared.
	Devices   int `json:"devices"`
	Uncounted int `json:"uncounted,omitempty"`
	// Repair is the last one; nil if there was none.
	Repair *Repair `json:"repair,omitempty"`
}

// Hour is one hour of Gaps.
type Hour struct {
	Start time.Time `json:"start"`
	Held
}

// Held is how many readings are held.
type Held struct {
	// Edge is how many the edge holds, Here how many this centre does.
	Edge uint64 `json:"edge"`
	Here uint64 `json:"here"`
	// Coming is how many the edge had not sent when it counted, Missing how many should be
	// here and are not.
	Coming  uint64 `json:"coming"`
	Missing uint64 `json:"missing"`
}

// Repair is how far an edge has come with sending once more what was missing.
type Repair struct {
	Asked time.Time `json:"asked"`
	// Pieces are how many there are, Done how many were sent. A piece is a time without gaps
	// of one device.
	Pieces   int    `json:"pieces"`
	Done     int    `json:"done"`
	Readings uint64 `json:"readings"`
}

// Over reports whether everything was sent.
func (r Repair) Over() bool { return r.Done >= r.Pieces }

func (r Repair) words() string {
	if r.Over() {
		return fmt.Sprintf("The repair has sent %s.", ui.Plural(r.Readings, "reading", "readings"))
	}
	return fmt.Sprintf("A repair is under way: %d of %d pieces, %s so far.", r.Done, r.Pieces, ui.Plural(r.Readings, "reading", "readings"))
}

// gapState is how one hour stands.
type gapState string

const (
	gapNothing gapState = "nothing"
	gapWhole   gapState = "complete"
	gapComing  gapState = "on its way"
	gapMissing gapState = "missing"
)

// class is that of the cell of the state, sign what is seen in it.
func (s gapState) class() string {
	return map[gapState]string{gapNothing: "gap-nothing", gapWhole: "gap-whole", gapComing: "gap-coming", gapMissing: "gap-missing"}[s]
}

func (s gapState) sign() string {
	return map[gapState]string{gapNothing: "·", gapWhole: "✓", gapComing: "→", gapMissing: "✕"}[s]
}

var gapStates = []gapState{gapWhole, gapComing, gapMissing, gapNothing}

func (h Held) state() gapState {
	switch {
	case h.Missing > 0:
		return gapMissing
	case h.Coming > 0:
		return gapComing
	case h.Edge > 0:
		return gapWhole
	}
	return gapNothing
}

// gapDay is a row of the map: the hours of a day of UTC. Those outside of the comparison
// are nil.
type gapDay struct {
	Start time.Time
	Hours [24]*Hour
}

// days are the rows of the map.
func (g Gaps) days() []gapDay {
	var out []gapDay
	for i := range g.Hours {
		h := &g.Hours[i]
		day := h.Start.UTC().Truncate(24 * time.Hour)
		if n := len(out); n == 0 || !out[n-1].Start.Equal(day) {
			out = append(out, gapDay{Start: day})
		}
		out[len(out)-1].Hours[h.Start.UTC().Hour()] = h
	}
	return out
}

// listed are the hours that are not complete, the newest first.
func (g Gaps) listed() (out []Hour) {
	for i := len(g.Hours) - 1; i >= 0; i-- {
		if s := g.Hours[i].state(); s == gapComing || s == gapMissing {
			out = append(out, g.Hours[i])
		}
	}
	return out
}

// Verdict says in a sentence what the map shows.
func (g Gaps) Verdict() string {
	switch t := g.Totals; {
	case g.Counted.IsZero():
		return "The edge has not counted yet what it holds."
	case g.Uncounted > 0:
		return fmt.Sprintf("The edge has %s devices, too many to be compared hour by hour.", ui.FormatCount(uint64(g.Uncounted)))
	case t.Missing > 0:
		return fmt.Sprintf("%s missing here, and the edge has %s.", ui.Plural(t.Missing, "reading is", "readings are"), map[bool]string{true: "it", false: "them"}[t.Missing == 1])
	case t.Coming > 0:
		return fmt.Sprintf("Nothing is missing; %s on the way.", ui.Plural(t.Coming, "reading is", "readings are"))
	case t.Edge == 0:
		return "The edge holds no readings of these hours that go up."
	}
	return "Nothing is missing."
}
