package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"text/template"
	"time"

	"headwater/proto/figure"
	"headwater/services/decode/mapping"
	"headwater/services/internal/about"
	"headwater/services/internal/config"
	"headwater/services/internal/oncall"
	"headwater/services/rule"
)

//go:embed schema.json.tmpl
var schemaText string

// schema returns the JSON Schema of configuration files.
func schema() (string, error) {
	t, err := template.New("schema").Parse(schemaText)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Rule":    lines(ruleSchema(), "    "),
		"Derived": lines(entrySchema(rule.DerivedFields(), []string{"metric"}, derivedConditions()), "    "), "MaxDerived": rule.MaxDerived,
		"Group": lines(entrySchema(rule.GroupFields(), []string{"name", "metric", "expression"}, nil), "    "), "MaxGroups": rule.MaxGroups,
		"Counter": lines(entrySchema(rule.CounterFields(), []string{"metric"}, nil, member{"tariff", object{
			{"description", "Other prices at times of the week. The first that is in force counts."},
			{"type", []string{"array", "null"}},
			{"maxItems", rule.MaxTariff},
			{"items", entrySchema(rule.TariffFields(), []string{"price"}, nil)},
		}}), "    "), "MaxCounters": rule.MaxCounters,
		"MaxRules": config.MaxRules, "MaxDevices": config.MaxDevices, "MaxSeries": config.MaxSeries, "MaxMappings": config.MaxMappings, "MaxMapping": mapping.MaxText, "MaxChannels": config.MaxChannels,
		"MaxWindows": config.MaxWindows, "MaxSites": config.MaxSites, "MaxGroupBy": config.MaxGroupBy, "MaxSteps": config.MaxSteps, "MaxRotas": oncall.MaxRotas, "MaxMembers": oncall.MaxMembers, "MaxQuiet": oncall.MaxQuiet,
		"MaxAboutName": about.MaxName, "MaxLocation": about.MaxLocation, "MaxNotes": about.MaxNotes, "MaxMetrics": about.MaxMetrics,
		"MaxUnit": about.MaxUnit, "MaxPrecision": about.MaxPrecision,
		"MaxGlob": rule.MaxGlob, "MaxTags": rule.MaxTags, "MaxTag": rule.MaxTag,
		"ChannelTypes": compact(config.ChannelTypes()), "WindowKinds": compact(config.WindowKinds()),
		"Formats": compact(config.Formats()), "LeastSecret": config.LeastSecret, "MaxSecret": config.MaxSecret,
	})
	return b.String(), err
}

// object is a JSON object whose fields keep their order.
type object []member

type member struct {
	name  string
	value any
}

// lines returns the object with a member a line.
func lines(o object, indent string) string {
	var b strings.Builder
	b.WriteString("{\n")
	for i, m := range o {
		comma := ","
		if i+1 == len(o) {
			comma = ""
		}
		text := compact(m.value)
		switch inner := m.value.(type) {
		case object:
			text = lines(inner, indent+"  ")
		case []object:
			all := make([]string, len(inner))
			for i, one := range inner {
				all[i] = indent + "    " + compact(one)
			}
			text = "[\n" + strings.Join(all, ",\n") + "\n" + indent + "  ]"
		}
		b.WriteString(indent + "  " + compact(m.name) + ": " + text + comma + "\n")
	}
	b.WriteString(indent + "}")
	return b.String()
}

// flat is an object that is written in one line.
type flat object

// compact returns JSON in one line.
func compact(v any) string {
	switch v := v.(type) {
	case object:
		all := make([]string, len(v))
		for i, m := range v {
			all[i] = compact(m.name) + ": " + compact(m.value)
		}
		return "{" + strings.Join(all, ", ") + "}"
	case flat:
		return compact(object(v))
	case []object:
		all := make([]string, len(v))
		for i, o := range v {
			all[i] = compact(o)
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings, numbers and lists of them can be encoded
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), `","`, `", "`)
}

// ruleSchema is the schema of one rule.
func ruleSchema() object {
	top, match := object{}, object{}
	for _, f := range rule.Fields() {
		outer, inner, nested := strings.Cut(f.Name, ".")
		if !nested {
			top = append(top, member{f.Name, flat(fieldSchema(f))})
			continue
		}
		if len(match) == 0 {
			top = append(top, member{outer, nil})
		}
		match = append(match, member{inner, flat(fieldSchema(f))})
		top[len(top)-1].value = object{
			{"description", "Which series, by patterns and by the tags of the device."},
			{"type", "object"},
			{"additionalProperties", false},
			{"properties", match},
		}
	}
	return object{
		{"type", "object"},
		{"additionalProperties", false},
		{"required", []string{"name"}},
		{"anyOf", []object{{{"required", []string{"detector"}}}, {{"required", []string{"expression"}}}}},
		{"properties", top},
		{"allOf", conditions()},
	}
}

