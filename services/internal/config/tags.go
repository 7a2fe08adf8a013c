package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"headwater/services/internal/about"
	"headwater/streams"
)

// MaxTagsBytes bounds the tags of the registry in a configuration, in bytes: every lane takes
// in each version.
const MaxTagsBytes = 256 << 10

// Tags are tags of devices, by "site/device".
type Tags map[string]map[string]string

// Equal reports whether both say the same.
func (t Tags) Equal(o Tags) bool {
	return maps.EqualFunc(t, o, func(a, b map[string]string) bool { return maps.Equal(a, b) })
}

// Size is about how many bytes the tags take.
func (t Tags) Size() int {
	size := 0
	for device, tags := range t {
		size += sizeOf(device, tags)
	}
	return size
}

func sizeOf(device string, tags map[string]string) int {
	size := len(device) + 8
	for name, value := range tags {
		size += len(name) + len(value) + 6
	}
	return size
}

// Within returns the tags of the first devices that take at most MaxTagsBytes, and how many
// devices are left out.
func (t Tags) Within() (kept Tags, left int) {
	if t.Size() <= MaxTagsBytes {
		return t, 0
	}
	kept, size := make(Tags), 0
	for i, device := range slices.Sorted(maps.Keys(t)) {
		if size += sizeOf(device, t[device]); size > MaxTagsBytes {
			return kept, len(t) - i
		}
		kept[device] = t[device]
	}
	return kept, 0
}

// problem returns what is wrong with the tags, or nil.
func (t Tags) problem() error {
	if size := t.Size(); size > MaxTagsBytes {
		return fmt.Errorf("are %d bytes long, at most %d", size, MaxTagsBytes)
	}
	for name, tags := range t {
		site, device, _ := strings.Cut(name, "/")
		if !streams.ValidToken(site) || !streams.ValidToken(device) {
			return fmt.Errorf("%q is not site/device", clip(name))
		}
		if err := (about.About{Tags: tags}).Validate(); err != nil {
			return fmt.Errorf("of %s: %w", name, err)
		}
	}
	return nil
}

// TagNames are the names of the tags that rules, derived series, groups and counters match, or by
// which alerts are grouped.
func (c *Config) TagNames() map[string]bool {
	names := map[string]bool{ByGateway: true}
	add := func(tags map[string]string) {
		for name := range tags {
			names[name] = true
		}
	}
	for _, r := range c.Rules {
		add(r.Match.Tags)
	}
	for _, d := range c.Derived {
		add(d.Match.Tags)
	}
	for _, d := range c.Counters {
		add(d.Match.Tags)
	}
	for _, g := range c.Groups {
		add(g.Match.Tags)
	}
	for _, g := range append(slices.Collect(maps.Values(c.channelGroupings)), c.Grouping) {
		for _, by := range g.By {
			if name, is := strings.CutPrefix(by, ByTag); is {
				names[name] = true
			}
		}
	}
	return names
}

// RegistryTags are the tags of the registry that the configuration holds.
func (c *Config) RegistryTags() Tags { return c.registry }
