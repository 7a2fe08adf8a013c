// Package expression reads and evaluates the expressions of rules: a condition
// over the latest values of the metrics of one device and over what they were in
// windows that end now.
//
//	temperature > outside + 5 and avg("temperature", "10m") > 8
//
// The language is that of github.com/expr-lang/expr without everything whose cost
// depends on data: there are numbers, metrics, comparisons, `and`, `or`, `not`,
// `? :`, the four kinds of arithmetic and the functions below. So one evaluation
// takes at most as many steps as the text has words, and no memory to speak of.
//
//	avg min max sum count   of the readings of a metric in the last span
//	last                    the latest value; with a span, if it is not older
//	age                     the seconds since the latest reading
//	abs ln exp sqrt pow     of numbers
//
// CompileNumber reads another kind: a number made of the latest values, for derived
// series. CompileGroup reads a number made of the latest values of several devices:
//
//	mean median min max sum count spread   of a metric of all of them
//	odd                                    the greatest distance of one from their median
//	of                                     a metric of one device
//
// The package is pure. Types are checked when an expression is compiled.
package expression

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"headwater/proto/figure"
)

// Bounds of an expression.
const (
	// MaxText is the greatest length of an expression in bytes.
	MaxText = 1000
	// maxNodes is the greatest number of operators, numbers, names and calls.
	maxNodes = 200
	// MaxMetrics is how many metrics an expression may name.
	MaxMetrics = 16
	// MaxCalls is how many different calls of functions of metrics it may make.
	MaxCalls = 16
	// MinSpan and MaxSpan bound the span of a window.
	MinSpan = time.Second
	MaxSpan = 24 * time.Hour
)

// Function is a question about a metric.
type Function string

// The functions of a metric.
const (
	Avg   Function = "avg"
	Min   Function = "min"
	Max   Function = "max"
	Sum   Function = "sum"
	Count Function = "count"
	Last  Function = "last"
	Age   Function = "age"
)

// The functions of a metric of several devices, beside Min, Max, Sum and Count.
const (
	Mean   Function = "mean"
	Median Function = "median"
	Spread Function = "spread"
	Odd    Function = "odd"
	Of     Function = "of"
)

// grouped are the functions of several devices.
var grouped = []Function{Mean, Median, Min, Max, Sum, Count, Spread, Odd, Of}

// Grouped lists every function of several devices.
func Grouped() []Function { return slices.Clone(grouped) }

// windowed are the functions that take a span.
var windowed = []Function{Avg, Min, Max, Sum, Count}

// Functions lists every function of a metric.
func Functions() []Function { return append(slices.Clone(windowed), Last, Age) }

// Call is one question about a metric.
type Call struct {
	Function Function
	Metric   string
	// Device is that of Of.
	Device string
	// Span is the length of the window that ends now; 0 without a window.
	Span time.Duration
}

// String returns the call as people write it.
func (c Call) String() string {
	if c.Device != "" {
		return fmt.Sprintf("%s(%q, %q)", c.Function, c.Device, c.Metric)
	}
	if c.Span == 0 {
		return fmt.Sprintf("%s(%q)", c.Function, c.Metric)
	}
	return fmt.Sprintf("%s(%q, %q)", c.Function, c.Metric, figure.FormatDuration(c.Span))
}

// Program is a compiled expression. It may be used by several goroutines.
type Program struct {
	text  string
	names []string
	calls []Call
	// numbers are the constants.
	numbers []float64
	// variables are the names of the values in the compiled program.
	variables []string
	program   *vm.Program
	// numeric reports whether the result is a number and not a condition.
	numeric bool
	// group reports whether it is about several devices.
	group bool
}

// Text returns the expression as it was given.
func (p *Program) Text() string { return p.text }

// Names returns the metrics whose latest value the expression uses by name, in
// the order of their first use.
func (p *Program) Names() []string { return p.names }

// Calls returns the calls of functions, in the order of their first use.
func (p *Program) Calls() []Call { return p.calls }

// Numbers returns the constants, each with its negative.
func (p *Program) Numbers() []float64 { return p.numbers }

// Metrics returns all metrics that the expression uses: those it names, then
// those in its calls.
func (p *Program) Metrics() []string {
	all := slices.Clone(p.names)
	for _, c := range p.calls {
		if !slices.Contains(all, c.Metric) {
			all = append(all, c.Metric)
		}
	}
	return all
}

// ErrDivision is returned for a division by zero.
var ErrDivision = errors.New("division by zero")

