package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"headwater/web"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/overview"
	"headwater/web/view"
)

// many are 10,000 devices of 100 sites in the worst order for a page: each cell of each
// strip differs from the next one.
type many struct{ *fixture.Source }

func (m many) Devices(q overview.Query) overview.Devices {
	out := m.Source.Devices(q)
	out.Total, out.Matching, out.Firing, out.Silent = 10_000, 10_000, 2500, 2500
	out.Sites = nil
	turn := []view.State{view.StateOK, view.StateFiring, view.StateSilent, view.StateUnknown}
	for i := range 100 {
		var states []view.State
		for k := range 100 {
			states = append(states, turn[k%len(turn)])
		}
		out.Sites = append(out.Sites, overview.NewSite(fmt.Sprintf("a-site-with-a-longer-name-%03d", i), states))
	}
	return out
}

// TestOverviewOfManyDevices bounds the bytes of the overview.
func TestOverviewOfManyDevices(t *testing.T) {
	const most = 250_000
	source := fixture.New(fixture.Large, time.Time{})
	sources := source.Sources()
	sources.Overview = many{source}
	s, err := web.New(web.Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	res, body := webtest.Get(t, s, http.MethodGet, "/")
	took := time.Since(begin)
	_, zipped := webtest.Get(t, s, http.MethodGet, "/", "Accept-Encoding", "gzip")
	t.Logf("%d B, %d B by gzip, in %v", len(body), len(zipped), took)
	if res.StatusCode != http.StatusOK || len(body) > most {
		t.Errorf("%s with %d B, at most %d are wanted", res.Status, len(body), most)
	}
}
