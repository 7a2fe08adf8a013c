package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/dashboard"
	"headwater/services/internal/configstore"
	"headwater/streams/streamtest"
)

// newRules returns a world with a dashboard that runs, and a file in charge of
// one rule.
func newRules(t *testing.T) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, 2)
	w := &world{js: s.JS(t)}
	store, err := configstore.Open(t.Context(), w.js)
	if err != nil {
		t.Fatal(err)
	}
	file := "rules:\n  - {name: of-the-file, detector: auto}\nchannels:\n  - {name: phone, type: ntfy, url: \"https://ntfy.example.org/t\"}\n"
	if _, _, err := store.PutFile(t.Context(), "rules.yaml", []byte(file)); err != nil {
		t.Fatal(err)
	}
	pages, err := dashboard.New(dashboard.DefaultConfig(), dashboard.Deps{JS: s.JS(t), Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(pages.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := pages.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	streamtest.Eventually(t, "the rules are known", func() bool { return w.rules(t, "", "ls").code == exitDone })
	return w
}

// rules runs one command line about rules; the answer is what is typed in.
func (w *world) rules(t *testing.T, answer string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	env := environment{out: &out, err: &errs, in: strings.NewReader(answer), interactive: answer != ""}
	code := run(t.Context(), env, append([]string{"rules", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestRulesByCommand(t *testing.T) {
	w := newRules(t)
	file := filepath.Join(t.TempDir(), "cold.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: cold\ndetector: limit\nbelow: chilly\nnotify: [fax]\n")
	w.rules(t, "", "apply", "-f", file).want(t, exitFailed, "cold.yaml:3: below: must be a number", `cold.yaml:4: notify[0]: "fax" is not a channel`, "not saved")
	write("name: cold\ndetector: limit\nbelow: 2 # at least\nnotify: [phone]\n")
	w.rules(t, "", "apply", "-f", file, "--check").want(t, exitDone, "cold is OK")
	w.rules(t, "", "show", "cold").want(t, exitFailed, "Rule not found")
	w.rules(t, "", "apply", "-f", file, "--by", "Ana").want(t, exitDone, "cold is in force (enabled), matching 0 series.", "is below 2")
	w.rules(t, "", "apply", "-f", file).want(t, exitDone, "in force already")
	w.rules(t, "name: cold\ndetector: limit\nbelow: 3\n", "apply", "-f", "-").want(t, exitDone, "is below 3")
	w.rules(t, "", "apply", "-f", file+".none").want(t, exitFailed, "no such file")
	w.rules(t, "", "apply").want(t, exitUsage, "--file")

	w.rules(t, "", "state", "cold", "muted").want(t, exitDone, "cold is muted")
	w.rules(t, "", "state", "cold", "loud").want(t, exitUsage, "must be one of")
	w.rules(t, "", "state", "of-the-file", "muted").want(t, exitFailed, "edit rules.yaml")
	w.rules(t, "", "ls").want(t, exitDone, "cold", "muted", "of-the-file", "(API)")
	w.rules(t, "", "ls", "COLD").want(t, exitDone, "cold", "below 3")
	w.rules(t, "", "ls", "nothing").want(t, exitDone, "None of 3 rules.")
	w.rules(t, "", "ls", "--json").want(t, exitDone, `"total": 3`)
	w.rules(t, "", "show", "cold").want(t, exitDone, "State:", "muted", "below: 3")
	if shown := w.rules(t, "", "show", "cold", "--yaml"); shown.out != "name: cold\ndetector: limit\nbelow: 3\nstate: muted\n" {
		t.Errorf("its YAML is %q", shown.out)
	}

	w.rules(t, "", "rm", "cold").want(t, exitUsage, "not a terminal: pass --yes")
	w.rules(t, "n\n", "rm", "cold").want(t, exitFailed, "nothing was done")
	w.rules(t, "", "rm", "cold", "of-the-file", "--yes").want(t, exitFailed, "cold deleted", "of-the-file: ", "edit rules.yaml")
	w.rules(t, "", "show", "cold").want(t, exitFailed, "Rule not found")
}
