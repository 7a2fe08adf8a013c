package rule_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"headwater/services/rule"
)

// TestEveryFieldIsDeclared holds that each field of Rule has its one entry in the
// table, with all that is made from it.
func TestEveryFieldIsDeclared(t *testing.T) {
	var r rule.Rule
	declared := make(map[any]string)
	for _, f := range rule.Fields() {
		at := reflect.ValueOf(f.At(&r)).Pointer()
		if declared[at] != "" {
			t.Errorf("%s and %s are the same field", f.Name, declared[at])
		}
		declared[at] = f.Name
		if f.Name == "" || f.Kind == 0 || f.Label == "" || f.Doc == "" {
			t.Errorf("%q is not described: %+v", f.Name, f)
		}
		if f.Kind == rule.KindChoice && (len(f.Choices) == 0 || f.Default != nil && !slices.Contains(f.Choices, f.Default.(string))) {
			t.Errorf("%s: one of %v, %v without it", f.Name, f.Choices, f.Default)
		}
	}
	for _, part := range []any{&r, &r.Match} {
		v := reflect.ValueOf(part).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name == "Origin" || name == "Match" && part == any(&r) { // not written, or in parts
				continue
			}
			if declared[v.Field(i).Addr().Pointer()] == "" {
				t.Errorf("%T has no entry for %s", part, name)
			}
		}
	}
}

// TestEveryDetectorIsDescribed holds the entries of the detectors against the fields.
func TestEveryDetectorIsDescribed(t *testing.T) {
	var names []string
	for _, f := range rule.Fields() {
		names = append(names, f.Name)
	}
	words := rule.Words{Amount: func(float64) string { return "8" }, Span: time.Duration.String}
	for _, s := range rule.Specs() {
		if s.Title == "" || s.Finds == "" || s.Does == nil || s.Does(rule.Rule{Detector: s.Name}.WithDefaults(), words) == "" && !s.OfDevice {
			t.Errorf("%s has no words", s.Name)
		}
		var takes []string
		for _, u := range s.Takes {
			if !slices.Contains(names, u.Field) || slices.Contains(takes, u.Field) {
				t.Errorf("%s takes %s, which is no field, or twice", s.Name, u.Field)
			}
			takes = append(takes, u.Field)
		}
		for _, n := range s.Needs {
			for _, field := range n.Fields {
				if !slices.Contains(takes, field) || n.Else == "" {
					t.Errorf("%s needs %s and does not take it, or does not say why", s.Name, field)
				}
			}
		}
		// What is filled in is within bounds.
		r := rule.Rule{Name: "a", Detector: s.Name}.WithDefaults()
		for _, p := range r.Problems() {
			if !slices.ContainsFunc(s.Needs, func(n rule.Need) bool { return slices.Contains(n.Fields, p.Field) }) {
				t.Errorf("%s with its defaults: %v", s.Name, p)
			}
		}
	}
}
