package front

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"headwater/services/bridge/escape"
	"headwater/streams"
)

// errLeft is returned after a client has said that it goes.
var errLeft = errors.New("the client has left")

// errStopping is returned for a message that still waits when the front stops. The client has
// no acknowledgement and sends it again.
var errStopping = errors.New("the front stops")

// fromClient judges a packet of the client.
func (s *session) fromClient(first byte, size, head int) (bool, error) {
	p := &s.up
	body := p.buf[p.r+head : p.w]
	kind, flags := first>>4, first&0xf
	if kind == typePublish {
		return s.publish(first, size, head, body[:min(len(body), size)])
	}
	want := byte(0)
	if kind == typePubRel || kind == typeSubscribe || kind == typeUnsubscribe {
		want = 2
	}
	switch {
	case flags != want:
		return false, errMalformed
	case size > maxControl:
		return false, errTooLarge
	}
	if len(body) < size {
		return false, nil
	}
	body = body[:size]
	switch kind {
	case typePubAck, typePubRec, typePubRel, typePubComp:
		return true, s.acknowledge(first, head, body)
	case typeSubscribe, typeUnsubscribe:
		return true, s.subscribe(first, head, body)
	case typePingReq:
		if size != 0 {
			return false, errMalformed
		}
		p.pass(head)
		return true, nil
	case typeDisconnect:
		return true, s.leave(first, head, body)
	}
	return false, errMalformed
}

// publish judges a message. Its payload passes as it is.
func (s *session) publish(first byte, size, head int, body []byte) (bool, error) {
	qos := first >> 1 & 3
	if qos == 3 || size < 2 {
		return false, errMalformed
	}
	if len(body) < 2 {
		return false, nil
	}
	n := int(binary.BigEndian.Uint16(body))
	if n > maxName {
		return false, errTopic
	}
	start := 2 + n // of the properties, or of the payload
	if qos > 0 {
		start += 2
	}
	if size < start {
		return false, errMalformed
	}
	if len(body) < start {
		return false, nil
	}
	topic, id := body[2:2+n], body[2+n:start]
	payload := start
	if s.connect.level == level5 {
		length, k, ok := varint(body[start:])
		payload = start + k + length
		switch {
		case !ok, k > 0 && payload > size:
			return false, errMalformed
		case payload > maxControl:
			return false, errTooLarge
		case k == 0, payload > len(body):
			if len(body) == size {
				return false, errMalformed
			}
			return false, nil
		}
		switch p := parseProperties(body[start+k:payload], ofPublish); {
		case p.has(propTopicAlias):
			return false, errAlias
		case p.bad:
			return false, errMalformed
		}
	}
	plain, err := checkName(topic, false)
	switch {
	case err != nil:
		return false, err
	case size-payload > streams.MaxDevicePayload:
		return false, errPayload
	case qos == 1 && s.mayPublish != nil:
		switch {
		case binary.BigEndian.Uint16(id) == 0:
			return false, errMalformed
		case first&flagRetain == 0 && size <= largestDirect && len(body) < size:
			return false, nil
		}
	}
	if err := s.hold(topic); err != nil {
		return false, err
	}
	if qos == 1 && s.mayPublish != nil {
		stored, err := s.store(topic, id, body[payload:], first&flagRetain == 0 && size <= largestDirect, head+size)
		if stored || err != nil {
			return true, err
		}
	}
	if qos == 1 {
		s.unanswered.Add(1)
	}
	p := &s.up
	if plain && payload == start {
		p.pass(head + size)
		return true, nil
	}
	s.scratch = escape.Topic(s.scratch[:0], topic)
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(s.scratch)))
	p.replaceHead(head+payload, size-payload, first, length[:], s.scratch, id)
	return true, nil
}

// hold waits while the device that sends on a topic sends too much. Nothing more is read from
// the client meanwhile, so it waits as well.
func (s *session) hold(topic []byte) error {
	wait := min(s.front.deps.Wait(string(topic)), longestHold)
	if wait <= 0 {
		return nil
	}
	if alive := time.Duration(s.connect.keepAlive) * time.Second / 2; alive > 0 {
		wait = min(wait, alive)
	}
	if err := s.up.flush(); err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.over:
		return errOver
	case <-s.stopping:
		return errStopping
	}
}

// acknowledge judges the client's part of a handshake for a message. MQTT 3.1.1 has no
// reason for a failure: nats-server takes it for done.
func (s *session) acknowledge(first byte, head int, body []byte) error {
	in := cursor{b: body}
	id := in.uint16()
	failed := false
	if s.connect.level == level5 && len(in.b) > 0 {
		failed = in.byte() >= codeUnspecified
		if len(in.b) > 0 {
			in.properties(ofAck)
		}
	}
	if in.bad || len(in.b) > 0 {
		return errMalformed
	}
	if kind := first >> 4; kind == typePubAck || kind == typePubComp || kind == typePubRec && failed {
		s.inFlight.remove(id)
	}
	if len(body) == 2 {
		s.up.pass(head + len(body))
	} else {
		s.up.replace(head+len(body), first, body[:2])
	}
	return nil
}

// subscribe judges a SUBSCRIBE or UNSUBSCRIBE.
func (s *session) subscribe(first byte, head int, body []byte) error {
	in := cursor{b: body}
	id := in.take(2)
	subscribes := first>>4 == typeSubscribe
	if s.connect.level == level5 {
		allowed := ofUnsubscribe
		if subscribes {
			allowed = ofSubscribe
		}
		if p := in.properties(allowed); p.has(propSubscriptionID) {
			return errIdentifier
		}
	}
	s.scratch = s.scratch[:0]
	filters := 0
	for same := true; len(in.b) > 0 && !in.bad; filters++ {
		filter := in.bytes()
		if in.bad {
			break
		}
		plain, err := checkName(filter, true)
		if err != nil {
			return err
		}
		same = same && plain
		if s.connect.level == level5 && bytes.HasPrefix(filter, []byte("$share/")) {
			return errShared
		}
		at := len(s.scratch)
		s.scratch = escape.Topic(append(s.scratch, 0, 0), filter)
		binary.BigEndian.PutUint16(s.scratch[at:], uint16(len(s.scratch)-at-2))
		if !subscribes {
			continue
		}
		options := in.byte()
		qos := options & 3
		if qos == 3 || s.connect.level != level5 && options != qos || options&0xc0 != 0 || options&0x30 == 0x30 {
			return errMalformed
		}
		s.scratch = append(s.scratch, qos)
	}
	if in.bad || filters == 0 {
		return errMalformed
	}
	if s.connect.level == level5 && !subscribes && !s.unsubscribes.push(filters) {
		return errMalformed
	}
	if bytes.Equal(s.scratch, body[2:]) {
		s.up.pass(head + len(body))
	} else {
		s.up.replace(head+len(body), first, id, s.scratch)
	}
	return nil
}

// leave judges a DISCONNECT. A client of MQTT 5 may ask for its will to be published; then
// nats-server sees a lost connection.
func (s *session) leave(first byte, head int, body []byte) error {
	in := cursor{b: body}
	code := byte(0)
	if s.connect.level == level5 && len(body) > 0 {
		code = in.byte()
		if len(in.b) > 0 {
			in.properties(ofDisconnect)
		}
	}
	if in.bad || len(in.b) > 0 {
		return errMalformed
	}
	if code == codeWithWill {
		return errLeft
	}
	s.up.replace(head+len(body), first)
	return errLeft
}
