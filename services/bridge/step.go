package bridge

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"headwater/services/bridge/escape"
	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/decode/intake"
	"headwater/services/decode/mapping"
	"headwater/services/internal/batch"
	"headwater/services/internal/credentials"
	"headwater/services/internal/quota"
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
	// known caches the routes of subjects under the mappings that were declared then.
	known    map[string]intake.Route
	mappings func() mapping.Set
	declared mapping.Set
	readings []decode.Reading
	dead     []streams.DeadLetter
	// taken are keys of readings of the message that is redriven and are not stored again.
	taken string
	// whole is set when a message whose readings are in several lanes is not added.
	whole bool
	// format is called for each message that a format took.
	format func(name string, nothing bool)
	// rebirth is called with the topic on which an edge node is to be asked for its births.
	rebirth func(topic string)
	// empty is called for each message without a payload, which clears a retained message
	// in MQTT: it has no reading and is not a dead letter.
	empty func()
	// standing returns what becomes of the readings of a device.
	standing func(site, device string) credentials.Standing
	// begin returns why readings of a metric of a device are not stored, or nil.
	begin func(of quota.Device, metric string, now time.Time) error
	// sent is what the devices of the last message sent.
	sent     []sent
	messages int
	bytes    int
}

// sent is how many readings a device sent in a message. One that becomes a dead letter counts
// as a reading.
type sent struct {
	of       quota.Device
	readings int
}

// intakeDeps is what a step needs to know beside its topics.
type intakeDeps struct {
	limits   decode.Limits
	zones    decode.Zones
	series   decode.Declared
	mappings func() mapping.Set
	births   *decode.Births
	empty    func()
	standing func(site, device string) credentials.Standing
	begin    func(of quota.Device, metric string, now time.Time) error
	format   func(name string, nothing bool)
	rebirth  func(topic string)
}

func newStep(topics *topic.Matcher, lanes int, deps intakeDeps) *step {
	s := &step{
		topics: topics, lanes: lanes, decoder: decode.New(deps.limits, deps.zones, deps.series), packer: batch.New(lanes),
		known: make(map[string]intake.Route), mappings: deps.mappings, empty: deps.empty, standing: deps.standing,
		format: deps.format, rebirth: deps.rebirth, begin: deps.begin,
	}
	s.decoder.Know(deps.births, true)
	return s
}

// Why a device is not heard.
var (
	errQuarantined = errors.New("nobody has approved this device yet: approve it, then redrive its dead letters")
	errUnwanted    = errors.New("this device is refused, or its credential is revoked")
)

// newStep returns a step with the configuration of the service.
func (s *Service) newStep(lanes int) *step {
	return newStep(s.topics, lanes, intakeDeps{
		limits: s.cfg.limits(), zones: s.zones.Of, series: s.zones.Series, mappings: s.zones.Mappings, births: s.births,
		empty: s.metrics.empty.Inc, standing: s.credentials.Standing, begin: s.pace.begin, format: s.metrics.format, rebirth: s.rebirths.ask,
	})
}

// severalLanes is the lane of a message whose readings are in several.
const severalLanes = -1

// add adds a message that arrived at arrival, in nanoseconds since the Unix epoch, and
// returns its lane. A message that names no device has a lane too. One whose readings are
// in several lanes is not added if the step takes whole messages only.
func (s *step) add(subject string, payload []byte, arrival int64) (lane int) {
	s.messages++
	s.bytes += len(payload)
	s.sent = s.sent[:0]
	route := s.route(subject)
	if len(payload) == 0 {
		s.empty()
		return streams.Lane(route.Address.Site, route.Address.Device, s.lanes)
	}
	name := ""
	if !route.Own() {
		name = topicOf(subject)
	}
	return s.decode(route, name, subject, payload, arrival, false)
}

// redo adds a message that arrived earlier, on a topic, and became a dead letter. If it
// becomes one again, it is not counted as rejected a second time. What was taken of it
// before is not taken again.
func (s *step) redo(name string, payload []byte, arrival int64, taken string) {
	s.messages++
	s.bytes += len(payload)
	s.sent = s.sent[:0]
	s.taken = taken
	s.decode(intake.Find(s.topics, s.mappings(), name), name, "", payload, arrival, true)
	s.taken = ""
}

// decode packs the readings of a payload, and makes a dead letter of what it cannot read.
// The topic is in the subject if it is not given.
func (s *step) decode(route intake.Route, name, subject string, payload []byte, arrival int64, again bool) (lane int) {
	if route.Own() {
		return s.decodeOwn(route.Address, name, subject, payload, arrival, again)
	}
	taken, message, err := route.Decode(s.decoder, name, payload, arrival)
	if taken == "" {
		s.bury(letter{reason: streams.ReasonTopic, why: route.Unknown(name)}, name, payload, arrival, again)
		return streams.Lane("", "", s.lanes)
	}
	s.format(taken, message.Nothing != "")
	if message.Rebirth != "" && !again {
		s.rebirth(message.Rebirth)
	}
	if err == nil {
		err = intake.Rest(message.Items)
	}
	l := letter{reason: reasonOf(err), why: err}
	good := message.Items[:0]
	for _, item := range message.Items {
		if item.Err != nil {
			l.of(item)
			continue
		}
		if reason, why := s.heard(item.Site, item.Device); why != nil {
			l.reason, l.why = reason, why
			l.of(item)
			continue
		}
		kept, why := s.permitted(item.Site, item.Device, item.Readings, arrival)
		if why != nil {
			l.of(item)
			if l.why == nil {
				l.reason, l.why = streams.ReasonNewSeries, why
			}
			if len(kept) == 0 {
				continue
			}
			item.Readings = kept
		}
		good = append(good, item)
	}
	if l.why != nil && l.device == "" && len(good) > 0 {
		l.of(good[0])
	}
	lane = streams.Lane(l.site, l.device, s.lanes)
	for i, item := range good {
		of := streams.Lane(item.Site, item.Device, s.lanes)
		if (i > 0 || l.why != nil) && of != lane && s.whole {
			return severalLanes
		}
		lane = of
	}
	for _, item := range good {
		s.pack(item.Site, item.Device, item.Readings, arrival)
		if l.why != nil {
			l.keep(item.Site, item.Device, item.Readings)
		}
	}
	if l.why != nil {
		s.bury(l, name, payload, arrival, again)
	}
	return lane
}

