package boards

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// Facts are what the page of a board shows.
type Facts struct {
	Board Board
	// Gone reports that the board has been deleted.
	Gone  bool
	Range view.Range
	Tiles []Shown
	// Alerts are the active alerts.
	Alerts []view.Alert
	// Edit reports whether the board is being arranged, Kiosk whether it is on a wall.
	Edit, Kiosk bool
	// Rotate is how long a wall shows the board before the next one; 0 for always.
	Rotate time.Duration
	// Next is the board after it.
	Next string
	// Text is what is searched for, Found the series that can be added and Plans the plans.
	Text  string
	Found []Found
	Plans []Plan
	More  bool
	// Problem says why a change was not made.
	Problem string
}

// Shown is a tile with its series.
type Shown struct {
	Tile
	Shows []Series
	// OnPlan is what a floor plan shows.
	OnPlan PlanFacts
}

// Series is a series of a tile.
type Series struct {
	Found
	// Of is the unit of its numbers.
	Of string
	// From is the device.
	From view.Device
	// Known is false while no such series has reported; then only the names are there.
	Known bool
}

// List is what the list of boards shows.
type List struct {
	Boards []Board
	// Choices are the templates; what is not ready has nothing to show.
	Choices []Choice
	// Named reports whether the reader has a name, to whom boards can belong.
	Named   bool
	Problem string
}

// Choice is a template, and whether there is something to show on it.
type Choice struct {
	Template
	Ready bool
}

// show resolves the series of a tile.
func show(t Tile, device func(site, dev string) (view.Device, bool)) Shown {
	s := Shown{Tile: t}
	for _, name := range t.Series {
		site, dev, metric, of := ui.SeriesOf(name)
		one := Series{Found: Found{Site: site, Device: dev, Metric: view.Metric{Name: metric}}, Of: of}
		d, _ := device(site, dev)
		for _, m := range d.Metrics {
			if m.Name == metric {
				one.Metric, one.From, one.Known = m, d, true
				one.Of = cmp.Or(of, m.Unit)
			}
		}
		s.Shows = append(s.Shows, one)
	}
	return s
}

// shape changes when more than values of the tiles change.
func (f Facts) shape() string {
	var b strings.Builder
	b.WriteString(strconv.FormatUint(f.Board.Revision, 10) + " " + strconv.FormatBool(f.Gone))
	for _, t := range f.Tiles {
		for _, s := range t.Shows {
			b.WriteString(" " + strconv.FormatBool(s.Known) + string(s.Metric.Kind))
		}
		if t.Kind == KindPlan {
			b.WriteString(t.OnPlan.shape())
		}
	}
	return b.String()
}

// live reports whether updates replace the content of a tile. Script fills the others.
func (t Shown) live() bool {
	return t.Kind != KindChart && t.Kind != KindStates && t.Kind != KindText
}

// title is what a tile is called.
func (t Shown) title() string {
	switch {
	case t.Title != "":
		return view.Plain(t.Title)
	case len(t.Shows) == 1:
		return t.Shows[0].label(true)
	case t.Kind == KindAlerts:
		return "Alerts"
	case t.Kind == KindText:
		return "Text"
	case t.Kind == KindPlan:
		return cmp.Or(view.Plain(t.OnPlan.Plan.Title), "Floor plan")
	case len(t.Shows) > 0:
		return ui.UpperFirst(strings.Join(t.metrics(), ", "))
	}
	return ui.UpperFirst(string(t.Kind))
}

// metrics are the different metrics of a tile, at most three.
func (t Shown) metrics() []string {
	var out []string
	for _, s := range t.Shows {
		if name := view.Plain(s.Metric.Label()); !slices.Contains(out, name) && len(out) < 3 {
			out = append(out, name)
		}
	}
	return out
}

// label names a series with its device, and with its metric if that is wanted.
func (s Series) label(metric bool) string {
	name := s.Device
	if s.Known {
		name = view.Plain(s.From.Label())
	}
	if metric {
		name += " " + view.Plain(s.Metric.Label())
	}
	return name
}

// drawn are the series of a chart that can be drawn.
func (t Shown) drawn() []Series {
	return slices.DeleteFunc(slices.Clone(t.Shows), func(s Series) bool { return !s.Known || !s.Metric.Drawn() })
}

// chartData are the series of a chart for its script.
func (t Shown) chartData() []ui.ChartSeries {
	all := t.drawn()
	one := !slices.ContainsFunc(all, func(s Series) bool { return s.Metric.Name != all[0].Metric.Name })
	var out []ui.ChartSeries
	for _, s := range all {
		out = append(out, ui.ChartSeries{
			Site: s.Site, Device: s.Device, Metric: s.Metric.Name, Of: view.Plain(s.Of), Unit: strings.TrimSpace(ui.Unit(s.Of)), Kind: s.Metric.Kind, Name: s.label(!one),
		})
	}
	return out
}

