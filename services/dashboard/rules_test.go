package dashboard

import (
	"context"
	"encoding/json"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/dashboard/fleet"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/rules"
	"headwater/web/view"
)

const fileRules = `rules:
  - name: of-the-file
    match: {metric: temperature}
    detector: limit
    above: 30
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.example.org/secret-topic"}
auto: off
`

// store is the store of the configuration beside the dashboard.
func (r *rig) store() *configstore.Store {
	r.tb.Helper()
	s, err := configstore.Open(r.tb.Context(), r.js)
	if err != nil {
		r.tb.Fatal(err)
	}
	return s
}

func (r *rig) putFile(text string) {
	r.tb.Helper()
	if _, _, err := r.store().PutFile(r.tb.Context(), "rules.yaml", []byte(text)); err != nil {
		r.tb.Fatal(err)
	}
}

// call asks the API; the answer is decoded into into, unless that is nil.
func (r *rig) call(method, path, body string, into any) (status int, text string) {
	r.tb.Helper()
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, httptest.NewRequest(method, "/api/v1/rules"+path, strings.NewReader(body)))
	if into != nil && w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			r.tb.Fatal(err)
		}
	}
	return w.Code, w.Body.String()
}

// submit sends a form of the pages and returns the status, the page and where
// it leads.
func (r *rig) submit(path string, form url.Values) (status int, page, to string) {
	r.tb.Helper()
	q := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, q)
	return w.Code, w.Body.String(), w.Header().Get("Location")
}

func newRulesRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, func(r *rig) { r.putFile(fileRules) })
	r.ready()
	streamtest.Eventually(t, "the rules are known", func() bool {
		status, _ := r.call(http.MethodGet, "", "", nil)
		return status == http.StatusOK
	})
	return r
}

// in returns the rule that the store has in force.
func (r *rig) in(name string) *configstore.Rule {
	r.tb.Helper()
	v, err := r.store().Current(r.tb.Context())
	if err != nil {
		r.tb.Fatal(err)
	}
	all, err := v.Rules()
	if err != nil {
		r.tb.Fatal(err)
	}
	for _, one := range all {
		if one.Name == name {
			return &one
		}
	}
	return nil
}

// TestARuleSaysWhatItCannotJudge has a device send its temperature as a text.
func TestARuleSaysWhatItCannotJudge(t *testing.T) {
	const words = `1 series matches but sends text: "19.7"`
	r := newRulesRig(t)
	now := time.Now()
	r.reading("cellar", "humidity", 60, now)
	var b telemetryv1.Builder
	b.Text(telemetryv1.Key{Site: "home", Device: "cellar", Metric: "temperature"}, now.UnixNano(), "19.7")
	r.publish(streams.TelemetryMsg(streams.Lane("home", "cellar", 2), streams.SourceMQTT, b.Take(now.UnixNano())))
	var shown rules.Rule
	streamtest.Eventually(t, "the rule of the file says it", func() bool {
		r.call(http.MethodGet, "/of-the-file", "", &shown)
		return shown.Unjudged == words
	})
	if _, page, _ := r.submit("/rules/new/check", url.Values{"as": {"form"}, "revision": {"0"}, "detector": {"limit"}, "match.metric": {"temperature"}}); !strings.Contains(html.UnescapeString(page), words) {
		t.Errorf("the form does not say it: %s", page)
	}
	for _, page := range []string{"/rules", "/rules/of-the-file"} {
		r.shows(page, html.EscapeString(words))
	}
}

// TestThePageSaysWhatChanged has a file remove rules of the previous one, and
// opens the template that brings one back.
func TestThePageSaysWhatChanged(t *testing.T) {
	r := newRulesRig(t)
	r.putFile("rules:\n  - {name: another, detector: limit, above: 1}\n")
	r.shows("/rules", "added rule another; removed rule of-the-file")
	r.shows("/rules", "which does not mention channels, auto: what was in force before stays")
	r.shows("/rules/new?template=door-left-open", `value="door-left-open"`)
}

