package front

// Properties of MQTT 5 that are looked at. The others are dropped: MQTT 3.1.1 has none.
const (
	propSessionExpiry  = 17
	propAssignedID     = 18
	propServerAlive    = 19
	propAuthMethod     = 21
	propReason         = 31
	propReceiveMaximum = 33
	propTopicAlias     = 35
	propUser           = 38
	propMaximumPacket  = 39
	propSubscriptionID = 11
	propSubscriptionOK = 41
	propSharedOK       = 42
)

// form is how the value of a property is encoded.
type form byte

const (
	formByte form = 1 + iota
	formUint16
	formUint32
	formVarint
	formBytes
	formPair
)

// forms are those of all properties, by identifier.
var forms = [...]form{
	1: formByte, 2: formUint32, 3: formBytes, 8: formBytes, 9: formBytes, propSubscriptionID: formVarint,
	propSessionExpiry: formUint32, propAssignedID: formBytes, propServerAlive: formUint16, propAuthMethod: formBytes, 22: formBytes,
	23: formByte, 24: formUint32, 25: formByte, 26: formBytes, 28: formBytes, propReason: formBytes,
	propReceiveMaximum: formUint16, 34: formUint16, propTopicAlias: formUint16, 36: formByte, 37: formByte, propUser: formPair,
	propMaximumPacket: formUint32, 40: formByte, propSubscriptionOK: formByte, propSharedOK: formByte,
}

// set returns a set of properties.
func set(ids ...int) (s uint64) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// The properties that a client may send, by packet.
var (
	ofConnect     = set(propSessionExpiry, propAuthMethod, 22, 23, 25, propReceiveMaximum, 34, propUser, propMaximumPacket)
	ofWill        = set(1, 2, 3, 8, 9, 24, propUser)
	ofPublish     = set(1, 2, 3, 8, 9, propTopicAlias, propUser)
	ofAck         = set(propReason, propUser)
	ofSubscribe   = set(propSubscriptionID, propUser)
	ofUnsubscribe = set(propUser)
	ofDisconnect  = set(propSessionExpiry, propReason, propUser)
)

// properties are those of one packet.
type properties struct {
	seen uint64
	// numbers are the values that are numbers, by identifier.
	numbers [len(forms)]uint32
	bad     bool
}

func (p *properties) has(id int) bool { return p.seen&(1<<id) != 0 }

// parseProperties reads properties. They are bad if one of them is not allowed, is there
// twice, or is malformed.
func parseProperties(b []byte, allowed uint64) (p properties) {
	c := cursor{b: b}
	for len(c.b) > 0 && !c.bad {
		id := c.varint()
		if id >= len(forms) || allowed&(1<<id) == 0 || p.has(id) && id != propUser {
			p.bad = true
			return p
		}
		p.seen |= 1 << id
		switch forms[id] {
		case formByte:
			p.numbers[id] = uint32(c.byte())
		case formUint16:
			p.numbers[id] = uint32(c.uint16())
		case formUint32:
			p.numbers[id] = c.uint32()
		case formVarint:
			p.numbers[id] = uint32(c.varint())
		case formPair:
			c.bytes()
			c.bytes()
		default:
			c.bytes()
		}
	}
	p.bad = p.bad || c.bad
	return p
}
