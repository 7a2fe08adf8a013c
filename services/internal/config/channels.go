package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"headwater/services/rule"
)

// channelsSection is the section of a file that holds channels.
const channelsSection = "channels"

// FormatChannel returns the text of one channel: a YAML mapping, as Parts.Channels hold it.
func FormatChannel(c Channel) string {
	var b strings.Builder
	field := func(name, value string) {
		if value == "" {
			return
		}
		// A string of JSON is one of YAML.
		var quoted bytes.Buffer
		e := json.NewEncoder(&quoted)
		e.SetEscapeHTML(false)
		_ = e.Encode(value) // a string can always be encoded
		b.WriteString(name + ": " + quoted.String())
	}
	field("name", c.Name)
	field("type", string(c.Type))
	field("url", c.URL.Reveal())
	field("url_file", c.URLFile)
	field("secret", c.Secret.Reveal())
	field("secret_file", c.SecretFile)
	if c.Format != FormatHeadwater {
		field("format", c.Format)
	}
	if !c.Resolved {
		b.WriteString("resolved: false\n")
	}
	return b.String()
}

// channelPieces adds the channels made on the page.
func (r *reader) channelPieces(c *Config, pieces []Piece) {
	r.origin = rule.FromPage
	for _, p := range pieces {
		r.file = "channel " + clip(p.Name)
		if !r.fits([]byte(p.Text)) {
			continue
		}
		root := r.root([]byte(p.Text))
		if root == nil {
			continue
		}
		o := r.object(value{node: root, line: line(root)}, channelFields...)
		if o == nil {
			continue
		}
		one := o.channel()
		one.FromPage = true
		if slices.ContainsFunc(c.Channels, func(o Channel) bool { return o.Name == one.Name }) && one.Name != "" {
			o.fail("name", "%q is the name of another channel already", clip(one.Name))
		}
		c.Channels = append(c.Channels, one)
	}
	if len(c.Channels) > MaxChannels {
		r.problem(1, channelsSection, "are %d with those of the file, at most %d", len(c.Channels), MaxChannels)
	}
}

// WithChannel returns the parts with a channel made on the page, in the place of the one of
// that name.
func (p Parts) WithChannel(c Channel) Parts {
	p.Channels = slices.Clone(p.Channels)
	piece := Piece{Name: c.Name, Text: FormatChannel(c)}
	if i := slices.IndexFunc(p.Channels, func(o Piece) bool { return o.Name == c.Name }); i >= 0 {
		p.Channels[i] = piece
		return p
	}
	p.Channels = append(p.Channels, piece)
	return p
}

// WithoutChannel returns the parts without a channel made on the page.
func (p Parts) WithoutChannel(name string) Parts {
	p.Channels = slices.DeleteFunc(slices.Clone(p.Channels), func(o Piece) bool { return o.Name == name })
	return p
}

// AdoptChannels returns the parts with all their channels made on the page. No file may be
// in charge.
func (p Parts) AdoptChannels() (Parts, error) {
	c, err := p.Parse("configuration")
	if err != nil {
		return p, fmt.Errorf("read the channels: %w", err)
	}
	without := func(text []byte) []byte {
		var b strings.Builder
		all := sections(text)
		if !slices.Contains(namesOf(all), channelsSection) {
			return text
		}
		for _, s := range all {
			if s.name != channelsSection {
				b.WriteString(s.text)
			}
		}
		return []byte(b.String())
	}
	p.File, p.Base, p.Channels = without(p.File), without(p.Base), nil
	for _, ch := range c.Channels {
		p = p.WithChannel(ch)
	}
	return p, nil
}
