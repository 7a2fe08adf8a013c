package bridge

import (
	"errors"
	"time"

	"headwater/services/bridge/escape"
	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/internal/batch"
	"headwater/services/internal/credentials"
	"headwater/streams"
)

const (
	// maxStepReadings and maxStepBytes bound a step. A payload has at most 256 keys, so a
	// batch stays far below streams.MaxMessage.
	maxStepReadings = 4096
	maxStepBytes    = 1 << 20

	// maxKnown bounds the subjects that are remembered.
	maxKnown = 16384
)

// step turns messages of devices into batches and dead letters. It reuses its memory. One
// goroutine only.
type step struct {
	topics  *topic.Matcher
	lanes   int
	decoder *decode.Decoder
	packer  *batch.Packer
	// known caches the addresses of subjects.
	known    map[string]topic.Address
	readings []decode.Reading
	dead     []streams.DeadLetter
	// empty is called for each message without a payload, which clears a retained message
	// in MQTT: it has no reading and is not a dead letter.
	empty func()
	// standing returns what becomes of the readings of a device.
	standing func(site, device string) credentials.Standing
	messages int
	bytes    int
}

func newStep(topics *topic.Matcher, limits decode.Limits, zones decode.Zones, declared decode.Declared, lanes int, empty func(), standing func(site, device string) credentials.Standing) *step {
	return &step{
		topics: topics, lanes: lanes, decoder: decode.New(limits, zones, declared), packer: batch.New(lanes),
		known: make(map[string]topic.Address), empty: empty, standing: standing,
	}
}

// Why a device is not heard.
var (
	errQuarantined = errors.New("nobody has approved this device yet: approve it, then redrive its dead letters")
	errUnwanted    = errors.New("this device is refused, or its credential is revoked")
)

// newStep returns a step with the configuration of the service.
func (s *Service) newStep(lanes int) *step {
	return newStep(s.topics, s.cfg.limits(), s.zones.Of, s.zones.Series, lanes, s.metrics.empty.Inc, s.credentials.Standing)
}

// add adds a message that arrived at arrival, in nanoseconds since the Unix epoch, and
// returns its lane. A message that names no device has a lane too.
func (s *step) add(subject string, payload []byte, arrival int64) (lane int) {
	s.messages++
	s.bytes += len(payload)
	address, err := s.address(subject)
	if len(payload) == 0 {
		s.empty()
	} else if err != nil {
		s.reject(streams.ReasonTopic, err, topicOf(subject), topic.Address{}, payload, arrival)
	} else if reason, err := s.decode(address, payload, arrival); err != nil {
		s.reject(reason, err, topicOf(subject), address, payload, arrival)
	}
	return streams.Lane(address.Site, address.Device, s.lanes)
}

// reject makes a message a dead letter and counts it.
func (s *step) reject(reason string, why error, name string, a topic.Address, payload []byte, arrival int64) {
	s.bury(reason, why, name, a, payload, arrival)
	s.packer.Reject(a.Site, a.Device, arrival)
}

// redo adds a message that arrived earlier, on a topic, and became a dead letter. If it
// becomes one again, it is not counted as rejected a second time.
func (s *step) redo(name string, payload []byte, arrival int64) {
	s.messages++
	s.bytes += len(payload)
	address, err := s.topics.Match(name)
	if err != nil {
		s.bury(streams.ReasonTopic, err, name, topic.Address{}, payload, arrival)
		return
	}
	if reason, err := s.decode(address, payload, arrival); err != nil {
		s.bury(reason, err, name, address, payload, arrival)
	}
}

// decode packs the readings of a payload, or returns why it has none.
func (s *step) decode(address topic.Address, payload []byte, arrival int64) (reason string, err error) {
	switch s.standing(address.Site, address.Device) {
	case credentials.StandingQuarantined:
		return streams.ReasonQuarantined, errQuarantined
	case credentials.StandingRefused:
		return streams.ReasonUnwanted, errUnwanted
	}
	s.readings, err = s.decoder.Append(s.readings[:0], address.Site, address.Device, address.Metric, payload, arrival)
	if err != nil {
		if fault, ok := errors.AsType[*decode.Error](err); ok {
			return fault.Reason, err
		}
		return streams.ReasonPayload, err
	}
	s.packer.Add(address.Site, address.Device, s.readings, arrival)
	return "", nil
}

// topicOf returns the topic that a device sent, from its subject. The front may have
// replaced characters in it.
func topicOf(subject string) string { return escape.Shown(streams.TopicFromMQTT(subject)) }

// address returns what the topic of a subject names.
func (s *step) address(subject string) (topic.Address, error) {
	if a, ok := s.known[subject]; ok {
		return a, nil
	}
	a, err := s.topics.Match(topicOf(subject))
	if err != nil {
		return topic.Address{}, err
	}
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[subject] = a
	return a, nil
}

func (s *step) bury(reason string, why error, name string, a topic.Address, payload []byte, arrival int64) {
	s.dead = append(s.dead, streams.DeadLetter{
		Service: service, Reason: reason, Detail: why.Error(), Origin: name, Site: a.Site, Device: a.Device,
		Arrived: time.Unix(0, arrival).UTC(), Payload: payload,
	})
}

// full reports whether the step must be taken before more is added.
func (s *step) full() bool {
	return s.packer.Len() >= maxStepReadings || s.messages >= maxStepReadings || s.bytes >= maxStepBytes
}

// take returns what was added, and starts the next step. The batches are valid until the
// next call.
func (s *step) take() ([]batch.ForLane, []streams.DeadLetter) {
	dead := s.dead
	s.dead, s.messages, s.bytes = nil, 0, 0
	return s.packer.Take(), dead
}
