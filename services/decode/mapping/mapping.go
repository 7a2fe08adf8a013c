// Package mapping has people declare how a topic and a payload that no format knows become
// readings. It is pure.
//
// A mapping has a pattern of topics whose levels may have names, like
// factory/{line}/{machine}/data, and says what the site, the device, the metric, the
// value, the time and the unit are. Site, device, metric and unit are texts in which
// {line} stands for what the topic has there, and any other expression in braces for its
// result. Value, time and each are expressions of github.com/expr-lang/expr without loops,
// over payload (the value of its JSON, also when it is CBOR or MessagePack), text (the
// payload itself), topic, the names of the pattern and, with each, item and index.
package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// Bounds of a mapping.
const (
	// MaxText is the greatest length of a pattern, text or expression in bytes.
	MaxText = 1000
	// maxNodes is the greatest number of parts of an expression.
	maxNodes = 200
	// maxLevels is the greatest number of levels of a topic.
	maxLevels = 32
	// MaxItems is how many elements each may have.
	MaxItems = 1000
)

// Declared is a mapping as people write it.
type Declared struct {
	// Topic is a pattern: {name} and + stand for one level, # at the end for all others.
	Topic string
	// Site, Device, Metric and Unit are texts with expressions in braces. Without a
	// device, only the site is declared, for the topics of the formats that Headwater
	// knows. Without a metric, the value is an object of metrics.
	Site, Device, Metric, Unit string
	// Value, Time and Each are expressions; empty for the whole payload, the time in it,
	// and no list.
	Value, Time, Each string
}

// Problem is one thing that is wrong with a mapping.
type Problem struct {
	// Field is the name of a field in lower case.
	Field string
	// Text says what is wrong.
	Text string
}

// Mapping is a compiled mapping. Any number of goroutines may use it.
type Mapping struct {
	Declared

	levels                     []level
	all                        bool // the pattern ends in #
	site, device, metric, unit template
	value, time, each          *vm.Program
}

// level is one level of a pattern.
type level struct {
	literal, name string
	any           bool
}

// template is a text with expressions.
type template []part

type part struct {
	literal string
	program *vm.Program
}

// reserved are the names that every expression may use.
var reserved = []string{"payload", "text", "topic", "item", "index"}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Compile returns the mapping, or what is wrong with it.
func Compile(d Declared) (*Mapping, []Problem) {
	c := &compiler{env: types.Map{"payload": types.Any, "text": types.String, "topic": types.String}}
	m := &Mapping{Declared: d}
	m.levels, m.all = c.pattern(d.Topic)
	if d.Each != "" {
		m.each = c.expression("each", d.Each)
		c.env["item"], c.env["index"] = types.Any, types.Int
	}
	m.site, m.device = c.template("site", d.Site), c.template("device", d.Device)
	m.metric, m.unit = c.template("metric", d.Metric), c.template("unit", d.Unit)
	m.value, m.time = c.expression("value", d.Value), c.expression("time", d.Time)
	switch {
	case d.Device == "" && d.Site == "":
		c.fail("device", "is missing: like \"{machine}\"; or site alone, for the topics of a format that Headwater knows")
	case d.Device == "":
		for _, f := range []struct{ name, text string }{{"metric", d.Metric}, {"unit", d.Unit}, {"value", d.Value}, {"time", d.Time}, {"each", d.Each}} {
			if f.text != "" {
				c.fail(f.name, "needs a device, too")
			}
		}
	}
	if c.problems != nil {
		return nil, c.problems
	}
	return m, nil
}

type compiler struct {
	env      types.Map
	problems []Problem
}

func (c *compiler) fail(field, format string, args ...any) {
	c.problems = append(c.problems, Problem{field, fmt.Sprintf(format, args...)})
}

// long reports whether a text is too long.
func (c *compiler) long(field, text string) bool {
	if len(text) > MaxText {
		c.fail(field, "is %d bytes long, at most %d", len(text), MaxText)
		return true
	}
	return false
}

