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
		"right": {[]string{good}, exitDone, []string{good + ": right, with 2 rules and 0 channels"}},
		"wrong": {[]string{bad}, exitFailed, []string{
			bad + ":4: rules[0].abov: is not a field here; did you mean \"above\"?", bad + ":5: rules[1].expression: unexpected token EOF",
		}},
		"both":         {[]string{bad, good}, exitFailed, []string{bad + ":4: ", good + ": right"}},
		"not there":    {[]string{filepath.Join(dir, "absent")}, exitUsage, nil},
		"none at all":  {nil, exitUsage, nil},
		"a long novel": {[]string{file("long", strings.Repeat("#", config.MaxBytes+10))}, exitFailed, []string{"bytes long"}},
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
