package streams

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSubject is returned for a subject or a topic in an unknown form.
var ErrSubject = errors.New("unknown form of subject")

// Source is the way by which a reading arrived. It is a token of the subjects of
// TELEMETRY.
type Source string

const (
	// SourceMQTT is for readings published with QoS 1, and for the clock.
	SourceMQTT Source = "mqtt"
	// SourceMQTT2 is for readings published with QoS 2, one message of a device each.
	SourceMQTT2 Source = "mqtt2"
	// SourceMQTT0 is for readings published with QoS 0.
	SourceMQTT0 Source = "mqtt0"
	// SourceHTTP is for readings from the gateway.
	SourceHTTP Source = "http"
	// SourceRedrive is for readings of dead letters that were processed again.
	SourceRedrive Source = "redrive"
)

// edgePrefix begins the sources of edges, and within DERIVED what edges derived.
const edgePrefix = "edge."

// EdgeSource is for readings that an edge has sent up. The name must be a valid token.
func EdgeSource(edge string) Source { return Source(edgePrefix + edge) }

// EdgeSummarySource is for the summaries that an edge has sent up, as readings. They come from
// another stream of the edge than its readings, so they have a subject of their own. The name
// must be a valid token.
func EdgeSummarySource(edge string) Source { return EdgeSource(edge) + summarySuffix }

// summarySuffix ends an EdgeSummarySource. No name of an edge has its first letter.
const summarySuffix = "=summaries"

// Edge returns the name of the edge of an EdgeSource or EdgeSummarySource, and whether it is
// one.
func (s Source) Edge() (name string, ok bool) {
	name, ok = strings.CutPrefix(string(s), edgePrefix)
	name = strings.TrimSuffix(name, summarySuffix)
	return name, ok && ValidToken(name)
}

const (
	telemetryPrefix  = "telemetry."
	derivedPrefix    = "derived."
	alertingPrefix   = "alerting."
	deliveryPrefix   = "deliveries."
	deadLetterPrefix = "deadletters."
	auditPrefix      = "audit."
	mqttPrefix       = "$MQTT.msgs."
	commandPrefix    = "commands."
	mqttRetained     = retainedPrefix + ">"
)

// Filters that match every subject of a kind.
const (
	TelemetryAll   = telemetryPrefix + ">"
	DerivedAll     = derivedPrefix + ">"
	AlertingAll    = alertingPrefix + ">"
	DeliveriesAll  = deliveryPrefix + ">"
	DeadLettersAll = deadLetterPrefix + ">"
	AuditAll       = auditPrefix + ">"
	// MQTTAll covers every message that is published over MQTT with QoS 1 or 2:
	// nats-server publishes it again below this prefix and waits for an answer.
	MQTTAll = mqttPrefix + ">"
	// MQTTCommands covers those that StreamMQTT stores: commands for devices.
	MQTTCommands = mqttPrefix + commandPrefix + ">"
	// MQTTAnswers covers the answers to MQTTAll.
	MQTTAnswers = "$MQTT.JSA.*.MS.*"
	// TelemetryKept covers the messages of every lane that are written with a
	// compare-and-set.
	TelemetryKept = telemetryPrefix + "*." + string(SourceMQTT)
)

// DeviceDisconnects is where nats-server reports, in its system account, each connection
// of the account of the devices that ended, and why.
const DeviceDisconnects = "$SYS.ACCOUNT.DEVICES.DISCONNECT"

// Where a user of the system account asks every nats-server for its connections, and one of
// them to close a connection.
const (
	Connections = "$SYS.REQ.SERVER.PING.CONNZ"
	kickPrefix  = "$SYS.REQ.SERVER."
	kickSuffix  = ".KICK"
	// KickAll covers the requests to close a connection.
	KickAll = kickPrefix + "*" + kickSuffix
	// SystemInbox begins the subjects on which the bridge gets its answers there.
	SystemInbox = "_INBOX.system"
)

// KickSubject is where the nats-server with that id is asked to close a connection.
func KickSubject(server string) string { return kickPrefix + server + kickSuffix }

// maxLanes bounds the number of lanes, and so every lane number in a subject.
const maxLanes = 4096

// maxToken is the longest token that a name may have, in bytes.
const maxToken = 64

