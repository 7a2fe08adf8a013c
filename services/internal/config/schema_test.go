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
	texts := map[verdict][]string{
		good: {
			string(config.Default()),
			"rules:",
			"rules: []",
			"auto: off",
			"auto: false",
			"devices: []\nchannels:",
			limit(""),
			limit(", below: 0.5, hysteresis: 0.1, for: 2m, silence: 1d12h, severity: info"),
			limit(", for: 0s"),
			limit(", state: muted, remind: 4h, labels: {team: ops, floor: 2}, runbook: \"https://example.org\"}]\nchannels: [{name: p, type: ntfy, url: \"https://ntfy.sh/x\""),
			limit(", notify: []"),
			limit(", notify:"),
			limit(", match: {site: x, device: \"d-*\", metric: \"[ab]\", tags: {kind: door}}"),
			"rules: [{name: a, detector: rate, rise: 3, within: 5m, settle: 1h}]",
			"rules: [{name: a, detector: auto, false_alarms: 0.5}]",
			"rules: [{name: a, detector: surge, direction: up}]",
			"rules: [{name: a, detector: silence}]",
			"rules: [{name: a, detector: unreadable}]",
			"rules: [{name: a, detector: unreadable, share: 2.5, within: 2h}]",
			"rules: [{name: a, expression: \"a > b\", resolve: \"a < b\", metric: b, for: 1m}]",
			"rules: [{name: a, detector: expression, expression: \"a > b\"}]",
			"devices: [{match: {device: x}, tags: {kind: door}}]",
			"devices: [{match: {}, tags: {kind: door}}]",
			"channels: [{name: p, type: ntfy, url_file: x, resolved: false}]",
			"windows: [10s, {kind: hopping, width: 10m, every: 1m, delay: 10s, lateness: 5m}, {kind: session, gap: 5m, max: 2h}]",
			"windows: [{width: 30s}]",
			"derived:",
			"derived: [{metric: d, expression: \"a - b\", unit: K, match: {site: x, device: \"d-*\", tags: {kind: door}}, max_age: 10m}]",
			"groups:",
			"groups: [{name: g, metric: m, expression: \"mean(\\\"t\\\")\", unit: K, every: 10s, max_age: 10m, match: {site: x, device: \"d-*\", tags: {kind: door}}}]",
			"derived: [{metric: d, difference: a}, {metric: e, difference: a, over: 5m}, {metric: f, sum: a, over: 1h}, {metric: g, integral: a, over: 30m}]",
			"counters:",
			"counters: [{metric: energy, unit: kWh, rollover: 65536, max_rate: 30, price: 0.3, currency: EUR, match: {device: \"m-*\"}, tariff: [{price: 0, days: \"sat,sun\"}, {price: 0.2, from: \"22:00\", to: \"6:00\"}]}]",
			"escalation:",
			"escalation: [{after: 10m, notify: [p]}, {severity: info, after: 1h, notify: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas:\nquiet_hours:",
			"rotas: [{name: duty, handover: mon 09:00, time_zone: Europe/Berlin, first: 2026-11-30, people: [{name: Ann, notify: [p]}, p]}]\nescalation: [{after: 10m, notify: [duty, p]}]\nrules: [{name: a, detector: silence, notify: [duty]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"quiet_hours: [{from: \"22:00\", until: \"7:00\", severity: info, days: \"mon,tue\", time_zone: UTC, channels: [p], instead: [q]}, {from: 22:00, until: 24:00}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}, {name: q, type: webhook, url: \"http://x\"}]",
			"report:",
			"report: {at: \"07:00\", channel: p, site: hall}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"grouping:",
			"grouping: {by: [site, gateway, \"label:team\", \"tag:floor\"], wait: 10s, interval: 5m, repeat: 4h}",
			"grouping: {by: [], interval: 0s, repeat: 0s, channels: {p: {by: [severity], wait: 1m}}}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"lateness: 2m\ntime_zone: Europe/Berlin\nsites: {hall: {time_zone: Asia/Kolkata}, attic: {}}",
		},
		bad: {
			"auto: maybe",
			"derived: [{metric: d}]",
			"groups: [{name: g, metric: m}]",
			"groups: [{name: g, metric: m, expression: \"mean(\\\"t\\\")\", every: 1s, over: 5m}]",
			"groups: [{name: \"a b\", metric: m, expression: \"mean(\\\"t\\\")\"}]",
			"counters: [{unit: kWh}]",
			"counters: [{metric: energy, rollover: 0}]",
			"counters: [{metric: energy, tariff: [{from: \"22:00\"}]}]",
			"counters: [{metric: energy, tariff: [{price: 1, from: \"24:00\"}]}]",
			"counters: [{metric: energy, tariff: [{price: 1, days: weekend}]}]",
			"derived: [{expression: \"a - b\"}]",
			"derived: [{metric: \"a b\", difference: a}]",
			"derived: [{metric: d, difference: a, sum: a, over: 5m}]",
			"derived: [{metric: d, sum: a}]",
			"derived: [{metric: d, expression: \"a\", over: 5m}]",
			"derived: [{metric: d, difference: a, match: {metric: a}}]",
			"rule: []",
			"rules: {}",
			"rules: [a]",
			"- a",
			limit(", notify: [a, a]}]\nchannels: [{name: a, type: webhook, url: \"http://x\""),
			limit(", match: {room: x}"),
			limit(", match: {tags: {Kind: x}}"),
			limit(", match: {tags: {kind: \"\"}}"),
			limit(", match: {tags: [x]}"),
			limit(", state: off"),
			limit(", severity: loud"),
			limit(", labels: {a: {}}"),
			limit(", runbook: wiki"),
			limit(", runbook: \"ftp://x\""),
			limit(", remind: 4"),
			limit(", for: 5"),
			limit(", for: five"),
			limit(", for: -5s"),
			limit(", hysteresis: -1"),
			"rules: [{name: a, detector: limit, above: x}]",
			limit(", description: 7"),
			limit(", rise: 3"),
			limit(", within: 5m"),
			limit(", direction: up"),
			limit(", share: 5"),
			"rules: [{name: a, detector: unreadable, share: 0}]",
			"rules: [{name: a, detector: unreadable, share: 100}]",
			"rules: [{name: a, detector: unreadable, for: 5m}]",
			"rules: [{name: a, detector: unreadable, false_alarms: 1}]",
			limit(", false_alarms: 1"),
			limit(", expression: \"a > 1\""),
			limit(", colour: red"),
			"rules: [{detector: limit, above: 1}]",
			"rules: [{name: A, detector: limit, above: 1}]",
			"rules: [{name: a}]",
			"rules: [{name: a, detector: magic}]",
			"rules: [{name: a, detector: limit}]",
			"rules: [{name: a, detector: rate, fall: 3}]",
			"rules: [{name: a, detector: rate, within: 5m}]",
			"rules: [{name: a, detector: rate, rise: 0, within: 5m}]",
			"rules: [{name: a, detector: rate, rise: 3, within: 5m, for: 1m}]",
			"rules: [{name: a, detector: auto, false_alarms: 0}]",
			"rules: [{name: a, detector: auto, false_alarms: 2000}]",
			"rules: [{name: a, detector: surge, direction: left}]",
			"rules: [{name: a, detector: drift, direction: up}]",
			"rules: [{name: a, detector: expression}]",
			"rules: [{name: a, expression: \"a > b\", above: 1}]",
			"rules: [{name: a, expression: \"a > b\", match: {metric: x}}]",
			"rules: [{name: a, expression: 7}]",
			"devices: [{tags: {kind: door}}]",
			"devices: [{match: {device: x}}]",
			"devices: [{match: {device: x}, tags: {}}]",
			"devices: [{match: {metric: x}, tags: {kind: door}}]",
			"channels: [{name: p, type: ntfy}]",
			"channels: [{name: p, type: fax, url: \"http://x\"}]",
			"channels: [{name: p_q, type: webhook, url: \"http://x\"}]",
			"channels: [{name: p, type: webhook, url: \"http://x\", url_file: y}]",
			"channels: [{name: p, type: webhook, url: \"http://x\", resolved: 1}]",
			"windows: [10]",
			"windows: [{kind: session, width: 5m}]",
			"windows: [{kind: hopping, width: 5m}]",
			"windows: [{kind: round, width: 5m}]",
			"windows: [{width: 30s, gap: 5m}]",
			"windows: [{kind: tumbling, every: 30s, width: 30s}]",
			"rotas: {}",
			"rotas: [{name: duty, handover: mon 09:00, people: []}]",
			"rotas: [{name: duty, handover: mon 24:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: a_b, handover: mon 09:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon 09:00, people: [{name: Ann}]}]",
			"rotas: [{name: duty, handover: mon 09:00, people: [{name: Ann, notify: []}]}]",
			"rotas: [{handover: mon 09:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon 09:00, first: 30.11.2026, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"quiet_hours: [{from: \"22:00\"}]",
			"quiet_hours: [{from: \"24:00\", until: \"07:00\"}]",
			"quiet_hours: [{from: \"22:00\", until: \"07:00\", severity: critical}]",
			"quiet_hours: [{from: 22, until: \"07:00\"}]",
			"report: []",
			"report: {at: \"07:00\"}",
			"report: {channel: p}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"report: {at: \"25:00\", channel: p}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"report: {at: 7, channel: p}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"report: {at: \"07:00\", channel: p, site: a/b}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"escalation: {after: 10m}",
			"escalation: [{after: 10m}]",
			"escalation: [{notify: []}]",
			"escalation: [{after: 10, notify: []}]",
			"escalation: [{after: 10m, notify: [], severity: loud}]",
			"escalation: [{after: 10m, notify: [a, a]}]\nchannels: [{name: a, type: webhook, url: \"http://x\"}]",
			"grouping: [site]",
			"grouping: {by: site}",
			"grouping: {by: [room]}",
			"grouping: {by: [\"label:\"]}",
			"grouping: {by: [site, site]}",
			"grouping: {wait: 5}",
			"grouping: {channels: {p: {repeat: 1h}}}\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"lateness: 2",
			"sites: [hall]",
			"sites: {\"a b\": {}}",
			"sites: {hall: {zone: x}}",
		},
		beyond: {
			limit(", notify: [a]"),
			limit(", match: {device: \"[\"}"),
			limit(", remind: 1s"),
			limit(", below: 3"),
			limit("}, {name: a, detector: limit, above: 1"),
			"rules: [{name: a, detector: limit, above: 1, above: 2}]",
			"rules: [{name: a, expression: \"a >\"}]",
			"rules: [{name: a, expression: \"a > b\", metric: c}]",
			"channels: [{name: p, type: webhook, url: \"gopher://x\"}]",
			"report: {at: \"07:00\", channel: nobody}",
			"escalation: [{after: 10m, notify: [nobody]}]",
			"rotas: [{name: duty, handover: mon 09:00, people: [nobody]}]",
			"rotas: [{name: duty, handover: may 09:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon 09:00, people: [p, p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon 09:00, first: 2026-02-30, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: duty, handover: mon 09:00, time_zone: Here, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: p, handover: mon 09:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"rotas: [{name: d, handover: mon 09:00, people: [p]}, {name: d, handover: mon 09:00, people: [p]}]\nchannels: [{name: p, type: webhook, url: \"http://x\"}]",
			"quiet_hours: [{from: \"22:00\", until: \"07:00\", instead: [nobody]}]",
			"quiet_hours: [{from: \"22:00\", until: \"07:00\", days: someday}]",
			"escalation: [{after: 1s, notify: []}]",
			"grouping: {repeat: 1s}",
			"grouping: {wait: 1h}",
			"grouping: {channels: {p: {interval: 1m}}}",
			"windows: [1h]",
			"lateness: 2h",
			"time_zone: Mars/Base",
		},
	}
	whole, err := os.ReadFile(filepath.Join("testdata", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	texts[good] = append(texts[good], string(whole))
	check := func(want verdict, text string) {
		t.Helper()
		_, parsed := config.ParseFile("x", []byte(text))
		if want.good != (parsed == nil) {
			t.Errorf("the parser says %v of\n%s", parsed, text)
		}
		if strings.Contains(text, "above: 1, above: 2") {
			return // only a parser sees both
		}
		said := s.Validate(instance(t, text))
		if (want.good || want.beyond) != (said == nil) {
			t.Errorf("the schema says %v of\n%s", said, text)
		}
	}
	for want, all := range texts {
		for _, text := range all {
			check(want, text)
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
