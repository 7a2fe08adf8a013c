package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fn runs one command line about functions.
func (w *world) fn(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"fn", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

// TestFunctionsByCommand makes, builds and tests the functions of both templates, deploys one,
// rolls it back and deletes it.
func TestFunctionsByCommand(t *testing.T) {
	w := newRules(t)
	folder := filepath.Join(t.TempDir(), "degrees")
	w.fn(t, "build", t.TempDir()).want(t, exitFailed, "build a function")
	w.fn(t, "new", folder, "--template", "zscore").want(t, exitDone, "headwater fn build")
	w.fn(t, "new", folder).want(t, exitFailed, "exists")
	w.fn(t, "test", folder).want(t, exitFailed, "headwater fn build makes it")
	w.fn(t, "build", folder).want(t, exitDone, "MiB")
	w.fn(t, "test", folder).want(t, exitDone, "0 readings, written to")
	w.fn(t, "test", folder).want(t, exitDone, "0 readings, as it is to be")

	// The other template instead.
	other := filepath.Join(t.TempDir(), "other")
	w.fn(t, "new", other).want(t, exitDone, "headwater fn build")
	code, err := os.ReadFile(filepath.Join(other, "main.go"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "main.go"), code, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.fn(t, "build", folder).want(t, exitDone, "MiB")
	w.fn(t, "test", folder).want(t, exitFailed, `+ {"site":"hall","device":"door-01","metric":"temperature_true","time":"2026-11-29T10:00:00Z","value":21.1,"unit":"°C"}`, "1 of 1 file")
	w.fn(t, "test", folder, "--update").want(t, exitDone, "2 readings, written to")
	w.fn(t, "test", folder).want(t, exitDone, "2 readings, as it is to be")

	w.fn(t, "deploy", folder, "--match", "hall/*").want(t, exitFailed, "a pattern is site/device/metric")
	w.fn(t, "deploy", folder, "--match", "hall/*/temperature", "--shadow").want(t, exitFailed, "beside another one that is live")
	w.fn(t, "deploy", folder, "--match", "hall/*/temperature").want(t, exitDone, "version 1 of degrees is deployed, live")
	w.fn(t, "rollback", "degrees").want(t, exitFailed, "no version before")
	w.fn(t, "deploy", folder, "--match", "hall/*/*", "--shadow").want(t, exitDone, "version 2 of degrees is deployed, shadow")
	w.fn(t, "state", "degrees", "2", "live").want(t, exitDone, "version 2 of degrees is live")
	w.fn(t, "ls").want(t, exitDone, "NAME", "degrees", "P99")
	w.fn(t, "rollback", "degrees").want(t, exitDone, "version 1 of degrees is live")
	w.fn(t, "state", "degrees", "7", "live").want(t, exitFailed, "no version 7")
	w.fn(t, "logs", "nobody").want(t, exitFailed, "there is no function nobody")
	w.fn(t, "logs", "degrees").want(t, exitDone)
	w.fn(t, "deploy", "--worker", "--name", "mine", "--match", "*/*/*").want(t, exitDone, "version 1 of mine is deployed, live")
	w.fn(t, "rm", "mine", "degrees", "-y").want(t, exitDone, "degrees is deleted", "mine is deleted")
	w.fn(t, "rm", "mine", "-y").want(t, exitFailed, "no such function")

	var audit bytes.Buffer
	if run(t.Context(), environment{out: &audit, err: &audit}, []string{"audit", "--server", w.url, "ls"}) != exitDone ||
		!strings.Contains(audit.String(), "function.deploy") || !strings.Contains(audit.String(), "function.state") || !strings.Contains(audit.String(), "function.remove") {
		t.Errorf("the audit says %s", audit.String())
	}
}
