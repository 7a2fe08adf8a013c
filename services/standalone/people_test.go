package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"headwater/services/internal/process"
	"headwater/streams/streamtest"
)

const passphrase = "correct horse battery"

// person is a browser without pages.
type person struct {
	t      *testing.T
	base   string
	cookie string
	token  string
}

// ask sends a request, with a form if there is one, and keeps the session.
func (p *person) ask(method, path string, form url.Values) (status int, body string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(form.Encode()))
	must(p.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.cookie != "" {
		r.Header.Set("Cookie", p.cookie)
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	must(p.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(p.t, err)
	if set := res.Header.Get("Set-Cookie"); set != "" {
		p.cookie, _, _ = strings.Cut(set, ";")
	}
	return res.StatusCode, string(text)
}

// TestPeople sets up, logs in and out and loses a session in Chromium.
func TestPeople(t *testing.T) {
	cfg := testConfig(t.TempDir())
	links := make(chan string, 1)
	cfg.SetUpLink, cfg.Announce = true, func(link string) { links <- link }
	at, _ := start(t, cfg)
	nobody := &person{t: t, base: at.HTTP}
	if status, body := nobody.ask(http.MethodGet, "/", nil); status != http.StatusOK || !strings.Contains(body, "no log-in") {
		t.Errorf("before anybody has an account: %d, does the page say that it is open? %t", status, strings.Contains(body, "no log-in"))
	}
	browse(t, func(ctx context.Context) {
		step := func(what string, steps ...chromedp.Action[chromedp.Void]) {
			t.Helper()
			if err := chromedp.Do(ctx, steps...); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		// A page that is left while it is asked has no answer.
		until := func(what, condition string) {
			t.Helper()
			shown := ""
			defer func() {
				if t.Failed() {
					t.Logf("%s: %s", what, shown)
				}
			}()
			streamtest.Eventually(t, what, func() bool {
				if text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + " " + document.body.innerText`)); err == nil {
					shown = text
				}
				ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
				return err == nil && ok
			})
		}
		// One script fills in and sends a form: nodes that were looked up may be replaced until
		// they are used. It is sent after the answer, because that would be lost with the page.
		fill := func(what, form string, values map[string]string) {
			t.Helper()
			filled, err := json.Marshal(values)
			must(t, err)
			until(what, fmt.Sprintf(`document.readyState === "complete" && (() => {
				const form = document.querySelector('form[action=%q]');
				if (!form) return false;
				for (const [name, value] of Object.entries(%s ?? {})) form.querySelector(`+"`[name=\"${name}\"]`"+`).value = value;
				setTimeout(() => form.submit());
				return true;
			})()`, form, filled))
		}
		says := func(who string) string {
			return fmt.Sprintf(`document.readyState === "complete" && document.querySelector(".who")?.innerText === %q`, who)
		}

		step("open the link", chromedp.Navigate(<-links), chromedp.WaitVisible(`[name="again"]`))
		fill("create an administrator", "/set-up", map[string]string{"name": "Anna", "password": passphrase, "again": passphrase})
		until("she is logged in", says("anna"))
		for path, want := range map[string]int{
			"/": http.StatusSeeOther, "/api/v1/devices": http.StatusUnauthorized, "/live/overview": http.StatusUnauthorized, "/people": http.StatusSeeOther,
			"/log-in": http.StatusOK, "/api/v1/openapi.json": http.StatusOK, "/readyz": http.StatusOK,
		} {
			if status, _ := nobody.ask(http.MethodGet, path, nil); status != want {
				t.Errorf("%s without a log-in: %d, want %d", path, status, want)
			}
		}
		res, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader(`{"site":"home","device":"cellar-1","metric":"temperature","value":20}`))
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Errorf("a reading without a log-in: %s", res.Status)
		}

		step("people", chromedp.Navigate(at.HTTP+"/people"), chromedp.WaitVisible("#user-name"))
		fill("add a viewer", "/people/users", map[string]string{"name": "vera", "role": "viewer"})
		until("there is a link", `document.querySelector("#command-link") !== null`)
		link, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#command-link").innerText.trim()`))
		must(t, err)
		step("the account", chromedp.Navigate(at.HTTP+"/account"), chromedp.WaitVisible(`form[action="/log-out"]`))
		fill("log out", "/log-out", nil)
		until("the page of the log-in", `location.pathname === "/log-in"`)

		step("open the link", chromedp.Navigate(link), chromedp.WaitVisible(`[name="again"]`))
		fill("set a password", "/set-up", map[string]string{"password": passphrase, "again": passphrase})
		until("the viewer is logged in", says("vera"))
		for _, path := range []string{"/devices/home/cellar-1", "/alerts", "/rules", "/deadletters", "/pipeline", "/ledger", "/"} {
			streamtest.Eventually(t, path+" is there", func() bool {
				step("open "+path, chromedp.Navigate(at.HTTP+path), chromedp.WaitVisible("main"))
				found, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.querySelector("main h1").innerText !== "Not found"`))
				return err == nil && found
			})
			until(path+" has no button that changes anything", says("vera")+` && !document.querySelector('form[method="post"], [hx-post]')`)
		}
		until("the page is live", `document.querySelector("#link").dataset.state === "live"`)

		anna := &person{t: t, base: at.HTTP}
		if status, _ := anna.ask(http.MethodPost, "/log-in", url.Values{"name": {"anna"}, "password": {passphrase}}); status != http.StatusSeeOther {
			t.Fatalf("anna cannot log in: %d", status)
		}
		if status, body := anna.ask(http.MethodPost, "/people/users/vera/reset", nil); status != http.StatusOK || !strings.Contains(body, "/set-up?code=") {
			t.Fatalf("the password is not reset: %d %s", status, body)
		}
		until("the open page says that the session has expired", `document.querySelector("#stale").innerText.includes("Your session has expired") && document.querySelector("#link").dataset.state === "expired"`)
		step("follow the link", chromedp.Click("#stale a"))
		until("the page of the log-in", `document.readyState === "complete" && location.pathname === "/log-in"`)
		fill("log in with a password that was reset", "/log-in", map[string]string{"name": "vera", "password": passphrase})
		until("it is refused", `document.querySelector('[role="alert"]')?.innerText.includes("is wrong")`)
		fill("log in", "/log-in", map[string]string{"name": "anna", "password": passphrase})
		until("anna is logged in", says("anna")+` && location.pathname === "/"`)
		passkeys(ctx, t, at.HTTP, browser{step, until, fill, says})
		_, log := anna.ask(http.MethodGet, "/api/v1/audit", nil)
		for _, want := range []string{`"user.passkey"`, `with the passkey test phone`, `"login"`, `"user.add"`, `"user.password"`, `"anna"`, `"vera"`} {
			if !strings.Contains(log, want) {
				t.Errorf("the audit has no %s", want)
			}
		}
		if strings.Contains(log, passphrase) {
			t.Error("the audit has the password")
		}
	})
}

// TestSetUpLinkOffLoopback opens a standalone to other machines: nobody becomes an
// administrator without the link.
func TestSetUpLinkOffLoopback(t *testing.T) {
	for mode, want := range map[process.Mode]int{process.ModeDev: http.StatusOK, process.ModeAuto: http.StatusSeeOther} {
		t.Run(string(mode), func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			cfg.HTTP, cfg.Mode, cfg.Profiles = "0.0.0.0:0", mode, mode == process.ModeDev
			cfg.Notifier.PublicURL = "https://headwater.example.org" // a proxy with TLS
			setUpOffLoopback(t, cfg, want)
		})
	}
}

// setUpOffLoopback wants a status of pages before there is an administrator.
func setUpOffLoopback(t *testing.T, cfg Config, want int) {
	t.Helper()
	links := make(chan string, 1)
	cfg.Announce = func(link string) { links <- link }
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	must(t, err)
	defer file.Close()
	at, stop := startIn(t, process.New("standalone", process.Defaults[process.Base](), file), cfg)
	_, port, _ := strings.Cut(strings.TrimPrefix(at.HTTP, "http://"), "]:")
	if port == "" {
		port = at.HTTP[strings.LastIndex(at.HTTP, ":")+1:]
	}
	p := &person{t: t, base: "http://127.0.0.1:" + port}
	if status, _ := p.ask(http.MethodGet, "/rules", nil); status != want {
		t.Errorf("a page before there is an administrator: %d, want %d", status, want)
	}
	open := want == http.StatusOK
	if status, _ := p.ask(http.MethodGet, "/metrics", nil); (status == http.StatusOK) != open {
		t.Errorf("metrics before there is an administrator: %d", status)
	}
	warned := func() bool {
		text, err := os.ReadFile(log)
		must(t, err)
		return strings.Contains(string(text), "there is no log-in")
	}
	if warned() != open {
		t.Errorf("does the log say that there is no log-in? %t", warned())
	}
	form := url.Values{"name": {"mallory"}, "password": {passphrase}, "again": {passphrase}}
	if status, body := p.ask(http.MethodPost, "/set-up", form); status != http.StatusForbidden || !strings.Contains(body, "Headwater prints when it starts") {
		t.Errorf("without the link: %d", status)
	}
	if status, _ := p.ask(http.MethodPost, "/api/v1/users?name=mallory&role=administrator", nil); status != http.StatusForbidden && status != http.StatusUnauthorized {
		t.Errorf("without the link, through the API: %d", status)
	}
	_, code, _ := strings.Cut(<-links, "?code=")
	form.Set("name", "anna")
	form.Set("code", code)
	if status, body := p.ask(http.MethodPost, "/set-up", form); status != http.StatusSeeOther || p.cookie == "" {
		t.Errorf("with the link: %d %s", status, body)
	}
	if status, body := p.ask(http.MethodGet, "/", nil); status != http.StatusOK || strings.Contains(strings.ToLower(body), "no log-in") {
		t.Errorf("logged in: %d, or it says that there is no log-in", status)
	}
	nobody := &person{t: t, base: p.base}
	for path, want := range map[string]int{"/metrics": http.StatusUnauthorized, "/debug/pprof/cmdline": http.StatusUnauthorized, "/livez": http.StatusOK} {
		if status, _ := nobody.ask(http.MethodGet, path, nil); status != want {
			t.Errorf("%s without a log-in: %d, want %d", path, status, want)
		}
	}
	for _, token := range []struct {
		query           string
		metrics, memory int
	}{
		{"name=scraper&role=viewer", http.StatusOK, http.StatusForbidden},
		{"name=narrow&role=viewer&sites=attic", http.StatusForbidden, http.StatusForbidden},
		{"name=all&role=administrator", http.StatusOK, http.StatusOK},
	} {
		_, made := p.ask(http.MethodPost, "/api/v1/tokens?"+token.query, nil)
		_, text, _ := strings.Cut(made, `"token":"`)
		text, _, _ = strings.Cut(text, `"`)
		scraper := &person{t: t, base: p.base, token: text}
		metrics, _ := scraper.ask(http.MethodGet, "/metrics", nil)
		memory, _ := scraper.ask(http.MethodGet, "/debug/pprof/cmdline", nil)
		if metrics != token.metrics || cfg.Profiles && memory != token.memory {
			t.Errorf("with the token %s: metrics %d, profiles %d", token.query, metrics, memory)
		}
	}
	stop()
}
