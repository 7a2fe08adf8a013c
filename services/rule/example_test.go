package rule_test

import (
	"fmt"

	"headwater/services/rule"
)

// A rule names the series that it watches, and how it judges them. Fields that are
// not given get their defaults.
func ExampleRule() {
	r := rule.Rule{
		Name:     "cold-room",
		Match:    rule.Match{Device: "cold-*", Metric: "temperature"},
		Detector: rule.Limit,
		Above:    new(8.0),
	}.WithDefaults()
	fmt.Println(r.Validate())
	fmt.Println(r.Matches("hall", "cold-1", "temperature", nil), r.Matches("hall", "cold-1", "humidity", nil))
	fmt.Println(r.Severity, r.Silence)
	// Output:
	// <nil>
	// true false
	// warning 1h0m0s
}

// Validate reports every problem of a rule, each with its field.
func ExampleRule_Problems() {
	r := rule.Rule{Name: "Cold room", Detector: rule.Rate, Rise: 3}.WithDefaults()
	for _, p := range r.Problems() {
		fmt.Println(p)
	}
	// Output:
	// name: "Cold room" is not a name: 1 to 64 characters of a-z, 0-9, _ and -
	// within: is missing: the time in which the change is measured, like 5m
}
