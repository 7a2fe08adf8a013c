package front

import (
	"encoding/binary"
	"errors"

	"headwater/services/bridge/escape"
)

// errQuiet is returned when a client that does not acknowledge its messages has left.
var errQuiet = errors.New("nothing more is read from the client")

// fromServer judges a packet of nats-server.
func (s *session) fromServer(first byte, size, head int) (bool, error) {
	p := &s.down
	body := p.buf[p.r+head : p.w]
	five := s.connect.level == level5
	switch kind := first >> 4; kind {
	case typePublish:
		return s.deliver(first, size, head, body[:min(len(body), size)])
	case typeSubAck, typeUnsubAck:
		if !five {
			break
		}
		if size < 2 || size > maxControl {
			return false, errMalformed
		}
		if len(body) < size {
			return false, nil
		}
		s.topic = s.topic[:0]
		if kind == typeUnsubAck {
			for range s.unsubscribes.pop() {
				s.topic = append(s.topic, 0)
			}
		}
		for _, code := range body[2:size] {
			if code == codeUnspecified {
				// Nats-server refuses a filter that the client may not subscribe to.
				code = codeNotAuthorized
			}
			s.topic = append(s.topic, code)
		}
		p.replace(head+size, first, body[:2], []byte{0}, s.topic)
		return true, nil
	case typePingResp:
		if s.pings.Load() > 0 {
			s.pings.Add(-1)
			p.drop(head + size)
			return true, nil
		}
	case typePubAck:
		if s.unanswered.Add(-1) == 0 {
			select {
			case s.answered <- struct{}{}:
			default:
			}
		}
	}
	p.pass(head + size)
	return true, nil
}

// deliver judges a message to the client.
func (s *session) deliver(first byte, size, head int, body []byte) (bool, error) {
	if len(body) < 2 {
		return false, nil
	}
	five := s.connect.level == level5
	n := int(binary.BigEndian.Uint16(body))
	start := 2 + n
	qos := first >> 1 & 3
	if qos > 0 {
		start += 2
	}
	p := &s.down
	switch {
	case size < start:
		return false, errMalformed
	case start > maxControl && !five:
		// No front has mapped a topic of that length.
		p.pass(head + size)
		return true, nil
	case len(body) < start:
		return false, nil
	}
	topic, id := body[2:2+n], body[2+n:start]
	if most := s.connect.maximumPacket; most > 0 && uint64(head+size+1) > uint64(most) {
		// Nats-server keeps a message with QoS 1 or 2 and sends it again, to no avail.
		p.drop(head + size)
		return true, nil
	}
	if five && qos > 0 && !s.inFlight.add(binary.BigEndian.Uint16(id)) {
		return s.wait()
	}
	escaped := escape.Escaped(topic)
	if !five && !escaped {
		p.pass(head + size)
		return true, nil
	}
	s.topic = append(s.topic[:0], topic...)
	if escaped {
		s.topic = escape.Undo(s.topic[:0], topic)
	}
	var length [2]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(s.topic)))
	parts := [][]byte{length[:], s.topic, id, nil}
	if five {
		parts[3] = []byte{0} // no properties
	}
	p.replaceHead(head+start, size-start, first, parts...)
	return true, nil
}

// wait writes what is judged, and waits until the client has acknowledged a message. The
// packet is judged again then.
func (s *session) wait() (bool, error) {
	if err := s.down.flush(); err != nil {
		return false, err
	}
	select {
	case <-s.inFlight.free:
	case <-s.quiet:
		return false, errQuiet
	}
	return true, nil
}
