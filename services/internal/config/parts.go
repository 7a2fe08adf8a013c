package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// marker is the line behind which Headwater keeps its part of a configuration:
// it begins a second YAML document, which a file of people's must not have.
const marker = "--- # Kept by Headwater: who made this version, and the rules made on the page."

// baseMarker is the line behind which the sections lie that the file does not
// mention.
const baseMarker = "--- # Kept by Headwater: what was in force before and the file does not mention."

// Parts are what a configuration in force consists of. The text of the file
// comes first and word for word, so that the lines in messages are those of the
// file.
type Parts struct {
	// File is what people wrote in a file, or the default.
	File []byte
	// Base are the sections of earlier files and of the default that File does not
	// mention: they stay in force until a file mentions them. Empty when there are
	// none.
	Base []byte
	// FileName is the name of the file while one is in charge, so that its rules
	// are changed there alone; empty when the rules of File may be changed on the
	// page. Those of Base may always be.
	FileName string
	// Author says who made this version: file:NAME, page:WHO, api:WHO or default.
	// Empty when it is not known.
	Author string
	// Rules are those made on the page, in the order in which they were made.
	Rules []Piece
}

// Piece is the text of one rule: a YAML mapping that begins in the first column,
// with the comments in and right above it.
type Piece struct{ Name, Text string }

// texts are the YAML documents of a configuration, and how many lines lie before
// each. Base and kept are nil when there is none.
type texts struct {
	file, base, kept   []byte
	baseLine, keptLine int
}

func split(text []byte) texts {
	t := texts{file: text}
	t.file, t.kept, t.keptLine = cutAt(text, marker)
	t.file, t.base, t.baseLine = cutAt(t.file, baseMarker)
	return t
}

// cutAt returns what lies before and behind the last line that is the mark, and
// how many lines lie before the second part, which is nil if there is no mark.
func cutAt(text []byte, mark string) (before, behind []byte, line int) {
	at := bytes.LastIndex(text, []byte("\n"+mark+"\n"))
	if at < 0 {
		return text, nil, 0
	}
	before = text[:at+1]
	return before, text[at+len(mark)+2:], bytes.Count(before, []byte("\n")) + 1
}

// ParseFile reads what people wrote in a file, which is not to hold what
// Headwater keeps.
func ParseFile(name string, text []byte) (*Config, error) {
	if t := split(text); t.kept != nil || t.base != nil {
		return nil, &Problem{File: name, Line: cmp.Or(t.baseLine, t.keptLine), Text: "holds what Headwater keeps behind the text of a file: leave this line and the rest out"}
	}
	return Parse(name, text)
}

// Take takes a configuration apart. The text must be one that Parse accepts.
func Take(text []byte) (Parts, error) {
	t := split(text)
	p := Parts{File: t.file, Base: t.base}
	if t.kept == nil {
		return p, nil
	}
	r := &reader{file: "configuration"}
	root := r.root(t.kept)
	if root == nil {
		return Parts{}, r.problems()
	}
	top := r.object(value{node: root, line: line(root)}, "author", "file", "rules")
	if top == nil {
		return Parts{}, r.problems()
	}
	top.string("author", &p.Author)
	top.string("file", &p.FileName)
	for _, c := range cuts(t.kept) {
		p.Rules = append(p.Rules, c.Piece)
	}
	return p, r.problems()
}

// ForFile returns the parts with the text of another file in charge. What the
// file does not mention stays as it was.
func (p Parts) ForFile(name string, text []byte) Parts {
	var base bytes.Buffer
	mentioned, usual := namesOf(sections(text)), sections(Default())
	for _, s := range slices.Concat(sections(p.File), sections(p.Base)) {
		// What the default says holds without being said.
		if !s.empty && !slices.Contains(usual, s) && !slices.Contains(mentioned, s.name) {
			base.WriteString(s.text)
		}
	}
	p.File, p.Base, p.FileName = text, base.Bytes(), name
	return p
}

// WithKept returns the parts with rules that stay until a file mentions rules;
// those whose name is taken are left out, and all of them if the file in charge
// mentions rules.
func (p Parts) WithKept(more ...Piece) Parts {
	mentioned := slices.Contains(namesOf(sections(p.File)), "rules")
	if mentioned && p.FileName != "" {
		return p
	}
	have := p.Pieces()
	taken := func(name string) bool {
		is := func(r Piece) bool { return r.Name == name }
		return slices.ContainsFunc(have, is) || slices.ContainsFunc(p.Rules, is)
	}
	var file, base bytes.Buffer
	for _, s := range sections(p.File) {
		if s.name != "rules" {
			file.WriteString(s.text)
		}
	}
	for _, s := range sections(p.Base) {
		if s.name != "rules" {
			base.WriteString(s.text)
		}
	}
	base.WriteString("rules:\n")
	for _, r := range have {
		base.WriteString(item(r.Text))
	}
	for _, r := range more {
		if !taken(r.Name) {
			base.WriteString(item(r.Text))
		}
	}
	p.Base = base.Bytes()
	if mentioned {
		p.File = file.Bytes()
	}
	return p
}

