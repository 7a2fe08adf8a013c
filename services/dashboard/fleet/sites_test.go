package fleet

import (
	"slices"
	"testing"
	"time"

	"headwater/web/overview"
	"headwater/web/view"
)

// TestDevicesBySite asks for the devices in the order of their sites, with what is known
// of each site, for those who may see all sites and for those who may not.
func TestDevicesBySite(t *testing.T) {
	f := New("")
	for _, n := range []name{{"b", "d2"}, {"a", "d1"}, {"b", "d10"}, {"c", "d1"}} {
		f.Add(t0.UnixNano(), []Series{{n.site, n.id, "m", "", view.KindNumber}}, slices.Values([]Reading{{0, t0.UnixNano(), view.Number(1)}}))
	}
	f.SetFiring("b", "d10", []view.Alert{{}})
	names := func(q overview.Query) (out []string, sites []overview.Site) {
		q.Page, q.Size = 1, 10
		d := f.Devices(q, t0.Add(time.Second))
		for _, one := range d.Items {
			out = append(out, one.Site+"/"+one.Device)
		}
		return out, d.Sites
	}
	if got, sites := names(overview.Query{}); !slices.Equal(got, []string{"b/d10", "a/d1", "b/d2", "c/d1"}) || sites != nil {
		t.Errorf("by state: %q, sites %v", got, sites)
	}
	got, sites := names(overview.Query{BySite: true})
	if !slices.Equal(got, []string{"a/d1", "b/d2", "b/d10", "c/d1"}) {
		t.Errorf("by site: %q", got)
	}
	if len(sites) != 3 || sites[1].Name != "b" || sites[1].Total != 2 || sites[1].Firing != 1 || !slices.Equal(sites[1].Strip, []view.State{view.StateOK, view.StateFiring}) {
		t.Errorf("sites: %+v", sites)
	}
	got, sites = names(overview.Query{BySite: true, Site: "b", Sites: []string{"b", "c"}})
	if !slices.Equal(got, []string{"b/d2", "b/d10"}) || len(sites) != 2 {
		t.Errorf("one of two sites: %q, %+v", got, sites)
	}
}