// entrySchema is the schema of one entry of a section whose fields are in a table, and
// further ones.
func entrySchema[T any](table []rule.FieldOf[T], required []string, more object, further ...member) object {
	top, match := object{}, object{}
	for _, f := range table {
		outer, inner, nested := strings.Cut(f.Name, ".")
		if !nested {
			top = append(top, member{f.Name, flat(fieldSchema(f.Field))})
			continue
		}
		if len(match) == 0 {
			top = append(top, member{outer, nil})
		}
		match = append(match, member{inner, flat(fieldSchema(f.Field))})
		top[len(top)-1].value = object{
			{"description", "Which ones, by patterns and by the tags of the device."},
			{"type", "object"},
			{"additionalProperties", false},
			{"properties", match},
		}
	}
	top = append(top, further...)
	return append(object{{"type", "object"}, {"additionalProperties", false}, {"required", required}, {"properties", top}}, more...)
}

// derivedConditions say that a derived series has one function, and which ones have a
// span.
func derivedConditions() object {
	var all []object
	for _, f := range rule.DerivedFunctions() {
		all = append(all, object{{"required", []string{f}}})
	}
	return object{
		{"oneOf", all},
		{"dependentRequired", object{{"sum", []string{"over"}}, {"integral", []string{"over"}}}},
		{"dependentSchemas", object{{"expression", flat{{"properties", object{{"over", false}}}}}}},
	}
}

// fieldSchema is the schema of one field.
func fieldSchema(f rule.Field) object {
	o := object{{"description", strings.ReplaceAll(strings.ToUpper(f.Doc[:1])+f.Doc[1:], "`", "") + "."}}
	add := func(name string, value any) { o = append(o, member{name, value}) }
	switch f.Kind {
	case rule.KindName, rule.KindGlob, rule.KindSpan, rule.KindWords:
		add("$ref", "#/$defs/"+map[rule.Kind]string{
			rule.KindName: "name", rule.KindGlob: "glob", rule.KindSpan: "span", rule.KindWords: "words",
		}[f.Kind])
	case rule.KindChoice:
		add("enum", f.Choices)
	case rule.KindNumber:
		add("type", "number")
		o = append(o, bounds(f)...)
	case rule.KindChannels:
		add("type", []string{"array", "null"})
		add("maxItems", f.Max)
		add("uniqueItems", true)
		add("items", object{{"type", "string"}})
	default:
		add("type", "string")
		if f.Kind == rule.KindParagraph {
			add("minLength", 1)
		}
		if f.Max > 0 {
			add("maxLength", f.Max)
		}
		if f.Pattern != "" {
			add("pattern", f.Pattern)
		}
	}
	switch d := f.Default.(type) {
	case nil:
	case time.Duration:
		add("default", figure.FormatDuration(d))
	default:
		add("default", d)
	}
	return o
}

// bounds are those of a number. Where 0 would mean that nothing is given, it is out
// of bounds.
func bounds(f rule.Field) object {
	var o object
	if f.Bounds == (rule.Bounds{}) {
		return nil
	}
	least, most := "minimum", "maximum"
	if f.Bounds.OpenLeast || f.Bounds.Least == 0 && !f.ZeroMeans() {
		least = "exclusiveMinimum"
	}
	if f.Bounds.OpenMost {
		most = "exclusiveMaximum"
	}
	o = append(o, member{least, f.Bounds.Least})
	if !math.IsInf(f.Bounds.Most, 1) {
		o = append(o, member{most, f.Bounds.Most})
	}
	return o
}

// conditions say what each detector needs, and that no other has the fields of a
// detector. A rule without a detector has that of expressions.
func conditions() []object {
	var all []object
	for _, s := range rule.Specs() {
		if len(s.Needs) == 0 {
			continue
		}
		var then []object
		for _, n := range s.Needs {
			var one []object
			for _, field := range n.Fields {
				one = append(one, object{{"required", []string{field}}})
			}
			then = append(then, object{{"anyOf", one}})
		}
		all = append(all, object{{"if", isOneOf(s.Name)}, {"then", object{{"allOf", then}}}})
	}
	var done []string
	for _, f := range rule.Fields() {
		if !f.Own() || slices.Contains(done, f.Name) {
			continue
		}
		var others object
		for _, g := range rule.Fields() {
			if !g.Own() || !slices.Equal(g.Detectors(), f.Detectors()) {
				continue
			}
			done = append(done, g.Name)
			name, inner, nested := strings.Cut(g.Name, ".")
			if nested { // what says nothing is allowed
				others = append(others, member{name, object{{"properties", object{{inner, object{{"enum", []any{g.Default, ""}}}}}}}})
				continue
			}
			others = append(others, member{name, false})
		}
		all = append(all, object{{"if", isOneOf(f.Detectors()...)}, {"else", object{{"properties", others}}}})
	}
	return all
}

// isOneOf is the condition that a rule has one of the detectors.
func isOneOf(all ...rule.Detector) object {
	o := object{{"properties", object{{"detector", object{{"enum", all}}}}}}
	if !slices.Contains(all, rule.Expression) {
		o = append(o, member{"required", []string{"detector"}})
	}
	return o
}
