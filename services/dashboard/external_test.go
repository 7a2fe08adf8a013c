package dashboard

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"

	"headwater/services/internal/oidc"
)

// TestLogInAtAProvider has people log in at an OpenID Connect provider: who is let in, as
// what, and what becomes of their accounts.
func TestLogInAtAProvider(t *testing.T) {
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(provider.Config().ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(r *rig) {
		r.configure = func(cfg *Config) {
			cfg.OIDC = oidc.Config{
				Issuer: provider.Issuer(), ClientID: provider.Config().ClientID, SecretFile: secret, Label: "Example ID", Scopes: []string{"profile", "email", "groups"},
				RoleClaim: "groups", Roles: []string{"hw-admins=administrator", "hw-ops=operator"}, Domains: []string{"example.org"},
			}
		}
	})
	site := httptest.NewServer(r.service.Handler())
	t.Cleanup(site.Close)
	browser := func() *http.Client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Client{Jar: jar}
	}
	get := func(c *http.Client, address string) (*http.Response, string) {
		t.Helper()
		res, err := c.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(body)
	}
	logIn := func(c *http.Client, u mockoidc.MockUser) (*http.Response, string) {
		t.Helper()
		provider.QueueUser(&u)
		return get(c, site.URL+"/log-in/oidc?next=/account")
	}
	anna := mockoidc.MockUser{Subject: "1", PreferredUsername: "Anna@example.org", Email: "anna@example.org", EmailVerified: true, Groups: []string{"staff", "hw-admins"}}
	vera := mockoidc.MockUser{Subject: "2", PreferredUsername: "vera", Email: "vera@Example.org", EmailVerified: true, Groups: []string{"hw-ops"}}

	first := browser()
	if res, body := logIn(first, vera); res.StatusCode != http.StatusConflict || !strings.Contains(body, "administrator first") {
		t.Errorf("an operator before there is an administrator: %d", res.StatusCode)
	}
	if res, body := logIn(first, anna); res.StatusCode != http.StatusOK || res.Request.URL.Path != "/account" || !strings.Contains(body, "You are an administrator") || !strings.Contains(body, "Example ID") {
		t.Fatalf("an administrator: %d at %s: %s", res.StatusCode, res.Request.URL, body)
	}
	second := browser()
	if res, _ := get(second, site.URL+"/account"); res.Request.URL.Path != "/log-in" {
		t.Errorf("without a log-in: %s", res.Request.URL)
	}
	if _, body := logIn(second, vera); !strings.Contains(body, "You are an operator") {
		t.Errorf("an operator: %s", body)
	}
	// Another person of that name gets an account of their own.
	stranger := vera
	stranger.Subject, stranger.Groups = "3", []string{"hw-admins"}
	if _, body := logIn(browser(), stranger); !strings.Contains(body, "vera-2") {
		t.Errorf("another vera: %s", body)
	}
	// The role follows the provider, also in a session that is open.
	vera.Groups = []string{"hw-admins"}
	if _, body := logIn(browser(), vera); !strings.Contains(body, "You are an administrator") || strings.Contains(body, "vera-") {
		t.Errorf("with another role: %s", body)
	}
	if _, body := get(second, site.URL+"/account"); !strings.Contains(body, "You are an administrator") {
		t.Errorf("the open session: %s", body)
	}
	vera.Groups = nil
	for what, c := range map[string]struct {
		change func(*mockoidc.MockUser)
		says   string
	}{
		"no group":         {func(u *mockoidc.MockUser) { u.Groups = []string{"staff"} }, "--oidc-roles"},
		"another domain":   {func(u *mockoidc.MockUser) { u.Email = "anna@example.org.evil.example" }, "--oidc-domains"},
		"unverified mail":  {func(u *mockoidc.MockUser) { u.EmailVerified = false }, "not verified"},
		"without any mail": {func(u *mockoidc.MockUser) { u.Email = "" }, "scope email"},
	} {
		u := anna
		c.change(&u)
		client := browser()
		if res, body := logIn(client, u); res.StatusCode != http.StatusForbidden || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", what, res.StatusCode, body)
		}
		if res, _ := get(client, site.URL+"/account"); res.Request.URL.Path != "/log-in" {
			t.Errorf("%s: there is a session", what)
		}
	}
	if res, body := get(browser(), site.URL+"/log-in/oidc/callback?error=access_denied&state=x"); res.StatusCode != http.StatusForbidden || !strings.Contains(body, "not begun in this browser") {
		t.Errorf("back without a beginning: %d", res.StatusCode)
	}

	// What the browser has kept decides: another state, nonce or verifier is refused.
	for name, says := range map[string]string{"state": "not begun in this browser", "nonce": "not begun in this browser", "verifier": "does not take the code"} {
		provider.QueueUser(&anna)
		client := browser()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res, _ := get(client, site.URL+"/log-in/oidc")
		at := res.Header.Get("Location")
		if u, err := url.Parse(at); err != nil || u.Query().Get("code_challenge_method") != "S256" || u.Query().Get("nonce") == "" {
			t.Fatalf("it leads to %q", at)
		}
		home, _ := url.Parse(site.URL)
		kept := client.Jar.Cookies(home)[0]
		kept.Value = tampered(t, kept.Value, name)
		client.Jar.SetCookies(home, []*http.Cookie{kept})
		res, _ = get(client, at)
		if res, body := get(client, res.Header.Get("Location")); res.StatusCode != http.StatusForbidden || !strings.Contains(body, says) {
			t.Errorf("with another %s: %d %s", name, res.StatusCode, body)
		}
	}

	res, err := first.Post(site.URL+"/log-out", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res, _ := get(first, site.URL+"/account"); res.Request.URL.Path != "/log-in" {
		t.Errorf("after the log-out: %s", res.Request.URL)
	}
	_, log := get(second, site.URL+"/api/v1/audit")
	for _, want := range []string{`"user.add"`, `"user.change"`, `"login"`, "by Example ID", `"vera-2"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit has no %s: %s", want, log)
		}
	}

	provider.QueueUser(&anna)
	client := browser()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ = get(client, site.URL+"/log-in/oidc")
	res, _ = get(client, res.Header.Get("Location"))
	if err := provider.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if res, body := get(client, res.Header.Get("Location")); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "Example ID does not answer") {
		t.Errorf("without the provider: %d %s", res.StatusCode, body)
	}
}

// tampered returns the value of the cookie of a log-in that has begun with another value of
// a field.
func tampered(t *testing.T, cookie, field string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		t.Fatal(err)
	}
	flow := make(map[string]string)
	if err := json.Unmarshal(text, &flow); err != nil {
		t.Fatal(err)
	}
	flow[field] = strings.Repeat("a", len(flow[field]))
	text, err = json.Marshal(flow)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
