package streams

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
)

// TelemetryMsg is the message that carries a batch of one lane.
func TelemetryMsg(lane int, source Source, b *telemetryv1.Batch) (*nats.Msg, error) {
	return protoMsg(TelemetrySubject(lane, source), b)
}

// DecodeTelemetry undoes TelemetryMsg. The batch that it returns is consistent.
func DecodeTelemetry(data []byte) (*telemetryv1.Batch, error) {
	b := new(telemetryv1.Batch)
	if err := proto.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("decode batch: %w", err)
	}
	return b, b.Check()
}

// DerivedMsg is the message that carries a commit of one lane of the processor.
func DerivedMsg(lane int, c *derivedv1.Commit) (*nats.Msg, error) {
	return protoMsg(DerivedSubject(lane), c)
}

// DecodeDerived undoes DerivedMsg.
func DecodeDerived(data []byte) (*derivedv1.Commit, error) {
	c := new(derivedv1.Commit)
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("decode commit of the processor: %w", err)
	}
	if c.Readings != nil {
		if err := c.Readings.Check(); err != nil {
			return nil, fmt.Errorf("decode commit of the processor: %w", err)
		}
	}
	return c, nil
}

// AlertingMsg is the message that carries a commit of one lane of the notifier.
func AlertingMsg(lane int, c *alertingv1.Commit) (*nats.Msg, error) {
	return protoMsg(AlertingSubject(lane), c)
}

// DecodeAlerting undoes AlertingMsg.
func DecodeAlerting(data []byte) (*alertingv1.Commit, error) {
	c := new(alertingv1.Commit)
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("decode commit of the notifier: %w", err)
	}
	return c, nil
}

// DeliveryMsg is the message that records the outcome of one message to a channel. Its id
// is the idempotency key, so that the stream stores it once within its window of
// duplicates.
func DeliveryMsg(d *alertingv1.Delivery) (*nats.Msg, error) {
	m, err := protoMsg(DeliverySubject(d.GetChannel()), d)
	if err != nil {
		return nil, err
	}
	m.Header = nats.Header{nats.MsgIdHdr: {d.GetChannel() + "/" + d.GetKey()}}
	return m, nil
}

// DecodeDelivery undoes DeliveryMsg.
func DecodeDelivery(data []byte) (*alertingv1.Delivery, error) {
	d := new(alertingv1.Delivery)
	if err := proto.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("decode delivery: %w", err)
	}
	return d, nil
}

func protoMsg(subject string, body proto.Message) (*nats.Msg, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode message for %s: %w", subject, err)
	}
	return &nats.Msg{Subject: subject, Data: data}, nil
}

// Reasons why a message becomes a dead letter.
const (
	// ReasonTopic is for a topic that no pattern matches, or that contains a name that is
	// not allowed.
	ReasonTopic = "topic"
	// ReasonPayload is for a payload that does not decode.
	ReasonPayload = "payload"
	// ReasonValue is for a value that is not a finite number.
	ReasonValue = "value"
	// ReasonClock is for an event time too far from the time of arrival.
	ReasonClock = "clock"
	// ReasonTooLarge is for a payload, text or count over its bound.
	ReasonTooLarge = "too-large"
	// ReasonQuarantined is for a reading of a device that nobody has approved yet.
	ReasonQuarantined = "quarantined"
	// ReasonUnwanted is for a reading of a device that is refused, or whose credential is
	// revoked.
	ReasonUnwanted = "unwanted"
	// ReasonNewSeries is for a reading of a metric that its device may not begin, because it
	// has begun too many.
	ReasonNewSeries = "new-series"
	// ReasonRejected is for a point that InfluxDB refused.
	ReasonRejected = "rejected"
	// ReasonMalformed is for a message between services that does not decode.
	ReasonMalformed = "malformed"
	// ReasonTimeout, ReasonMemory, ReasonOutput, ReasonCrashed and ReasonFailed are for the
	// input of a function that took too long, needed too much memory, wrote too much or what
	// nobody can read, crashed, or said itself that it failed.
	ReasonTimeout = "timeout"
	ReasonMemory  = "memory"
	ReasonOutput  = "output"
	ReasonCrashed = "crashed"
	ReasonFailed  = "failed"
	// ReasonUndeliverable is for a notification that its channel refused.
	ReasonUndeliverable = "undeliverable"
)

