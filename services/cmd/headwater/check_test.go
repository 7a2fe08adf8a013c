package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/services/internal/config"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", string(config.Demo()))
	bad := file("bad.yaml", "rules:\n  - name: a\n    detector: limit\n    abov: 3\n  - {name: b, expression: \"temperature >\"}\n")
	for name, tc := range map[string]struct {
		files []string
		code  int
		want  []string
	}{
		"right": {[]string{good}, exitDone, []string{good + ": OK: 2 rules and 0 channels"}},
		"wrong": {[]string{bad}, exitFailed, []string{
			bad + ":4: rules[0].abov: is not a field here; did you mean \"above\"?", bad + ":5: rules[1].expression: unexpected token EOF",
		}},
		"both":                       {[]string{bad, good}, exitFailed, []string{bad + ":4: ", good + ": OK"}},
		"not there":                  {[]string{filepath.Join(dir, "absent")}, exitUsage, nil},
		"a secret that is not there": {[]string{file("secret.yaml", "channels:\n  - {name: phone, type: ntfy, url_file: nowhere}\n")}, exitFailed, []string{"secret.yaml: channel phone: url_file: read secret: ", "nowhere"}},
		"a secret that is no URL":    {[]string{file("odd.yaml", "channels:\n  - {name: phone, type: ntfy, url_file: odd-url}\n"), file("odd-url", "ftp://x\n")}[:1], exitFailed, []string{"channel phone: url_file: what ", "must begin with https"}},
		"a secret that is right":     {[]string{file("fine.yaml", "channels:\n  - {name: phone, type: ntfy, url_file: fine-url}\n"), file("fine-url", "https://ntfy.sh/topic\n")}[:1], exitDone, []string{"OK: 0 rules and 1 channel"}},
		"none at all":                {nil, exitUsage, nil},
		"a long novel":               {[]string{file("long", strings.Repeat("#", config.MaxBytes+10))}, exitFailed, []string{"bytes long"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"check"}, tc.files...))
			if code != tc.code {
				t.Errorf("exit code %d, want %d: %s", code, tc.code, errs.String())
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
		})
	}
}

func TestSchema(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), environment{out: &out, err: &errs}, []string{"schema"}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	if !json.Valid([]byte(out.String())) || !strings.Contains(out.String(), "2020-12") {
		t.Errorf("no schema: %.100s", out.String())
	}
}

// TestAloneItHelps starts the command without anything behind it.
func TestAloneItHelps(t *testing.T) {
	var out, errs strings.Builder
	code := run(t.Context(), environment{out: &out, err: &errs}, nil)
	if code != exitDone || !strings.Contains(out.String(), "Usage: headwater <command>") || errs.Len() > 0 {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
}