// decodeOwn decodes a payload on one of Headwater's own topics.
func (s *step) decodeOwn(a topic.Address, name, subject string, payload []byte, arrival int64, again bool) (lane int) {
	l := letter{site: a.Site, device: a.Device}
	if l.reason, l.why = s.heard(a.Site, a.Device); l.why == nil {
		s.readings, l.why = s.decoder.Append(s.readings[:0], a.Site, a.Device, a.Metric, payload, arrival)
		l.reason = reasonOf(l.why)
		kept, why := s.permitted(a.Site, a.Device, s.readings, arrival)
		if s.readings = kept; why != nil && l.why == nil {
			l.reason, l.why = streams.ReasonNewSeries, why
		}
		if l.why != nil {
			l.keep(a.Site, a.Device, s.readings)
		}
		s.pack(a.Site, a.Device, s.readings, arrival)
	}
	if l.why != nil {
		if name == "" {
			name = topicOf(subject)
		}
		s.bury(l, name, payload, arrival, again)
	}
	return streams.Lane(a.Site, a.Device, s.lanes)
}

// permitted returns the readings of the metrics that a device may send, in place of all, and why
// others are left out.
func (s *step) permitted(site, device string, readings []decode.Reading, arrival int64) (kept []decode.Reading, why error) {
	kept = readings[:0]
	for i := range readings {
		err := s.begin(quota.Device{Site: site, Device: device}, readings[i].Metric, time.Unix(0, arrival))
		if err == nil {
			kept = append(kept, readings[i])
		} else if why == nil {
			why = err
		}
	}
	return kept, why
}

// heard returns why the readings of a device are not taken, or nil.
func (s *step) heard(site, device string) (reason string, why error) {
	switch s.standing(site, device) {
	case credentials.StandingQuarantined:
		return streams.ReasonQuarantined, errQuarantined
	case credentials.StandingRefused:
		return streams.ReasonUnwanted, errUnwanted
	}
	return "", nil
}

func reasonOf(err error) string {
	if fault, ok := errors.AsType[*decode.Error](err); ok {
		return fault.Reason
	}
	return streams.ReasonPayload
}

// pack packs readings, but none that were taken before.
func (s *step) pack(site, device string, readings []decode.Reading, arrival int64) {
	if s.taken != "" {
		readings = slices.DeleteFunc(readings, func(r decode.Reading) bool { return strings.Contains(s.taken, keyOf(site, device, &r)) })
	}
	s.packer.Add(site, device, readings, arrival)
	s.sent = append(s.sent, sent{quota.Device{Site: site, Device: device}, len(readings)})
}

// letter is a dead letter that is to be written.
type letter struct {
	reason, site, device string
	why                  error
	taken                strings.Builder
}

// of says whose letter it is, unless that is known.
func (l *letter) of(item decode.Item) {
	if l.device == "" {
		l.site, l.device = item.Site, item.Device
	}
}

// keep records readings that are stored although the message is a letter.
func (l *letter) keep(site, device string, readings []decode.Reading) {
	for i := range readings {
		l.taken.WriteString(keyOf(site, device, &readings[i]))
	}
}

// keyOf identifies a reading of a message by its series and time, in a form that is no
// part of another one.
func keyOf(site, device string, r *decode.Reading) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s/%s/%s/%d", site, device, r.Metric, r.Time)
	return "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// topicOf returns the topic that a device sent, from its subject. The front may have
// replaced characters in it.
func topicOf(subject string) string { return escape.Shown(streams.TopicFromMQTT(subject)) }

// route returns who decodes the messages of a subject.
func (s *step) route(subject string) intake.Route {
	if now := s.mappings(); len(now) != len(s.declared) || len(now) > 0 && &now[0] != &s.declared[0] {
		clear(s.known)
		s.declared = now
	}
	if r, ok := s.known[subject]; ok {
		return r
	}
	r := intake.Find(s.topics, s.declared, topicOf(subject))
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[subject] = r
	return r
}

// bury makes a message a dead letter and, unless it was one before, counts it.
func (s *step) bury(l letter, name string, payload []byte, arrival int64, again bool) {
	s.dead = append(s.dead, streams.DeadLetter{
		Service: service, Reason: l.reason, Detail: l.why.Error(), Origin: name, Site: l.site, Device: l.device,
		Arrived: time.Unix(0, arrival).UTC(), Payload: payload, Taken: s.taken + l.taken.String(),
	})
	if !again {
		s.packer.Reject(l.site, l.device, arrival)
	}
	if l.device != "" {
		s.sent = append(s.sent, sent{quota.Device{Site: l.site, Device: l.device}, 1})
	}
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