// Kept returns the names of the sections that are in force although the file
// does not mention them.
func (p Parts) Kept() []string { return namesOf(sections(p.Base)) }

func namesOf(all []section) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.name)
	}
	return out
}

// Text puts the parts together.
func (p Parts) Text() []byte {
	var b bytes.Buffer
	b.Write(p.File)
	if len(p.File) > 0 && p.File[len(p.File)-1] != '\n' {
		b.WriteByte('\n')
	}
	if len(bytes.TrimSpace(p.Base)) > 0 {
		fmt.Fprintf(&b, "%s\n%s", baseMarker, p.Base)
		if p.Base[len(p.Base)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	fmt.Fprintf(&b, "%s\nauthor: %s\nfile: %s\nrules:\n", marker, quote(p.Author), quote(p.FileName))
	for _, r := range p.Rules {
		b.WriteString(item(r.Text))
	}
	return b.Bytes()
}

// item writes the text of a rule as an item of a list; comments above the rule
// stay above it.
func item(text string) string {
	var b strings.Builder
	dash := "  - "
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case bare == "":
			b.WriteString("\n")
		case dash != "    " && strings.HasPrefix(bare, "#"):
			b.WriteString("  " + line)
		default:
			b.WriteString(dash + line)
			dash = "    "
		}
	}
	return b.String()
}

// quote writes a text so that YAML reads it as that.
func quote(s string) string {
	return "'" + strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s), "'", "''") + "'"
}

// cut is a piece and where it lies in its text, in lines from 0.
type cut struct {
	Piece
	from, to int
}

// cuts returns the rules of a text, in its order, as people wrote them. A rule
// that can't be cut out of its text, like one of a list in brackets, is written
// anew from what it says and has no place: from and to are the same.
func cuts(text []byte) []cut {
	r := &reader{file: "configuration", lines: map[string]int{}}
	root, ok := r.root(text).(ast.MapNode)
	if !ok {
		return nil
	}
	var list *ast.SequenceNode
	for it := root.MapRange(); it.Next(); {
		if key, ok := it.Key().(*ast.StringNode); ok && key.Value == "rules" {
			list, _ = it.Value().(*ast.SequenceNode)
		}
	}
	if list == nil {
		return nil
	}
	lines := strings.SplitAfter(string(text), "\n")
	all := make([]cut, 0, len(list.Values))
	for i, node := range list.Values {
		var c cut
		if !list.IsFlowStyle && len(list.Entries) == len(list.Values) {
			start := list.Entries[i].Start.Position
			end := len(lines)
			if i+1 < len(list.Entries) {
				end = list.Entries[i+1].Start.Position.Line - 1
			}
			c = slice(lines, start.Line-1, end, start.Column-1)
		}
		u := r.loosely(node)
		if cutOut, err := r.again(c.Text); err != nil || !cutOut.Equal(u) {
			c = cut{Piece: Piece{Text: Format(u)}}
		}
		c.Name = u.Name
		all = append(all, c)
	}
	return all
}

// loosely reads the rule of a node, whatever channels there are.
func (r *reader) loosely(node ast.Node) rule.Rule {
	o := r.object(value{node: node, line: line(node)}, ruleFields()...)
	if o == nil {
		return rule.Rule{}
	}
	return o.rule(nil, false)
}

// again reads the text of a piece.
func (r *reader) again(text string) (rule.Rule, error) {
	again := &reader{file: r.file}
	root := again.root([]byte(text))
	if root == nil {
		return rule.Rule{}, again.problems()
	}
	u := again.loosely(root)
	return u, again.problems()
}

// slice cuts the item out whose dash is in the line from, in the column dash,
// and that ends before the line to or where something else begins. Comments
// right above it belong to it.
func slice(lines []string, from, to, dash int) cut {
	if from >= len(lines) || dash >= len(lines[from]) || strings.TrimSpace(lines[from][:dash]) != "" {
		return cut{}
	}
	first := lines[from]
	content := dash + 1
	for content < len(first) && first[content] == ' ' {
		content++
	}
	indented := func(line string) bool { return strings.TrimSpace(line[:min(content, len(line))]) == "" }
	end := from + 1
	for end < to && indented(lines[end]) {
		end++
	}
	// What follows the last line of the rule is not its own.
	for end > from+1 && strings.TrimSpace(lines[end-1]) == "" {
		end--
	}
	var b strings.Builder
	above := from
	for above > 0 && strings.HasPrefix(strings.TrimSpace(lines[above-1]), "#") {
		above--
	}
	for _, line := range lines[above:from] {
		b.WriteString(strings.TrimLeft(line, " \t"))
	}
	b.WriteString(first[content:])
	for _, line := range lines[from+1 : end] {
		if strings.TrimSpace(line) == "" {
			b.WriteString("\n")
			continue
		}
		b.WriteString(line[content:])
	}
	text := b.String()
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return cut{Piece: Piece{Text: text}, from: above, to: end}
}

// Pieces returns the rules of the file and those that are kept beside it, as
// people wrote them.
func (p Parts) Pieces() []Piece {
	var all []Piece
	for _, c := range slices.Concat(cuts(p.File), p.keptCuts()) {
		all = append(all, c.Piece)
	}
	return all
}