// ErrDomain is returned where ln, exp, sqrt or pow have no result, like the root of
// -1.
var ErrDomain = errors.New("a function has no result for this number")

// Scratch is the memory that evaluations reuse. It must not be used by two
// goroutines at a time.
type Scratch struct {
	vm  vm.VM
	env map[string]any
}

// Eval evaluates a condition with one value for each of Names, then one for
// each of Calls. An error means that these values have no result.
func (p *Program) Eval(s *Scratch, values []float64) (bool, error) {
	result, err := p.run(s, values)
	if err != nil {
		return false, err
	}
	is, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("the result is %T, not true or false", result)
	}
	return is, nil
}

// Number evaluates a program of CompileNumber, like Eval. The result is finite.
func (p *Program) Number(s *Scratch, values []float64) (float64, error) {
	result, err := p.run(s, values)
	if err != nil {
		return 0, err
	}
	v := float(result)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, ErrDomain
	}
	return v, nil
}

func (p *Program) run(s *Scratch, values []float64) (any, error) {
	if s.env == nil {
		s.env = make(map[string]any, len(values))
	}
	clear(s.env)
	for i, v := range values {
		s.env[p.variables[i]] = v
	}
	result, err := s.vm.Run(p.program, s.env)
	for _, known := range []error{ErrDivision, ErrDomain} {
		if errors.Is(err, known) {
			return nil, known
		}
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", plain(err))
	}
	return result, nil
}

// name and call return the variables of the i-th metric and call.
func name(i int) string { return "n" + strconv.Itoa(i) + "_" }
func call(i int) string { return "c" + strconv.Itoa(i) + "_" }

// Compile compiles a condition. The error is meant for people.
func Compile(text string) (*Program, error) { return compile(text, Program{}) }

// CompileNumber compiles an expression whose result is a number. It takes the latest
// values alone, without windows and ages, so it depends on nothing but these. The
// error is meant for people.
func CompileNumber(text string) (*Program, error) { return compile(text, Program{numeric: true}) }

// CompileGroup compiles a number made of the latest values of several devices, which
// Calls names. The error is meant for people.
func CompileGroup(text string) (*Program, error) {
	return compile(text, Program{numeric: true, group: true})
}

// compile compiles an expression of the kind of the program.
func compile(text string, kind Program) (*Program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("is empty")
	}
	if len(text) > MaxText {
		return nil, fmt.Errorf("is %d bytes long, at most %d", len(text), MaxText)
	}
	tree, err := parse(text)
	if err != nil {
		return nil, err
	}
	kind.text = strings.TrimSpace(text)
	r := &reader{program: &kind}
	root := r.read(tree.Node)
	if r.err != nil {
		return nil, r.err
	}
	env := make(map[string]any)
	p := r.program
	if len(p.Metrics()) == 0 {
		return nil, errors.New("names no metric")
	}
	if n := len(p.Metrics()); n > MaxMetrics {
		return nil, fmt.Errorf("names %d metrics, at most %d", n, MaxMetrics)
	}
	if len(p.calls) > MaxCalls {
		return nil, fmt.Errorf("makes %d different calls, at most %d", len(p.calls), MaxCalls)
	}
	for i := range p.names {
		p.variables = append(p.variables, name(i))
	}
	for i := range p.calls {
		p.variables = append(p.variables, call(i))
	}
	for _, v := range p.variables {
		env[v] = 0.0
	}
	result := expr.AsBool()
	if p.numeric {
		result = expr.AsFloat64()
	}
	options := append(options(), expr.Env(env), result)
	p.program, err = expr.Compile(root, options...)
	if err != nil {
		return nil, p.spoken(plain(err))
	}
	return p, nil
}

// options returns the options that define the language.
func options() []expr.Option {
	all := []expr.Option{
		expr.DisableAllBuiltins(), expr.MaxNodes(maxNodes),
		expr.Operator("/", "divide"),
		expr.Function("divide", divide, new(func(float64, float64) float64), new(func(float64, int) float64),
			new(func(int, float64) float64), new(func(int, int) float64)),
	}
	for name, m := range mathematics {
		if m.arguments == 1 {
			all = append(all, expr.Function(name, m.call, new(func(float64) float64), new(func(int) float64)))
			continue
		}
		all = append(all, expr.Function(name, m.call, new(func(float64, float64) float64), new(func(float64, int) float64),
			new(func(int, float64) float64), new(func(int, int) float64)))
	}
	return all
}

// function is a function of numbers.
type function struct {
	arguments int
	of        func(a, b float64) float64
}

