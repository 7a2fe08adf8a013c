package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run runs one command line.
func (w *world) run(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs, in: strings.NewReader("")}, append(args, "--server", w.url))
	return result{code, out.String(), errs.String()}
}

func TestPeopleByCommand(t *testing.T) {
	t.Setenv(tokenVariable, "")
	w := newWorld(t, false)
	w.run(t, "user", "ls").want(t, exitDone, "Nobody has an account")
	w.run(t, "user", "add", "vera").want(t, exitFailed, "Create an administrator first")
	w.run(t, "token", "add", "script").want(t, exitFailed, "Create an administrator first")
	added := w.run(t, "user", "add", "Anna", "--role", "administrator")
	added.want(t, exitDone, "/set-up?code=", "within 1 hour")
	w.run(t, "user", "ls").want(t, exitDone, "anna", "administrator", "not yet")

	_, link, _ := strings.Cut(added.out, "\n")
	at, err := url.Parse(strings.TrimSpace(link))
	if err != nil {
		t.Fatal(err)
	}
	anna := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	const phrase = "correct horse battery"
	res, err := anna.PostForm(w.url+"/set-up", url.Values{"code": {at.Query().Get("code")}, "password": {phrase}, "again": {phrase}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Fatalf("the link: %s", res.Status)
	}
	w.run(t, "deadletters", "ls").want(t, exitFailed, "have to log in", "--token-file", tokenVariable)

	// The first token comes from the page.
	r := httptest.NewRequest(http.MethodPost, w.url+"/api/v1/tokens?name=cli&role=administrator&valid=1d", nil)
	r.RequestURI = ""
	r.AddCookie(res.Cookies()[0])
	res, err = anna.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(body.String(), `"token":"`)
	token, _, _ = strings.Cut(token, `"`)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) result { return w.run(t, append(args, "--token-file", file)...) }
	with("deadletters", "ls").want(t, exitDone, "No dead letters")
	with("user", "add", "vera").want(t, exitDone, "vera sets a password")
	with("user", "ls", "--json").want(t, exitDone, `"name": "vera"`)
	with("user", "reset", "vera").want(t, exitDone, "/set-up?code=")
	with("user", "reset", "anna").want(t, exitFailed, "last administrator")
	with("user", "rm", "vera").want(t, exitUsage, "--yes")
	with("user", "rm", "vera", "nobody", "-y").want(t, exitFailed, "vera is deleted", "nobody: There is none of that name")

	with("user", "add", "victor", "--site", "attic", "--site", "cellar,hall").want(t, exitDone, "victor sets a password")
	with("user", "ls").want(t, exitDone, "attic,cellar,hall")
	with("user", "add", "boss", "--role", "administrator", "--site", "attic").want(t, exitFailed, "cannot be limited")
	with("token", "add", "narrow", "--site", "attic").want(t, exitDone, "hw_")
	with("token", "ls").want(t, exitDone, "attic")

	made := with("token", "add", "reader", "--valid", "30d")
	made.want(t, exitDone, "not shown again", "hw_")
	with("token", "ls").want(t, exitDone, "reader", "viewer", "cli", "administrator")
	t.Setenv(tokenVariable, strings.TrimSpace(made.out))
	w.run(t, "deadletters", "ls").want(t, exitDone, "No dead letters")
	w.run(t, "user", "ls").want(t, exitFailed, "This needs the role administrator; you have the role viewer")
	w.run(t, "deadletters", "purge", "1", "-y").want(t, exitFailed, "This needs the role administrator")
	with("token", "rm", "reader", "-y").want(t, exitDone, "reader is deleted")
	w.run(t, "deadletters", "ls").want(t, exitFailed, "have to log in")

	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	with("user", "ls").want(t, exitUsage, "other users may read")
}
