package alerts_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// TestFilters narrows the lists by each part of a query.
func TestFilters(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for query, want := range map[string][]string{
		"":                      {"door-left-open", "humid", "too-warm"},
		"state=firing":          {"door-left-open", "humid"},
		"state=muted":           {"humid"},
		"state=acknowledged":    {"too-warm"},
		"state=flapping":        {"too-warm"},
		"state=resolved":        nil,
		"rule=humid":            {"humid"},
		"site=elsewhere":        nil,
		"assignee=bob":          {"too-warm"},
		"assignee=bob&rule=hot": nil,
	} {
		res, body := webtest.Get(t, s, http.MethodGet, "/api/v1/alerts?"+query)
		var got view.Alerts
		if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", query, res.StatusCode, body)
		}
		var rules []string
		for _, a := range got.Active {
			rules = append(rules, a.Rule)
		}
		slices.Sort(rules)
		if !slices.Equal(rules, want) {
			t.Errorf("%s: %v, want %v", query, rules, want)
		}
		if res, _ := webtest.Get(t, s, http.MethodGet, "/alerts?"+query); res.StatusCode != http.StatusOK {
			t.Errorf("the page of %s: %d", query, res.StatusCode)
		}
	}
	for _, bad := range []string{"state=x", "site=%3Cb%3E", "rule=a.b"} {
		for _, path := range []string{"/alerts?", "/api/v1/alerts?", "/live/alerts?"} {
			if res, _ := webtest.Get(t, s, http.MethodGet, path+bad); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%s%s: %d", path, bad, res.StatusCode)
			}
		}
	}
}
