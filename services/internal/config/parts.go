package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"headwater/services/rule"
)

// Parts are what a configuration in force consists of.
type Parts struct {
	// File is what people wrote in a file, word for word, or the default.
	File []byte
	// FileName is the name of the file while one is in charge: its rules can be
	// changed there only. Empty when the rules of File may be changed on the page.
	// Those of Kept always may.
	FileName string
	// Base are the sections other than rules of earlier files and of the default that
	// File does not mention: they stay in force until a file mentions them. Empty when
	// there are none.
	Base []byte
	// Kept are the rules of earlier files and those that Headwater came with. They
	// stay in force until a file mentions rules.
	Kept []Piece
	// Rules are those made on the page, in the order in which they were made.
	Rules []Piece
	// Channels are those made on the page, likewise.
	Channels []Piece
	// Tags are the tags of the registry that rules match.
	Tags Tags
	// Author says who made this version: file:NAME, page:WHO, api:WHO or default.
	// Empty when it is not known.
	Author string
	// At is when it was made; zero when it is not known.
	At time.Time
}

// Piece is the text of one rule or channel: a YAML mapping that begins in the first column,
// with the comments in and right above it.
type Piece struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// format names the layout of envelope.
const format = "headwater-configuration-1"

// envelope is how Parts are stored, as JSON.
type envelope struct {
	Format   string    `json:"format"` // comes first: it tells an envelope from YAML
	Author   string    `json:"author"`
	At       time.Time `json:"at,omitzero"`
	FileName string    `json:"file_name,omitempty"`
	File     string    `json:"file"`
	Base     string    `json:"base,omitempty"`
	Kept     []Piece   `json:"kept,omitempty"`
	Rules    []Piece   `json:"rules,omitempty"`
	Channels []Piece   `json:"channels,omitempty"`
	Tags     Tags      `json:"tags,omitempty"`
}

// envelopeStart begins every envelope, of whichever version.
var envelopeStart = []byte(`{"format":"headwater-configuration-`)

// Encode returns the parts as they are stored. The texts must be UTF-8, as Parse
// makes sure.
func (p Parts) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(envelope{
		Format: format, Author: p.Author, At: p.At, FileName: p.FileName, File: string(p.File), Base: string(p.Base), Kept: p.Kept, Rules: p.Rules, Channels: p.Channels, Tags: p.Tags,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote, or the text that earlier versions stored.
func Decode(stored []byte) (Parts, error) {
	if !bytes.HasPrefix(stored, envelopeStart) {
		return decodeText(stored)
	}
	var e envelope
	d := json.NewDecoder(bytes.NewReader(stored))
	d.DisallowUnknownFields()
	switch err := d.Decode(&e); {
	case err != nil:
		return Parts{}, fmt.Errorf("decode the configuration: %w", err)
	case e.Format != format:
		return Parts{}, fmt.Errorf("decode the configuration: its format is %s, known is %s", clip(e.Format), format)
	}
	return Parts{
		File: []byte(e.File), FileName: e.FileName, Base: []byte(e.Base), Kept: e.Kept, Rules: e.Rules, Channels: e.Channels, Tags: e.Tags, Author: e.Author, At: e.At,
	}, nil
}

// Encoded reports whether Encode wrote the stored text, and not an earlier version.
func Encoded(stored []byte) bool { return bytes.HasPrefix(stored, envelopeStart) }

// ForFile returns the parts with the text of another file in charge. What the
// file does not mention stays as it was.
func (p Parts) ForFile(name string, text []byte) Parts {
	var base bytes.Buffer
	mentioned, usual := namesOf(sections(text)), sections(Default())
	for _, s := range slices.Concat(sections(p.File), sections(p.Base)) {
		// What the default says holds without being said.
		if s.name != rulesSection && !s.empty && !slices.Contains(usual, s) && !slices.Contains(mentioned, s.name) {
			base.WriteString(s.text)
		}
	}
	p.Kept = p.Pieces()
	if slices.Contains(mentioned, rulesSection) {
		p.Kept = nil
	}
	p.File, p.Base, p.FileName = text, base.Bytes(), name
	return p
}

// rulesSection is the section of a file that holds rules.
const rulesSection = "rules"

// mentionsRules reports whether the file has the section.
func (p Parts) mentionsRules() bool { return slices.Contains(namesOf(sections(p.File)), rulesSection) }

// WithKept returns the parts with rules that stay until a file mentions rules;
// those whose name is taken are left out, and all of them if the file in charge
// mentions rules.
func (p Parts) WithKept(more ...Piece) Parts {
	if p.mentionsRules() && p.FileName != "" {
		return p
	}
	kept := slices.Clone(p.Pieces())
	for _, r := range more {
		if !named(kept, r.Name) && !named(p.Rules, r.Name) {
			kept = append(kept, r)
		}
	}
	if p.mentionsRules() {
		var file bytes.Buffer
		for _, s := range sections(p.File) {
			if s.name != rulesSection {
				file.WriteString(s.text)
			}
		}
		p.File = file.Bytes()
	}
	p.Kept = kept
	return p
}

func named(pieces []Piece, name string) bool {
	return slices.ContainsFunc(pieces, func(r Piece) bool { return r.Name == name })
}

// KeptSections returns the names of the sections that are in force although the
// file does not mention them.
func (p Parts) KeptSections() []string {
	names := namesOf(sections(p.Base))
	if len(p.Kept) > 0 {
		names = slices.Insert(names, 0, rulesSection)
	}
	return names
}

func namesOf(all []section) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.name)
	}
	return out
}

