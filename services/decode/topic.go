package decode

import (
	"fmt"
	"strings"
)

// Topic is what an MQTT topic says about a payload.
type Topic struct {
	Site, Device string
	// Metric is empty for a topic that names only the device.
	Metric string
}

// ParseTopic parses sensors/<site>/<device>/<metric> and
// sensors/<site>/<device>. Any other topic is an *Error with ReasonTopic.
func ParseTopic(topic string) (Topic, error) {
	rest, ok := strings.CutPrefix(topic, "sensors/")
	if !ok {
		return Topic{}, topicError("the topic %s does not begin with sensors/", quote(topic))
	}
	var t Topic
	t.Site, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return Topic{}, topicError("the topic %s has too few levels: it is sensors/<site>/<device>/<metric>, or sensors/<site>/<device> for several metrics", quote(topic))
	}
	var named bool
	t.Device, t.Metric, named = strings.Cut(rest, "/")
	if strings.Contains(t.Metric, "/") {
		return Topic{}, topicError("the topic %s has too many levels: it is sensors/<site>/<device>/<metric>", quote(topic))
	}
	if err := checkToken("site", t.Site); err != nil {
		return Topic{}, err
	}
	if err := checkToken("device", t.Device); err != nil {
		return Topic{}, err
	}
	if !named {
		return t, nil
	}
	if err := checkToken("metric", t.Metric); err != nil {
		return Topic{}, err
	}
	return t, nil
}

func topicError(format string, args ...any) *Error {
	return &Error{Reason: ReasonTopic, Detail: fmt.Sprintf(format, args...)}
}

// longestToken is the greatest length of the name of a site, device or metric.
const longestToken = 64

// checkToken reports what is wrong with the name of a site, device or metric.
func checkToken[T []byte | string](field string, name T) *Error {
	switch {
	case len(name) == 0:
		return &Error{Reason: ReasonTopic, Field: field, Detail: "the name is empty"}
	case len(name) > longestToken:
		return &Error{Reason: ReasonTopic, Field: field, Detail: fmt.Sprintf("the name %s has %d characters, more than %d", quote(name), len(name), longestToken)}
	}
	for i := range len(name) {
		if !tokenCharacter(name[i]) {
			return &Error{Reason: ReasonTopic, Field: field, Detail: fmt.Sprintf("the name %s has characters other than A-Z, a-z, 0-9, _ and -", quote(name))}
		}
	}
	return nil
}

func tokenCharacter(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || c == '_' || c == '-'
}
