package upstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"headwater/streams"
)

// Kinds of packets.
const (
	kindConnect    = 1
	kindConnAck    = 2
	kindPublish    = 3
	kindPubAck     = 4
	kindSubscribe  = 8
	kindSubAck     = 9
	kindPingReq    = 12
	kindPingResp   = 13
	kindDisconnect = 14
)

const (
	// maxPacket bounds a packet that is held in memory, in bytes. Of a larger message only the
	// beginning is read.
	maxPacket = streams.MaxDevicePayload + 128<<10
	// maxHead bounds the beginning of a message: topic, id and properties.
	maxHead = 128 << 10
)

var (
	errMalformed  = errors.New("the broker sends what is not MQTT")
	errUnexpected = errors.New("the broker sends a packet that it should not")
)

// packet is what the broker sent.
type packet struct {
	kind, flags byte
	body        []byte
	// cut is set when the body holds only the beginning.
	cut bool
}

// readPacket reads a packet into buf, which it may replace.
func readPacket(r *bufio.Reader, buf []byte) (packet, []byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return packet{}, buf, fmt.Errorf("read: %w", err)
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		switch {
		case err != nil:
			return packet{}, buf, fmt.Errorf("read: %w", err)
		case shift > 21:
			return packet{}, buf, errMalformed
		}
		size |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	p := packet{kind: first >> 4, flags: first & 15}
	rest := 0
	if size > maxPacket {
		if p.kind != kindPublish {
			return packet{}, buf, errMalformed
		}
		size, rest, p.cut = maxHead, size-maxHead, true
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	p.body = buf[:size]
	if _, err := io.ReadFull(r, p.body); err != nil {
		return packet{}, buf, fmt.Errorf("read: %w", err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(rest)); err != nil {
		return packet{}, buf, fmt.Errorf("read: %w", err)
	}
	return p, buf, nil
}

// cursor reads the parts of a packet. Once bad, everything is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || len(c.b) < n {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) text() []byte { return c.take(int(c.uint16())) }

func (c *cursor) varint() int {
	v, n := binary.Uvarint(c.b[:min(len(c.b), 4)])
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.take(n)
	return int(v)
}

// properties are those of MQTT 5 that matter here.
type properties struct {
	reason    string
	keepAlive uint16
	// kept is set when the broker says how long it keeps the session, in seconds.
	kept    bool
	seconds uint32
}

func (c *cursor) properties() (p properties) {
	in := cursor{b: c.take(c.varint()), bad: c.bad}
	for len(in.b) > 0 && !in.bad {
		switch id := in.byte(); id {
		case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a:
			in.byte()
		case 0x13:
			p.keepAlive = in.uint16()
		case 0x21, 0x22, 0x23:
			in.uint16()
		case 0x11:
			if b := in.take(4); b != nil {
				p.kept, p.seconds = true, binary.BigEndian.Uint32(b)
			}
		case 0x02, 0x18, 0x27:
			in.take(4)
		case 0x1f:
			p.reason = string(in.text())
		case 0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c:
			in.text()
		case 0x26:
			in.text()
			in.text()
		case 0x0b:
			in.varint()
		default:
			in.bad = true
		}
	}
	c.bad = c.bad || in.bad
	return p
}

// message is a message of the broker. Topic and payload are valid until the next packet is
// read.
type message struct {
	topic, payload []byte
	id             uint16
	qos            byte
	again          bool
	retained       bool
	tooLarge       bool
}

// parseMessage parses a PUBLISH.
func parseMessage(p packet, v5 bool) (message, error) {
	m := message{qos: p.flags >> 1 & 3, again: p.flags&8 != 0, retained: p.flags&1 != 0}
	in := cursor{b: p.body}
	m.topic = in.text()
	if m.qos > 0 {
		m.id = in.uint16()
	}
	if v5 {
		in.properties()
	}
	switch {
	case in.bad || m.qos > 1 || m.qos == 1 && m.id == 0 || !utf8.Valid(m.topic):
		return message{}, errMalformed
	case len(m.topic) == 0:
		return message{}, errUnexpected // a topic alias, which was not offered
	}
	m.payload, m.tooLarge = in.b, p.cut || len(in.b) > streams.MaxDevicePayload
	return m, nil
}

// appendPacket appends a packet.
func appendPacket(dst []byte, first byte, body []byte) []byte {
	return append(binary.AppendUvarint(append(dst, first), uint64(len(body))), body...)
}

func appendText(dst []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(text))), text...)
}