func TestARuleIsMadeOnThePage(t *testing.T) {
	r := newRulesRig(t)
	now := time.Now()
	r.reading("kitchen", "temperature", 21, now)
	r.reading("cellar", "temperature", 12, now)
	r.reading("cellar", "humidity", 60, now)
	streamtest.Eventually(t, "the series are known", func() bool {
		_, page, _ := r.submit("/rules/new/check", url.Values{"as": {"form"}, "revision": {"0"}, "match.device": {"c*"}})
		return strings.Contains(page, "<strong>2</strong>") && strings.Contains(page, "cellar")
	})

	form := url.Values{
		"do": {"save"}, "as": {"form"}, "revision": {"0"}, "name": {"too-cold"}, "match.device": {"c*"}, "match.metric": {"temperature"},
		"detector": {"limit"}, "below": {"chilly"}, "severity": {"critical"}, "notify": {"some"}, "channel": {"phone"}, "labels": {"team: cold-chain\r\n"}, "by": {"Ana"},
	}
	status, page, _ := r.submit("/rules/new", form)
	if status != http.StatusBadRequest || !strings.Contains(page, `id="f-below-problem">This must be a number`) {
		t.Fatalf("%d: %s", status, page)
	}
	form.Set("below", "10")
	status, page, to := r.submit("/rules/new", form)
	if status != http.StatusSeeOther || to != "/rules/too-cold?saved=1" {
		t.Fatalf("%d, %s: %s", status, to, page)
	}
	made := r.in("too-cold")
	if made == nil || *made.Below != 10 || made.Labels["team"] != "cold-chain" || !made.Notifies("phone") || made.ReadOnly {
		t.Fatalf("in force is %+v", made)
	}

	var shown rules.Rule
	r.call(http.MethodGet, "/too-cold", "", &shown)
	if shown.Sentence != "Alerts when temperature of c* is below 10\u00a0°C." || shown.Series != 1 || shown.Author != "Ana" || shown.Origin != rules.OriginPage || shown.State != view.RuleIsEnabled {
		t.Errorf("it is shown as %+v", shown)
	}
	if status, page, _ := r.submit("/rules/new", form); status != http.StatusBadRequest || !strings.Contains(page, "the name of another rule already") {
		t.Errorf("a second of the name: %d", status)
	}

	// The rule of the file is shown and cannot be changed.
	var file rules.Rule
	r.call(http.MethodGet, "/of-the-file", "", &file)
	if file.Origin != rules.OriginFile || !strings.Contains(file.Where, "edit rules.yaml") || file.Author != "rules.yaml" || file.Series != 2 {
		t.Errorf("the rule of the file is shown as %+v", file)
	}
	status, text := r.call(http.MethodPost, "/of-the-file/state?state=muted&revision="+strconv.FormatUint(file.Revision, 10), "", nil)
	if status != http.StatusForbidden || !strings.Contains(text, "rules.yaml") {
		t.Errorf("the state of the rule of the file: %d %s", status, text)
	}
	_, all := r.call(http.MethodGet, "", "", nil)
	if !strings.Contains(all, `"channels":[{"name":"phone","type":"ntfy","resolved":true}]`) || strings.Contains(all, "secret-topic") {
		t.Errorf("the channels are shown as %s", all)
	}
}

