package edges_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/web/edges"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// recorder notes what the pages ask for.
type recorder struct {
	*fixture.Source
	draft   edges.Draft
	policy  edges.Policy
	revoked string
	mended  string
}

func (r *recorder) RepairEdge(ctx context.Context, name string) (edges.Gaps, error) {
	r.mended = name
	return r.Source.RepairEdge(ctx, name)
}

func (r *recorder) InviteEdge(ctx context.Context, d edges.Draft) (edges.Invited, error) {
	if r.draft = d; d.Name == "a.b" {
		return edges.Invited{}, fmt.Errorf("%w: a name has no dot", edges.ErrDraft)
	}
	return r.Source.InviteEdge(ctx, d)
}

func (r *recorder) SetEdgePolicy(ctx context.Context, name string, p edges.Policy) (edges.Edge, error) {
	if r.policy = p; name == "gone" {
		return edges.Edge{}, fmt.Errorf("%w: gone", view.ErrNotFound)
	}
	return r.Source.SetEdgePolicy(ctx, name, p)
}

func (r *recorder) RevokeEdge(_ context.Context, name string) (edges.Edge, error) {
	r.revoked = name
	return edges.Edge{}, nil
}

// TestButtons presses every button of the pages.
func TestButtons(t *testing.T) {
	source := fixture.New(fixture.Warehouse, time.Time{})
	asked := &recorder{Source: source}
	sources := source.Sources()
	sources.Edges = asked
	s := webtest.ServerOf(t, sources)

	form := url.Values{"name": {" cellar "}, "readings": {"hall/*/t=every 10\r\n\r\n */*/rh \r\n"}, "sites": {"hall, yard"}}
	res, body := webtest.Post(t, s, "/edges", form.Encode())
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "standalone --join &#39;headwater-edge-1.") || !strings.Contains(body, "qr-code") {
		t.Errorf("an invitation: %s", res.Status)
	}
	want := edges.Draft{Name: "cellar", Sites: []string{"hall", "yard"}, Policy: &edges.Policy{Readings: []string{"hall/*/t=every 10", "*/*/rh"}}}
	if d := cmp.Diff(want, asked.draft); d != "" {
		t.Error(d)
	}
	form.Set("name", "a.b")
	res, body = webtest.Post(t, s, "/edges", form.Encode())
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, "a name has no dot") || !strings.Contains(body, `value="hall, yard"`) {
		t.Errorf("a wrong name: %s", res.Status)
	}
	res, body = webtest.Post(t, s, "/edges/yard/invite", "")
	if res.StatusCode != http.StatusOK || !strings.Contains(body, "standalone --join") || asked.draft.Policy != nil || asked.draft.Name != "yard" {
		t.Errorf("a new invitation: %s, %+v", res.Status, asked.draft)
	}

	for name, c := range map[string]struct {
		edge   string
		form   url.Values
		status int
		want   edges.Policy
	}{
		"all":             {"attic", url.Values{"readings": {"all"}, "summaries": {"all=1m\r\n\r\nhall/*/t=1h"}, "budget": {"20"}, "rate": {"0.5"}}, http.StatusSeeOther, edges.Policy{Readings: []string{"all"}, Summaries: []string{"all=1m", "hall/*/t=1h"}, Budget: 20 << 20, Rate: 512}},
		"nothing":         {"attic", url.Values{}, http.StatusSeeOther, edges.Policy{Readings: []string{}}},
		"a word":          {"attic", url.Values{"budget": {"much"}}, http.StatusBadRequest, edges.Policy{}},
		"less than 0":     {"attic", url.Values{"rate": {"-1"}}, http.StatusBadRequest, edges.Policy{}},
		"more than there": {"attic", url.Values{"budget": {"1e300"}}, http.StatusBadRequest, edges.Policy{}},
		"no such edge":    {"gone", url.Values{}, http.StatusNotFound, edges.Policy{Readings: []string{}}},
	} {
		asked.policy = edges.Policy{}
		res, body := webtest.Post(t, s, "/edges/"+c.edge+"/policy", c.form.Encode())
		if res.StatusCode != c.status {
			t.Errorf("%s: %s", name, res.Status)
		}
		if d := cmp.Diff(c.want, asked.policy); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if c.status == http.StatusBadRequest && !strings.Contains(body, "must be a number") {
			t.Errorf("%s: the page does not say what is wrong", name)
		}
	}
	if res, _ := webtest.Post(t, s, "/edges/attic/repair", ""); res.StatusCode != http.StatusSeeOther || asked.mended != "attic" {
		t.Errorf("repair: %s", res.Status)
	}
	if res, body := webtest.Get(t, s, http.MethodGet, "/api/v1/edges/attic/gaps"); res.StatusCode != http.StatusOK || !strings.Contains(body, `"missing":28800`) {
		t.Errorf("gaps: %s %.300s", res.Status, body)
	}
	if res, _ := webtest.Post(t, s, "/edges/attic/revoke", ""); res.StatusCode != http.StatusSeeOther || asked.revoked != "attic" || res.Header.Get("Location") != "/edges/attic?done=revoke" {
		t.Errorf("revoke: %s", res.Status)
	}
	if res, body := webtest.Get(t, s, http.MethodGet, "/edges/attic?done=revoke"); res.StatusCode != http.StatusOK || !strings.Contains(body, "The edge is revoked.") || !strings.Contains(body, "6 min 12 s behind") {
		t.Errorf("the page: %s", res.Status)
	}
	if res, _ := webtest.Get(t, s, http.MethodGet, "/edges/gone"); res.StatusCode != http.StatusNotFound {
		t.Errorf("no such edge: %s", res.Status)
	}
	away := webtest.Server(t, fixture.Away)
	for _, path := range []string{"/edges", "/edges/attic"} {
		if res, _ := webtest.Get(t, away, http.MethodGet, path); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s while NATS is away: %s", path, res.Status)
		}
	}
}

func TestClockIsWrong(t *testing.T) {
	for _, c := range []struct {
		clock edges.Clock
		want  bool
	}{
		{edges.Clock{AheadMS: 40, WithinMS: 50}, false},
		{edges.Clock{AheadMS: -4_000, WithinMS: 50}, false},
		{edges.Clock{AheadMS: -6_000, WithinMS: 50}, true},
		{edges.Clock{AheadMS: 9_000, WithinMS: 6_000}, false},
		{edges.Clock{AheadMS: 12_000, WithinMS: 6_000}, true},
	} {
		if got := c.clock.Wrong(); got != c.want {
			t.Errorf("%+v: %t", c.clock, got)
		}
	}
}
