package replay_test

import (
	"net/http"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestPagesOfATrial(t *testing.T) {
	for _, c := range []struct {
		state  fixture.State
		path   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "/rules/new/try", 200, "name: my-rule"},
		{fixture.Warehouse, "/rules/door-left-open/try", 200, "name: door-left-open"},
		{fixture.Warehouse, "/rules/unknown/try", 404, "Rule not found"},
		{fixture.Warehouse, "/rules/A%3Cb%3E/try", 404, "Rule not found"},
		{fixture.Warehouse, "/rules/door-left-open/try?run=running&revision=12", 200, `<progress max="100" value="42"`},
		{fixture.Warehouse, "/rules/door-left-open/try?run=running&revision=12", 200, `/live/rules/door-left-open/try?run=running&amp;revision=12`},
		{fixture.Warehouse, "/rules/door-left-open/try?run=done&revision=12", 200, `data-device="door-04"`},
		{fixture.Warehouse, "/rules/door-left-open/try?run=done&revision=12&site=warehouse&device=door-07&metric=temperature", 200, `data-device="door-07"`},
		{fixture.Warehouse, "/rules/door-left-open/try?run=done&revision=12&site=a.b&device=door-07&metric=temperature", 200, `data-device="door-04"`},
		{fixture.Warehouse, "/rules/door-left-open/try?run=done&revision=12", 200, "Apply rule"},
		{fixture.Warehouse, "/rules/new/try?run=done&revision=0", 200, "Enable this rule"},
		{fixture.Empty, "/rules/new/try?run=done&revision=0", 200, "No alerts, neither"},
		{fixture.Warehouse, "/rules/door-left-open/try?run=failed&revision=12", 200, "It was cancelled."},
		{fixture.Warehouse, "/rules/door-left-open/try?run=unknown&revision=12", 404, "no longer kept"},
		{fixture.Warehouse, "/rules/door-left-open/try?revision=x", 400, "revision must be"},
		{fixture.Away, "/rules/new/try?run=done", 503, "NATS does not answer"},
	} {
		res, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, c.path)
		if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
			t.Errorf("%s in %s: %d, want %d with %q: %s", c.path, c.state, res.StatusCode, c.status, c.holds, body[max(0, strings.Index(body, "<main")):])
		}
	}
}

func TestFormsOfATrial(t *testing.T) {
	for _, c := range []struct {
		name       string
		state      fixture.State
		path, form string
		status     int
		// holds is in the page, or is the address where it leads.
		holds string
	}{
		{"begun", fixture.Warehouse, "/rules/new/try", "revision=0&period=6h&yaml=detector:+limit", 303, "/rules/new/try?revision=0&run=running"},
		{"begun for a change", fixture.Warehouse, "/rules/humid/try", "revision=9&yaml=detector:+limit", 303, "/rules/humid/try?revision=9&run=running"},
		{"the problem is shown", fixture.Warehouse, "/rules/new/try", "revision=0&yaml=name:+warm", 422, "Is missing: one of limit, rate, auto."},
		{"and what was written stays", fixture.Warehouse, "/rules/new/try", "revision=0&yaml=name:+warm", 422, "\nname: warm</textarea>"},
		{"another is under way", fixture.Large, "/rules/new/try", "revision=0&yaml=detector:+limit", 409, "Another replay is under way"},
		{"nobody is there to do it", fixture.Away, "/rules/new/try", "revision=0&yaml=detector:+limit", 503, "no processor runs"},
		{"a period that is none", fixture.Warehouse, "/rules/new/try", "revision=0&period=1y&yaml=detector:+limit", 400, "period must be"},
		{"too large", fixture.Warehouse, "/rules/new/try", "revision=0&yaml=" + strings.Repeat("x", 200_000), 400, "too large"},
		{"of a rule that is not there", fixture.Warehouse, "/rules/gone/try", "revision=0&yaml=detector:+limit", 404, "Rule not found"},
		{"a draft from the editor", fixture.Warehouse, "/rules/humid", "do=try&as=form&revision=9&name=humid&above=80", 200, "above: 80"},
		{"a draft that is wrong", fixture.Warehouse, "/rules/humid", "do=try&as=form&revision=9&name=humid&above=x", 200, "Fix 1 problem to save"},
		{"stopped", fixture.Warehouse, "/rules/humid/try/cancel", "revision=9&run=running", 303, "/rules/humid/try?revision=9&run=running"},
		{"stopped when it was over", fixture.Warehouse, "/rules/humid/try/cancel", "revision=9&run=other", 303, "/rules/humid/try?revision=9&run=other"},
		{"put in force", fixture.Warehouse, "/rules/door-left-open/enable", "revision=12&run=done", 303, "/rules/door-left-open?saved=1"},
		{"put in force too late", fixture.Warehouse, "/rules/door-left-open/enable", "revision=11&run=done", 409, "changed this rule since you opened it"},
		{"put in force while it runs", fixture.Warehouse, "/rules/door-left-open/enable", "revision=12&run=running", 400, "no result"},
		{"put in force when it is forgotten", fixture.Warehouse, "/rules/door-left-open/enable", "revision=12&run=other", 404, "no longer kept"},
		{"by an author that is none", fixture.Warehouse, "/rules/door-left-open/enable", "revision=12&run=done&by=" + strings.Repeat("x", 65), 400, "by must be a name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := webtest.Post(t, webtest.Server(t, c.state), c.path, c.form)
			if res.StatusCode == http.StatusSeeOther {
				body = res.Header.Get("Location")
			}
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) || c.status == 303 && body != c.holds {
				t.Errorf("status %d, want %d with %q: %s", res.StatusCode, c.status, c.holds, body[max(0, strings.Index(body, "<main")):])
			}
		})
	}
}