// TestChangesMeet shows that of two people who change a rule at once neither
// loses anything unseen, and that those who change other rules do not meet.
func TestChangesMeet(t *testing.T) {
	r := newRulesRig(t)
	put := func(name string, revision uint64, text string) (rules.Rule, int, string) {
		t.Helper()
		var saved rules.Rule
		status, answer := r.call(http.MethodPut, "/"+name+"?by=prog&revision="+strconv.FormatUint(revision, 10), text, &saved)
		return saved, status, answer
	}
	first, status, answer := put("a", 0, "name: a\ndetector: limit\nabove: 1 # at most\n")
	if status != http.StatusOK || first.Author != "prog (API)" || !strings.Contains(first.YAML, "# at most") {
		t.Fatalf("%d: %s", status, answer)
	}
	if _, status, answer := put("b", 0, `{"name": "b", "detector": "auto"}`); status != http.StatusOK {
		t.Fatalf("JSON: %d: %s", status, answer)
	}
	if _, status, _ := put("a", 0, "name: a\ndetector: limit\nabove: 2\n"); status != http.StatusConflict {
		t.Errorf("an existing rule is created again: %d", status)
	}
	// The configuration has changed since, the rule has not.
	second, status, answer := put("a", first.Revision, "name: a\ndetector: limit\nabove: 2\n")
	if status != http.StatusOK || second.Revision <= first.Revision {
		t.Fatalf("%d: %s", status, answer)
	}
	// A program beside the dashboard changes it, and the dashboard has not heard.
	if _, err := r.store().SetState(t.Context(), "a", "muted", "page:Ben", 0); err != nil {
		t.Fatal(err)
	}
	if _, status, answer := put("a", second.Revision, "name: a\ndetector: limit\nabove: 3\n"); status != http.StatusConflict {
		t.Errorf("what was seen is not there any more: %d %s", status, answer)
	}
	status, page, _ := r.submit("/rules/a", url.Values{"do": {"save"}, "as": {"form"}, "revision": {strconv.FormatUint(second.Revision, 10)}, "name": {"a"}, "detector": {"limit"}, "above": {"3"}})
	if status != http.StatusConflict || !strings.Contains(page, "Ben has changed this rule since you opened it") || !strings.Contains(page, `name="above" value="3"`) {
		t.Errorf("on the page: %d %s", status, page)
	}
	if _, status, answer := put("a", second.Revision, "name: c\ndetector: auto\n"); status != http.StatusBadRequest || !strings.Contains(answer, "must stay a") {
		t.Errorf("another name: %d %s", status, answer)
	}
}

