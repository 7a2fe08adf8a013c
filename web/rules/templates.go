package rules

import "headwater/web/ui"

// Template is a rule to begin with: the form opens filled in.
type Template struct {
	// Name is the name of the template, and the name proposed for the rule.
	Name, Title string
	// Words say when the rule alerts.
	Words string
	// Fields are the values of the form, beside the name.
	Fields map[string]string
}

// TemplateURL is the address of the form filled in from the template.
func TemplateURL(name string) string { return "/rules/new?template=" + ui.QueryEscape(name) }
