package main

import (
	"bytes"
	"regexp"
	"testing"
)

// silence runs one command line about silences.
func (w *world) silence(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"silence", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestSilences(t *testing.T) {
	w := newWorld(t, false)
	w.silence(t, "ls").want(t, exitDone, "Nothing is silenced.")
	w.silence(t, "add", "--device", "door-*", "--label", "team=cold*", "--severity", "warning", "--days", "sat,sun", "--start", "22:00", "--end", "06:00", "--comment", "Doors are oiled.", "--preview").
		want(t, exitDone, "It would mute 0 alerts now; 0 of 0 that fire match.")
	added := w.silence(t, "add", "--device", "door-*", "--label", "team=cold*", "--label", "floor=2", "--severity", "warning", "--days", "sun,sat", "--start", "22:00", "--end", "06:00", "--comment", "Doors are oiled.")
	added.want(t, exitDone, "Every warning alert of door-* with floor: 2, team: cold* is muted, sat, sun 22:00 to 06:00, every week")
	id := regexp.MustCompile(`\(id ([a-z0-9]+)\)`).FindStringSubmatch(added.out)
	if id == nil {
		t.Fatalf("no id in %q", added.out)
	}
	w.silence(t, "add", "--rule", "warm", "--from", "2126-01-01T08:00", "--for", "2h").want(t, exitDone, "Rule warm is muted, from 2126-01-01T08:00:00Z, until 2126-01-01T10:00:00Z")
	w.silence(t, "ls").want(t, exitDone, id[1], "active", "coming", "Doors are oiled.", "2126-01-01T10:00:00Z")
	w.silence(t, "rm", id[1]).want(t, exitDone, id[1]+" is ended")
	w.silence(t, "rm", id[1]).want(t, exitFailed, "it is not there")
	w.silence(t, "ls", "--expired", "--json").want(t, exitDone, `"state": "expired"`, `"days": "sat,sun"`)
	w.silence(t, "add", "--for", "8h").want(t, exitFailed, "which alerts it covers")
	w.silence(t, "add", "--rule", "warm").want(t, exitFailed, "say when it ends")
	w.audit(t, "ls").want(t, exitDone, "silence.add", "silence.end", "every warning alert of door-*")
}