// keptCuts returns the rules that are kept beside the file: none if the file has
// rules of its own.
func (p Parts) keptCuts() []cut {
	if slices.Contains(namesOf(sections(p.File)), "rules") {
		return nil
	}
	return cuts(p.Base)
}

// section is one field of the top mapping of a text, with its text and the
// comments right above it.
type section struct {
	name, text string
	// empty says that the field holds nothing.
	empty bool
}

// sections returns the fields of the top mapping of a text that Parse accepts.
func sections(text []byte) []section {
	root, ok := (&reader{}).root(text).(ast.MapNode)
	if !ok {
		return nil
	}
	flow := false
	if m, ok := root.(*ast.MappingNode); ok {
		flow = m.IsFlowStyle
	}
	lines := strings.SplitAfter(string(text), "\n")
	var all []section
	var starts []int // in lines from 0
	column := 0
	for it := root.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok {
			continue
		}
		s := section{name: key.Value, empty: empty(it.Value())}
		if flow {
			s.text = key.Value + ": " + it.Value().String() + "\n"
		}
		start := line(key) - 1
		column = key.GetToken().Position.Column - 1
		for start > 0 && strings.HasPrefix(strings.TrimSpace(lines[start-1]), "#") {
			start--
		}
		all, starts = append(all, s), append(starts, start)
	}
	for i := range all {
		if flow {
			continue
		}
		end := len(lines)
		if i+1 < len(all) {
			end = starts[i+1]
		}
		var b strings.Builder
		for _, line := range lines[starts[i]:end] {
			if strings.HasPrefix(line, "...") || strings.HasPrefix(line, "---") {
				break
			}
			cutOff := column
			for cutOff > len(line) || strings.TrimSpace(line[:cutOff]) != "" { // a comment may stand further left
				cutOff--
			}
			b.WriteString(line[cutOff:])
		}
		all[i].text = strings.TrimRight(b.String(), "\n") + "\n"
	}
	return all
}

// empty reports whether a field holds nothing.
func empty(n ast.Node) bool {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return true
	case *ast.SequenceNode:
		return len(n.Values) == 0
	case ast.MapNode:
		return !n.MapRange().Next()
	}
	return false
}

// ErrInPlace is returned for a rule that can't be taken out of the text in which
// it is written.
var ErrInPlace = errors.New("the rule is written in a way in which it can't be taken out of the text")

// Without returns the parts without the rule of that name, wherever it is, and
// whether there was one. ErrInPlace means that it has to be taken out by hand.
func (p Parts) Without(name string) (Parts, bool, error) {
	if i := slices.IndexFunc(p.Rules, func(r Piece) bool { return r.Name == name }); i >= 0 {
		p.Rules = slices.Delete(slices.Clone(p.Rules), i, i+1)
		return p, true, nil
	}
	for _, text := range []*[]byte{&p.File, &p.Base} {
		all := cuts(*text)
		i := slices.IndexFunc(all, func(c cut) bool { return c.Name == name })
		if i < 0 {
			continue
		}
		c := all[i]
		lines := strings.SplitAfter(string(*text), "\n")
		rest := strings.Join(slices.Delete(lines, c.from, c.to), "")
		left := cuts([]byte(rest))
		if c.from == c.to || len(left) != len(all)-1 || slices.ContainsFunc(left, func(c cut) bool { return c.Name == name }) {
			return p, true, fmt.Errorf("%w: %s", ErrInPlace, name)
		}
		*text = []byte(rest)
		return p, true, nil
	}
	return p, false, nil
}

// With returns the parts with the rule made on the page, in the place of the one
// of that name.
func (p Parts) With(r Piece) Parts {
	p.Rules = slices.Clone(p.Rules)
	if i := slices.IndexFunc(p.Rules, func(o Piece) bool { return o.Name == r.Name }); i >= 0 {
		p.Rules[i] = r
		return p
	}
	p.Rules = append(p.Rules, r)
	return p
}

// SetState returns the text of a rule with another state, its comments kept.
func SetState(text string, state rule.State) (string, error) {
	r := &reader{file: "rule"}
	u, err := r.again(text)
	if err != nil {
		return "", err
	}
	u.State = state
	field := "state: " + string(state)
	lines := strings.SplitAfter(strings.TrimRight(text, "\n")+"\n", "\n")
	changed := false
	for i, line := range lines {
		if rest, found := strings.CutPrefix(line, "state:"); found && !changed {
			_, comment, commented := strings.Cut(rest, " #")
			lines[i] = field + "\n"
			if commented {
				lines[i] = field + " #" + comment
			}
			changed = true
		}
	}
	if !changed {
		lines = append(lines, field+"\n")
	}
	edited := strings.Join(lines, "")
	if got, err := r.again(edited); err == nil && got.Equal(u) {
		return edited, nil
	}
	return Format(u), nil
}

// By returns the parts as a version of the author's.
func (p Parts) By(author string) Parts {
	p.Author = author
	return p
}
