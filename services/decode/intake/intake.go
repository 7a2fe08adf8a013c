// Package intake says what becomes of a message that a device publishes: which decoder
// takes its topic and payload, and which readings come out. The bridge, the page on which
// people try a payload and the command for it ask it alike. It is pure.
package intake

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/decode/mapping"
)

// Own is the name of the decoder of Headwater's own topics.
const Own = "Headwater"

// Route says who decodes the messages on a topic.
type Route struct {
	// Address is what one of Headwater's own topics names; its device is empty for every
	// other topic.
	Address topic.Address
	// Mapping is the declared mapping that decodes; nil for none.
	Mapping *mapping.Mapping
	// Site is declared for the topic; empty for none.
	Site string
	// Err says why the topic is not one of Headwater's own.
	Err error
}

// Own reports whether the topic is one of Headwater's own.
func (r Route) Own() bool { return r.Mapping == nil && r.Address.Device != "" }

// Find returns the route of a topic. A declared mapping counts before Headwater's own
// topics, and these before the formats.
func Find(topics *topic.Matcher, mappings mapping.Set, name string) Route {
	by, site := mappings.Find(name)
	if by != nil {
		return Route{Mapping: by}
	}
	address, err := topics.Match(name)
	return Route{Address: address, Site: site, Err: err}
}

// Decode decodes a message on a topic that is not Headwater's own. Taken names the
// decoder; it is empty if none took the message.
func (r Route) Decode(d *decode.Decoder, name string, payload []byte, arrival int64) (taken string, out decode.Message, err error) {
	if r.Mapping != nil {
		out, err = d.Mapped(r.Mapping, "", name, payload, arrival)
		return "mapping of " + r.Mapping.Topic, out, err
	}
	out, err = d.Message(r.Site, name, payload, arrival)
	return out.Format, out, err
}

// Unknown returns why no decoder takes a topic and what to change.
func (r Route) Unknown(name string) error {
	why := r.Err
	if why == nil {
		why = topic.ErrUnknown
	}
	if near := Nearest(name); near != "" {
		return fmt.Errorf("%w; %s", why, near)
	}
	return why
}

// Nearest says which format of the table has the topics that are most like one, as the end
// of a sentence; empty if none is.
func Nearest(name string) string {
	levels, best, score := strings.Split(strings.ToLower(name), "/"), "", 0
	for _, f := range decode.Formats() {
		for _, p := range f.Topics {
			if s := likeness(strings.Split(strings.ToLower(p), "/"), levels); s > score {
				best, score = "the nearest is "+f.Name+", whose topics are like "+p, s
			}
		}
	}
	return best
}

// likeness counts the literals of a pattern that a topic has, in their order.
func likeness(pattern, levels []string) (n int) {
	for _, p := range pattern {
		if strings.ContainsAny(p, "{+#") {
			continue
		}
		if i := slices.Index(levels, p); i >= 0 {
			n++
			levels = levels[i+1:]
		}
	}
	return n
}

// Tried is what becomes of a message, for people.
type Tried struct {
	// Decoder took the message; empty if none did.
	Decoder string
	// Items has one item for each device, and one with an error for what is not readable.
	Items []decode.Item
	// Nothing says why a message that was understood has no reading; empty otherwise.
	Nothing string
	// Reason and Problem are those of the dead letter; empty if there is none.
	Reason, Problem string
	// Advice says what to change; empty if there is nothing.
	Advice string
}

// ReasonTopic is the reason of a topic that no decoder takes.
const ReasonTopic = "topic"

// Try says what becomes of a message.
func Try(d *decode.Decoder, topics *topic.Matcher, mappings mapping.Set, name string, payload []byte, arrival int64) Tried {
	route := Find(topics, mappings, name)
	if len(payload) == 0 {
		return Tried{Nothing: "it is empty, which clears a retained message in MQTT"}
	}
	if route.Own() {
		a := route.Address
		readings, err := d.Append(nil, a.Site, a.Device, a.Metric, payload, arrival)
		out := Tried{Decoder: Own}
		if len(readings) > 0 {
			out.Items = []decode.Item{{Site: a.Site, Device: a.Device, Readings: readings}}
		}
		return out.with(err, route)
	}
	taken, message, err := route.Decode(d, name, payload, arrival)
	if taken == "" {
		return Tried{Reason: ReasonTopic, Problem: route.Unknown(name).Error(), Advice: adviceOnTopic(topics, name)}
	}
	out := Tried{Decoder: taken, Items: message.Items, Nothing: message.Nothing}
	if err == nil {
		err = Rest(message.Items)
	}
	return out.with(err, route)
}

// Rest returns the error of the first item that has one.
func Rest(items []decode.Item) error {
	for _, item := range items {
		if item.Err != nil {
			return item.Err
		}
	}
	return nil
}

// with adds why a message becomes a dead letter, if it does.
func (t Tried) with(err error, route Route) Tried {
	if err == nil {
		return t
	}
	t.Problem = err.Error()
	fault, ok := errors.AsType[*decode.Error](err)
	if !ok {
		return t
	}
	t.Reason = fault.Reason
	switch {
	case fault.Reason == decode.ReasonClock:
		t.Advice = "Set the clock of the device, or leave the time out: then the time of arrival counts."
	case fault.Reason == decode.ReasonTooLarge:
		t.Advice = "Send it in parts, or have a mapping take only what is needed."
	case fault.Reason == decode.ReasonValue:
		t.Advice = "Have the device leave the value out, or send null, when it has none."
	case route.Mapping != nil:
		t.Advice = "Change the mapping of " + route.Mapping.Topic + " in the configuration."
	case fault.Partial:
		t.Advice = "The rest was read. A mapping of the topic can take this field under another name, or leave it out."
	default:
		t.Advice = "Change what the device sends, or declare a mapping of the topic."
	}
	return t
}

// adviceOnTopic says what to do with a topic that no decoder takes: a mapping of it, which
// only has to be completed.
func adviceOnTopic(topics *topic.Matcher, name string) string {
	levels := strings.Split(name, "/")
	if len(levels) > 1 {
		levels[len(levels)-2] = "{device}"
	}
	return "Change the topic to " + strings.Join(topics.Patterns(), " or ") + ", or declare a mapping: mappings: [{topic: \"" +
		strings.Join(levels, "/") + "\", device: \"{device}\"" + metricOf(levels) + "}]"
}

func metricOf(levels []string) string {
	if len(levels) > 1 {
		return ", metric: \"" + levels[len(levels)-1] + "\""
	}
	return ""
}
