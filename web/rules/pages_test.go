package rules_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/rules"
	"headwater/web/view"
)

func TestFormsOfRules(t *testing.T) {
	whole := "do=save&as=form&revision=0&name=cold&detector=limit&below=2"
	for _, c := range []struct {
		name       string
		state      fixture.State
		path, form string
		status     int
		// holds is in the page, or in the address where it leads.
		holds string
	}{
		{"a new rule", fixture.Warehouse, "/rules/new", whole, 303, "/rules/cold?saved=1"},
		{"a new rule in YAML", fixture.Warehouse, "/rules/new", "do=save&as=yaml&revision=0&yaml=name:+cold", 303, "/rules/cold?saved=1"},
		{"what is wrong stands beside the field", fixture.Warehouse, "/rules/new", whole + "&above=warm", 400, `id="f-above-problem">This must be a number, not text.`},
		{"what was written stays", fixture.Warehouse, "/rules/new", whole + "&above=warm", 400, `name="above" value="warm"`},
		{"what is wrong in a text has its line", fixture.Warehouse, "/rules/new", "do=save&as=yaml&revision=0&yaml=hm", 400, "Line 1: "},
		{"the name of another", fixture.Warehouse, "/rules/new", "do=save&as=form&revision=0&name=humid", 400, "that of another rule already"},
		{"a change", fixture.Warehouse, "/rules/humid", "do=save&as=form&revision=9&name=humid", 303, "/rules/humid?saved=1"},
		{"a change that comes too late", fixture.Warehouse, "/rules/humid", "do=save&as=form&revision=8&name=humid&above=80", 409, "Unknown user at 192.0.2.7 has changed this rule since you opened it"},
		{"is not lost", fixture.Warehouse, "/rules/humid", "do=save&as=form&revision=8&name=humid&above=80", 409, `name="above" value="80"`},
		{"may be made over the other", fixture.Warehouse, "/rules/humid", "do=save&as=form&revision=8&name=humid", 409, `name="revision" value="9"`},
		{"a change of what was deleted", fixture.Warehouse, "/rules/gone", "do=save&as=form&revision=8&name=gone&above=80", 409, "Someone has deleted this rule since you opened it"},
		{"a rule of a file", fixture.Warehouse, "/rules/too-warm", "do=save&as=form&revision=0&name=too-warm", 403, "It was not saved: "},
		{"nothing is there to save it", fixture.Away, "/rules/new", whole + "&above=80", 503, `name="above" value="80"`},
		{"only checked", fixture.Warehouse, "/rules/humid", "do=check&as=form&revision=9&name=humid&above=x", 200, "Fix 1 problem to save."},
		{"to the other editor", fixture.Warehouse, "/rules/humid", "do=yaml&as=form&revision=9&name=humid&above=80", 200, "above: 80"},
		{"and back", fixture.Warehouse, "/rules/humid", "do=form&as=yaml&revision=9&yaml=name:+humid", 200, `name="match.device" value="door-*"`},
		{"not back while it cannot be read", fixture.Warehouse, "/rules/humid", "do=form&as=yaml&revision=9&yaml=hm", 200, `<textarea id="f-yaml"`},
		{"no revision", fixture.Warehouse, "/rules/humid", "do=save&as=form&name=humid", 400, "revision must be"},
		{"too large", fixture.Warehouse, "/rules/new", whole + "&yaml=" + strings.Repeat("x", 65<<10), 400, "too large"},
		{"no name", fixture.Warehouse, "/rules/A%3Cb%3E", whole, 404, "Rule not found"},
		{"an author that is none", fixture.Warehouse, "/rules/new", whole + "&by=" + strings.Repeat("x", 65), 400, "by must be a name"},
		{"muted", fixture.Warehouse, "/rules/door-left-open/state", "revision=12&state=muted&back=/rules", 303, "/rules#rule-door-left-open"},
		{"muted on the page of alerts", fixture.Warehouse, "/rules/door-left-open/state", "revision=12&state=muted&back=/alerts", 303, "/alerts"},
		{"muted, and back to elsewhere", fixture.Warehouse, "/rules/door-left-open/state", "revision=12&state=muted&back=//evil.example/", 303, "/rules/door-left-open"},
		{"muted too late", fixture.Warehouse, "/rules/door-left-open/state", "revision=11&state=muted", 409, "Changed meanwhile"},
		{"another state", fixture.Warehouse, "/rules/door-left-open/state", "revision=12&state=asleep", 400, "state must be"},
		{"the state of a rule of a file", fixture.Warehouse, "/rules/too-warm/state", "revision=0&state=muted", 403, "edit rules.yaml"},
		{"deleted", fixture.Warehouse, "/rules/humid/delete", "revision=9", 303, "/rules?deleted=humid"},
		{"undone", fixture.Warehouse, "/rules/removed/restore", "revision=0&version=latest", 303, "/rules/removed?saved=1"},
		{"what is built in cannot be deleted", fixture.Warehouse, "/rules/unusual/delete", "revision=11", 400, "it is built in"},
		{"deleted too late", fixture.Warehouse, "/rules/humid/delete", "revision=8", 409, "it was not deleted"},
		{"deleted before", fixture.Warehouse, "/rules/gone/delete", "revision=8", 404, "Rule not found"},
		{"quieter settings", fixture.Warehouse, "/rules/door-left-open/quieter", "", 303, "/rules/door-left-open#quieter"},
		{"quieter settings of no rule", fixture.Warehouse, "/rules/gone/quieter", "", 404, "Rule not found"},
		{"a proposal taken", fixture.Warehouse, "/rules/door-left-open/quieter/take", "revision=12&proposal=0", 303, "/rules/door-left-open?saved=1"},
		{"a proposal taken too late", fixture.Warehouse, "/rules/door-left-open/quieter/take", "revision=11&proposal=0", 409, "the proposal was not taken"},
		{"a proposal that was not made", fixture.Warehouse, "/rules/door-left-open/quieter/take", "revision=12&proposal=2", 409, "the proposal was not taken"},
		{"a rule that has none", fixture.Warehouse, "/rules/humid/quieter/take", "revision=9&proposal=0", 409, "the proposal was not taken"},
		{"without the number of a proposal", fixture.Warehouse, "/rules/door-left-open/quieter/take", "revision=12&proposal=x", 400, "the number of one"},
		{"restored", fixture.Warehouse, "/rules/door-left-open/restore", "revision=12&version=9", 303, "/rules/door-left-open?saved=1"},
		{"restored too late", fixture.Warehouse, "/rules/door-left-open/restore", "revision=11&version=9", 409, "Changed meanwhile"},
		{"restored to where it was deleted", fixture.Warehouse, "/rules/door-left-open/restore", "revision=12&version=7", 404, "Rule not found"},
		{"restored while nothing is there", fixture.Away, "/rules/door-left-open/restore", "revision=12&version=9", 503, "NATS does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := webtest.Post(t, webtest.Server(t, c.state), c.path, c.form)
			where := body + res.Header.Get("Location")
			if res.StatusCode == http.StatusSeeOther {
				where = res.Header.Get("Location")
			}
			if res.StatusCode != c.status || !strings.Contains(where, c.holds) || c.status == 303 && where != c.holds {
				t.Errorf("status %d, want %d with %q: %s", res.StatusCode, c.status, c.holds, where[max(0, strings.Index(where, "<main")):])
			}
		})
	}
}

