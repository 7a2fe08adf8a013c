package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"headwater/streams"
)

// channel runs one command line about channels.
func (w *world) channel(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"channel", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestChannelsByCommand(t *testing.T) {
	w := newRules(t)
	w.channel(t, "ls").want(t, exitDone, "CHANNEL", "phone", "ntfy", "ntfy.example.org", "none")
	w.channel(t, "ls", "--json").want(t, exitDone, `"name": "phone"`, `"deliveries": []`)
	w.channel(t, "test").want(t, exitUsage, "channel")
	w.channel(t, "test", "phone").want(t, exitFailed, "No notifier runs")
	answer := streams.ChannelTested{}
	sub, err := w.js.Conn().Subscribe(streams.ChannelTests, func(m *nats.Msg) {
		body, err := json.Marshal(answer)
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := w.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	w.channel(t, "test", "phone").want(t, exitDone, "phone: the other side took the test")
	w.channel(t, "report").want(t, exitFailed, "No morning report is declared")
	answer.Error = "ntfy answered 403 Forbidden"
	w.channel(t, "test", "phone").want(t, exitFailed, "phone: ", "ntfy answered 403 Forbidden")
}

// TestChannelsAreChanged makes, changes and deletes channels. What is secret comes from files and
// is never printed.
func TestChannelsAreChanged(t *testing.T) {
	w := newRules(t)
	secret := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := secret("url", "https://hooks.example.org/of-ann\n")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"add", "hook", "--type", "webhook", "--url-file", address, "--secret-file", secret("secret", "of-sixteen-letters-and-more"), "--by", "ann"}, exitDone, []string{"hook is saved", "channel test hook"}},
		{[]string{"ls", "--json"}, exitDone, []string{`"signed": true`, `"resolved": true`, `"to": "hooks.example.org"`}},
		{[]string{"add", "hook", "--type", "webhook", "--url-file", address}, exitFailed, []string{"There is a channel of that name already"}},
		{[]string{"add", "other", "--type", "ntfy"}, exitFailed, []string{"url"}},
		{[]string{"add", "other", "--type", "pigeon"}, exitUsage, []string{"pigeon"}},
		{[]string{"add", "other", "--type", "ntfy", "--url-file", "nowhere"}, exitFailed, []string{"nowhere"}},
		{[]string{"edit", "hook", "--unsigned", "--no-resolved", "--format", "alertmanager"}, exitDone, []string{"hook is saved"}},
		{[]string{"ls", "--json"}, exitDone, []string{`"resolved": false`, `"format": "alertmanager"`, `"to": "hooks.example.org"`}},
		{[]string{"edit", "ghost"}, exitFailed, []string{"ghost: there is no such channel"}},
		{[]string{"edit", "phone", "--no-resolved"}, exitFailed, []string{"phone"}},
		{[]string{"rm", "hook"}, exitUsage, []string{"--yes"}},
		{[]string{"rm", "hook", "ghost", "--yes"}, exitFailed, []string{"hook deleted", "ghost: There is no such channel"}},
	} {
		got := w.channel(t, c.args...)
		got.want(t, c.code, c.want...)
		if strings.Contains(got.out+got.err, "of-") {
			t.Errorf("%v prints a secret: %s%s", c.args, got.out, got.err)
		}
	}
	if got := w.channel(t, "ls"); strings.Contains(got.out, "hook") {
		t.Error(got.out)
	}
}
