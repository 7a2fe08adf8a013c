package web_test

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// changing is what a page may have that changes something.
var changing = regexp.MustCompile(`<form[^>]* method="post"[^>]*>|hx-(post|put|delete|patch)="[^"]*"|href="[^"]*(/confirm|/rules/new|/delete|/rules/[^"]*/try)[^"]*"`)

// TestViewerSeesNothingThatChanges looks at every page in every state as a viewer, and at
// the pages of alerts, rules and dead letters as an operator.
func TestViewerSeesNothingThatChanges(t *testing.T) {
	count := map[string]int{}
	for state, pages := range everyPage {
		s := webtest.Server(t, state)
		for _, path := range pages {
			if path == "/account" || strings.HasPrefix(path, "/set-up") || strings.HasPrefix(path, "/claim") {
				continue // everybody changes the own account, and uses links
			}
			for _, role := range []string{"viewer", "administrator"} {
				res, body := webtest.Get(t, s, http.MethodGet, path, "Cookie", "headwater="+role)
				if res.StatusCode == http.StatusForbidden {
					continue
				}
				if !strings.Contains(body, "ada-the-"+role) {
					t.Errorf("%s %s does not say who has logged in", state, path)
				}
				found := changing.FindAllString(body, -1)
				count[role] += len(found)
				if role == "viewer" && len(found) > 0 {
					t.Errorf("%s %s offers a viewer %q", state, path, found)
				}
			}
		}
	}
	if count["administrator"] < 20 {
		t.Errorf("only %d things are offered to an administrator: does the test see them?", count["administrator"])
	}
	s := webtest.Server(t, fixture.Warehouse)
	for path, offers := range map[string][2]string{
		"/alerts":      {`action="/alerts/mute"`, `action="/rules`},
		alertPage:      {`<textarea`, `action="/rules`},
		"/deadletters": {"do=redrive", "do=purge"},
		"/rules/humid": {"/rules/humid/try", "/rules/humid/delete"},
	} {
		_, body := webtest.Get(t, s, http.MethodGet, path, "Cookie", "headwater=operator")
		if !strings.Contains(body, offers[0]) || strings.Contains(body, offers[1]) {
			t.Errorf("%s offers an operator %q: %t, %q: %t", path, offers[0], strings.Contains(body, offers[0]), offers[1], strings.Contains(body, offers[1]))
		}
	}
	if res, _ := webtest.Get(t, s, http.MethodGet, "/deadletters/confirm?do=purge", "Cookie", "headwater=operator"); res.StatusCode != http.StatusForbidden {
		t.Errorf("an operator is asked to confirm a purge: %d", res.StatusCode)
	}
}

// TestLiveStreamsOfRolesDiffer watches the same page in two roles at the same time.
func TestLiveStreamsOfRolesDiffer(t *testing.T) {
	url := serveState(t, fixture.Warehouse)
	frame := func(role string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/live/alerts", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", "headwater="+role)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		var text strings.Builder
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			text.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), `id="resolved"`) {
				return text.String()
			}
		}
		t.Fatalf("the stream of the %s ended: %v", role, lines.Err())
		return ""
	}
	operator := frame("operator")
	viewer := frame("viewer")
	if !strings.Contains(operator, "/alerts/mute") || strings.Contains(viewer, "/alerts/mute") || !strings.Contains(viewer, "door-04") {
		t.Errorf("the operator may mute: %t, the viewer: %t", strings.Contains(operator, "/alerts/mute"), strings.Contains(viewer, "/alerts/mute"))
	}
}