// DeadLetter is a message or a reading that could not be processed.
type DeadLetter struct {
	// Service and Reason are tokens; Detail explains them for people.
	Service, Reason, Detail string
	// Origin is where it came from: an MQTT topic, a path or a subject.
	Origin string
	// OriginCut is set by ParseDeadLetterMsg when Origin was changed to fit into a header.
	OriginCut bool
	// Site and Device are set as far as they are known.
	Site, Device string
	// Arrived is when it reached Headwater.
	Arrived time.Time
	// Taken lists what of the payload was stored all the same, in a form that only the
	// service knows: a redrive stores the rest. Empty when nothing was.
	Taken string
	// Payload holds the original bytes.
	Payload []byte
}

const (
	headerDetail  = "Headwater-Detail"
	headerOrigin  = "Headwater-Origin"
	headerSite    = "Headwater-Site"
	headerDevice  = "Headwater-Device"
	headerArrived = "Headwater-Arrived"
	headerTaken   = "Headwater-Taken"
	// headerCut is set when the origin was changed.
	headerCut = "Headwater-Origin-Cut"
)

// maxHeader bounds each header of a dead letter, in bytes: they contain text from devices.
const maxHeader = 1024

// Msg is the message that stores the dead letter.
func (d DeadLetter) Msg() *nats.Msg {
	m := nats.NewMsg(DeadLetterSubject(d.Service, d.Reason))
	m.Data = d.Payload
	for key, value := range map[string]string{
		headerDetail: d.Detail, headerOrigin: d.Origin, headerSite: d.Site, headerDevice: d.Device,
		headerArrived: strconv.FormatInt(d.Arrived.UnixNano(), 10),
	} {
		value = headerValue(value)
		if value != "" {
			m.Header.Set(key, value)
		}
	}
	if d.Taken != "" {
		m.Header.Set(headerTaken, d.Taken)
	}
	if d.OriginCut || headerValue(d.Origin) != d.Origin {
		m.Header.Set(headerCut, "true")
	}
	return m
}

// ParseDeadLetterMsg undoes DeadLetter.Msg, except for text that did not fit into a
// header.
func ParseDeadLetterMsg(subject string, header nats.Header, data []byte) (DeadLetter, error) {
	service, reason, err := ParseDeadLetter(subject)
	if err != nil {
		return DeadLetter{}, err
	}
	arrived, err := strconv.ParseInt(header.Get(headerArrived), 10, 64)
	if err != nil {
		return DeadLetter{}, fmt.Errorf("dead letter on %s: time of arrival: %w", subject, err)
	}
	return DeadLetter{
		Service: service, Reason: reason, Payload: data,
		Detail: header.Get(headerDetail), Origin: header.Get(headerOrigin), OriginCut: header.Get(headerCut) != "",
		Site: header.Get(headerSite), Device: header.Get(headerDevice),
		Arrived: time.Unix(0, arrived).UTC(), Taken: header.Get(headerTaken),
	}, nil
}

// headerValue makes any text a header: one line of valid UTF-8 without control
// characters, of bounded length.
func headerValue(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	s = textproto.TrimString(s)
	if len(s) <= maxHeader {
		return s
	}
	cut := maxHeader
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return textproto.TrimString(s[:cut])
}

// AlertID names the alert of a rule on a series: 16 hexadecimal digits.
func AlertID(rule string, s *derivedv1.Series) string {
	h := fnv.New64a()
	for _, part := range []string{rule, s.GetSite(), s.GetDevice(), s.GetMetric()} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// EpisodeID names one episode of an alert: the id of the alert, which all its episodes
// share, and when the episode began.
func EpisodeID(a *alertingv1.Alert) string {
	return a.GetId() + "-" + strconv.FormatInt(a.GetStarted(), 36)
}

// ParseEpisodeID returns the id of the alert, and the start of the episode in nanoseconds
// since the Unix epoch, of what EpisodeID returned.
func ParseEpisodeID(id string) (alert string, started int64, err error) {
	alert, start, _ := strings.Cut(id, "-")
	started, err = strconv.ParseInt(start, 36, 64)
	if err != nil || !ValidToken(alert) || EpisodeID(&alertingv1.Alert{Id: alert, Started: started}) != id {
		return "", 0, fmt.Errorf("%q is not the id of an episode", id)
	}
	return alert, started, nil
}
