package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"headwater/proto/figure"
	"headwater/services/rule"
)

const (
	// maxNesting is deeper than any field lies.
	maxNesting = 16
	// maxFields is more than any mapping of the schema has.
	maxFields = 512
)

// reader turns the syntax tree of one text into values and collects problems.
type reader struct {
	// name stands for the file of people in messages, file for the text being read.
	name, file string
	// origin is that of what is being read.
	origin rule.Origin
	// places says where the rule of a name is.
	places map[string]place
	// auto reports whether the built-in rule is wanted.
	auto bool
	// channelsKnown reports whether the list of channels could be read.
	channelsKnown bool
	found         []*Problem
}

// KeptNote ends the text of a problem of what the file in charge does not mention.
const KeptNote = " (kept from before, for the file does not mention it)"

func (r *reader) problem(line int, field, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch {
	case r.places == nil: // a rule by itself
	case r.origin == rule.Kept:
		text += KeptNote
	case r.origin == rule.FromPage:
		text += " (in a rule made on the page)"
	}
	r.found = append(r.found, &Problem{File: r.file, Line: max(line, 1), Field: field, Text: text})
}

// place is where a rule is.
type place struct {
	origin rule.Origin
	line   int
}

// fits reports whether the text may be read at all.
func (r *reader) fits(text []byte) bool {
	if len(text) > MaxBytes {
		r.problem(1, "", "is %d bytes long, at most %d", len(text), MaxBytes)
		return false
	}
	if at := invalidUTF8(text); at >= 0 {
		r.problem(1+strings.Count(string(text[:at]), "\n"), "", "is not UTF-8")
		return false
	}
	return true
}

// root returns the top mapping of the text, or nil and a problem.
func (r *reader) root(text []byte) ast.Node {
	tokens := lexer.Tokenize(string(text))
	if line := tooComplex(tokens); line > 0 {
		r.problem(line, "", "is nested deeper than %d levels or has more than %d fields in a row", maxNesting, maxFields)
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		// The error quotes lines around it, its message words of them, and either
		// may hold a secret.
		if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
			what, _, _ := strings.Cut(e.GetMessage(), `"`)
			r.problem(e.GetToken().Position.Line, "", "is not YAML: %s", strings.TrimRight(what, " :"))
		} else {
			r.problem(1, "", "is not YAML")
		}
		return nil
	}
	var bodies []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		// A file that is being rewritten looks like this for a moment.
		r.problem(1, "", "is empty; for no rules at all write `rules: []`")
		return nil
	case 1:
		return bodies[0]
	default:
		r.problem(line(bodies[1]), "", "holds more than one document")
		return nil
	}
}

// blank reports whether a text holds nothing but comments.
func blank(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

// tooComplex returns the line at which a text nests deeper or lists more
// fields than any configuration does, or 0. The parser takes time in the
// square of both, so that a hostile megabyte would hold it for minutes.
func tooComplex(tokens token.Tokens) int {
	depth, fields, entries, last := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != last {
			last, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			entries++
			fields = 0
		case token.MappingValueType:
			fields++
		}
		if depth > maxNesting || entries > maxNesting || fields > maxFields || t.Position.Column > 4096 {
			return t.Position.Line
		}
	}
	return 0
}

