package main

import (
	"bytes"
	"regexp"
	"testing"

	"headwater/services/internal/configstore"
	"headwater/streams/streamtest"
)

// oncall runs one command line about who is on call.
func (w *world) oncall(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"oncall", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestOnCallByCommand(t *testing.T) {
	w := newRules(t)
	w.oncall(t, "ls").want(t, exitDone, "There is no rota.")
	store, err := configstore.Open(t.Context(), w.js)
	if err != nil {
		t.Fatal(err)
	}
	const text = "rotas: [{name: duty, handover: mon 09:00, time_zone: UTC, people: [{name: Ann, notify: [phone]}, {name: Ben, notify: [phone]}]}]\n"
	if _, err := store.SaveOnCall(t.Context(), text, "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the dashboard knows the rota", func() bool {
		return w.oncall(t, "ls", "--json").code == exitDone && bytes.Contains([]byte(w.oncall(t, "ls", "--json").out), []byte(`"duty"`))
	})
	w.oncall(t, "ls").want(t, exitDone, "ROTA", "duty", "now", "Ann", "Ben", "turn", "phone")
	added := w.oncall(t, "add", "duty", "Ben", "--from", "2126-01-01T08:00", "--until", "2126-01-01T09:00", "--comment", "Ann is away.")
	added.want(t, exitDone, "Ben stands in from 2126-01-01T08:00:00Z until 2126-01-01T09:00:00Z")
	id := regexp.MustCompile(`\(id ([a-z0-9]+)\)`).FindStringSubmatch(added.out)
	if id == nil {
		t.Fatalf("no id in %q", added.out)
	}
	w.oncall(t, "ls").want(t, exitDone, "override "+id[1]+": Ben in duty", "Ann is away.")
	w.oncall(t, "rm", id[1]).want(t, exitDone, id[1]+" is ended")
	w.oncall(t, "rm", id[1]).want(t, exitFailed, "it is not there")
	w.oncall(t, "add", "duty", "Nobody").want(t, exitFailed, "who must name a person of the rota or a channel")
}
