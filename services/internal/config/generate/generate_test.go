package main

import (
	"os"
	"strings"
	"testing"
)

// TestGeneratedFilesAreFresh compares the generated files with what the tables of
// package rule say now.
func TestGeneratedFilesAreFresh(t *testing.T) {
	files, err := generated("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is stale: run 'go tool task generate' and commit the result", name)
		}
	}
}

func TestADocumentWithABrokenTableIsRefused(t *testing.T) {
	for _, text := range []string{"<!-- generated: fields -->\n", "<!-- generated: nothing -->\n<!-- end -->\n"} {
		if got, err := withTables(text); err == nil {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	const around = "before\n<!-- generated: fields -->\nold\n<!-- end -->\nafter\n"
	got, err := withTables(around)
	if err != nil || !strings.HasPrefix(got, "before\n<!-- generated: fields -->\n| field ") || !strings.HasSuffix(got, " |\n<!-- end -->\nafter\n") || strings.Contains(got, "old") {
		t.Errorf("%v\n%s", err, got)
	}
}