// chartAttributes are what the script of a chart has to know.
func (f Facts) chartAttributes(t Shown) templ.Attributes {
	out := ui.ChartAttributes(t.chartData())
	out["data-poll"], out["data-fill"], out["data-span"] = true, true, strconv.FormatInt(f.Range.Span.Milliseconds(), 10)
	return out
}

// exploreURL is the page on which the series of a tile can be explored.
func (f Facts) exploreURL(t Shown) string {
	return "/explore?" + url.Values{"c": {strings.Join(t.Series, "~")}, "from": {"-" + strings.Replace(f.Range.Name, "1y", "366d", 1)}}.Encode()
}

// gauge is where a value is between the ends of a gauge.
type gauge struct {
	Low, High, Share float64
	There            bool
}

func (t Shown) gauge() gauge {
	m := t.Shows[0].Metric
	g := gauge{Low: 0, High: 100}
	for _, ends := range [][2]*float64{{m.About.Low, m.About.High}, {t.Low, t.High}} {
		if ends[0] != nil {
			g.Low = *ends[0]
		}
		if ends[1] != nil {
			g.High = *ends[1]
		}
	}
	if m.Value.Kind == view.KindNumber && g.High > g.Low {
		g.Share, g.There = min(1, max(0, (m.Value.Number-g.Low)/(g.High-g.Low))), true
	}
	return g
}

// paragraphs are those of a text.
func (t Shown) paragraphs() []string {
	var out []string
	for p := range strings.SplitSeq(strings.ReplaceAll(t.Text, "\r\n", "\n"), "\n\n") {
		if strings.TrimSpace(p) != "" {
			out = append(out, view.Plain(p))
		}
	}
	return out
}

// shownAlerts are as many alerts as fit on a tile.
func (f Facts) shownAlerts(t Shown) []view.Alert { return f.Alerts[:min(len(f.Alerts), 2*t.Height)] }

// tileClass are the classes that give a tile its size.
func tileClass(t Tile) string {
	return "board-tile bw-" + strconv.Itoa(t.Width) + " bh-" + strconv.Itoa(t.Height)
}

// boardURL is the page of a board.
func boardURL(id string) string { return "/boards/" + url.PathEscape(id) }

// with is the page with other parameters.
func (f Facts) with(name, value string) string {
	q := url.Values{}
	if f.Range.Name != f.Board.Range {
		q.Set("range", f.Range.Name)
	}
	if f.Kiosk {
		q.Set("kiosk", "1")
	}
	if f.Rotate > 0 {
		q.Set("rotate", strconv.Itoa(int(f.Rotate.Seconds())))
	}
	if value == "" {
		q.Del(name)
	} else {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return boardURL(f.Board.ID)
	}
	return boardURL(f.Board.ID) + "?" + q.Encode()
}

// liveURL is the stream of the page.
func (f Facts) liveURL() string { return "/live" + f.with("", "") }

// nextURL is the page of the next board on a wall.
func (f Facts) nextURL() string {
	return boardURL(f.Next) + "?" + url.Values{"kiosk": {"1"}, "rotate": {strconv.Itoa(int(f.Rotate.Seconds()))}}.Encode()
}

// boardAttributes are what the script of the page has to know.
func (f Facts) boardAttributes() templ.Attributes {
	out := templ.Attributes{}
	if f.Edit {
		out["data-arrange"] = boardURL(f.Board.ID) + "/tiles/"
	}
	if f.Rotate > 0 {
		out["data-rotate"], out["data-next"] = strconv.Itoa(int(f.Rotate.Seconds())), f.nextURL()
	}
	return out
}

// words says how much is on a board, and for whom.
func (b Board) words() string {
	words := ui.Plural(len(b.Tiles), "tile", "tiles")
	if b.Owner != "" {
		words += ", only for you"
	}
	return words
}

// MayChange reports whether somebody may change a board that they see.
func (b Board) MayChange(p app.Principal) bool { return p.May(app.Operator) && b.SeenBy(p) }

// MayDelete reports whether somebody may delete a board that they see: their own, or as an
// administrator.
func (b Board) MayDelete(p app.Principal) bool {
	return p.May(app.Administrator) || b.Owner != "" && b.Owner == p.Name && b.MayChange(p)
}

// numberText is a number as a form has it; empty if there is none.
func numberText(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}