func (c *compiler) pattern(text string) (levels []level, all bool) {
	if text == "" {
		c.fail("topic", "is missing: like factory/{line}/{machine}/data")
		return nil, false
	}
	if c.long("topic", text) {
		return nil, false
	}
	parts := strings.Split(text, "/")
	if len(parts) > maxLevels {
		c.fail("topic", "has %d levels, at most %d", len(parts), maxLevels)
		return nil, false
	}
	for i, p := range parts {
		name, named := strings.CutPrefix(p, "{")
		switch {
		case p == "#" && i == len(parts)-1:
			return levels, true
		case p == "+":
			levels = append(levels, level{any: true})
		case named:
			name, closed := strings.CutSuffix(name, "}")
			switch {
			case !closed || !validName.MatchString(name):
				c.fail("topic", "level %d: %q is not a name in braces: a-z, 0-9 and _, a letter first", i+1, p)
			case slices.Contains(reserved, name):
				c.fail("topic", "level %d: %q means something else already", i+1, name)
			case c.env[name] != nil:
				c.fail("topic", "level %d: {%s} occurs twice", i+1, name)
			default:
				c.env[name] = types.String
			}
			levels = append(levels, level{any: true, name: name})
		case strings.ContainsAny(p, "+#{}"):
			c.fail("topic", "level %d: %q: +, # and braces stand for a whole level, # for the last", i+1, p)
		default:
			levels = append(levels, level{literal: p})
		}
	}
	if len(parts) > 0 && strings.HasPrefix(parts[0], "$") {
		c.fail("topic", "begins with $: devices cannot publish there")
	}
	return levels, false
}

// builtins are the functions of expressions: none whose cost grows faster than the
// payload.
var builtins = []string{
	"abs", "ceil", "floor", "round", "int", "float", "string", "len", "trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "replace",
	"indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "max", "min", "first", "last", "get", "toJSON", "fromJSON", "fromBase64",
}

func (c *compiler) expression(field, text string) *vm.Program {
	if text == "" || c.long(field, text) {
		return nil
	}
	options := []expr.Option{expr.Env(c.env), expr.DisableAllBuiltins(), expr.MaxNodes(maxNodes)}
	for _, name := range builtins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	if err != nil {
		c.fail(field, "%s; there are %s", plain(err), strings.Join(slices.Sorted(maps.Keys(c.env)), ", "))
		return nil
	}
	var loops loops
	node := program.Node()
	ast.Walk(&node, &loops)
	if loops {
		c.fail(field, "loops over values, which is not allowed: each does that")
		return nil
	}
	return program
}

// loops is set when an expression has a part whose cost depends on the values.
type loops bool

// Visit implements ast.Visitor.
func (l *loops) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.PredicateNode:
		*l = true
	case *ast.BinaryNode:
		*l = *l || n.Operator == ".."
	}
}