func TestPreviewOfARule(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	res, body := webtest.Post(t, s, "/rules/new/check", "as=form&revision=0&name=cold&detector=limit&below=2")
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `<section id="preview"`) || !strings.Contains(body, "door-01") {
		t.Errorf("%d: %s", res.StatusCode, body)
	}
	if res, _ := webtest.Post(t, s, "/rules/new/check", "as=form"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("without a revision it answers %d", res.StatusCode)
	}
}

// TestAuthorIsRemembered shows that a person gives the name once.
func TestAuthorIsRemembered(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	res, _ := webtest.Post(t, s, "/rules/new", "do=save&as=form&revision=0&name=cold&detector=limit&below=2&by=Ana+Ru%C3%ADz")
	cookies := res.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("cookies %v", cookies)
	}
	_, body := webtest.Get(t, s, http.MethodGet, "/rules/new", "Cookie", cookies[0].Name+"="+cookies[0].Value)
	if !strings.Contains(body, `name="by" value="Ana Ruíz"`) {
		t.Error("the name is not filled in")
	}
	_, body = webtest.Get(t, s, http.MethodGet, "/rules/new", "Cookie", cookies[0].Name+"=%0a%3Cb%3E")
	if !strings.Contains(body, `name="by" value=""`) {
		t.Error("a cookie that is no name is taken")
	}
}