// mathematics are the functions of numbers.
var mathematics = map[string]function{
	"abs":  {1, func(a, _ float64) float64 { return math.Abs(a) }},
	"ln":   {1, func(a, _ float64) float64 { return math.Log(a) }},
	"exp":  {1, func(a, _ float64) float64 { return math.Exp(a) }},
	"sqrt": {1, func(a, _ float64) float64 { return math.Sqrt(a) }},
	"pow":  {2, math.Pow},
}

func (f function) call(args ...any) (any, error) {
	v := f.of(float(args[0]), float(args[len(args)-1]))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, ErrDomain
	}
	return v, nil
}

func float(v any) float64 {
	switch v := v.(type) {
	case int:
		return float64(v)
	case float64:
		return v
	default:
		return math.NaN()
	}
}

func divide(args ...any) (any, error) {
	by := float(args[1])
	if by == 0 {
		return nil, ErrDivision
	}
	return float(args[0]) / by, nil
}

// parse reads the text without resolving names.
func parse(text string) (*parser.Tree, error) {
	c := conf.CreateNew()
	nothing := func(...any) (any, error) { return 0.0, nil }
	all := options()
	for _, f := range slices.Concat(Functions(), grouped) {
		all = append(all, expr.Function(string(f), nothing))
	}
	for _, o := range all {
		o(c)
	}
	tree, err := parser.ParseWithConfig(text, c)
	if err != nil {
		return nil, plain(err)
	}
	return tree, nil
}

// plain removes the picture of the position from an error.
func plain(err error) error {
	if e, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Errorf("%s at character %d", e.Message, e.Column+1)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// reader turns the tree into a text in which each metric and call is a
// variable.
type reader struct {
	program *Program
	err     error
}

func (r *reader) fail(n ast.Node, format string, args ...any) string {
	if r.err == nil {
		r.err = fmt.Errorf(format+" at character %d", append(args, n.Location().From+1)...)
	}
	return ""
}

// binary and unary are the operators whose cost does not depend on the values.
var (
	binary = []string{"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or", "&&", "||"}
	unary  = []string{"-", "+", "not", "!"}
)

func (r *reader) read(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IntegerNode:
		r.program.numbers = append(r.program.numbers, float64(n.Value), -float64(n.Value))
		if r.program.numeric { // so that both sides of a choice have one type
			return strconv.Itoa(n.Value) + ".0"
		}
		return strconv.Itoa(n.Value)
	case *ast.FloatNode:
		r.program.numbers = append(r.program.numbers, n.Value, -n.Value)
		return strconv.FormatFloat(n.Value, 'f', -1, 64) + pointed(n.Value)
	case *ast.BoolNode:
		return strconv.FormatBool(n.Value)
	case *ast.IdentifierNode:
		return r.value(n)
	case *ast.UnaryNode:
		if !slices.Contains(unary, n.Operator) {
			return r.fail(n, "%q is not an operator here", n.Operator)
		}
		return "(" + n.Operator + " " + r.read(n.Node) + ")"
	case *ast.BinaryNode:
		if !slices.Contains(binary, n.Operator) {
			return r.fail(n, "%q is not an operator here: there are %s", n.Operator, strings.Join(binary, " "))
		}
		return "(" + r.read(n.Left) + " " + n.Operator + " " + r.read(n.Right) + ")"
	case *ast.ConditionalNode:
		return "(" + r.read(n.Cond) + " ? " + r.read(n.Exp1) + " : " + r.read(n.Exp2) + ")"
	case *ast.CallNode:
		return r.call(n)
	case *ast.BuiltinNode:
		return r.fail(n, "%q is not a function here", n.Name)
	case *ast.StringNode:
		return r.fail(n, "a text stands only in a call, like avg(\"temperature\", \"10m\"); it can't be compared")
	default:
		return r.fail(n, "there are only numbers, metrics, comparisons, arithmetic and calls here; this is something else")
	}
}

// pointed returns the ending that keeps a whole number a float.
func pointed(v float64) string {
	if v == math.Trunc(v) {
		return ".0"
	}
	return ""
}

// value returns the variable of a metric's latest value.
func (r *reader) value(n *ast.IdentifierNode) string {
	if r.program.group {
		return r.fail(n, "a metric is of one device: write mean(%q), or of(\"device\", %q)", n.Value, n.Value)
	}
	i := slices.Index(r.program.names, n.Value)
	if i < 0 {
		i = len(r.program.names)
		r.program.names = append(r.program.names, n.Value)
	}
	return name(i)
}

