package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

// as is the cookie of a session.
func as(session string) []string { return []string{"Cookie", "headwater=" + session} }

func TestLogIn(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	form := func(name, password, next string) string {
		return url.Values{"name": {name}, "password": {password}, "next": {next}}.Encode()
	}
	res, body := webtest.Post(t, s, "/log-in", form("viewer", "guess", "/alerts"), as("nobody")...)
	if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "The name or the password is wrong.") || !strings.Contains(body, `value="/alerts"`) || strings.Contains(body, "guess") {
		t.Errorf("a wrong password: %d %s", res.StatusCode, body)
	}
	res, _ = webtest.Post(t, s, "/log-in", form("viewer", fixture.Password, "/alerts?x=1"), as("nobody")...)
	cookie := res.Header.Get("Set-Cookie")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/alerts?x=1" {
		t.Errorf("the right password: %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	for _, want := range []string{"headwater=viewer;", "Path=/", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie is %q, without %q", cookie, want)
		}
	}
	if strings.Contains(cookie, "Secure") || strings.Contains(cookie, "Domain") {
		t.Errorf("the cookie is %q", cookie)
	}
	res, _ = webtest.Post(t, s, "/log-in", form("viewer", fixture.Password, "/"), "X-Forwarded-Proto", "https", "Cookie", "__Host-headwater=nobody")
	if cookie := res.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-headwater=viewer;") || !strings.Contains(cookie, "Secure") || !strings.Contains(cookie, "Path=/") {
		t.Errorf("over HTTPS the cookie is %q", cookie)
	}
	// Over HTTPS, a cookie that a plain page may have set does not count.
	if res, _ := webtest.Get(t, s, http.MethodGet, "/account", "X-Forwarded-Proto", "https", "Cookie", "headwater=administrator"); res.StatusCode != http.StatusOK {
		t.Errorf("%d", res.StatusCode)
	} else if _, body := webtest.Get(t, s, http.MethodGet, "/account", "X-Forwarded-Proto", "https", "Cookie", "headwater=administrator"); strings.Contains(body, "ada-the-administrator") {
		t.Error("a cookie without the prefix counts over HTTPS")
	}
	res, _ = webtest.Post(t, s, "/log-out", "", as("viewer")...)
	if res.Header.Get("Location") != "/log-in?out=1" || !strings.Contains(res.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("a log-out: %v", res.Header)
	}
}

// TestLogInElsewhere goes to a provider and back.
func TestLogInElsewhere(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	_, body := webtest.Get(t, s, http.MethodGet, "/log-in?next=/alerts", as("nobody")...)
	if !strings.Contains(body, `href="/log-in/oidc?next=%2Falerts"`) {
		t.Errorf("the page has no link: %s", body)
	}
	// While nobody has to log in, the pages on which that begins lead there too.
	for _, path := range []string{"/account", "/set-up"} {
		if _, body := webtest.Get(t, s, http.MethodGet, path); !strings.Contains(body, `href="/log-in/oidc?next=%2F"`) {
			t.Errorf("%s has no link: %s", path, body)
		}
	}
	if _, body := webtest.Get(t, s, http.MethodGet, "/set-up?code="+fixture.Code, as("nobody")...); strings.Contains(body, "/log-in/oidc") {
		t.Errorf("a person who is invited is led elsewhere: %s", body)
	}
	res, _ := webtest.Get(t, s, http.MethodGet, "/log-in/oidc?next=/alerts", as("nobody")...)
	begun, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
	if at := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(at, "https://id.example.org/authorize?") || !strings.HasPrefix(begun, "headwater-oidc=") {
		t.Fatalf("%d, leads to %q, with the cookie %q", res.StatusCode, at, begun)
	}
	for _, c := range []struct {
		state, cookie string
		status        int
		location      string
	}{
		{"STATE", begun, http.StatusSeeOther, "/alerts"},
		{"FORGED", begun, http.StatusForbidden, ""},
		{"STATE", "headwater=nobody", http.StatusForbidden, ""},
		{"", "headwater-oidc=e30", http.StatusForbidden, ""}, // an empty one
		{"STATE", "headwater-oidc=x", http.StatusForbidden, ""},
	} {
		res, body := webtest.Get(t, s, http.MethodGet, "/log-in/oidc/callback?code=CODE&state="+c.state, "Cookie", "headwater=nobody; "+c.cookie)
		if res.StatusCode != c.status || res.Header.Get("Location") != c.location || c.status != http.StatusSeeOther && !strings.Contains(body, "was not begun in this browser") {
			t.Errorf("back with state %q and %q: %d to %q", c.state, c.cookie, res.StatusCode, res.Header.Get("Location"))
		}
		cookies := strings.Join(res.Header.Values("Set-Cookie"), "\n")
		if !strings.Contains(cookies, "headwater-oidc=;") || strings.Contains(cookies, "headwater=viewer") != (c.status == http.StatusSeeOther) {
			t.Errorf("back with state %q: cookies %s", c.state, cookies)
		}
	}
	_, body = webtest.Get(t, s, http.MethodGet, "/log-in?out=1", as("nobody")...)
	if !strings.Contains(body, `href="https://id.example.org/end?back=`) {
		t.Errorf("after the log-out: %s", body)
	}
}

