package boards

import (
	"slices"
	"strconv"
	"strings"

	"headwater/web/ui"
	"headwater/web/view"
)

// Template is a board that is made of the series that there are.
type Template struct {
	Name, Title string
	// About says what the board has, Missing why it would be empty.
	About, Missing string
	fits           func(view.Metric) bool
	tiles          func(fitting, all []Found) []Tile
}

// Found is a series that can be shown.
type Found struct {
	Site, Device string
	Metric       view.Metric
}

// Name is the name of the series on a board.
func (f Found) Name() string { return ui.SeriesName(f.Site, f.Device, f.Metric.Name, "") }

// templates are all templates. The first is the default of the form.
var templates = []Template{
	{
		Name: "cold-room", Title: "Cold room", About: "Temperatures as values and on a chart, doors, alerts.", Missing: "no temperatures have reported",
		fits: func(m view.Metric) bool { return m.Kind == view.KindNumber && named(m, "temp") },
		tiles: func(fitting, all []Found) []Tile {
			tiles := each(KindValue, first(fitting, 4))
			tiles = append(tiles, newTile(KindChart, "", names(first(fitting, 6))...))
			tiles = append(tiles, newTile(KindAlerts, ""))
			tiles = append(tiles, each(KindStates, first(keep(all, isDoor), 2))...)
			if len(fitting) > 4 {
				tiles = append(tiles, wide(newTile(KindTable, "", names(first(fitting, 20))...)))
			}
			return tiles
		},
	},
	{
		Name: "energy", Title: "Energy", About: "Power and energy as values, on a chart and as a table.", Missing: "no power or energy has reported",
		fits: func(m view.Metric) bool {
			return m.Kind == view.KindNumber && (named(m, "power") || named(m, "energy") || slices.Contains([]string{"W", "kW", "MW", "Wh", "kWh", "MWh", "VA"}, m.ShownUnit()))
		},
		tiles: func(fitting, _ []Found) []Tile {
			tiles := each(KindValue, first(fitting, 4))
			tiles = append(tiles, wide(newTile(KindChart, "", names(first(fitting, 6))...)))
			return append(tiles, wide(newTile(KindTable, "", names(first(fitting, 20))...)))
		},
	},
	{
		Name: "doors", Title: "Doors", About: "Doors as states over time and as a table, alerts.", Missing: "no doors have reported",
		fits: isDoorMetric,
		tiles: func(fitting, _ []Found) []Tile {
			tiles := each(KindStates, first(fitting, 8))
			tiles = append(tiles, newTile(KindTable, "", names(first(fitting, 20))...))
			return append(tiles, newTile(KindAlerts, ""))
		},
	},
}

// ready reports whether there is something to show on the board.
func (t Template) ready(all []Found) bool {
	return slices.ContainsFunc(all, func(f Found) bool { return t.fits(f.Metric) })
}

// board returns the board of the series that there are.
func (t Template) board(all []Found) Board {
	b := Board{Title: t.Title, Range: "24h", Tiles: t.tiles(keep(all, func(f Found) bool { return t.fits(f.Metric) }), all)}
	for i := range b.Tiles {
		b.Tiles[i].ID = "t" + strconv.Itoa(i+1)
	}
	return b
}

func named(m view.Metric, part string) bool { return strings.Contains(strings.ToLower(m.Name), part) }

// isDoorMetric reports whether a metric says if something is open.
func isDoorMetric(m view.Metric) bool {
	return m.HasStates() && (named(m, "open") || named(m, "door") || named(m, "contact") || named(m, "closed"))
}

func isDoor(f Found) bool { return isDoorMetric(f.Metric) }

func keep(all []Found, fits func(Found) bool) []Found {
	return slices.DeleteFunc(slices.Clone(all), func(f Found) bool { return !fits(f) })
}

func first(all []Found, most int) []Found { return all[:min(most, len(all))] }

func names(all []Found) []string {
	out := make([]string, len(all))
	for i, f := range all {
		out[i] = f.Name()
	}
	return out
}

func each(kind Kind, all []Found) []Tile {
	var out []Tile
	for _, f := range all {
		out = append(out, newTile(kind, "", f.Name()))
	}
	return out
}

func wide(t Tile) Tile {
	t.Width = Columns
	return t
}
