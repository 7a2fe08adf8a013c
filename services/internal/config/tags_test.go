package config_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"headwater/services/internal/config"
)

func TestTagsOfTheRegistry(t *testing.T) {
	p := config.Parts{
		File: []byte(`devices: [{match: {device: "door-*"}, tags: {kind: door}}]
grouping: {by: [site, "tag:zone"]}
rules: [{name: warm, match: {tags: {kind: door, floor: "2"}}, detector: limit, above: 30}]
groups: [{name: mean-of-wing, match: {site: "*", tags: {wing: "*"}}, metric: mean, expression: 'mean("temperature")'}]
`),
		Tags: config.Tags{"hall/door-1": {"kind": "gate", "floor": "2"}, "hall/lamp": {"floor": "1"}},
	}
	stored, err := p.Encode()
	if err == nil {
		p, err = config.Decode(stored)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Parse("x")
	if err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]map[string]string{
		"door-1": {"kind": "door", "floor": "2"}, "door-2": {"kind": "door"}, "lamp": {"floor": "1"}, "other": nil,
	} {
		if got := c.Tags("hall", device); !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", device, got, want)
		}
	}
	if got, want := c.TagNames(), map[string]bool{"kind": true, "floor": true, "zone": true, "wing": true, "gateway": true}; !maps.Equal(got, want) {
		t.Errorf("the names are %v, want %v", got, want)
	}
	if kept := p.ForFile("other.yaml", []byte("auto: off\n")); !kept.Tags.Equal(p.Tags) {
		t.Error("another file removes the tags of the registry")
	}

	many := make(config.Tags)
	for i := range 20_000 {
		many[fmt.Sprint("hall/door-", i)] = map[string]string{"kind": "door"}
	}
	kept, left := many.Within()
	if kept.Size() > config.MaxTagsBytes || left == 0 || left+len(kept) != len(many) {
		t.Errorf("%d kept, %d left out, %d bytes", len(kept), left, kept.Size())
	}
	for name, tags := range map[string]config.Tags{
		"bytes long":      many,
		"not site/device": {"hall": {"kind": "door"}},
		"of hall/d":       {"hall/d": {"kind": strings.Repeat("x", 1000)}},
	} {
		if _, err := (config.Parts{File: []byte("auto: off\n"), Tags: tags}).Parse("x"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
