package expression_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/rule/expression"
)

func TestCompile(t *testing.T) {
	const text = `temperature > outside + 5 and avg("temperature", "10m") > 8 or last("air-flow") < 1 and age("door", ) > 60 and count("temperature", "1h30m") > 3 and avg("temperature","600s") < 9`
	p, err := expression.Compile(strings.ReplaceAll(text, `"door", `, `"door"`))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"temperature", "outside"}, p.Names()); d != "" {
		t.Error(d)
	}
	want := []expression.Call{
		{Function: expression.Avg, Metric: "temperature", Span: 10 * time.Minute},
		{Function: expression.Last, Metric: "air-flow"},
		{Function: expression.Age, Metric: "door"},
		{Function: expression.Count, Metric: "temperature", Span: 90 * time.Minute},
	}
	if d := cmp.Diff(want, p.Calls()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"temperature", "outside", "air-flow", "door"}, p.Metrics()); d != "" {
		t.Error(d)
	}
	if got := want[3].String(); got != `count("temperature", "1h30m")` {
		t.Errorf("written as %s", got)
	}
}

func TestEval(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		values []float64
		want   bool
	}{
		"above":                {"a > 5", []float64{5.5}, true},
		"a whole number":       {"a == 5", []float64{5}, true},
		"not above":            {"a > 5.0", []float64{5}, false},
		"two metrics":          {"a > b + 5", []float64{11, 5}, true},
		"and before or":        {"a > 1 or a > 2 and a > 3", []float64{1.5}, true},
		"brackets":             {"(a > 1 or a > 2) and a > 3", []float64{1.5}, false},
		"not":                  {"not (a > 1)", []float64{1}, true},
		"minus":                {"-a < -1", []float64{2}, true},
		"whole numbers divide": {"a > 5 / 2", []float64{2.4}, false},
		"choice":               {"a > (b > 0 ? 10 : 20)", []float64{15, 1}, true},
		"abs":                  {"abs(a - b) > 3", []float64{1, 5}, true},
		"a call":               {`avg("a", "10m") > 3`, []float64{4}, true},
		"names then calls":     {`max("b", "10m") > 3 and a < 1`, []float64{0, 4}, true},
		"large numbers":        {"a < 1e300", []float64{1e299}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := expression.Compile(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			var s expression.Scratch
			for range 2 { // the second with what the first has left
				if got, err := p.Eval(&s, tc.values); err != nil || got != tc.want {
					t.Errorf("%v, %v", got, err)
				}
			}
		})
	}
}

