package front

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"headwater/services/bridge/escape"
	"headwater/services/bridge/login"
)

// connect is the first packet of a client. Its texts are parts of the packet.
type connect struct {
	// level is one of 3, 4 and 5. In a packet that is refused it says in which form.
	level byte
	// clean begins a new session.
	clean bool
	// keepAlive is in seconds.
	keepAlive uint16
	clientID  []byte
	will      *will
	user      []byte
	password  []byte
	hasUser   bool
	// hasPassword is set for an empty password too.
	hasPassword bool

	// What follows is of MQTT 5. expiry is how long the session outlives the connection,
	// in seconds.
	expiry uint32
	// receiveMaximum is how many messages may wait for an acknowledgement of the client,
	// maximumPacket how large a packet to it may be, in bytes; 0 means any.
	receiveMaximum uint16
	maximumPacket  uint32
}

type will struct {
	qos     byte
	retain  bool
	topic   []byte
	payload []byte
}

// Flags of a CONNECT.
const (
	flagReserved = 1 << iota
	flagClean
	flagWill
	_
	_
	flagWillRetain
	flagPassword
	flagUser
	willQoSShift = 3
)

// bridgeBit is set in the level by Mosquitto when it connects as a bridge.
const bridgeBit = 0x80

// parseConnect reads what follows the header of a CONNECT. With an error, the level says in
// which form to refuse it.
func parseConnect(body []byte) (c connect, err error) {
	in := cursor{b: body}
	name := in.bytes()
	level := in.byte() &^ bridgeBit
	if in.bad || !bytes.Equal(name, []byte("MQTT")) && !bytes.Equal(name, []byte("MQIsdp")) {
		return c, errProtocol
	}
	c.level = min(max(level, level31), level5)
	if (len(name) == len("MQIsdp")) != (level == level31) || c.level != level {
		return c, errVersion
	}
	flags := in.byte()
	c.keepAlive = in.uint16()
	c.clean = flags&flagClean != 0
	if c.level == level5 {
		p := in.properties(ofConnect)
		if in.bad || p.has(propReceiveMaximum) && p.numbers[propReceiveMaximum] == 0 || p.has(propMaximumPacket) && p.numbers[propMaximumPacket] == 0 {
			return c, errConnect
		}
		if p.has(propAuthMethod) {
			return c, errAuthMethod
		}
		c.expiry, c.receiveMaximum, c.maximumPacket = p.numbers[propSessionExpiry], uint16(p.numbers[propReceiveMaximum]), p.numbers[propMaximumPacket]
	}
	c.clientID = in.bytes()
	willQoS := flags >> willQoSShift & 3
	if flags&flagWill != 0 {
		if c.level == level5 {
			in.properties(ofWill)
		}
		c.will = &will{qos: willQoS, retain: flags&flagWillRetain != 0, topic: in.bytes(), payload: in.bytes()}
	}
	if c.hasUser = flags&flagUser != 0; c.hasUser {
		c.user = in.bytes()
	}
	if c.hasPassword = flags&flagPassword != 0; c.hasPassword {
		c.password = in.bytes()
	}
	switch {
	case in.bad, len(in.b) > 0, willQoS == 3,
		flags&flagReserved != 0 && c.level != level31,
		c.will == nil && (willQoS != 0 || flags&flagWillRetain != 0),
		c.hasPassword && !c.hasUser && c.level != level5:
		return c, errConnect
	case !isText(c.clientID), len(c.clientID) == 0 && (c.level == level31 || c.level == level311 && !c.clean):
		return c, errClientID
	case !isText(c.user), login.Sealed(string(c.user)):
		return c, errUser
	case c.will != nil:
		_, err = checkName(c.will.topic, false)
	}
	return c, err
}

// isText reports whether a client id or a user may be passed on.
func isText(text []byte) bool {
	return len(text) <= maxName && utf8.Valid(text) && bytes.IndexByte(text, 0) < 0
}

// keeps reports whether the session outlives the connection. A client of MQTT 5 can ask for
// a new session that does; MQTT 3.1.1 needs two connections for that.
func (c *connect) keeps() bool {
	if c.level == level5 {
		return c.expiry > 0
	}
	return !c.clean
}

// appendTo appends the packet as MQTT 3.1.1, with the user in place of the client's.
func (c *connect) appendTo(dst []byte, user string, clean, withWill bool) []byte {
	flags := byte(flagUser)
	if clean {
		flags |= flagClean
	}
	var rest []byte
	rest = appendText(rest, escape.ID(nil, c.clientID))
	if c.will != nil && withWill {
		flags |= flagWill | c.will.qos<<willQoSShift
		if c.will.retain {
			flags |= flagWillRetain
		}
		rest = appendText(rest, escape.Topic(nil, c.will.topic))
		rest = appendText(rest, c.will.payload)
	}
	rest = appendText(rest, user)
	if c.hasPassword {
		flags |= flagPassword
		rest = appendText(rest, c.password)
	}
	start := binary.BigEndian.AppendUint16(append(appendText(nil, "MQTT"), level311, flags), c.keepAlive)
	return appendPacket(dst, typeConnect<<4, start, rest)
}

const (
	// window is how many messages nats-server takes from a client before it acknowledges
	// the first one.
	window = 1024
	// longestSilence is the keep-alive of a client of MQTT 5 that wants none, in seconds.
	longestSilence = 3600
)

// appendConnAck appends the answer to a CONNECT in its own form. code is that of MQTT 5. It
// appends nothing if the client can only be refused by closing the connection.
func (c *connect) appendConnAck(dst []byte, code byte, present bool, assigned, reason string) []byte {
	flag := byte(0)
	if present && c.level != level31 {
		flag = 1
	}
	if c.level != level5 {
		short, ok := returnCode(code)
		if code != 0 && !ok {
			return dst
		}
		return append(dst, typeConnAck<<4, 2, flag, short)
	}
	var p []byte
	if code == 0 {
		p = append(p, propSubscriptionOK, 0, propSharedOK, 0)
		p = binary.BigEndian.AppendUint16(append(p, propReceiveMaximum), window)
		p = binary.BigEndian.AppendUint32(append(p, propMaximumPacket), maxPacket)
		if c.expiry > 0 && c.expiry != math.MaxUint32 {
			// Nats-server keeps a session until the client asks for a new one.
			p = binary.BigEndian.AppendUint32(append(p, propSessionExpiry), math.MaxUint32)
		}
		if c.keepAlive == longestSilence {
			p = binary.BigEndian.AppendUint16(append(p, propServerAlive), longestSilence)
		}
		if assigned != "" {
			p = appendText(append(p, propAssignedID), assigned)
		}
	} else if reason != "" {
		p = appendText(append(p, propReason), reason)
	}
	return appendPacket(dst, typeConnAck<<4, []byte{flag, code}, appendVarint(nil, len(p)), p)
}