func TestVersionsOfARule(t *testing.T) {
	r := newRulesRig(t)
	var rule rules.Rule
	for i, text := range []string{"name: a\ndetector: limit\nabove: 1\n", "name: a\ndetector: limit\nabove: 2\n"} {
		revision := "0"
		if i > 0 {
			revision = strconv.FormatUint(rule.Revision, 10)
		}
		if status, answer := r.call(http.MethodPut, "/a?revision="+revision, text, &rule); status != http.StatusOK {
			t.Fatal(answer)
		}
	}
	if status, answer := r.call(http.MethodPost, "/a/state?state=draft&revision="+strconv.FormatUint(rule.Revision, 10), "", &rule); status != http.StatusOK || rule.State != view.RuleIsDraft {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer := r.call(http.MethodDelete, "/a?revision="+strconv.FormatUint(rule.Revision, 10), "", nil); status != http.StatusOK {
		t.Fatal(answer)
	}
	if status, _ := r.call(http.MethodGet, "/a", "", nil); status != http.StatusNotFound {
		t.Errorf("it is still there: %d", status)
	}
	var told struct{ Versions []rules.Version }
	r.call(http.MethodGet, "/a/versions", "", &told)
	if len(told.Versions) != 4 || !told.Versions[0].Deleted || told.Versions[1].State != view.RuleIsDraft || !strings.Contains(told.Versions[3].YAML, "above: 1") {
		t.Fatalf("%+v", told.Versions)
	}
	status, page, to := r.submit("/rules/a/restore", url.Values{"revision": {"0"}, "version": {strconv.FormatUint(told.Versions[3].Version, 10)}})
	if status != http.StatusSeeOther || to != "/rules/a?saved=1" {
		t.Fatalf("%d: %s", status, page)
	}
	if back := r.in("a"); back == nil || *back.Above != 1 || back.State != "enabled" {
		t.Errorf("back is %+v", back)
	}
	r.call(http.MethodGet, "/a/versions", "", &told)
	if len(told.Versions) != 5 || !told.Versions[0].Current {
		t.Errorf("%+v", told.Versions)
	}
}

// TestDeletedRulesComeBack deletes rules and finds them in the list, on their own
// page and after the press, also with a dashboard that has just started.
func TestDeletedRulesComeBack(t *testing.T) {
	const text = "name: attic\n# in summer\ndetector: limit\nabove: 41\n"
	r := newRulesRig(t)
	var made rules.Rule
	for _, text := range []string{strings.Replace(text, "# in summer\n", "", 1), text} {
		if status, answer := r.call(http.MethodPut, "/attic?revision="+strconv.FormatUint(made.Revision, 10), text, &made); status != http.StatusOK {
			t.Fatal(answer)
		}
	}
	status, page, to := r.submit("/rules/attic/delete", url.Values{"revision": {strconv.FormatUint(made.Revision, 10)}, "by": {"Ana"}})
	if status != http.StatusSeeOther {
		t.Fatalf("%d: %s", status, page)
	}
	r.shows(to, "Deleted <strong>attic</strong>")
	another := newRules(r.js, r.service.rules.log, r.service.rules.fleet, r.service.rules.book, recorder{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); another.run(ctx) }()
	defer func() { cancel(); <-ended }()
	streamtest.Eventually(t, "a dashboard that starts finds it, too", func() bool {
		all, err := another.Rules("")
		return err == nil && len(all.Deleted) == 1 && all.Deleted[0].Name == "attic" && all.Deleted[0].Author == "Ana"
	})
	for _, path := range []string{"/rules", "/rules/attic"} {
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		for _, want := range []string{"above 41", "by Ana", `action="/rules/attic/restore"`, `href="/rules/attic/versions"`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s does not say %q: %s", path, want, w.Body)
			}
		}
	}
	status, page, to = r.submit("/rules/attic/restore", url.Values{"revision": {"0"}, "version": {rules.LatestVersion}})
	if status != http.StatusSeeOther || to != "/rules/attic?saved=1" {
		t.Fatalf("%d: %s", status, page)
	}
	if back := r.in("attic"); back == nil || back.Text != text {
		t.Errorf("back is %+v", back)
	}
	var all rules.List
	if r.call(http.MethodGet, "", "", &all); len(all.Deleted) != 0 {
		t.Errorf("it is back, and still told as deleted: %+v", all.Deleted)
	}
}

// TestDeletedRulesAreForgotten makes as many versions as are kept.
func TestDeletedRulesAreForgotten(t *testing.T) {
	r := newRulesRig(t)
	if _, err := r.store().SaveRule(t.Context(), "name: attic\ndetector: auto\n", "api", 0); err != nil {
		t.Fatal(err)
	}
	deleted, err := r.store().DeleteRule(t.Context(), "attic", "api", 0)
	if err != nil {
		t.Fatal(err)
	}
	known := func(until uint64) bool {
		streamtest.Eventually(t, "the version is read", func() bool {
			r.service.rules.mu.Lock()
			defer r.service.rules.mu.Unlock()
			return r.service.rules.version.Revision == until
		})
		var all rules.List
		r.call(http.MethodGet, "", "", &all)
		_, versions := r.call(http.MethodGet, "/attic/versions", "", nil)
		if there := strings.Contains(versions, "detector: auto"); there != (len(all.Deleted) == 1) {
			t.Fatalf("deleted: %+v, versions: %s", all.Deleted, versions)
		}
		return len(all.Deleted) == 1
	}
	last := deleted.Revision
	for i := 1; i < streams.ConfigVersions; i++ {
		if !known(last) {
			t.Fatalf("forgotten after %d versions", i)
		}
		v, err := r.store().SaveRule(t.Context(), "name: b\ndetector: limit\nabove: "+strconv.Itoa(i)+"\n", "api", 0)
		if err != nil {
			t.Fatal(err)
		}
		last = v.Revision
	}
	if known(last) {
		t.Error("told as one that can be restored, and cannot be")
	}
}