// Pieces returns the rules of the file, or those that are kept if the file mentions
// none, as people wrote them.
func (p Parts) Pieces() []Piece {
	if !p.mentionsRules() {
		return p.Kept
	}
	return piecesOf(p.File)
}

// piecesOf returns the rules of a text.
func piecesOf(text []byte) []Piece {
	var all []Piece
	for _, c := range cuts(text) {
		all = append(all, c.Piece)
	}
	return all
}

// cut is a piece and where it lies in its text, in lines from 0.
type cut struct {
	Piece
	from, to int
}

// cuts returns the rules of a text, in its order, as people wrote them. A rule
// that can't be cut out of its text, like one of a list in brackets, is formatted
// from what it says and has no place: from and to are the same.
func cuts(text []byte) []cut {
	r := &reader{name: "configuration", file: "configuration"}
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
	o := r.object(value{node: node, line: line(node)}, ruleFields...)
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
	is := func(r Piece) bool { return r.Name == name }
	for _, list := range []*[]Piece{&p.Rules, &p.Kept} {
		if named(*list, name) {
			*list = slices.DeleteFunc(slices.Clone(*list), is)
			return p, true, nil
		}
	}
	all := cuts(p.File)
	i := slices.IndexFunc(all, func(c cut) bool { return is(c.Piece) })
	if i < 0 {
		return p, false, nil
	}
	c := all[i]
	lines := strings.SplitAfter(string(p.File), "\n")
	rest := strings.Join(slices.Delete(lines, c.from, c.to), "")
	left := cuts([]byte(rest))
	if c.from == c.to || len(left) != len(all)-1 || slices.ContainsFunc(left, func(c cut) bool { return is(c.Piece) }) {
		return p, true, fmt.Errorf("%w: %s", ErrInPlace, name)
	}
	p.File = []byte(rest)
	return p, true, nil
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
	return SetField(text, "state", string(state))
}

// SetField returns the text of a rule with another value of a field that is one line, as
// people write it, with the comments kept. It fails if the text is no rule, before or after.
func SetField(text, field, value string) (string, error) {
	r := &reader{file: "rule"}
	u, err := r.again(text)
	if err != nil {
		return "", err
	}
	fields := Fields(u)
	fields[field] = value
	plain := FormatFields(fields)
	if u, err = r.again(plain); err != nil {
		return "", err
	}
	written := field + ": " + value
	lines := strings.SplitAfter(strings.TrimRight(text, "\n")+"\n", "\n")
	changed := false
	for i, line := range lines {
		if rest, found := strings.CutPrefix(line, field+":"); found && !changed {
			_, comment, commented := strings.Cut(rest, " #")
			lines[i] = written + "\n"
			if commented {
				lines[i] = written + " #" + comment
			}
			changed = true
		}
	}
	if !changed {
		lines = append(lines, written+"\n")
	}
	edited := strings.Join(lines, "")
	if got, err := r.again(edited); err == nil && got.Equal(u) {
		return edited, nil
	}
	return plain, nil
}

// By returns the parts as a version of the author's, whose name is one line.
func (p Parts) By(author string) Parts {
	p.Author = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, author)
	return p
}
