package rulebook

import (
	"strings"

	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/web/rules"
)

// Form returns what the form of a rule offers: the tables of package rule, and
// templates.
func Form() rules.Form {
	form := rules.Form{Templates: templates}
	for _, s := range rule.Specs() {
		form.Detectors = append(form.Detectors, rules.Detector{Name: string(s.Name), Title: s.Title, Finds: s.Finds})
	}
	for _, f := range rule.Fields() {
		out := rules.Field{
			Name: f.Name, Label: f.Label, Hint: f.Hint, Choices: f.Choices,
			Area: f.Kind == rule.KindParagraph, Map: f.Kind == rule.KindWords, Placeholder: f.Empty,
		}
		if f.Default != nil {
			out.Placeholder = config.Text(f.Default)
		}
		if f.Own() {
			out.Hint = strings.Join(append([]string{f.Hint}, defaults(f)...), " ")
			for _, d := range f.Detectors() {
				out.Detectors = append(out.Detectors, string(d))
			}
		}
		form.Fields = append(form.Fields, out)
	}
	return form
}

// defaults says which defaults only some of the detectors have that take the field.
func defaults(f rule.Field) []string {
	var all []string
	for _, s := range rule.Specs() {
		if own := f.Of(s.Name); f.TakenBy(s.Name) && own.Default != f.Default {
			all = append(all, "For "+s.Title+" "+config.Text(own.Default)+" when empty.")
		}
	}
	return all
}