// ValidToken reports whether s may name a site, a device or a metric: 1 to 64 ASCII
// letters and digits, hyphens and underscores.
func ValidToken(s string) bool {
	if len(s) == 0 || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Lane returns the lane of a device: FNV-1a 32 of "site/device" modulo lanes,
// which must be positive.
func Lane(site, device string, lanes int) int {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(site) {
		h = (h ^ uint32(site[i])) * prime
	}
	h = (h ^ '/') * prime
	for i := range len(device) {
		h = (h ^ uint32(device[i])) * prime
	}
	return int(h % uint32(lanes))
}

// TelemetrySubject is the subject of the batches of one lane and source.
func TelemetrySubject(lane int, source Source) string {
	return telemetryPrefix + strconv.Itoa(lane) + "." + string(source)
}

// TelemetryFilter matches everything that TELEMETRY holds of one lane.
func TelemetryFilter(lane int) string {
	return telemetryPrefix + strconv.Itoa(lane) + ".>"
}

// ParseTelemetry undoes TelemetrySubject.
func ParseTelemetry(subject string) (lane int, source Source, err error) {
	rest, ok := strings.CutPrefix(subject, telemetryPrefix)
	number, name, found := strings.Cut(rest, ".")
	if !ok || !found {
		return 0, "", fmt.Errorf("%w: %q is not of telemetry", ErrSubject, subject)
	}
	lane, err = parseLane(number)
	if err != nil {
		return 0, "", fmt.Errorf("%w: in %q", err, subject)
	}
	switch source = Source(name); source {
	case SourceMQTT, SourceMQTT2, SourceMQTT0, SourceHTTP, SourceRedrive:
		return lane, source, nil
	}
	if _, ok := source.Edge(); ok {
		return lane, source, nil
	}
	if _, ok := source.Function(); ok {
		return lane, source, nil
	}
	return 0, "", fmt.Errorf("%w: source of %q", ErrSubject, subject)
}

// DerivedSubject is the subject of the commits of one lane of the processor.
func DerivedSubject(lane int) string { return derivedPrefix + strconv.Itoa(lane) }

// DerivedGroups is the subject of the commits of the lane of groups.
const DerivedGroups = derivedPrefix + "groups"

// GroupLane is the number of the lane of the processor that computes series of several
// devices: it comes after those of the devices, and reads all of them.
func GroupLane(lanes int) int { return lanes }

// DerivedEdgeSubject is the subject of the anomalies that an edge has sent up. The name
// must be a valid token.
func DerivedEdgeSubject(edge string) string { return derivedPrefix + edgePrefix + edge }

// ParseDerivedEdge undoes DerivedEdgeSubject; ok reports whether it is such a subject.
func ParseDerivedEdge(subject string) (edge string, ok bool) {
	edge, ok = strings.CutPrefix(subject, derivedPrefix+edgePrefix)
	return edge, ok && ValidToken(edge)
}

// ParseDerived undoes DerivedSubject.
func ParseDerived(subject string) (lane int, err error) {
	return parseLaneSubject(subject, derivedPrefix)
}

// AlertingSubject is the subject of the commits of one lane of the notifier.
func AlertingSubject(lane int) string { return alertingPrefix + strconv.Itoa(lane) }

// ParseAlerting undoes AlertingSubject.
func ParseAlerting(subject string) (lane int, err error) {
	return parseLaneSubject(subject, alertingPrefix)
}

// DeliverySubject is where the sender of a channel records the outcome of its messages.
// The channel must be a valid token.
func DeliverySubject(channel string) string { return deliveryPrefix + channel }

// ParseDelivery undoes DeliverySubject.
func ParseDelivery(subject string) (channel string, err error) {
	channel, ok := strings.CutPrefix(subject, deliveryPrefix)
	if !ok || !ValidToken(channel) {
		return "", fmt.Errorf("%w: %q is not of a delivery", ErrSubject, subject)
	}
	return channel, nil
}

// DeadLetterSubject is where a service puts what it cannot process. Both must
// be valid tokens.
func DeadLetterSubject(service, reason string) string {
	return deadLetterPrefix + service + "." + reason
}

// DeadLetterFilter matches the dead letters of a service, a reason or both; empty means
// any.
func DeadLetterFilter(service, reason string) string {
	if service == "" {
		service = "*"
	}
	if reason == "" {
		reason = "*"
	}
	return DeadLetterSubject(service, reason)
}

// ParseDeadLetter undoes DeadLetterSubject.
func ParseDeadLetter(subject string) (service, reason string, err error) {
	rest, ok := strings.CutPrefix(subject, deadLetterPrefix)
	service, reason, found := strings.Cut(rest, ".")
	if !ok || !found || !ValidToken(service) || !ValidToken(reason) {
		return "", "", fmt.Errorf("%w: %q is not of a dead letter", ErrSubject, subject)
	}
	return service, reason, nil
}

// AuditSubject is where a service records changes. The service must be a valid token.
func AuditSubject(service string) string { return auditPrefix + service }

// ParseAudit undoes AuditSubject.
func ParseAudit(subject string) (service string, err error) {
	service, ok := strings.CutPrefix(subject, auditPrefix)
	if !ok || !ValidToken(service) {
		return "", fmt.Errorf("%w: %q is not of the audit", ErrSubject, subject)
	}
	return service, nil
}

// Matches reports whether a subject matches a filter, in which "*" stands for one token and
// ">" for all that follow.
func Matches(filter, subject string) bool {
	for {
		want, filterRest, more := strings.Cut(filter, ".")
		if want == ">" && !more {
			return subject != ""
		}
		got, subjectRest, rest := strings.Cut(subject, ".")
		if got == "" || want != "*" && want != got || more != rest {
			return false
		}
		if !more {
			return true
		}
		filter, subject = filterRest, subjectRest
	}
}

// IsCommand reports whether a subject within MQTTAll is within MQTTCommands.
func IsCommand(subject string) bool { return strings.HasPrefix(subject, mqttPrefix+commandPrefix) }

// CommandSubjects are the subjects that a device may subscribe to: topics
// commands/<device> and everything below. The device must be a valid token.
func CommandSubjects(device string) []string {
	return []string{commandPrefix + device, commandPrefix + device + ".>"}
}

// CommandsAll are the subjects of the commands to all devices. Only services
// may publish there.
const CommandsAll = commandPrefix + ">"

// SparkplugCommands are the subjects of the commands to edge nodes of Sparkplug B and their
// devices. Only services may publish there.
func SparkplugCommands() []string { return []string{"spBv1//0.*.NCMD.>", "spBv1//0.*.DCMD.>"} }

// SparkplugStates are the subjects on which edge nodes of Sparkplug B listen for whether
// their host application is there.
func SparkplugStates() []string { return []string{"spBv1//0.STATE.>", "STATE.>"} }

// SubjectFromTopic returns the subject on which nats-server delivers to those who
// subscribed to an MQTT topic. TopicFromMQTT undoes it.
func SubjectFromTopic(topic string) string {
	levels := strings.Split(topic, "/")
	for i, level := range levels {
		if level == "" {
			levels[i] = "/"
		} else {
			levels[i] = strings.ReplaceAll(level, ".", "//")
		}
	}
	return strings.Join(levels, ".")
}

// TopicFromMQTT returns the MQTT topic of a message that a device published,
// from its subject in the account of the devices, with or without the prefix
// under which nats-server stores it. It undoes nats-server's mapping of topics
// to subjects: "." stands for "/", "//" for ".", and "/" for an empty level
// beside a "." ("/." leads, "./" ends or separates).
func TopicFromMQTT(subject string) string {
	subject = strings.TrimPrefix(subject, mqttPrefix)
	if !strings.Contains(subject, "/") {
		return strings.ReplaceAll(subject, ".", "/")
	}
	var out strings.Builder
	out.Grow(len(subject))
	for i := 0; i < len(subject); i++ {
		switch c := subject[i]; {
		case c == '.':
			out.WriteByte('/')
		case c == '/' && i+1 < len(subject) && subject[i+1] == '/':
			out.WriteByte('.')
			i++
		case c == '/':
			// An empty level. The separator beside it is written anyway.
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func parseLaneSubject(subject, prefix string) (int, error) {
	number, ok := strings.CutPrefix(subject, prefix)
	if !ok {
		return 0, fmt.Errorf("%w: %q does not begin with %q", ErrSubject, subject, prefix)
	}
	lane, err := parseLane(number)
	if err != nil {
		return 0, fmt.Errorf("%w: in %q", err, subject)
	}
	return lane, nil
}

// parseLane accepts only the canonical form, so that every lane has one subject.
func parseLane(s string) (int, error) {
	lane, err := strconv.Atoi(s)
	if err != nil || lane < 0 || lane >= maxLanes || strconv.Itoa(lane) != s {
		return 0, fmt.Errorf("%w: lane %q", ErrSubject, s)
	}
	return lane, nil
}
