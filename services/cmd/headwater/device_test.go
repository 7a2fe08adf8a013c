package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/credentials"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/devices"
)

// device runs one command line about devices; the answer is what is typed in.
func (w *world) device(t *testing.T, answer string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	env := environment{out: &out, err: &errs, in: strings.NewReader(answer), interactive: answer != ""}
	code := run(t.Context(), env, append([]string{"device", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

// credential reads what is stored.
func (w *world) credential(t *testing.T, name string) credentials.Credential {
	t.Helper()
	bucket, err := w.js.KeyValue(t.Context(), streams.BucketCredentials)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), streams.CredentialKey(name))
	if err != nil {
		t.Fatal(err)
	}
	c, err := credentials.Decode(entry.Value())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lists waits until the list holds a text.
func (w *world) lists(t *testing.T, text string) {
	t.Helper()
	streamtest.Eventually(t, "the list holds "+text, func() bool {
		return strings.Contains(strings.Join(strings.Fields(w.device(t, "", "ls").out), " "), text)
	})
}

var password = regexp.MustCompile(`Password: +([A-Z2-7]{26,})`)

// issued returns the token that a command showed.
func (r result) issued(t *testing.T) string {
	t.Helper()
	r.want(t, exitDone, "nobody can show it again")
	found := password.FindStringSubmatch(r.out)
	if found == nil {
		t.Fatalf("no password in %q", r.out)
	}
	return found[1]
}

// claims makes a claim code, and uses it as a person does who has no account.
func (w *world) claims(t *testing.T) {
	t.Helper()
	first := w.device(t, "", "add", "hall/door-3").issued(t)
	w.device(t, "", "claim", "gone").want(t, exitFailed, "no credential")
	void := w.device(t, "", "claim", "door-3").out // the next one replaces it
	made := w.device(t, "", "claim", "door-3")
	made.want(t, exitDone, "once", "/claim?code=door-3.")
	claim := func(out string) (int, string) {
		_, code, _ := strings.Cut(strings.TrimSpace(out), "?code=")
		res, err := http.PostForm(w.url+"/claim", url.Values{"code": {code}})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if status, _ := claim(void); status != http.StatusNotFound {
		t.Errorf("a code that was replaced: %d", status)
	}
	status, page := claim(made.out)
	found := regexp.MustCompile(`id="command-token"[^>]*><code>([A-Z2-7]{26,})<`).FindStringSubmatch(page)
	if status != http.StatusOK || found == nil {
		t.Fatalf("the code: %d %s", status, page)
	}
	c := w.credential(t, "door-3")
	if _, ok := c.Accepts(found[1], time.Now()); !ok {
		t.Error("the token that was claimed is not that of the credential")
	}
	if until, ok := c.Accepts(first, time.Now()); !ok || until.IsZero() {
		t.Errorf("the token before it is good until %s", until)
	}
	if status, _ := claim(made.out); status != http.StatusNotFound {
		t.Errorf("the code a second time: %d", status)
	}
}

func TestDeviceCommands(t *testing.T) {
	w := newRules(t)
	streamtest.Eventually(t, "the credentials are known", func() bool { return w.device(t, "", "ls").code == exitDone })
	first := w.device(t, "", "add", "hall/door-1", "--client-id", "shelly-77").issued(t)
	if _, ok := w.credential(t, "door-1").Accepts(first, time.Now()); !ok {
		t.Error("the token is not that of the credential")
	}
	w.lists(t, "door-1 device allowed token")
	w.claims(t)
	w.device(t, "", "add", "hall/door-1").want(t, exitFailed, "already")
	w.device(t, "", "add", "yard/door-9", "--client-id", "shelly-77").want(t, exitFailed, "belongs to door-1")
	w.device(t, "", "add", "hall").want(t, exitFailed, "site/device")
	w.device(t, "", "add", "hall/*").want(t, exitFailed, "a gateway may have more")
	w.device(t, "", "add", "hall/a", "--no-token").want(t, exitUsage, "needs a certificate")
	w.device(t, "", "add", "--gateway", "--name", "gw", "hall/*", "yard/lamp").issued(t)
	w.device(t, "", "add", "hall/tls", "--no-token", "--uri", "urn:tls").want(t, exitDone, "hall/tls")
	w.lists(t, "tls device allowed certificate")

	kv, err := w.js.KeyValue(t.Context(), streams.BucketDevices)
	if err == nil {
		_, err = kv.PutString(t.Context(), "hall.old", `{"site":"hall","device":"old","metrics":[],"first_seen":"2026-01-02T03:04:05Z"}`)
	}
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the device is merged", func() bool { return w.device(t, "", "merge", "hall/old", "hall/new").code == exitDone })
	w.device(t, "", "merge", "hall/old", "hall/new").want(t, exitFailed)
	w.device(t, "", "delete", "hall").want(t, exitUsage, "is not site/device")
	w.device(t, "no\n", "delete", "hall/new").want(t, exitFailed)
	w.device(t, "yes\n", "delete", "hall/new").want(t, exitDone, "hall/new, hall/old deleted")

	second := w.device(t, "", "rotate", "door-1", "--overlap", "1h").issued(t)
	c := w.credential(t, "door-1")
	for _, token := range []string{first, second} {
		if _, ok := c.Accepts(token, time.Now()); !ok {
			t.Error("during the rotation both tokens are good")
		}
	}
	w.lists(t, "door-1 device allowed 2 tokens until")
	w.device(t, "", "rotate", "nobody").want(t, exitFailed, "no credential")
	w.device(t, "", "rotate", "door-1", "--overlap", "1000d").want(t, exitFailed, "overlap must be")

	w.device(t, "n\n", "revoke", "door-1").want(t, exitFailed, "nothing was done")
	w.device(t, "y\n", "revoke", "door-1").want(t, exitDone, "door-1 is revoked")
	if c := w.credential(t, "door-1"); c.State != credentials.StateRevoked {
		t.Errorf("it is %s", c.State)
	}
	w.lists(t, "door-1 device revoked")
	w.device(t, "", "approve", "hall/door-1").want(t, exitDone, "door-1 is allowed")
	w.device(t, "", "approve", "attic/fan").want(t, exitDone, "approved", "--reason quarantined")
	if c := w.credential(t, "fan"); c.Proves() || c.State != credentials.StateAllowed {
		t.Errorf("approved: %+v", c)
	}
	w.device(t, "", "unknown", "attic/*=quarantined", "*/*=refused").want(t, exitDone, "2 rules")
	w.lists(t, "unknown refused - - */*")
	w.device(t, "", "unknown", "attic/*=odd").want(t, exitFailed, "none of allowed")
	w.device(t, "", "unknown", "attic").want(t, exitUsage, "is not a rule")
	// No list and no stored credential holds a token.
	all := w.device(t, "", "ls", "--json").out
	var list devices.List
	if err := json.Unmarshal([]byte(all), &list); err != nil || len(list.Credentials) != 5 {
		t.Errorf("%d credentials: %v", len(list.Credentials), err)
	}
	for _, token := range []string{first, second} {
		if strings.Contains(all, token) || strings.Contains(all, w.credential(t, "door-1").Tokens[0].Hash) {
			t.Error("the list holds a secret")
		}
	}
}

func TestDeviceImport(t *testing.T) {
	w := newRules(t)
	streamtest.Eventually(t, "the credentials are known", func() bool { return w.device(t, "", "ls").code == exitDone })
	folder := t.TempDir()
	in, out := filepath.Join(folder, "devices.csv"), filepath.Join(folder, "tokens.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("site,device,client_id\nhall,door-1,\nhall,no such,\nyard,lamp,shelly-1\n")
	w.device(t, "", "import", in, "-o", out).want(t, exitFailed, "line 3")
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of tokens has mode %v (%v)", info.Mode(), err)
	}
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil || len(lines) != 3 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	for i, name := range []string{"door-1", "lamp"} {
		if _, ok := w.credential(t, name).Accepts(lines[i+1][2], time.Now()); !ok || lines[i+1][0] != name {
			t.Errorf("line %q is not of %s", lines[i+1], name)
		}
	}
	w.device(t, "", "import", in, "-o", out).want(t, exitFailed, "exists")
	write("site,gadget\nhall,door-1\n")
	w.device(t, "", "import", in).want(t, exitFailed, `"gadget" is unknown`)
}