func TestErrorOfTheValues(t *testing.T) {
	p, err := expression.Compile("a / (b - 1) > 2")
	if err != nil {
		t.Fatal(err)
	}
	var s expression.Scratch
	if _, err := p.Eval(&s, []float64{1, 1}); !errors.Is(err, expression.ErrDivision) {
		t.Errorf("got %v", err)
	}
	if got, err := p.Eval(&s, []float64{3, 2}); err != nil || !got {
		t.Errorf("after an error: %v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":                 {"  ", "is empty"},
		"too long":              {strings.Repeat("a", 1001), "is 1001 bytes long"},
		"no metric":             {"1 > 2", "names no metric"},
		"a number":              {"a + 1", "is a number and not a condition"},
		"a condition as number": {"(a > 1) + 1 > 2", "condition"},
		"unfinished":            {"a >", "unexpected"},
		"unclosed":              {"(a > 1", "at character"},
		"a loop":                {"map(1..100000, # * 2) == a", "at character"},
		"a range":               {"a in 1..1000000", "not an operator"},
		"a pattern":             {`a matches "(x+)+"`, "not an operator"},
		"a power":               {"a ** 100 > 1", `"**" is not an operator`},
		"a rest":                {"a % 2 == 1", `"%" is not an operator`},
		"an array":              {"[a][0] > 1", "something else"},
		"a member":              {"a.b > 1", "something else"},
		"a variable":            {"let x = a; x > 1", "something else"},
		"a sequence":            {"a > 1; a > 2", "something else"},
		"a text":                {`a == "x"`, "a text stands only in a call"},
		"nil":                   {"a == nil", "something else"},
		"a pipe":                {`"a" | avg("10m") > 1`, ""},
		"another function":      {"floor(a) > 1", `"floor" is not a function`},
		"a builtin":             {"len(a) > 1", `"len" is not a function`},
		"hidden function":       {"divide(a, 2) > 1", `"divide" is not a function`},
		"without a span":        {`avg("a") > 1`, "avg takes a metric and a span"},
		"age with a span":       {`age("a", "10m") > 1`, "age takes a metric alone"},
		"a span without unit":   {`avg("a", "10") > 1`, `"10" is not a span: write 30s, 5m or 1h30m at character 10`},
		"a long span":           {`avg("a", "25h") > 1`, "out of range"},
		"a metric as argument":  {`avg(a, "10m") > 1`, "texts in quotes"},
		"numbers in abs":        {"abs(a, 2) > 1", "abs takes one number"},
		"too many nodes":        {strings.Repeat("a+", 300) + "a > 1", "nodes"},
		"deep":                  {strings.Repeat("(", 450) + "a" + strings.Repeat(")", 450) + " > 1", ""},
		"many metrics":          {manyMetrics(), "names 17 metrics, at most 16"},
		"many calls":            {manyCalls(), "makes 17 different calls, at most 16"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := expression.Compile(tc.text)
			if name == "deep" || name == "a pipe" {
				return // either way, as long as it ends
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v, want %q", p, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}

func manyMetrics() string {
	var parts []string
	for i := range 17 {
		parts = append(parts, "m"+strings.Repeat("x", i)+" > 1")
	}
	return strings.Join(parts, " and ")
}

func manyCalls() string {
	var parts []string
	for i := range 17 {
		parts = append(parts, fmt.Sprintf(`sum("m", "%ds") > 1`, i+1))
	}
	return strings.Join(parts, " or ")
}

func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		`temperature > outside + 5 and avg("temperature", "10m") > 8`, "a ? b : c", "not a", "a / 0 > 1", `last("x")`, "((", "1..2", "a.b?.c[0]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := expression.Compile(text)
		if err != nil {
			return
		}
		values := make([]float64, len(p.Names())+len(p.Calls()))
		var s expression.Scratch
		first, err1 := p.Eval(&s, values)
		second, err2 := p.Eval(&s, values)
		if first != second || (err1 == nil) != (err2 == nil) {
			t.Errorf("%q: %v, %v, then %v, %v", text, first, err1, second, err2)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	p, err := expression.Compile(`temperature > outside + 5 and avg("temperature", "10m") > 8`)
	if err != nil {
		b.Fatal(err)
	}
	var s expression.Scratch
	values := []float64{20, 10, 9}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Eval(&s, values); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNumber(t *testing.T) {
	for text, tc := range map[string]struct {
		values []float64
		want   float64
		err    error
	}{
		"a - b":                        {[]float64{5, 2}, 3, nil},
		"a > 3 ? 1 : 0":                {[]float64{5}, 1, nil},
		"a > 3 ? a : 0":                {[]float64{2}, 0, nil},
		"2 * a / 4":                    {[]float64{3}, 1.5, nil},
		"last(\"air-flow\") + 1":       {[]float64{3}, 4, nil},
		"pow(a, 2) + sqrt(b) - exp(0)": {[]float64{3, 16}, 12, nil},
		"ln(exp(a))":                   {[]float64{2}, 2, nil},
		"ln(a)":                        {[]float64{0}, 0, expression.ErrDomain},
		"sqrt(a)":                      {[]float64{-1}, 0, expression.ErrDomain},
		"a / b":                        {[]float64{1, 0}, 0, expression.ErrDivision},
		"a * 1e308":                    {[]float64{1e10}, 0, expression.ErrDomain},
	} {
		p, err := expression.CompileNumber(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var s expression.Scratch
		if got, err := p.Number(&s, tc.values); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, %v, want %v, %v", text, got, err, tc.want, tc.err)
		}
	}
	for text, want := range map[string]string{
		"a > 3":           "is a condition and not a number: write condition ? 1 : 0",
		`avg("a", "10m")`: "there are only the latest values here; difference, sum and integral are over time at character 1",
		`age("a")`:        "there are only the latest values here; difference, sum and integral are over time at character 1",
		"pow(a)":          "pow takes two numbers at character 1",
		"5":               "names no metric",
	} {
		if _, err := expression.CompileNumber(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
