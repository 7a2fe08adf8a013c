package overview

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"headwater/web/view"
)

func states(runs ...any) []view.State {
	var out []view.State
	for i := 0; i < len(runs); i += 2 {
		out = append(out, slices.Repeat([]view.State{runs[i+1].(view.State)}, runs[i].(int))...)
	}
	return out
}

func TestSiteStrip(t *testing.T) {
	ok, firing, silent, unknown := view.StateOK, view.StateFiring, view.StateSilent, view.StateUnknown
	for _, c := range []struct {
		states []view.State
		cells  int
		words  string
		paths  map[view.State]string
	}{
		{states(3, ok), 3, "all OK", map[view.State]string{ok: "M0 1h3", firing: ""}},
		{states(1, ok, 2, firing, 1, silent), 4, "2 firing, 1 silent", map[view.State]string{ok: "M0 1h1", firing: "M1 1h2", silent: "M3 1h1"}},
		{states(1, unknown, 1, ok, 1, unknown), 3, "2 not heard yet", map[view.State]string{unknown: "M0 1h1M2 1h1"}},
		// Ten devices a cell: the worst counts.
		{states(1203, ok, 1, firing, 1196, ok), 240, "1 firing", map[view.State]string{firing: "M120 1h1"}},
		{states(1203, ok, 1, silent, 1, firing, 1, unknown, 1194, ok), 240, "1 firing, 1 silent, 1 not heard yet", map[view.State]string{firing: "M120 1h1", silent: "", unknown: ""}},
	} {
		s := NewSite("s", c.states)
		if s.Total != len(c.states) || len(s.Strip) != c.cells || s.words() != c.words {
			t.Errorf("%d devices, %d cells, %q", s.Total, len(s.Strip), s.words())
		}
		for state, want := range c.paths {
			if got := stripPath(s.Strip, state); got != want {
				t.Errorf("%s: %q, want %q", state, got, want)
			}
		}
	}
}

// TestTrend draws lines: a trend is what stands out from the noise.
func TestTrend(t *testing.T) {
	line := func(slots int, from, step, spread float64) view.Metric {
		m := view.Metric{}
		for i := range slots {
			v := from + step*float64(i)
			m.Spark = append(m.Spark, view.Slot{Start: time.Unix(int64(15*i), 0), Min: v - spread/2, Max: v + spread/2, Last: v})
		}
		return m
	}
	for name, c := range map[string]struct {
		m    view.Metric
		want int
	}{
		"rising":         {line(60, 4, 0.05, 0.1), 1},
		"falling":        {line(60, 4, -0.05, 0.1), -1},
		"flat":           {line(60, 4, 0, 0.1), 0},
		"within noise":   {line(60, 4, 0.01, 0.5), 0},
		"too few to say": {line(5, 4, 1, 0), 0},
		"none":           {view.Metric{}, 0},
		"all zero":       {line(30, 0, 0, 0), 0},
	} {
		if got := trend(c.m); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestWhichSitesAreShown: none while the list says it all, and the worst of too many.
func TestWhichSitesAreShown(t *testing.T) {
	facts := func(sites, each int) Facts {
		f := Facts{Query: Query{Page: 1, Size: 50, BySite: true}}
		for i := range sites {
			of := states(each, view.StateOK)
			if i == sites-1 {
				of[0] = view.StateFiring
			}
			f.Devices.Sites = append(f.Devices.Sites, NewSite(fmt.Sprintf("s%03d", i), of))
			f.Devices.Total += each
		}
		return f
	}
	if got, more := facts(1, 50).Sites(); len(got) != 0 || more != 0 {
		t.Errorf("one site of one page: %d", len(got))
	}
	if got, _ := facts(1, 51).Sites(); len(got) != 1 {
		t.Errorf("one site of two pages: %d", len(got))
	}
	got, more := facts(200, 3).Sites()
	if len(got) != maxSites || more != 200-maxSites || got[0].Name != "s199" || got[1].Name != "s000" {
		t.Errorf("200 sites: %d, %d more, first %v", len(got), more, got[:2])
	}
	f := facts(200, 3)
	f.Query.Site = "s042"
	if got, _ := f.Sites(); len(got) != 1 || got[0].Name != "s042" || f.LiveURL() != "/live/overview?site=s042" {
		t.Errorf("one chosen: %v, %s", got, f.LiveURL())
	}
}
