package deadletters_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"headwater/web/deadletters"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestFormsOfDeadLetters(t *testing.T) {
	for _, c := range []struct {
		state      fixture.State
		path, form string
		status     int
		holds      string
	}{
		{fixture.Warehouse, "/deadletters/redrive", "through=41", 200, "refused again"},
		{fixture.Warehouse, "/deadletters/redrive", "service=bridge&reason=topic&through=41", 200, "Redrive the rest"},
		{fixture.Warehouse, "/deadletters/redrive", "sequence=36", 200, "It cannot be redriven: it is a point"},
		{fixture.Warehouse, "/deadletters/purge", "sequence=36", 200, "1 dead letter deleted permanently"},
		{fixture.Warehouse, "/deadletters/purge", "service=bridge&through=41", 200, "3 dead letters deleted"},
		{fixture.Warehouse, "/deadletters/purge", "sequence=5", 404, "no such dead letter"},
		{fixture.Warehouse, "/deadletters/purge", "", 400, "through must be"},
		{fixture.Warehouse, "/deadletters/purge?through=41", "", 400, "through must be"},
		{fixture.Warehouse, "/deadletters/purge", "through=many", 400, "through must be"},
		{fixture.Warehouse, "/deadletters/purge", "through=41&service=a.b", 400, "service must be"},
		{fixture.Warehouse, "/deadletters/purge", "through=41&x=" + strings.Repeat("x", 5000), 400, "too large"},
		{fixture.Warehouse, "/deadletters/try", "topic=tele/heater/SENSOR&payload=x", 200, "132 W"},
		{fixture.Warehouse, "/deadletters/try", "topic=%3Cb%3E&payload=x", 200, "Declare a mapping"},
		{fixture.Warehouse, "/deadletters/try", "topic=a&payload=0g&as=hex", 400, "not in hexadecimal digits"},
		{fixture.Warehouse, "/deadletters/try", "topic=" + strings.Repeat("x", 1025), 400, "at most 1024 bytes"},
		{fixture.Away, "/deadletters/redrive", "through=41", 503, "cannot be redriven"},
		{fixture.Away, "/deadletters/purge", "through=41", 503, "cannot be purged"},
	} {
		t.Run(c.path+"?"+c.form[:min(30, len(c.form))], func(t *testing.T) {
			res, body := webtest.Post(t, webtest.Server(t, c.state), c.path, c.form)
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("status %d, want %d with %q: %s", res.StatusCode, c.status, c.holds, body[strings.Index(body, "<main"):])
			}
		})
	}
}

func TestAPIOfDeadLetters(t *testing.T) {
	for _, c := range []struct {
		state        fixture.State
		method, path string
		status       int
		holds        string
	}{
		{fixture.Warehouse, http.MethodPost, "/redrive?through=41", 200, `"redriven":2`},
		{fixture.Warehouse, http.MethodPost, "/redrive?through=41&service=writer", 200, `"kept":1`},
		{fixture.Warehouse, http.MethodPost, "/redrive", 400, "through must be"},
		{fixture.Warehouse, http.MethodPost, "/redrive?sequence=41", 400, "through must be"},
		{fixture.Warehouse, http.MethodPost, "/41/redrive", 200, `"letters":[{"sequence":41,"outcome":"redriven"`},
		{fixture.Warehouse, http.MethodPost, "/5/redrive", 200, `"letters":[]`},
		{fixture.Warehouse, http.MethodPost, "/x/redrive", 400, "sequence must be"},
		{fixture.Warehouse, http.MethodDelete, "?through=41&reason=topic", 200, `{"purged":1}`},
		{fixture.Warehouse, http.MethodDelete, "", 400, "through must be"},
		{fixture.Warehouse, http.MethodDelete, "?through=41&from=3", 400, "from is not"},
		{fixture.Warehouse, http.MethodDelete, "/41", 200, `{"purged":1}`},
		{fixture.Warehouse, http.MethodDelete, "/5", 404, "no such dead letter"},
		{fixture.Away, http.MethodPost, "/redrive?through=41", 503, "cannot be redriven"},
		{fixture.Away, http.MethodDelete, "?through=41", 503, "cannot be purged"},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			res, body := webtest.Get(t, webtest.Server(t, c.state), c.method, "/api/v1/deadletters"+c.path)
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) || !json.Valid([]byte(body)) {
				t.Errorf("status %d, want %d with %q: %s", res.StatusCode, c.status, c.holds, body)
			}
		})
	}
}

// changing are the requests that change something.
var changing = []struct{ method, path, form string }{
	{http.MethodPost, "/deadletters/redrive", "through=41"},
	{http.MethodPost, "/deadletters/purge", "through=41"},
	{http.MethodPost, "/api/v1/deadletters/redrive?through=41", ""},
	{http.MethodPost, "/api/v1/deadletters/41/redrive", ""},
	{http.MethodDelete, "/api/v1/deadletters?through=41", ""},
	{http.MethodDelete, "/api/v1/deadletters/41", ""},
}

type letters = deadletters.Source

// counting counts what is changed.
type counting struct {
	letters
	changes int
}

func (c *counting) Redrive(ctx context.Context, s deadletters.Selection) (deadletters.Redrive, error) {
	c.changes++
	return c.letters.Redrive(ctx, s)
}

func (c *counting) Purge(ctx context.Context, s deadletters.Selection) (uint64, error) {
	c.changes++
	return c.letters.Purge(ctx, s)
}

func TestOtherSitesChangeNothing(t *testing.T) {
	sources := fixture.New(fixture.Warehouse, time.Time{}).Sources()
	counted := &counting{letters: sources.DeadLetters}
	sources.DeadLetters = counted
	s := webtest.ServerOf(t, sources)
	for _, c := range changing {
		for _, h := range [][2]string{
			{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		} {
			for _, content := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"} {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.form))
				r.Header.Set(h[0], h[1])
				r.Header.Set("Content-Type", content)
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, r)
				if w.Code != http.StatusForbidden {
					t.Errorf("%s %s with %s: %s is answered with %d", c.method, c.path, h[0], h[1], w.Code)
				}
			}
		}
		if res, _ := webtest.Get(t, s, http.MethodGet, c.path); res.StatusCode == http.StatusOK && c.method == http.MethodPost {
			t.Errorf("GET %s is answered", c.path)
		}
	}
	if counted.changes != 0 {
		t.Errorf("%d requests of other sites got through", counted.changes)
	}
	// The dashboard's own page may.
	res, body := webtest.Post(t, s, "/deadletters/purge", url.Values{"sequence": {"41"}}.Encode(), "Origin", "http://example.com", "Sec-Fetch-Site", "same-origin")
	if res.StatusCode != http.StatusOK || counted.changes != 1 {
		t.Errorf("its own page: %d, %d changes: %.300s", res.StatusCode, counted.changes, body)
	}
}
