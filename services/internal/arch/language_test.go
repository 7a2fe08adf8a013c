package arch_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// line is one line of a text that people read.
type line struct {
	number int
	text   string
}

// passage is a comment, a string or a paragraph.
type passage struct {
	file    string // relative to the root
	comment bool
	lines   []line
}

// finding is a marker in a passage.
type finding struct {
	line         int
	found, write string
}

// find returns the markers of a passage. A phrase may be broken over lines.
func (p *passage) find() []finding {
	var text strings.Builder
	var starts []int
	for _, l := range p.lines {
		starts = append(starts, text.Len())
		text.WriteString(strings.TrimSpace(l.text) + " ")
	}
	var out []finding
	for _, m := range markers {
		for _, at := range m.find.FindAllStringIndex(text.String(), -1) {
			around := text.String()[max(0, at[0]-12):min(text.Len(), at[1]+12)]
			if m.but != nil && m.but.MatchString(around) {
				continue
			}
			i, exact := slices.BinarySearch(starts, at[0])
			if !exact {
				i--
			}
			out = append(out, finding{p.lines[i].number, text.String()[at[0]:at[1]], m.write})
		}
	}
	slices.SortStableFunc(out, func(a, b finding) int { return cmp.Compare(a.line, b.line) })
	return out
}

// prose are the endings and names of files that the check reads, beside Go.
var prose = regexp.MustCompile(`\.(css|js|md|proto|templ|ya?ml)$|(^|/)(Dockerfile|run)$`)

// notProse are folders with output of programs, or with the code of others.
var notProse = []string{".git", "node_modules", "testdata", "vendor"}

// passages returns every comment, string and paragraph that people wrote.
func passages(t *testing.T) []passage {
	t.Helper()
	var all []passage
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(notProse, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		file, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if file == "services/internal/arch/markers_test.go" || path.Ext(file) != ".go" && !prose.MatchString(file) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if path.Ext(file) == ".go" {
			more, err := passagesOfGo(file, text)
			all = append(all, more...)
			return err
		}
		all = append(all, passagesOfText(file, string(text))...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5000 {
		t.Fatalf("only %d passages were found", len(all))
	}
	return all
}

func passagesOfGo(file string, text []byte) ([]passage, error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, text, parser.ParseComments)
	if err != nil || ast.IsGenerated(parsed) {
		return nil, err
	}
	var all []passage
	for _, group := range parsed.Comments {
		p := passage{file: file, comment: true}
		for _, c := range group.List {
			for i, l := range strings.Split(c.Text, "\n") {
				p.lines = append(p.lines, line{set.Position(c.Pos()).Line + i, strings.TrimLeft(l, "/* \t")})
			}
		}
		all = append(all, p)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			return true
		}
		p := passage{file: file}
		number := set.Position(literal.Pos()).Line
		for l := range strings.SplitSeq(value, "\n") {
			p.lines = append(p.lines, line{number, l})
			if literal.Value[0] == '`' {
				number++
			}
		}
		all = append(all, p)
		return true
	})
	return all, nil
}

// opening begins a line of a comment in files that are not Go or Markdown.
var opening = regexp.MustCompile(`^\s*(//|#|/?\*)`)

// passagesOfText joins the lines of each paragraph of Markdown and of each comment.
// Any other line is a passage of its own.
func passagesOfText(file, text string) []passage {
	markdown := path.Ext(file) == ".md"
	var all []passage
	joins := false
	for i, l := range strings.Split(text, "\n") {
		comment := markdown && strings.TrimSpace(l) != "" || !markdown && opening.MatchString(l)
		l := line{i + 1, strings.TrimLeft(l, "/*#> \t")}
		if comment && joins {
			last := &all[len(all)-1]
			last.lines = append(last.lines, l)
			continue
		}
		all = append(all, passage{file: file, comment: comment, lines: []line{l}})
		joins = comment
	}
	return all
}

// TestLanguage fails for each phrase of markers in what people read, and counts the
// comments that have one.
func TestLanguage(t *testing.T) {
	comments, marked := 0, 0
	for _, p := range passages(t) {
		found := p.find()
		if p.comment {
			comments++
			if len(found) > 0 {
				marked++
			}
		}
		for _, f := range found {
			t.Errorf("%s:%d: %q; write %s instead", p.file, f.line, f.found, f.write)
		}
	}
	t.Logf("%d of %d comments have such a phrase: %.2f %%", marked, comments, 100*float64(marked)/float64(comments))
}