// login is what a CONNECT says.
type login struct {
	client, user, password string
	v5                     bool
}

func appendConnect(dst []byte, l login) []byte {
	level, flags := byte(4), byte(0) // not a clean session
	if l.v5 {
		level = 5
	}
	if l.user != "" {
		flags |= 0x80
	}
	if l.password != "" {
		flags |= 0x40
	}
	body := appendText(nil, "MQTT")
	body = append(body, level, flags)
	body = binary.BigEndian.AppendUint16(body, uint16(keepAlive.Seconds()))
	if l.v5 {
		properties := binary.BigEndian.AppendUint32([]byte{0x11}, uint32(keepSession.Seconds()))
		properties = binary.BigEndian.AppendUint16(append(properties, 0x21), window)
		body = append(binary.AppendUvarint(body, uint64(len(properties))), properties...)
	}
	body = appendText(body, l.client)
	if l.user != "" {
		body = appendText(body, l.user)
	}
	if l.password != "" {
		body = appendText(body, l.password)
	}
	return appendPacket(dst, kindConnect<<4, body)
}

// subscription is the id of the one SUBSCRIBE of a connection.
const subscription = 1

func appendSubscribe(dst []byte, filters []string, v5 bool) []byte {
	body := []byte{0, subscription}
	options := byte(1) // QoS 1
	if v5 {
		body = append(body, 0)
		options |= 2 << 4 // no retained messages
	}
	for _, f := range filters {
		body = append(appendText(body, f), options)
	}
	return appendPacket(dst, kindSubscribe<<4|2, body)
}

func appendPubAck(dst []byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, kindPubAck<<4, 2), id)
}

// accepted parses a CONNACK.
func accepted(p packet, v5 bool) (continued bool, of properties, err error) {
	in := cursor{b: p.body}
	flags, code := in.byte(), in.byte()
	if v5 && len(in.b) > 0 {
		of = in.properties()
	}
	switch {
	case p.kind != kindConnAck || in.bad:
		return false, of, errMalformed
	case code == 0:
		return flags&1 != 0, of, nil
	}
	why := refusals[code]
	if why == "" {
		why = fmt.Sprintf("code %d", code)
	}
	if of.reason != "" {
		why += ": " + clip(of.reason)
	}
	return false, of, fmt.Errorf("the broker refuses the log-in: %s", why)
}

// refusals are the codes of a CONNACK that people can do something about.
var refusals = map[byte]string{
	1: "it does not speak this version of MQTT (--from-version)", 2: "the client id (--from-client-id)", 3: "it is not available",
	4: "user or password", 5: "not authorised",
	0x84: "it does not speak this version of MQTT (--from-version)", 0x85: "the client id (--from-client-id)", 0x86: "user or password",
	0x87: "not authorised", 0x88: "it is not available", 0x89: "it is busy", 0x8a: "banned", 0x97: "a quota", 0x9f: "too many connections",
}

// left parses a DISCONNECT of the broker.
func left(p packet) error {
	in := cursor{b: p.body}
	if code := in.byte(); code == 0x8e {
		return errors.New("another client has logged in there with the same client id (--from-client-id)")
	} else if code != 0 {
		return fmt.Errorf("the broker has closed the connection with code %d", code)
	}
	return errors.New("the broker has closed the connection")
}

// granted parses a SUBACK. It returns the filters that the broker refuses, and those whose
// messages it sends with QoS 0.
func granted(p packet, filters []string, v5 bool) (refused, unsure []string, err error) {
	in := cursor{b: p.body}
	id := in.uint16()
	if v5 {
		in.properties()
	}
	if in.bad || id != subscription || len(in.b) != len(filters) {
		return nil, nil, errMalformed
	}
	for i, code := range in.b {
		switch {
		case code >= 0x80:
			refused = append(refused, filters[i])
		case code == 0:
			unsure = append(unsure, filters[i])
		}
	}
	return refused, unsure, nil
}
