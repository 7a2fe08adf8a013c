package arch_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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

// checkHeadings checks that no two sections of a page have the same heading. A changelog
// has one Added for each version.
func checkHeadings(t *testing.T, name, text string) {
	t.Helper()
	seen := make(map[string]bool)
	for _, heading := range headingInText.FindAllString(text, -1) {
		if seen[heading] && name != "CHANGELOG.md" {
			t.Errorf("%s has two sections %q", name, heading)
		}
		seen[heading] = true
	}
}

// anchors returns the names under which a page offers its headings, as GitHub makes
// them.
func anchors(text string) map[string]bool {
	names := make(map[string]bool)
	for _, heading := range headingInText.FindAllStringSubmatch(text, -1) {
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

// functions returns the names of the tests, benchmarks and fuzz targets by the folder
// that they are in.
func functions(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				folder := path.Dir(s.name)
				all[folder] = append(all[folder], f.Name.Name)
			}
		}
	}
	return all
}

var (
	headingInText = regexp.MustCompile(`(?m)^##* (.+)$`)
	linkInText    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testInText    = regexp.MustCompile(`\b(?:Test[A-Z0-9]\w+|Fuzz[A-Z][a-z]\w+)`)
	taskInText    = regexp.MustCompile(`go tool task ([a-z][a-z:]*)`)
	packageInText = regexp.MustCompile(`go (?:run|test|build)((?: -\w+(?: (?:'[^']*'|[^-.\s]\S*))?)*) (\./[\w/.-]+)`)
	benchInText   = regexp.MustCompile(`-(run|bench) '?([^'\s]+)`)
)

// TestDocuments checks that what the documents refer to exists: files and headings
// behind links, tests, tasks, and the packages of commands.
func TestDocuments(t *testing.T) {
	byFolder := functions(t)
	tests := make(map[string]bool)
	for _, names := range byFolder {
		for _, name := range names {
			tests[name] = true
		}
	}
	taskfile, err := os.ReadFile(filepath.Join(root, "Taskfile.yml"))
	if err != nil {
		t.Fatal(err)
	}
	all := documents(t)
	for name, text := range all {
		checkHeadings(t, name, text)
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
			checkCommand(t, name, found, byFolder)
		}
	}
	for _, found := range packageInText.FindAllStringSubmatch(string(taskfile), -1) {
		checkCommand(t, "Taskfile.yml", found, byFolder)
	}
	if lines := strings.Count(all["README.md"], "\n"); lines > 180 {
		t.Errorf("README.md has %d lines, and a stranger reads 180", lines)
	}
}

// checkCommand checks that the package of a go command exists, and that its -run and
// -bench select something. Commands run in the root, or in the folder of a module.
func checkCommand(t *testing.T, document string, found []string, byFolder map[string][]string) {
	t.Helper()
	folder, below := strings.CutSuffix(path.Clean(found[2]), "/...")
	at := slices.IndexFunc(append([]string{"."}, modules...), func(module string) bool { return isFolder(path.Join(module, folder)) })
	if at < 0 {
		t.Errorf("%s: there is no package %s", document, found[2])
		return
	}
	if at > 0 {
		folder = path.Join(modules[at-1], folder)
	}
	for _, option := range benchInText.FindAllStringSubmatch(found[1], -1) {
		prefix, pattern := "Test", option[2]
		if option[1] == "bench" {
			prefix = "Benchmark"
		}
		if pattern == "^$" {
			continue
		}
		selects := regexp.MustCompile(pattern)
		selected := false
		for in, names := range byFolder {
			if in != folder && !(below && strings.HasPrefix(in, folder+"/")) {
				continue
			}
			selected = selected || slices.ContainsFunc(names, func(name string) bool {
				return strings.HasPrefix(name, prefix) && selects.MatchString(name)
			})
		}
		if !selected {
			t.Errorf("%s: -%s %s selects nothing in %s", document, option[1], pattern, found[2])
		}
	}
}

func isFolder(name string) bool {
	info, err := os.Stat(filepath.Join(root, name))
	return err == nil && info.IsDir()
}