func (r *reader) call(n *ast.CallNode) string {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return r.fail(n, "only functions can be called")
	}
	if m, known := mathematics[callee.Value]; known {
		if len(n.Arguments) != m.arguments {
			return r.fail(n, "%s takes %s", callee.Value, []string{"", "one number", "two numbers"}[m.arguments])
		}
		all := make([]string, len(n.Arguments))
		for i, a := range n.Arguments {
			all[i] = r.read(a)
		}
		return callee.Value + "(" + strings.Join(all, ", ") + ")"
	}
	if r.program.group {
		return r.groupCall(n, Function(callee.Value))
	}
	c := Call{Function: Function(callee.Value)}
	if !slices.Contains(Functions(), c.Function) {
		return r.fail(n, "%q is not a function: there are avg, min, max, sum, count, last, age, abs, ln, exp, sqrt and pow", callee.Value)
	}
	if r.program.numeric && (c.Function != Last || len(n.Arguments) > 1) {
		return r.fail(n, "there are only the latest values here; difference, sum and integral are over time")
	}
	texts := make([]string, len(n.Arguments))
	for i, a := range n.Arguments {
		s, ok := a.(*ast.StringNode)
		if !ok {
			return r.fail(a, "%s takes texts in quotes: the metric, then the span, like %s(\"temperature\", \"10m\")", c.Function, c.Function)
		}
		texts[i] = s.Value
	}
	spans := slices.Contains(windowed, c.Function)
	switch {
	case len(texts) == 0 || len(texts) > 2 || spans && len(texts) == 1:
		return r.fail(n, "%s takes a metric and a span, like %s(\"temperature\", \"10m\")", c.Function, c.Function)
	case c.Function == Age && len(texts) == 2:
		return r.fail(n, "age takes a metric alone")
	case texts[0] == "":
		return r.fail(n, "%s names no metric", c.Function)
	}
	c.Metric = texts[0]
	if len(texts) == 2 {
		d, err := figure.ParseDuration(texts[1])
		if err != nil {
			return r.fail(n.Arguments[1], "%q is not a span: write 30s, 5m or 1h30m", texts[1])
		}
		if d < MinSpan || d > MaxSpan {
			return r.fail(n.Arguments[1], "%q is out of range: %s to %s", texts[1],
				figure.FormatDuration(MinSpan), figure.FormatDuration(MaxSpan))
		}
		c.Span = d
	}
	return r.variable(c)
}

// groupCall reads a call of a function of several devices.
func (r *reader) groupCall(n *ast.CallNode, f Function) string {
	if !slices.Contains(grouped, f) {
		return r.fail(n, "%q is not a function of a group: there are mean, median, min, max, sum, count, spread, odd and of", f)
	}
	texts := make([]string, len(n.Arguments))
	for i, a := range n.Arguments {
		s, ok := a.(*ast.StringNode)
		if !ok || s.Value == "" {
			return r.fail(a, "%s takes texts in quotes, like mean(\"temperature\") and of(\"cellar\", \"temperature\")", f)
		}
		texts[i] = s.Value
	}
	switch {
	case f == Of && len(texts) == 2:
		return r.variable(Call{Function: f, Device: texts[0], Metric: texts[1]})
	case f != Of && len(texts) == 1:
		return r.variable(Call{Function: f, Metric: texts[0]})
	case f == Of:
		return r.fail(n, "of takes a device and a metric, like of(\"cellar\", \"temperature\")")
	}
	return r.fail(n, "%s takes a metric alone, like %s(\"temperature\")", f, f)
}

// variable returns the variable of a call.
func (r *reader) variable(c Call) string {
	i := slices.Index(r.program.calls, c)
	if i < 0 {
		i = len(r.program.calls)
		r.program.calls = append(r.program.calls, c)
	}
	return call(i)
}

// spoken puts a type error in words for people: its position is in another
// text, and its names are variables.
func (p *Program) spoken(err error) error {
	text, _, _ := strings.Cut(err.Error(), " at character ")
	for i, n := range p.names {
		text = strings.ReplaceAll(text, name(i), n)
	}
	for i, c := range p.calls {
		text = strings.ReplaceAll(text, call(i), c.String())
	}
	if strings.HasPrefix(text, "expected bool, but got") {
		text = "is a number and not a condition: compare it with something"
	}
	if p.numeric && strings.Contains(text, "but got bool") {
		text = "is a condition and not a number: write condition ? 1 : 0"
	}
	text = strings.NewReplacer("float64", "number", "int", "number", "bool", "condition", "(mismatched types ", "(").Replace(text)
	return errors.New(text)
}
