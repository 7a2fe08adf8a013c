// Package config reads the file in which people say what to watch and who is
// notified. Every service that needs rules or channels reads the same configuration
// with it, so all of them accept the same texts.
//
// Parsing is strict: an unknown field, a value of another type or a number without
// its unit is an error, and every error names file, line and field. Parse does no
// I/O; the service that sends reads the secret that a channel's url_file names.
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"headwater/services/decode/mapping"
	"headwater/services/internal/about"
	"headwater/services/internal/oncall"
	"headwater/services/rule"
)

// Bounds of a configuration.
const (
	// MaxBytes is the greatest size of the text.
	MaxBytes = 1 << 20
	// MaxRules is the greatest number of rules.
	MaxRules = 10_000
	// MaxChannels is the greatest number of channels.
	MaxChannels = 100
	// MaxDevices is the greatest number of entries in devices.
	MaxDevices = 1000
	// MaxSeries is the greatest number of entries in series.
	MaxSeries = 1000
	// MaxMappings is the greatest number of mappings of topics.
	MaxMappings = 500
	// MaxUnit is the greatest length of a unit in bytes.
	MaxUnit = 64
	// MaxLateness is the longest lateness: open windows stay in memory for that long.
	MaxLateness = time.Hour
	// maxProblems bounds how many problems one answer holds.
	maxProblems = 100
)

// Defaults of what the text leaves out.
const (
	DefaultLateness = 5 * time.Minute
	DefaultTimeZone = "UTC"
)

// Config is a complete, valid configuration. It is never changed after Parse;
// several goroutines may read it.
type Config struct {
	// Rules are the rules of the file, or those that are kept, then the rules made on
	// the page, then the built-in rule unless the configuration says otherwise. Their
	// names are unique and their defaults filled in.
	Rules []rule.Rule
	// Devices are what is said about devices, in the order of the text.
	Devices []Devices
	// Series say how the readings of series are to be read, in the order of the
	// text.
	Series []Series
	// Derived are the derived series, in the order of the text.
	Derived []rule.Derived
	// Groups are the series of several devices, in the order of the text.
	Groups []rule.Group
	// Counters are the meters, in the order of the text. What is derived of them is in Derived.
	Counters []rule.Counter
	// derivedBy are the entries that declare Derived, while the text is read.
	derivedBy []*object
	// derivedOrder are the numbers of Derived, each after those that it is made from.
	derivedOrder []derivedOf
	// Mappings say how topics that are not Headwater's own become readings, in the order
	// of the text.
	Mappings mapping.Set
	// Channels are in the order of the text; their names are unique.
	Channels []Channel
	// Escalation are the steps in which further channels are notified, in the order of the
	// text.
	Escalation []Escalation
	// Rotas are in the order of the text; their names are unique, also among channels.
	Rotas []oncall.Rota
	// QuietHours are in the order of the text.
	QuietHours []oncall.Quiet
	// Report is the morning report.
	Report Report
	// Grouping is that of channels without one of their own.
	Grouping Grouping
	// channelGroupings are the groupings of the channels that have their own.
	channelGroupings map[string]Grouping
	// Windows are the windows of every series, the tumbling ones first, ascending.
	// The window of a minute is always among them.
	Windows []Window
	// Lateness is the lateness of windows that have none of their own.
	Lateness time.Duration
	// TimeZone is the time zone of sites that have none of their own.
	TimeZone string
	// siteZones are the time zones of the sites that have their own.
	siteZones map[string]string
	// registry are tags that people say on the pages.
	registry Tags
}

// Zone returns the name of the time zone of a site, which time.LoadLocation
// knows.
func (c *Config) Zone(site string) string {
	if zone, ok := c.siteZones[site]; ok {
		return zone
	}
	return c.TimeZone
}

// Rule returns the rule of that name.
func (c *Config) Rule(name string) (rule.Rule, bool) {
	i := slices.IndexFunc(c.Rules, func(r rule.Rule) bool { return r.Name == name })
	if i < 0 {
		return rule.Rule{}, false
	}
	return c.Rules[i], true
}

// Devices are the devices of one pattern, and what is said about them.
type Devices struct {
	// Match selects by site and device; its metric and tags are empty.
	Match rule.Match
	about.About
}

// About returns what the text says about a device. Where entries differ, the later one
// counts.
func (c *Config) About(site, device string) about.About {
	var all about.About
	for _, d := range c.Devices {
		if d.Match.MatchesDevice(site, device, nil) {
			all = all.Under(d.About)
		}
	}
	return all
}

// Tags returns what the device is tagged with, or nil. What the text says counts more than the
// registry.
func (c *Config) Tags(site, device string) map[string]string {
	file := c.FileTags(site, device)
	of := c.registry[site+"/"+device]
	if len(of) == 0 {
		return file
	}
	tags := maps.Clone(of)
	maps.Copy(tags, file)
	return tags
}