// TestRulesAreWatched shows that the page follows what others put in force, and
// stays with the last that is right.
func TestRulesAreWatched(t *testing.T) {
	r := newRulesRig(t)
	var before rules.Rule
	r.call(http.MethodGet, "/of-the-file", "", &before)
	r.putFile(fileRules + "# the same rule\n")
	streamtest.Eventually(t, "the new file is read", func() bool {
		v, err := r.store().Current(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		r.service.rules.mu.Lock()
		defer r.service.rules.mu.Unlock()
		return r.service.rules.version.Revision == v.Revision
	})
	var after rules.Rule
	r.call(http.MethodGet, "/of-the-file", "", &after)
	if after.Revision != before.Revision || !after.Changed.Equal(before.Changed) {
		t.Errorf("a rule that nobody has changed is shown as changed: %+v, %+v", before, after)
	}
	r.put("config", "config", []byte("rules: [what"))
	streamtest.Eventually(t, "the problem is shown", func() bool {
		var all rules.List
		r.call(http.MethodGet, "", "", &all)
		return strings.Contains(all.Problem, "not YAML") && len(all.Items) == 1
	})
}

// TestARuleThatCannotBeEvaluated shows what lanes say of it, until it can be or
// is another.
func TestARuleThatCannotBeEvaluated(t *testing.T) {
	r := newRulesRig(t)
	var made rules.Rule
	if status, answer := r.call(http.MethodPut, "/odd?revision=0", "name: odd\nexpression: a > b\n", &made); status != http.StatusOK || !strings.Contains(made.Sentence, "a > b at any device") {
		t.Fatal(status, answer)
	}
	say := func(lane int, version uint64, failing uint32, text string) {
		t.Helper()
		r.publish(streams.DerivedMsg(lane, &derivedv1.Commit{
			Input: &derivedv1.Position{Sequence: 1},
			Rules: []*derivedv1.RuleStatus{{Rule: "odd", RuleVersion: version, Failing: failing, Error: text, Site: "home", Device: "kitchen", Learned: time.Now().UnixNano()}},
		}))
	}
	problem := func(want string) {
		t.Helper()
		streamtest.Eventually(t, "the problem of the rule is "+want, func() bool {
			var now rules.Rule
			r.call(http.MethodGet, "/odd", "", &now)
			return now.Problem == want
		})
	}
	const failure = "It cannot be evaluated for home/kitchen and maybe others: b has no number."
	say(0, made.Revision, 2, "b has no number")
	problem(failure)
	say(1, made.Revision, 1, "b has no number")
	say(0, made.Revision, 0, "")
	problem(failure)
	say(1, made.Revision, 0, "")
	problem("")
	say(0, made.Revision, 1, "b has no number")
	problem(failure)
	if status, answer := r.call(http.MethodPut, "/odd?revision="+strconv.FormatUint(made.Revision, 10), "name: odd\nexpression: a > 3\n", &made); status != http.StatusOK || made.Problem != "" {
		t.Errorf("the changed rule: %d %s", status, answer)
	}
}

// TestTheBuiltInRule may be muted and not deleted.
func TestTheBuiltInRule(t *testing.T) {
	r := newRulesRig(t)
	r.putFile(strings.ReplaceAll(fileRules, "auto: off\n", "auto: on\n"))
	var rule rules.Rule
	streamtest.Eventually(t, "it is there", func() bool {
		status, _ := r.call(http.MethodGet, "/unusual", "", &rule)
		return status == http.StatusOK
	})
	if rule.Origin != rules.OriginBuiltIn || rule.Author != "" || !rule.Changed.IsZero() {
		t.Errorf("it is shown as %+v", rule)
	}
	revision := strconv.FormatUint(rule.Revision, 10)
	if status, answer := r.call(http.MethodDelete, "/unusual?revision="+revision, "", nil); status != http.StatusBadRequest || !strings.Contains(answer, "built in") {
		t.Errorf("deleted: %d %s", status, answer)
	}
	if status, answer := r.call(http.MethodPost, "/unusual/state?state=draft&revision="+revision, "", &rule); status != http.StatusOK || rule.Origin != rules.OriginPage || rule.State != view.RuleIsDraft {
		t.Errorf("made a draft: %d %s", status, answer)
	}
}

// TestHostileRulesStayOneRule shows that the text of a rule cannot become
// another part of the configuration.
func TestHostileRulesStayOneRule(t *testing.T) {
	r := newRulesRig(t)
	before := r.in("of-the-file")
	for name, text := range map[string]string{
		"a second document":  "name: a\ndetector: auto\n---\nchannels: []\n",
		"a document's start": "---\nname: a\ndetector: auto\n",
		"what comes behind":  "name: a\ndetector: auto\n--- # Kept by Headwater: who made this version, and the rules made on the page.\nauthor: x\nrules: []\n",
		"a list":             "- name: a\n  detector: auto\n",
		"indented":           "  name: a\n  detector: auto\n",
		"tabs":               "name: a\ndetector: auto\n\tdescription: x\n",
		"an anchor":          "name: &a a\ndetector: auto\ndescription: *a\n",
		"a block":            "name: a\ndetector: auto\ndescription: |\n  one\n  - name: b\n\n    detector: auto\n",
		"brackets":           "{name: a,\ndetector: auto}\n",
		"a directive":        "%YAML 1.2\n---\nname: a\ndetector: auto\n",
		"a byte order mark":  "\ufeffname: a\ndetector: auto\n",
		"quotes over lines":  "name: a\ndetector: auto\ndescription: \"one\n\n\n  two\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := r.call(http.MethodPut, "/a?revision=0", text, nil)
			v, err := r.store().Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c, err := v.Config()
			if err != nil {
				t.Fatalf("what is in force is not read: %v", err)
			}
			switch status {
			case http.StatusBadRequest:
				if len(c.Rules) != 1 {
					t.Errorf("refused, and %d rules are in force", len(c.Rules))
				}
			case http.StatusOK:
				got, ok := c.Rule("a")
				want, err := config.ParseRule("a", []byte(text), nil)
				if err != nil || !ok || !got.Equal(want) || len(c.Rules) != 2 {
					t.Errorf("%d rules are in force, %+v instead of %+v (%v)", len(c.Rules), got, want, err)
				}
				var saved rules.Rule
				r.call(http.MethodGet, "/a", "", &saved)
				if status, answer := r.call(http.MethodDelete, "/a?revision="+strconv.FormatUint(saved.Revision, 10), "", nil); status != http.StatusOK {
					t.Error(answer)
				}
			default:
				t.Errorf("%d: %s", status, answer)
			}
			if after := r.in("of-the-file"); !after.Equal(before.Rule) || len(c.Channels) != 1 {
				t.Errorf("the rest has changed: %+v", after)
			}
		})
	}
}

// TestVersionsWithoutAChangeAreNotListed applies a version that differs from the
// previous one only in a comment of its file.
func TestVersionsWithoutAChangeAreNotListed(t *testing.T) {
	r := newRules(nil, slog.New(slog.DiscardHandler), fleet.New(""), fleet.NewBook(), recorder{})
	for i, text := range []string{fileRules, "# The same.\n" + fileRules, strings.Replace(fileRules, "above: 30", "above: 31", 1)} {
		r.take(configstore.Version{Revision: uint64(i + 1), At: time.Unix(int64(i), 0), Parts: config.Parts{File: []byte(text), FileName: "rules.yaml", Author: "file:rules.yaml"}})
	}
	all, err := r.Rules("")
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Changes) != 1 || !strings.Contains(all.Changes[0].What, "changed rule of-the-file") {
		t.Errorf("changes %+v, want one", all.Changes)
	}
}
