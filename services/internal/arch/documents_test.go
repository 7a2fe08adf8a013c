package arch_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// documents returns the text of every Markdown file, by its name relative to the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || path.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		all[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Fatalf("only %d documents were found", len(all))
	}
	return all
}

// anchors returns the names under which a page offers its headings, as GitHub makes
// them.
func anchors(text string) map[string]bool {
	names := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, heading[1])
		names[name] = true
	}
	return names
}

var (
	linkInText    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testInText    = regexp.MustCompile(`\bTest[A-Z0-9]\w+`)
	taskInText    = regexp.MustCompile(`go tool task ([a-z][a-z:]*)`)
	packageInText = regexp.MustCompile(`go (?:run|test|build)(?: -[^ ]+(?: '[^']*')?)* (\./[\w/.-]+)`)
)

// TestDocuments checks that what the documents refer to exists: files and headings
// behind links, tests, tasks, and the packages of commands.
func TestDocuments(t *testing.T) {
	tests := make(map[string]bool)
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test {
				tests[f.Name.Name] = true
			}
		}
	}
	taskfile, err := os.ReadFile(filepath.Join(root, "Taskfile.yml"))
	if err != nil {
		t.Fatal(err)
	}
	all := documents(t)
	for name, text := range all {
		for _, found := range linkInText.FindAllStringSubmatch(text, -1) {
			link := found[1]
			if strings.Contains(link, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, link)
			} else if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s: %s has no heading for the link to %s", name, target, link)
			}
		}
		for _, test := range testInText.FindAllString(text, -1) {
			if !tests[test] {
				t.Errorf("%s: there is no %s", name, test)
			}
		}
		for _, found := range taskInText.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(taskfile), "\n  "+strings.TrimSuffix(found[1], ":")+":\n") {
				t.Errorf("%s: there is no task %s", name, found[1])
			}
		}
		for _, found := range packageInText.FindAllStringSubmatch(text, -1) {
			folder := strings.TrimSuffix(found[1], "/...")
			// Commands run in the root, or in the folder of a module.
			if !isFolder(folder) && !isFolder("services/"+folder) {
				t.Errorf("%s: there is no package %s", name, found[1])
			}
		}
	}
	if lines := strings.Count(all["README.md"], "\n"); lines > 180 {
		t.Errorf("README.md has %d lines, and a stranger reads 180", lines)
	}
}

func isFolder(name string) bool {
	info, err := os.Stat(filepath.Join(root, name))
	return err == nil && info.IsDir()
}