// FileTags returns what the text tags a device with, or nil. Where entries differ, the later
// one counts.
func (c *Config) FileTags(site, device string) map[string]string {
	var tags map[string]string
	for _, d := range c.Devices {
		if len(d.Tags) == 0 || !d.Match.MatchesDevice(site, device, nil) {
			continue
		}
		if tags == nil {
			tags = make(map[string]string)
		}
		maps.Copy(tags, d.Tags)
	}
	return tags
}

// Series are the series of one pattern, and how their readings are to be read.
type Series struct {
	// Match selects by site, device and metric; its tags are empty.
	Match rule.Match
	// Unit is the unit of their numbers; empty when it is not declared.
	Unit string
	// Literal reports whether their texts stay what they are; nil when it is not
	// declared.
	Literal *bool
}

// Reading returns how the readings of a series are to be read: the unit of its
// numbers, empty when none is declared, and whether on, off, true, false and
// numbers in quotes stay texts. Where entries differ, the later one counts.
func (c *Config) Reading(site, device, metric string) (unit string, literal bool) {
	for _, s := range c.Series {
		if !s.Match.MatchesSeries(site, device, metric) {
			continue
		}
		if s.Unit != "" {
			unit = s.Unit
		}
		if s.Literal != nil {
			literal = *s.Literal
		}
	}
	return unit, literal
}

// ChannelType is the protocol of a channel.
type ChannelType string

const (
	// Webhook posts the alerts as JSON.
	Webhook ChannelType = "webhook"
	// Ntfy publishes to a topic of an ntfy server.
	Ntfy ChannelType = "ntfy"
	// Shoutrrr takes any service URL of the shoutrrr library.
	Shoutrrr ChannelType = "shoutrrr"
	// WebPush notifies the phones and browsers that are registered on a page. It has no URL.
	WebPush ChannelType = "webpush"
)

// ChannelTypes lists every type.
func ChannelTypes() []ChannelType { return []ChannelType{Webhook, Ntfy, Shoutrrr, WebPush} }

// Channel is one way to reach people.
type Channel struct {
	// Name is unique among the channels: 1 to 64 characters of [a-z0-9-].
	Name string
	// Type is the protocol.
	Type ChannelType
	// URL is where to; empty when URLFile is given.
	URL Secret
	// URLFile names a file whose first line is the URL, relative to the folder
	// of the configuration; empty when URL is given.
	URLFile string
	// Resolved reports whether the channel is also notified when an alert is over.
	Resolved bool
	// Secret signs the messages of a webhook; empty when SecretFile is given or they are
	// not signed. SecretFile names a file that holds it, like URLFile.
	Secret     Secret
	SecretFile string
	// Format is what a webhook posts: FormatHeadwater, FormatAlertmanager or, for channels
	// of other types, empty.
	Format string
	// FromPage reports whether it was made on the page, and may be changed there.
	FromPage bool
}

// What a webhook posts.
const (
	// FormatHeadwater is the format of Headwater, the default.
	FormatHeadwater = "headwater"
	// FormatAlertmanager is the webhook format of Alertmanager, version 4.
	FormatAlertmanager = "alertmanager"
)

// Formats lists what a webhook may post.
func Formats() []string { return []string{FormatHeadwater, FormatAlertmanager} }

// Bounds of the secret of a channel, in bytes.
const (
	LeastSecret = 16
	MaxSecret   = 1024
)

// Secret is a text that never shows in logs, errors or JSON.
type Secret string

var (
	_ slog.LogValuer = Secret("")
	_ fmt.Formatter  = Secret("")
)

const redacted = "[redacted]"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String returns a stand-in.
func (s Secret) String() string { return redacted }

// Format writes a stand-in for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns a stand-in.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a stand-in.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is the name that Parse was given, or a rule that Headwater keeps.
	File string
	// Line counts from 1.
	Line int
	// Field is the path to the field, for example "rules[2].within"; empty for a
	// problem of the whole text.
	Field string
	// Text says what is wrong, for people. It never quotes a URL.
	Text string
}

// Error returns "file:line: field: text".
func (p *Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Field, p.Text)
}

// Problems returns the problems in an error of Parse, in the order of the
// text, or nil when it is none of Parse's.
func Problems(err error) []*Problem {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []*Problem
		for _, e := range joined.Unwrap() {
			if p, ok := errors.AsType[*Problem](e); ok {
				all = append(all, p)
			}
		}
		return all
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		return []*Problem{p}
	}
	return nil
}

//go:embed default.yaml
var defaultText string

// Default returns the text that is in force until another one is given. It has
// neither rules nor channels.
func Default() []byte { return []byte(defaultText) }

//go:embed demo.yaml
var demoText string

// Demo returns a text with the rules for the warehouse of the demo.
func Demo() []byte { return []byte(demoText) }

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of configuration files, for editors. It
// is generated from the table of rules. It checks less than Parse: nothing that
// depends on two fields of different parts.
func Schema() []byte { return slices.Clone(schema) }
