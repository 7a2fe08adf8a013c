package main

import (
	"slices"
	"testing"

	"github.com/alecthomas/kong"
)

// TestHelpIsGrouped keeps the first group of --help short: what most people need.
func TestHelpIsGrouped(t *testing.T) {
	parser, err := kong.New(&Config{}, kong.Vars{"influx_url": ""}, kong.NoDefaultHelp())
	if err != nil {
		t.Fatal(err)
	}
	var first []string
	for _, flag := range parser.Model.Flags {
		if flag.Group == nil && !flag.Hidden {
			first = append(first, flag.Name)
		}
	}
	slices.Sort(first)
	if want := []string{"config", "data", "demo", "durability", "http", "mode", "mqtt"}; !slices.Equal(first, want) {
		t.Errorf("the flags without a group are %q, want %q: name a group for the others", first, want)
	}
}
