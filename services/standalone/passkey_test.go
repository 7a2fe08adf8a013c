package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// browser is what a test does in Chromium.
type browser struct {
	step  func(what string, steps ...chromedp.Action[chromedp.Void])
	until func(what, condition string)
	fill  func(what, form string, values map[string]string)
	says  func(who string) string
}

// passkeys has anna add a passkey with an authenticator that is not there, log in with it
// and remove it.
func passkeys(ctx context.Context, t *testing.T, at string, b browser) {
	t.Helper()
	b.step("an authenticator", chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true,
			HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
		return err
	}))
	// An address of numbers has no passkeys.
	b.until("no passkeys here", `document.readyState === "complete"`)
	b.step("the account", chromedp.Navigate(at+"/account"), chromedp.WaitVisible("#passkeys-title"))
	b.until("it says why", `document.querySelector("main").innerText.includes("where this page is opened with https://") && !document.querySelector("[data-passkey]")`)

	home := strings.Replace(at, "127.0.0.1", "localhost", 1)
	b.step("the log-in", chromedp.Navigate(home+"/log-in"), chromedp.WaitVisible("#name"))
	b.until("no passkey is offered", `document.readyState === "complete" && !document.querySelector("[data-passkey]")`)
	b.fill("log in", "/log-in", map[string]string{"name": "anna", "password": passphrase})
	b.until("anna is logged in", b.says("anna"))
	b.step("the account", chromedp.Navigate(home+"/account"), chromedp.WaitVisible(`[data-passkey="add"]`))
	add := func(what, password string) {
		t.Helper()
		b.step(what, chromedp.SetValue("#passkey-label", "test phone"), chromedp.SetValue("#passkey-password", password), chromedp.Click(`[data-passkey="add"] button`))
	}
	add("add a passkey with a wrong password", "guess")
	b.until("it is refused", `document.querySelector('[data-passkey] [role="alert"]').innerText.includes("is wrong")`)
	add("add a passkey", passphrase)
	b.until("it is listed", `document.querySelector('[aria-labelledby="passkeys-title"] tbody')?.innerText.includes("test phone")`)
	b.fill("log out", "/log-out", nil)
	b.step("a passkey is offered", chromedp.WaitVisible(`[data-passkey="log-in"] button`))

	// What was answered once is not taken twice, and not for another question.
	nobody := &person{t: t, base: home}
	ask := func() (options, cookie string) {
		t.Helper()
		nobody.cookie = ""
		status, body := nobody.ask(http.MethodPost, "/log-in/passkey/begin", nil)
		if status != http.StatusOK {
			t.Fatalf("the question: %d %s", status, body)
		}
		return body, nobody.cookie
	}
	options, cookie := ask()
	_, other := ask()
	quoted, err := json.Marshal(options)
	must(t, err)
	answer, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(
		`navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(%s))}).then((c) => JSON.stringify(c.toJSON()))`, quoted), chromedp.EvalAwaitPromise))
	must(t, err)
	for i, c := range []struct {
		cookie string
		status int
	}{{other, http.StatusUnauthorized}, {cookie + "x", http.StatusUnauthorized}, {"", http.StatusUnauthorized}, {cookie, http.StatusOK}, {cookie, http.StatusUnauthorized}} {
		nobody.cookie = c.cookie
		if status, body := nobody.ask(http.MethodPost, "/log-in/passkey", url.Values{"answer": {answer}}); status != c.status {
			t.Errorf("answer %d: %d %s, want %d", i, status, body, c.status)
		}
	}

	b.step("log in with the passkey", chromedp.Click(`[data-passkey="log-in"] button`))
	b.until("anna is logged in", b.says("anna")+` && location.pathname === "/"`)
	b.step("the account", chromedp.Navigate(home+"/account"), chromedp.WaitVisible("#passkeys-title"))
	remove, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector('form[action^="/account/passkeys/"]').getAttribute("action")`))
	must(t, err)
	b.fill("remove the passkey", remove, nil)
	b.until("it is gone", `document.readyState === "complete" && document.querySelector("#passkeys-title") && !document.querySelector('[aria-labelledby="passkeys-title"] tbody')`)
	b.fill("log out", "/log-out", nil)
	b.until("no passkey is offered", `document.readyState === "complete" && location.pathname === "/log-in" && !document.querySelector("[data-passkey]")`)
	if status, _ := nobody.ask(http.MethodPost, "/log-in/passkey/begin", nil); status != http.StatusNotFound {
		t.Errorf("the question when nobody has a passkey: %d", status)
	}
}
