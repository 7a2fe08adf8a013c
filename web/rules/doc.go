// Package rules is the pages of rules: the list, the editor as a form and as
// YAML, versions, and what can be restored.
package rules