func line(n ast.Node) int {
	if n == nil || n.GetToken() == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

// value is one node of the tree and where it lies.
type value struct {
	node ast.Node
	line int
	// path is the field's path, for example "rules[2].within".
	path string
}

// object is a mapping.
type object struct {
	r *reader
	value
	fields map[string]value
	// failed names the fields that had a problem: what is missing or wrong
	// because of it is not reported again.
	failed map[string]bool
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// object reads a mapping with none but the allowed fields. It returns nil when
// the node is no mapping.
func (r *reader) object(v value, allowed ...string) *object {
	m, ok := v.node.(ast.MapNode)
	if !ok {
		r.problem(v.line, v.path, "must be a mapping of fields (name: value), not %s", kind(v.node))
		return nil
	}
	o := &object{r: r, value: v, fields: map[string]value{}, failed: map[string]bool{}}
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok {
			r.problem(line(it.Key()), v.path, "the name of a field must be plain text, not %s", kind(it.Key()))
			continue
		}
		name, path := key.Value, join(v.path, key.Value)
		if !slices.Contains(allowed, name) {
			known := nearest(name, allowed)
			r.problem(line(key), join(v.path, clip(name)), "is not a field here%s", suggestion(known, allowed))
			o.failed[known] = true
			continue
		}
		if _, twice := o.fields[name]; twice {
			r.problem(line(key), path, "is given twice")
			continue
		}
		o.fields[name] = value{node: it.Value(), line: line(key), path: path}
	}
	return o
}

// fail records a problem of one field of the object.
func (o *object) fail(field, format string, args ...any) {
	at, path := o.line, join(o.path, field)
	if v, ok := o.fields[field]; ok {
		at = v.line
	}
	o.failed[field] = true
	o.r.problem(at, path, format, args...)
}

func (o *object) string(field string, into *string) {
	v, ok := o.fields[field]
	if !ok {
		return
	}
	switch n := v.node.(type) {
	case *ast.StringNode:
		*into = n.Value
	case *ast.LiteralNode:
		*into = strings.TrimSpace(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		o.fail(field, "must be text: put it in quotes")
	default:
		o.fail(field, "must be text, not %s", kind(v.node))
	}
}

// words reads a mapping of names to texts. Numbers and truth values count as the
// text that they are written as.
func (o *object) words(field string) map[string]string {
	v, ok := o.fields[field]
	if !ok {
		return nil
	}
	m, ok := v.node.(ast.MapNode)
	if !ok {
		o.fail(field, "must be a mapping of names to texts, like {kind: door}, not %s", kind(v.node))
		return nil
	}
	all := make(map[string]string)
	for it := m.MapRange(); it.Next(); {
		key, ok := it.Key().(*ast.StringNode)
		if !ok {
			o.fail(field, "the name must be plain text, not %s", kind(it.Key()))
			continue
		}
		if _, twice := all[key.Value]; twice {
			o.fail(field, "%q is given twice", clip(key.Value))
		}
		switch n := it.Value().(type) {
		case *ast.StringNode:
			all[key.Value] = n.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			all[key.Value] = n.GetToken().Value
		default:
			o.fail(field, "%s must be text, not %s", clip(key.Value), kind(n))
		}
	}
	return all
}

func (o *object) bool(field string, into *bool) {
	v, ok := o.fields[field]
	if !ok {
		return
	}
	if b, isBool := v.node.(*ast.BoolNode); isBool {
		*into = b.Value
		return
	}
	o.fail(field, "must be true or false, not %s", kind(v.node))
}

// toggle reads on or off, which YAML 1.2 takes for texts.
func (o *object) toggle(field string, into *bool) {
	v, ok := o.fields[field]
	if !ok {
		return
	}
	switch n := v.node.(type) {
	case *ast.BoolNode:
		*into = n.Value
	case *ast.StringNode:
		if n.Value != "on" && n.Value != "off" {
			o.fail(field, "%q is neither on nor off", clip(n.Value))
			return
		}
		*into = n.Value == "on"
	default:
		o.fail(field, "must be on or off, not %s", kind(v.node))
	}
}

func (o *object) number(field string) *float64 {
	v, ok := o.fields[field]
	if !ok {
		return nil
	}
	switch v.node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
	default:
		o.fail(field, "must be a number, not %s", kind(v.node))
		return nil
	}
	// The text and not the node's value: YAML reads 010 as eight.
	text := v.node.GetToken().Value
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || strings.ContainsAny(text, "xX_") {
		o.fail(field, "%q is not a decimal number", clip(text))
		return nil
	}
	return &f
}

func (o *object) duration(field string, into *time.Duration) {
	if v, ok := o.fields[field]; ok {
		d, problem := duration(v.node)
		if problem != "" {
			o.fail(field, "%s", problem)
			return
		}
		*into = d
	}
}

func duration(n ast.Node) (time.Duration, string) {
	switch n := n.(type) {
	case *ast.StringNode:
		d, err := figure.ParseDuration(n.Value)
		if err != nil {
			return 0, fmt.Sprintf("%q is not a time: write 30s, 5m, 1h30m or 2d", clip(n.Value))
		}
		return d, ""
	case *ast.IntegerNode, *ast.FloatNode:
		text := n.GetToken().Value
		return 0, fmt.Sprintf("%s needs a unit: write 30s, 5m, 1h30m or 2d", clip(text))
	default:
		return 0, "must be a time like 30s, 5m, 1h30m or 2d, not " + kind(n)
	}
}

// list returns the items of a list. A field with no value is an empty list, because
// that is what is left when all items are commented out.
func (o *object) list(field string, most int) (items []value, given bool) {
	v, ok := o.fields[field]
	if !ok {
		return nil, false
	}
	if _, null := v.node.(*ast.NullNode); null {
		return nil, true
	}
	s, ok := v.node.(*ast.SequenceNode)
	if !ok {
		o.fail(field, "must be a list, not %s", kind(v.node))
		return nil, true
	}
	if len(s.Values) > most {
		o.fail(field, "lists %d, at most %d", len(s.Values), most)
		return nil, true
	}
	for i, n := range s.Values {
		items = append(items, value{node: n, line: line(n), path: fmt.Sprintf("%s[%d]", v.path, i)})
	}
	return items, true
}

// kind names a node for people.
func kind(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.InfinityNode, *ast.NanNode:
		return "infinity or not-a-number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	case *ast.AliasNode, *ast.AnchorNode:
		return "an alias or anchor, which are not supported"
	default:
		return "something else"
	}
}

// suggestion ends a message about a name that is not known.
func suggestion(known string, all []string) string {
	switch {
	case known != "":
		return fmt.Sprintf("; did you mean %q?", known)
	case len(all) == 0:
		return "; there are none"
	case len(all) <= 30:
		return "; known are " + strings.Join(all, ", ")
	default:
		return ""
	}
}

// nearest returns the name that s was probably meant to be, or "".
func nearest(s string, all []string) string {
	if len(s) > 100 {
		return ""
	}
	best, least := "", 3
	for _, a := range all {
		if d := distance(s, a); d < least && d < len(a) {
			best, least = a, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// clip keeps a message readable when a name is very long.
func clip(s string) string { return figure.Clip(s, rule.MaxName) }