func TestLogInLeadsNowhereElse(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, next := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", `/x\..\y`, "", "/\t/evil.example", "evil"} {
		form := url.Values{"name": {"viewer"}, "password": {fixture.Password}, "next": {next}}.Encode()
		if res, _ := webtest.Post(t, s, "/log-in", form, as("nobody")...); res.Header.Get("Location") != "/" {
			t.Errorf("%q leads to %q", next, res.Header.Get("Location"))
		}
	}
}

func TestFromElsewhere(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, path := range []string{"/log-in", "/log-out", "/set-up", "/account/password", "/people/users", "/people/users/anna/delete"} {
		if res, _ := webtest.Post(t, s, path, "", "Cookie", "headwater=administrator", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s from another site: %d", path, res.StatusCode)
		}
	}
}

func TestAccessPages(t *testing.T) {
	for _, c := range []struct {
		state          fixture.State
		session, path  string
		form           string
		status         int
		location, text string
	}{
		{fixture.Warehouse, "nobody", "/log-in", "", 200, "", `autocomplete="current-password"`},
		{fixture.Warehouse, "viewer", "/log-in?next=/rules", "", 303, "/rules", ""},
		{fixture.Warehouse, "", "/log-in", "", 303, "/", ""},
		{fixture.Warehouse, "nobody", "/set-up?code=CODE", "", 200, "", "Set your password"},
		{fixture.Warehouse, "nobody", "/set-up?code=OLD", "", 404, "", "used already or has expired"},
		{fixture.Warehouse, "nobody", "/set-up", "", 403, "", "--set-up-link"},
		{fixture.Empty, "", "/set-up", "", 200, "", "Create an administrator"},
		{fixture.Warehouse, "nobody", "/set-up", "code=CODE&password=a&again=b", 400, "", "The two passwords differ."},
		{fixture.Warehouse, "nobody", "/set-up", "code=CODE&password=a&again=a", 400, "", "at least 10 characters"},
		{fixture.Warehouse, "nobody", "/set-up", "code=CODE&password=0123456789&again=0123456789", 303, "/", ""},
		{fixture.Warehouse, "nobody", "/set-up", "code=OLD&password=0123456789&again=0123456789", 404, "", "expired"},
		{fixture.Empty, "", "/set-up", "name=anna&password=0123456789&again=0123456789", 303, "/", ""},
		{fixture.Warehouse, "viewer", "/account", "", 200, "", "You are a viewer"},
		{fixture.Warehouse, "", "/account", "", 200, "", "Nobody has to log in"},
		{fixture.Warehouse, "viewer", "/account/password", "old=x&password=0123456789&again=0123456789", 401, "", "wrong"},
		{fixture.Warehouse, "viewer", "/account/password", "old=correct+horse+battery&password=0123456789&again=0123456789", 303, "/account?changed=1", ""},
		{fixture.Warehouse, "", "/account/password", "old=x", 403, "", "Only a person"},
		{fixture.Warehouse, "viewer", "/account/log-out", "x=1", 303, "/log-in", ""},
		{fixture.Warehouse, "viewer", "/people", "", 403, "", "This needs the role administrator; you have the role viewer."},
		{fixture.Warehouse, "administrator", "/people", "", 200, "", "nightly-report"},
		{fixture.Away, "administrator", "/people", "", 503, "", "cannot be reached"},
		{fixture.Warehouse, "administrator", "/people/users", "name=vera&role=viewer", 200, "", "http://example.com/set-up?code=CODE"},
		{fixture.Warehouse, "administrator", "/people/users/otto/role", "role=viewer", 303, "/people", ""},
		{fixture.Warehouse, "administrator", "/people/users/otto/role", "role=viewer&sites=attic+,hall", 303, "/people", ""},
		{fixture.Warehouse, "administrator", "/people", "", 200, "", `value="warehouse, attic"`},
		{fixture.Warehouse, "administrator", "/people/users/anna/role", "role=viewer", 409, "", "last administrator"},
		{fixture.Warehouse, "administrator", "/people/users/otto/reset", "x=1", 200, "", "/set-up?code=CODE"},
		{fixture.Warehouse, "administrator", "/people/users/otto/delete", "x=1", 303, "/people", ""},
		{fixture.Warehouse, "administrator", "/people/tokens", "name=t&role=viewer&valid=90d", 200, "", "hw_example_SHOWNONCE"},
		{fixture.Warehouse, "administrator", "/people/tokens", "name=t&role=viewer&valid=soon", 400, "", "Valid must be a duration"},
		{fixture.Warehouse, "administrator", "/people/tokens/t/delete", "x=1", 303, "/people", ""},
	} {
		s := webtest.Server(t, c.state)
		var header []string
		if c.session != "" {
			header = as(c.session)
		}
		var res *http.Response
		var body string
		if c.form == "" {
			res, body = webtest.Get(t, s, http.MethodGet, c.path, header...)
		} else {
			res, body = webtest.Post(t, s, c.path, c.form, header...)
		}
		if res.StatusCode != c.status || res.Header.Get("Location") != c.location || !strings.Contains(body, c.text) {
			t.Errorf("%s as %q with %q: %d to %q, does it hold %q? %t", c.path, c.session, c.form, res.StatusCode, res.Header.Get("Location"), c.text, strings.Contains(body, c.text))
		}
	}
}
