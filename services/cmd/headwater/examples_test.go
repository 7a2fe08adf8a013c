package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headwater/services/internal/config"
)

// TestExamples checks the files that people copy, as they would check them.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d examples: %v", len(files), err)
	}
	files = append(files, "../../../deploy/compose/config/rules.yaml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var out, errs strings.Builder
			code := run(t.Context(), environment{out: &out, err: &errs}, []string{"check", file})
			if code != exitDone || !strings.Contains(out.String(), ": OK: ") {
				t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
			}
		})
	}
}

// TestYAMLInDocuments parses every block of YAML that the documents show. The secret
// files that they name need not exist.
func TestYAMLInDocuments(t *testing.T) {
	block := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n")
	for _, file := range []string{"../../../README.md", "../../rule/README.md", "../../bridge/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no YAML", file)
		}
		for _, found := range blocks {
			if _, err := config.ParseFile(file, found[1]); err != nil {
				t.Errorf("%v, in\n%s", err, found[1])
			}
		}
	}
}
