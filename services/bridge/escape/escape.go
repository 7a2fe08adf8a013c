// Package escape maps the client ids, topics and filters of MQTT to those that nats-server
// takes, and back. Nats-server closes a connection for white space in a topic, refuses
// client ids with a dot, and takes an asterisk or a greater-than sign for a wildcard. Each
// such character is replaced by a percent sign and two digits, as in a URL. Everything
// else stays as it is, so that sessions and retained messages of devices that never needed
// the mapping keep their names. The package is pure.
package escape

import "bytes"

const digits = "0123456789ABCDEF"

// kind says what a byte needs.
type kind byte

const (
	// always is replaced everywhere, inID only in a client id.
	always kind = 1 + iota
	inID
)

// kinds holds the bytes that are replaced. A percent sign is replaced only where it would
// be taken for an escape.
var kinds = [256]kind{
	' ': always, '\t': always, '\n': always, '\r': always, '\f': always, 0x7f: always, '*': always, '>': always, '.': inID,
}

// ID appends the client id to dst.
func ID(dst, id []byte) []byte { return appendEscaped(dst, id, inID) }

// Topic appends the topic or filter to dst.
func Topic(dst, topic []byte) []byte { return appendEscaped(dst, topic, always) }

// Plain reports whether Topic would append the topic unchanged.
func Plain(topic []byte) bool {
	for i, c := range topic {
		if kinds[c] == always || c == '%' && code(topic[i:]) {
			return false
		}
	}
	return true
}

func appendEscaped(dst, name []byte, upTo kind) []byte {
	for i, c := range name {
		if k := kinds[c]; k != 0 && k <= upTo || c == '%' && code(name[i:]) {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// code reports whether b, which begins with a percent sign, begins with an escape.
func code(b []byte) bool {
	if len(b) < 3 {
		return false
	}
	high, low := bytes.IndexByte([]byte(digits), b[1]), bytes.IndexByte([]byte(digits), b[2])
	if high < 0 || low < 0 {
		return false
	}
	c := byte(high<<4 | low)
	return kinds[c] != 0 || c == '%'
}

// Escaped reports whether Undo would change the name.
func Escaped(name []byte) bool {
	for {
		i := bytes.IndexByte(name, '%')
		if i < 0 {
			return false
		}
		if name = name[i:]; code(name) {
			return true
		}
		name = name[1:]
	}
}

// Undo appends to dst what ID or Topic was given.
func Undo(dst, name []byte) []byte {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' && code(name[i:]) {
			c = byte(bytes.IndexByte([]byte(digits), name[i+1])<<4 | bytes.IndexByte([]byte(digits), name[i+2]))
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// Shown returns what ID or Topic was given.
func Shown(name string) string {
	if !Escaped([]byte(name)) {
		return name
	}
	return string(Undo(nil, []byte(name)))
}