// plain returns an error of expr in one line.
func plain(err error) string {
	if e, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Sprintf("%s at character %d", e.Message, e.Column+1)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func (c *compiler) template(field, text string) (t template) {
	if c.long(field, text) {
		return nil
	}
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		if before != "" {
			t = append(t, part{literal: before})
		}
		if !found {
			break
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed || strings.TrimSpace(inside) == "" {
			c.fail(field, "%q: a brace opens an expression, which ends with the next one", "{"+rest)
			return nil
		}
		t = append(t, part{program: c.expression(field, inside)})
		text = after
	}
	return t
}

// Set is an ordered list of mappings: of those that fit, the first counts.
type Set []*Mapping

// Find returns the mapping that decodes the messages on a topic, or nil, and the text of
// the site that is declared for it if none does; empty for none.
func (s Set) Find(topic string) (decodes *Mapping, site string) {
	if len(s) == 0 {
		return nil, ""
	}
	levels := strings.SplitN(topic, "/", maxLevels+1)
	for _, m := range s {
		if !m.fits(levels) {
			continue
		}
		if m.Device != "" {
			return m, ""
		}
		env := m.env(topic, levels)
		env["payload"], env["text"] = nil, ""
		text, err := m.site.text(env)
		if err == nil {
			return nil, text
		}
	}
	return nil, ""
}

func (m *Mapping) fits(levels []string) bool {
	if len(levels) > maxLevels || len(levels) < len(m.levels) || len(levels) > len(m.levels) && !m.all {
		return false
	}
	for i, l := range m.levels {
		if !l.any && l.literal != levels[i] {
			return false
		}
	}
	return true
}

// env returns what the names of the pattern are in a topic.
func (m *Mapping) env(topic string, levels []string) map[string]any {
	env := make(map[string]any, len(m.levels)+4)
	for i, l := range m.levels {
		if l.name != "" {
			env[l.name] = levels[i]
		}
	}
	env["topic"] = topic
	return env
}

// Entry is what a mapping makes of a payload or an item of it.
type Entry struct {
	Site, Device, Metric, Unit string
	// Value is JSON. Time is JSON too; empty for none.
	Value, Time []byte
}

// Result is an entry, or why there is none.
type Result struct {
	Entry

	// Field names what could not be evaluated, and Err says why.
	Field string
	Err   error
}

// Map returns what the mapping makes of a payload: payload is the value of its JSON, and
// text the payload itself.
func (m *Mapping) Map(topic string, payload any, text string) []Result {
	env := m.env(topic, strings.Split(topic, "/"))
	env["payload"], env["text"] = payload, text
	if m.each == nil {
		return []Result{m.one(env, payload)}
	}
	all, err := run(m.each, env)
	if err != nil {
		return []Result{{Field: "each", Err: err}}
	}
	list, ok := all.([]any)
	switch {
	case !ok:
		return []Result{{Field: "each", Err: fmt.Errorf("it is %s, not an array", kind(all))}}
	case len(list) > MaxItems:
		return []Result{{Field: "each", Err: fmt.Errorf("it has %d elements, at most %d", len(list), MaxItems)}}
	}
	out := make([]Result, len(list))
	for i, item := range list {
		env["item"], env["index"] = item, i
		out[i] = m.one(env, item)
	}
	return out
}

// one evaluates the texts and expressions for one entry, whose value is whole unless one
// is declared.
func (m *Mapping) one(env map[string]any, whole any) (r Result) {
	for _, f := range []struct {
		name string
		t    template
		to   *string
	}{{"site", m.site, &r.Site}, {"device", m.device, &r.Device}, {"metric", m.metric, &r.Metric}, {"unit", m.unit, &r.Unit}} {
		if *f.to, r.Err = f.t.text(env); r.Err != nil {
			r.Field = f.name
			return r
		}
	}
	for _, f := range []struct {
		name    string
		p       *vm.Program
		without any
		to      *[]byte
	}{{"value", m.value, whole, &r.Value}, {"time", m.time, nil, &r.Time}} {
		v := f.without
		if f.p != nil {
			if v, r.Err = run(f.p, env); r.Err != nil {
				r.Field = f.name
				return r
			}
		}
		if v == nil {
			continue
		}
		if *f.to, r.Err = json.Marshal(v); r.Err != nil {
			r.Field, r.Err = f.name, fmt.Errorf("it is %s, which is no value", kind(v))
			return r
		}
	}
	return r
}

// run evaluates an expression, whose faults are errors.
func run(p *vm.Program, env map[string]any) (any, error) {
	v, err := expr.Run(p, env)
	if err != nil {
		return nil, errors.New(plain(err))
	}
	return v, nil
}

// text returns the text with the results of its expressions.
func (t template) text(env map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t {
		if p.program == nil {
			b.WriteString(p.literal)
			continue
		}
		v, err := run(p.program, env)
		if err != nil {
			return "", err
		}
		switch v := v.(type) {
		case string:
			b.WriteString(v)
		case bool:
			b.WriteString(strconv.FormatBool(v))
		case int:
			b.WriteString(strconv.Itoa(v))
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return "", errors.New("a number in it is not finite")
			}
			b.WriteString(strconv.FormatFloat(v, 'f', -1, 64))
		default:
			return "", fmt.Errorf("an expression in it is %s, not a text", kind(v))
		}
		if b.Len() > MaxText {
			return "", fmt.Errorf("it has more than %d bytes", MaxText)
		}
	}
	return b.String(), nil
}

// kind names the kind of a value for people.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "missing"
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "a text"
	case bool:
		return "true or false"
	}
	return "a number"
}

// For reports whether the messages of a device of a site have topics of their own: the
// device is a level of the topic, and so is the site, or it is given. "*" stands for all.
func (m *Mapping) For(site, device string) bool {
	return (device == "*" || m.device.level(m.levels) >= 0) && (site == "*" || m.site.level(m.levels) >= 0 || m.Site == site)
}

// level returns the level of a pattern that is the whole text, like {device}; -1 if none is.
func (t template) level(of []level) int {
	if len(t) != 1 || t[0].program == nil {
		return -1
	}
	name, ok := t[0].program.Node().(*ast.IdentifierNode)
	if !ok {
		return -1
	}
	return slices.IndexFunc(of, func(l level) bool { return l.name == name.Value })
}

// Subjects returns the subjects of nats-server that cover the topics of a device of a site
// for which the mapping is.
func (m *Mapping) Subjects(site, device string) []string {
	inDevice, inSite := m.device.level(m.levels), m.site.level(m.levels)
	levels := make([]string, len(m.levels))
	for i, l := range m.levels {
		switch {
		case !l.any:
			levels[i] = strings.ReplaceAll(l.literal, ".", "//")
		case i == inDevice:
			levels[i] = device
		case i == inSite:
			levels[i] = site
		default:
			levels[i] = "*"
		}
	}
	subject := strings.Join(levels, ".")
	switch {
	case !m.all:
		return []string{subject}
	case subject == "":
		return []string{">"}
	}
	return []string{subject, subject + ".>"}
}