func TestAlertsShowTheirRules(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, path := range []string{"/alerts", "/devices/warehouse/door-04"} {
		_, body := webtest.Get(t, s, http.MethodGet, path)
		for _, want := range []string{`href="/rules/door-left-open"`, `href="https://wiki.example.org/doors" rel="noopener noreferrer"`, "team: cold-chain", `action="/alerts/mute"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not hold %s", path, want)
			}
		}
	}
	_, body := webtest.Get(t, s, http.MethodGet, "/api/v1/alerts")
	if !strings.Contains(body, `"runbook":"https://wiki.example.org/doors"`) || !strings.Contains(body, `"labels":[{"name":"team","value":"cold-chain"}]`) {
		t.Errorf("the API does not return the rule: %.600s", body)
	}
	_, body = webtest.Get(t, webtest.Server(t, fixture.Hostile), http.MethodGet, "/alerts")
	if strings.Contains(body, "javascript:") {
		t.Error("a runbook leads to a script")
	}
}

func TestAPIOfRules(t *testing.T) {
	for _, c := range []struct {
		state              fixture.State
		method, path, body string
		status             int
		holds              string
	}{
		{fixture.Warehouse, "GET", "", "", 200, `"total":4`},
		{fixture.Warehouse, "GET", "?q=HUMID", "", 200, `"rules":[{"name":"humid"`},
		{fixture.Warehouse, "GET", "?q=" + strings.Repeat("x", 81), "", 400, "q must be text"},
		{fixture.Empty, "GET", "", "", 200, `"rules":[]`},
		{fixture.Away, "GET", "", "", 503, "cannot be read"},
		{fixture.Warehouse, "GET", "/humid", "", 200, `"state":"muted"`},
		{fixture.Warehouse, "GET", "/gone", "", 404, "Rule not found"},
		{fixture.Warehouse, "GET", "/A", "", 404, "Rule not found"},
		{fixture.Warehouse, "PUT", "/cold?revision=0&by=Ana", "name: cold\n", 200, `"author":"Ana"`},
		{fixture.Warehouse, "PUT", "/cold?revision=0", "name: cold\n", 200, `"author":"unknown user at 192.0.2.1"`},
		{fixture.Warehouse, "PUT", "/cold?revision=0", "name: warm\n", 400, `"problems":[{"field":"name","text":"is not that of the address`},
		{fixture.Warehouse, "PUT", "/cold?revision=0", "hm", 400, `"problems":[{"line":1,"text":"is not YAML"}]`},
		{fixture.Warehouse, "PUT", "/cold?revision=0", "name: \xff", 400, "not UTF-8"},
		{fixture.Warehouse, "PUT", "/cold?revision=0", strings.Repeat("x", 65<<10), 400, "too large"},
		{fixture.Warehouse, "PUT", "/cold", "name: cold\n", 400, "revision must be"},
		{fixture.Warehouse, "PUT", "/cold?revision=-1", "name: cold\n", 400, "revision must be"},
		{fixture.Warehouse, "PUT", "/A?revision=0", "name: cold\n", 400, "the name of a rule"},
		{fixture.Warehouse, "PUT", "/humid?revision=9", "name: humid\n", 200, `"revision":9`},
		{fixture.Warehouse, "PUT", "/humid?revision=8", "name: humid\n", 409, "someone else"},
		{fixture.Warehouse, "PUT", "/humid?revision=0", "name: humid\n", 409, "someone else"},
		{fixture.Warehouse, "PUT", "/too-warm?revision=0", "name: too-warm\n", 403, "edit rules.yaml"},
		{fixture.Warehouse, "PUT", "/cold?revision=0&by=a%00b", "name: cold\n", 400, "by must be a name"},
		{fixture.Away, "PUT", "/cold?revision=0", "name: cold\n", 503, "NATS does not answer"},
		{fixture.Warehouse, "POST", "/humid/state?revision=9&state=enabled", "", 200, `"state":"enabled"`},
		{fixture.Warehouse, "POST", "/humid/state?revision=9&state=on", "", 400, "state must be"},
		{fixture.Warehouse, "POST", "/humid/state?revision=8&state=enabled", "", 409, "someone else"},
		{fixture.Warehouse, "DELETE", "/humid?revision=9", "", 200, `{"deleted":"humid"}`},
		{fixture.Warehouse, "DELETE", "/humid", "", 400, "revision must be"},
		{fixture.Warehouse, "DELETE", "/gone?revision=9", "", 404, "Rule not found"},
		{fixture.Warehouse, "GET", "/humid/versions", "", 200, `"version":9`},
		{fixture.Warehouse, "GET", "/gone/versions", "", 404, "Rule not found"},
		{fixture.Away, "GET", "/humid/versions", "", 503, "cannot be read"},
	} {
		t.Run(c.method+c.path+c.body[:min(12, len(c.body))], func(t *testing.T) {
			r := httptest.NewRequest(c.method, "/api/v1/rules"+c.path, strings.NewReader(c.body))
			w := httptest.NewRecorder()
			webtest.Server(t, c.state).Handler().ServeHTTP(w, r)
			body, err := io.ReadAll(w.Result().Body)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != c.status || !strings.Contains(string(body), c.holds) || !json.Valid(body) {
				t.Errorf("status %d, want %d with %q: %s", w.Code, c.status, c.holds, body)
			}
		})
	}
}

type ruleStore = rules.Source

// countingRules counts what is changed.
type countingRules struct {
	ruleStore
	changes int
}

func (c *countingRules) Save(ctx context.Context, d rules.Draft, author view.Author) (rules.Rule, error) {
	c.changes++
	return c.ruleStore.Save(ctx, d, author)
}

func (c *countingRules) Delete(ctx context.Context, name string, revision uint64, author view.Author) error {
	c.changes++
	return c.ruleStore.Delete(ctx, name, revision, author)
}

func (c *countingRules) SetState(ctx context.Context, name string, revision uint64, state view.RuleState, author view.Author) (rules.Rule, error) {
	c.changes++
	return c.ruleStore.SetState(ctx, name, revision, state, author)
}

func TestOtherSitesChangeNoRules(t *testing.T) {
	sources := fixture.New(fixture.Warehouse, time.Time{}).Sources()
	counted := &countingRules{ruleStore: sources.Rules}
	sources.Rules = counted
	s := webtest.ServerOf(t, sources)
	form := url.Values{"do": {"save"}, "as": {"form"}, "revision": {"9"}, "name": {"humid"}, "state": {"muted"}, "version": {"9"}}.Encode()
	for _, c := range []struct{ method, path string }{
		{"POST", "/rules/new"},
		{"POST", "/rules/humid"},
		{"POST", "/rules/humid/state"},
		{"POST", "/rules/humid/delete"},
		{"POST", "/rules/humid/restore"},
		{"PUT", "/api/v1/rules/humid?" + form},
		{"DELETE", "/api/v1/rules/humid?" + form},
		{"POST", "/api/v1/rules/humid/state?" + form},
	} {
		for _, h := range [][2]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
			for _, content := range []string{"application/x-www-form-urlencoded", "text/plain"} {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(form))
				r.Header.Set(h[0], h[1])
				r.Header.Set("Content-Type", content)
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, r)
				if w.Code != http.StatusForbidden {
					t.Errorf("%s %s with %s: %s is answered with %d", c.method, c.path, h[0], h[1], w.Code)
				}
			}
		}
	}
	if counted.changes != 0 {
		t.Errorf("%d requests of other sites got through", counted.changes)
	}
	if res, _ := webtest.Post(t, s, "/rules/humid/state", form, "Origin", "http://example.com", "Sec-Fetch-Site", "same-origin"); res.StatusCode != http.StatusSeeOther || counted.changes != 1 {
		t.Errorf("its own page: %d, %d changes", res.StatusCode, counted.changes)
	}
}

// TestEveryDetectorShowsItsFields looks for each detector in the style sheet of the
// form, which hides all fields but those of the one that is chosen.
func TestEveryDetectorShowsItsFields(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	res, page := webtest.Get(t, s, http.MethodGet, "/rules/new")
	_, rest, linked := strings.Cut(page, `href="/rules/form.css?v=`)
	version, _, _ := strings.Cut(rest, `"`)
	if res.StatusCode != http.StatusOK || !linked {
		t.Fatalf("the form has no style sheet: %d", res.StatusCode)
	}
	res, style := webtest.Get(t, s, http.MethodGet, "/rules/form.css?v="+version)
	if kind := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/css") {
		t.Fatalf("the style sheet: %d, %s", res.StatusCode, kind)
	}
	for _, d := range fixture.New(fixture.Warehouse, time.Time{}).Form().Detectors {
		if rule := `option[value="` + d.Name + `"]:checked) [data-for~="` + d.Name + `"]`; !strings.Contains(style, rule) {
			t.Errorf("nothing shows the fields of detector %s: the style sheet has no %s", d.Name, rule)
		}
		if !strings.Contains(page, `data-for="`+d.Name+`"`) {
			t.Errorf("the form says nothing of %s", d.Name)
		}
	}
}

// TestQuieterSettings looks at the part of the page about a rule that nobody acts on.
func TestQuieterSettings(t *testing.T) {
	for _, c := range []struct {
		state       fixture.State
		rule        string
		holds, none string
	}{
		{fixture.Warehouse, "door-left-open", "14 times in 7 days, never acknowledged.", `hx-trigger="every 1s"`},
		{fixture.Warehouse, "door-left-open", `With <strong class="mono">rise: 4.5</strong> it would have been 2.`, ""},
		{fixture.Warehouse, "humid", "</section>", `id="quieter"`},
		{fixture.Large, "door-left-open", `hx-trigger="every 1s"`, `name="proposal"`},
		{fixture.Hostile, "a-rule-with-a-name-that-is-as-long-as-a-name-of-a-rule-may-be-64", "which is all that is stored", ""},
	} {
		_, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, "/rules/"+c.rule)
		if !strings.Contains(body, c.holds) || c.none != "" && strings.Contains(body, c.none) {
			t.Errorf("%s in %s: want %q and not %q: %s", c.rule, c.state, c.holds, c.none, body[max(0, strings.Index(body, "<main")):])
		}
	}
	s := webtest.Server(t, fixture.Large)
	if res, body := webtest.Get(t, s, http.MethodGet, "/rules/door-left-open/quieter", "Hx-Request", "true"); res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `<section id="quieter"`) {
		t.Errorf("%d: %s", res.StatusCode, body)
	}
	if res, _ := webtest.Get(t, s, http.MethodGet, "/rules/door-left-open/quieter"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("without a script it answers %d", res.StatusCode)
	}
}
