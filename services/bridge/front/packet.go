package front

import (
	"encoding/binary"
	"unicode/utf8"

	"headwater/services/bridge/escape"
)

// Types of packets: the upper half of the first byte.
const (
	typeConnect     = 1
	typeConnAck     = 2
	typePublish     = 3
	typePubAck      = 4
	typePubRec      = 5
	typePubRel      = 6
	typePubComp     = 7
	typeSubscribe   = 8
	typeSubAck      = 9
	typeUnsubscribe = 10
	typeUnsubAck    = 11
	typePingReq     = 12
	typePingResp    = 13
	typeDisconnect  = 14
)

// flagRetain is the flag of a PUBLISH whose message stays for those who subscribe later.
const flagRetain = 1

// Levels of the protocol: MQTT 3.1, 3.1.1 and 5.
const (
	level31  = 3
	level311 = 4
	level5   = 5
)

const (
	// maxName bounds client ids, topics, filters and users, in bytes.
	maxName = 1 << 10
	// maxConnect bounds the first packet, which comes before the log-in.
	maxConnect = 16 << 10
	// maxControl bounds what is not the payload of a message.
	maxControl = 32 << 10
)

// header reads the first byte of a packet, the size of what follows its header, and the
// size of the header, which is 0 while it is not complete.
func header(b []byte) (first byte, size, head int, err error) {
	if len(b) < 2 {
		return 0, 0, 0, nil
	}
	size, n, ok := varint(b[1:])
	switch {
	case !ok:
		return 0, 0, 0, errMalformed
	case n == 0:
		return 0, 0, 0, nil
	}
	return b[0], size, 1 + n, nil
}

// varint reads an integer of one to four bytes. n is 0 while it is not complete; ok is
// false when there are more bytes.
func varint(b []byte) (v, n int, ok bool) {
	for n < 4 {
		if n == len(b) {
			return 0, 0, true
		}
		v |= int(b[n]&0x7f) << (7 * n)
		n++
		if b[n-1]&0x80 == 0 {
			return v, n, true
		}
	}
	return 0, 0, false
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func appendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

// appendPacket appends a packet. The parts together are what follows the header.
func appendPacket(dst []byte, first byte, parts ...[]byte) []byte {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	dst = appendVarint(append(dst, first), size)
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return dst
}

// cursor reads the fields of a packet. After a field that is not there, bad is set, and
// every field is empty.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return nil
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
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

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) varint() int {
	v, n, ok := varint(c.b)
	if c.bad || !ok || n == 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads what begins with its size.
func (c *cursor) bytes() []byte { return c.take(int(c.uint16())) }

// properties reads the properties of MQTT 5, of which the packet may have those that are
// allowed.
func (c *cursor) properties(allowed uint64) properties {
	p := parseProperties(c.take(c.varint()), allowed)
	c.bad = c.bad || p.bad
	return p
}

// Kinds of bytes in a topic. A byte may be of one kind.
const (
	kindEscape = 1 << iota
	kindForeign
	kindWildcard
	kindNever
)

// kinds are the bytes of a topic that need a closer look.
var kinds = func() (k [256]byte) {
	for c := range k {
		switch one := []byte{byte(c)}; {
		case c == 0:
			k[c] = kindNever
		case c == '+', c == '#':
			k[c] = kindWildcard
		case c >= utf8.RuneSelf:
			k[c] = kindForeign
		case c == '%', !escape.Plain(one):
			k[c] = kindEscape
		}
	}
	return k
}()

// checkName returns whether a topic, or a filter if wildcards are allowed, can be passed on
// as it is, or why it is refused.
func checkName(name []byte, wildcards bool) (plain bool, err error) {
	if len(name) == 0 || len(name) > maxName {
		return false, errTopic
	}
	var seen byte
	for _, c := range name {
		seen |= kinds[c]
	}
	switch {
	case seen == 0:
		return true, nil
	case seen&kindNever != 0, seen&kindWildcard != 0 && !wildcards, seen&kindForeign != 0 && !utf8.Valid(name):
		return false, errTopic
	case seen&kindEscape != 0:
		return escape.Plain(name), nil
	}
	return true, nil
}
