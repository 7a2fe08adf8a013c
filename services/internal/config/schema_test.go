package config_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"headwater/services/internal/config"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("headwater.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("headwater.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance returns a text of YAML as what a schema judges.
func instance(t *testing.T, text string) any {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return v
}

// TestSchemaAndParserAgree holds the schema against the parser: each takes what
// the other takes. What no schema can say is marked.
func TestSchemaAndParserAgree(t *testing.T) {
	s := compiled(t)
	type verdict struct{ good, beyond bool }
	good, bad, beyond := verdict{good: true}, verdict{}, verdict{beyond: true}
	limit := func(more string) string { return "rules: [{name: a, detector: limit, above: 1" + more + "}]" }
	texts := map[string]verdict{
		string(config.Default()): good,
		"rules:":                 good,
		"rules: []":              good,
		"auto: off":              good,
		"auto: false":            good,
		"auto: maybe":            bad,
		"devices: []\nchannels:": good,
		"rule: []":               bad,
		"rules: {}":              bad,
		"rules: [a]":             bad,
		"- a":                    bad,
		limit(""):                good,
		limit(", below: 0.5, hysteresis: 0.1, for: 2m, silence: 1d12h, severity: info"): good,
		limit(", for: 0s"): good,
		limit(", state: muted, remind: 4h, labels: {team: ops, floor: 2}, runbook: \"https://example.org\"}]\nchannels: [{name: p, type: ntfy, url: \"https://ntfy.sh/x\""): good,
		limit(", notify: []"): good,
		limit(", notify:"):    good,
		limit(", notify: [a, a]}]\nchannels: [{name: a, type: webhook, url: \"http://x\""): bad,
		limit(", notify: [a]"): beyond,
		limit(", match: {site: x, device: \"d-*\", metric: \"[ab]\", tags: {kind: door}}"):  good,
		limit(", match: {device: \"[\"}"):                                                   beyond,
		limit(", match: {room: x}"):                                                         bad,
		limit(", match: {tags: {Kind: x}}"):                                                 bad,
		limit(", match: {tags: {kind: \"\"}}"):                                              bad,
		limit(", match: {tags: [x]}"):                                                       bad,
		limit(", state: off"):                                                               bad,
		limit(", severity: loud"):                                                           bad,
		limit(", labels: {a: {}}"):                                                          bad,
		limit(", runbook: wiki"):                                                            bad,
		limit(", runbook: \"ftp://x\""):                                                     bad,
		limit(", remind: 4"):                                                                bad,
		limit(", remind: 1s"):                                                               beyond,
		limit(", for: 5"):                                                                   bad,
		limit(", for: five"):                                                                bad,
		limit(", for: -5s"):                                                                 bad,
		limit(", hysteresis: -1"):                                                           bad,
		"rules: [{name: a, detector: limit, above: x}]":                                     bad,
		limit(", below: 3"):                                                                 beyond,
		limit(", description: 7"):                                                           bad,
		limit(", rise: 3"):                                                                  bad,
		limit(", within: 5m"):                                                               bad,
		limit(", direction: up"):                                                            bad,
		limit(", false_alarms: 1"):                                                          bad,
		limit(", expression: \"a > 1\""):                                                    bad,
		limit(", colour: red"):                                                              bad,
		limit("}, {name: a, detector: limit, above: 1"):                                     beyond,
		"rules: [{detector: limit, above: 1}]":                                              bad,
		"rules: [{name: A, detector: limit, above: 1}]":                                     bad,
		"rules: [{name: a}]":                                                                bad,
		"rules: [{name: a, detector: magic}]":                                               bad,
		"rules: [{name: a, detector: limit}]":                                               bad,
		"rules: [{name: a, detector: limit, above: 1, above: 2}]":                           beyond,
		"rules: [{name: a, detector: rate, rise: 3, within: 5m, settle: 1h}]":               good,
		"rules: [{name: a, detector: rate, fall: 3}]":                                       bad,
		"rules: [{name: a, detector: rate, within: 5m}]":                                    bad,
		"rules: [{name: a, detector: rate, rise: 0, within: 5m}]":                           bad,
		"rules: [{name: a, detector: rate, rise: 3, within: 5m, for: 1m}]":                  bad,
		"rules: [{name: a, detector: auto, false_alarms: 0.5}]":                             good,
		"rules: [{name: a, detector: auto, false_alarms: 0}]":                               bad,
		"rules: [{name: a, detector: auto, false_alarms: 2000}]":                            bad,
		"rules: [{name: a, detector: surge, direction: up}]":                                good,
		"rules: [{name: a, detector: surge, direction: left}]":                              bad,
		"rules: [{name: a, detector: drift, direction: up}]":                                bad,
		"rules: [{name: a, detector: silence}]":                                             good,
		"rules: [{name: a, expression: \"a > b\", resolve: \"a < b\", metric: b, for: 1m}]": good,
		"rules: [{name: a, detector: expression, expression: \"a > b\"}]":                   good,
		"rules: [{name: a, detector: expression}]":                                          bad,
		"rules: [{name: a, expression: \"a >\"}]":                                           beyond,
		"rules: [{name: a, expression: \"a > b\", metric: c}]":                              beyond,
		"rules: [{name: a, expression: \"a > b\", above: 1}]":                               bad,
		"rules: [{name: a, expression: \"a > b\", match: {metric: x}}]":                     bad,
		"rules: [{name: a, expression: 7}]":                                                 bad,
		"devices: [{match: {device: x}, tags: {kind: door}}]":                               good,
		"devices: [{match: {}, tags: {kind: door}}]":                                        good,
		"devices: [{tags: {kind: door}}]":                                                   bad,
		"devices: [{match: {device: x}}]":                                                   bad,
		"devices: [{match: {device: x}, tags: {}}]":                                         bad,
		"devices: [{match: {metric: x}, tags: {kind: door}}]":                               bad,
		"channels: [{name: p, type: ntfy, url_file: x, resolved: false}]":                   good,
		"channels: [{name: p, type: ntfy}]":                                                 bad,
		"channels: [{name: p, type: fax, url: \"http://x\"}]":                               bad,
		"channels: [{name: p_q, type: webhook, url: \"http://x\"}]":                         bad,
		"channels: [{name: p, type: webhook, url: \"http://x\", url_file: y}]":              bad,
		"channels: [{name: p, type: webhook, url: \"gopher://x\"}]":                         beyond,
		"channels: [{name: p, type: webhook, url: \"http://x\", resolved: 1}]":              bad,
		"windows: [10s, {kind: hopping, width: 10m, every: 1m, delay: 10s, lateness: 5m}, {kind: session, gap: 5m, max: 2h}]": good,
		"windows: [{width: 30s}]":                             good,
		"windows: [10]":                                       bad,
		"windows: [1h]":                                       beyond,
		"windows: [{kind: session, width: 5m}]":               bad,
		"windows: [{kind: hopping, width: 5m}]":               bad,
		"windows: [{kind: round, width: 5m}]":                 bad,
		"windows: [{width: 30s, gap: 5m}]":                    bad,
		"windows: [{kind: tumbling, every: 30s, width: 30s}]": bad,
		"lateness: 2m\ntime_zone: Europe/Berlin\nsites: {hall: {time_zone: Asia/Kolkata}, attic: {}}": good,
		"lateness: 2":              bad,
		"lateness: 2h":             beyond,
		"time_zone: Mars/Base":     beyond,
		"sites: [hall]":            bad,
		"sites: {\"a b\": {}}":     bad,
		"sites: {hall: {zone: x}}": bad,
	}
	whole, err := os.ReadFile(filepath.Join("testdata", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	texts[string(whole)] = good
	for text, want := range texts {
		_, parsed := config.ParseFile("x", []byte(text))
		if want.good != (parsed == nil) {
			t.Errorf("the parser says %v of\n%s", parsed, text)
		}
		if strings.Contains(text, "above: 1, above: 2") {
			continue // only a parser sees both
		}
		said := s.Validate(instance(t, text))
		if (want.good || want.beyond) != (said == nil) {
			t.Errorf("the schema says %v of\n%s", said, text)
		}
	}
}

// TestSchemaKnowsEveryField compares the fields of the schema with those that the
// parser names to people.
func TestSchemaKnowsEveryField(t *testing.T) {
	var schema struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	known := func(err error) []string {
		_, list, found := strings.Cut(err.Error(), "known are ")
		if !found {
			t.Fatalf("no list of fields in %v", err)
		}
		list, _, _ = strings.Cut(list, "\n")
		return slices.Sorted(slices.Values(strings.Split(list, ", ")))
	}
	_, top := config.ParseFile("x", []byte("zzzzzzzzzz: 1"))
	if d := cmp.Diff(known(top), slices.Sorted(maps.Keys(schema.Properties))); d != "" {
		t.Errorf("fields of the file: %s", d)
	}
	_, one := config.ParseRule("x", []byte("name: a\ndetector: auto\nzzzzzzzzzz: 1"), nil)
	if d := cmp.Diff(known(one), slices.Sorted(maps.Keys(schema.Defs["rule"].Properties))); d != "" {
		t.Errorf("fields of a rule: %s", d)
	}
}
