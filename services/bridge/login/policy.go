package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"

	"headwater/streams"
)

// Anonymous says which devices may connect without a name and a password.
type Anonymous string

const (
	// AnonymousLoopback admits those on the machine of nats-server. A proxy on
	// that machine makes all devices look like that.
	AnonymousLoopback Anonymous = "loopback"
	// AnonymousAny admits all.
	AnonymousAny Anonymous = "any"
	// AnonymousNone admits none.
	AnonymousNone Anonymous = "none"
)

// Policy says which devices may connect.
type Policy struct {
	// Anonymous applies to devices that send neither user nor password, and,
	// when there is no User, to all of them.
	Anonymous Anonymous
	// User and Password admit a device from anywhere. Both are empty when no
	// device can log in by password.
	User, Password string
}

// Validate reports every problem of the policy.
func (p Policy) Validate() error {
	var problems []error
	switch p.Anonymous {
	case AnonymousLoopback, AnonymousAny, AnonymousNone:
	default:
		problems = append(problems, fmt.Errorf("anonymous devices: %q is none of loopback, any and none", p.Anonymous))
	}
	if (p.User == "") != (p.Password == "") {
		problems = append(problems, errors.New("user and password of the devices belong together"))
	}
	return errors.Join(problems...)
}

// Refusal is why a device may not connect; empty when it may.
type Refusal string

const (
	// RefusalMalformed is for a request that is not nats-server's.
	RefusalMalformed Refusal = "malformed"
	// RefusalProtocol is for a connection that is not MQTT.
	RefusalProtocol Refusal = "protocol"
	// RefusalAnonymous is for a device that sent no password from where it
	// needs one.
	RefusalAnonymous Refusal = "anonymous"
	// RefusalPassword is for a wrong user or password.
	RefusalPassword Refusal = "password"
	// RefusalThrottled is for a device whose address has sent too many wrong
	// passwords lately: its own was not looked at.
	RefusalThrottled Refusal = "throttled"
)

// String says the reason in words.
func (r Refusal) String() string {
	switch r {
	case RefusalMalformed:
		return "the request to log in cannot be read"
	case RefusalProtocol:
		return "devices connect by MQTT only"
	case RefusalAnonymous:
		return "a device at this address needs a user and a password"
	case RefusalPassword:
		return "wrong user or password"
	case RefusalThrottled:
		return "too many wrong passwords came from this address: try again later"
	}
	return "admitted"
}

// Device is what is known of a device that wants to connect.
type Device struct {
	// Protocol is mqtt, also within a WebSocket; nats or websocket for others.
	Protocol string
	// Host is the address it connects from, as nats-server sees it.
	Host string
	// ClientID, User and Password are what it says of itself.
	ClientID, User, Password string
}

// Judge returns why the device may not connect, or the empty Refusal.
func (p Policy) Judge(d Device) Refusal {
	switch {
	case d.Protocol != protocolMQTT:
		return RefusalProtocol
	case p.byPassword(d):
		if !p.knows(d.User, d.Password) {
			return RefusalPassword
		}
		return ""
	case p.Anonymous == AnonymousAny, p.Anonymous == AnonymousLoopback && loopback(d.Host):
		return ""
	}
	return RefusalAnonymous
}

// byPassword reports whether the device is judged by its password.
func (p Policy) byPassword(d Device) bool {
	return d.Protocol == protocolMQTT && p.User != "" && (d.User != "" || d.Password != "")
}

const protocolMQTT = "mqtt"

// knows compares in a time that tells nothing of what was right.
func (p Policy) knows(user, password string) bool {
	return equal(p.User, user)&equal(p.Password, password) == 1
}

func equal(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// withheld are the subjects on which no device may publish, be it as its will
// or retained: commands, which other devices obey, and nats-server's own traffic
// within an account. A wildcard stands for a whole token, so each has to be
// named; what else begins with "$" reaches nothing and becomes a dead letter.
//
// Nats-server acknowledges what it drops for this reason: MQTT 3.1.1 has no
// answer that says no.
func withheld() []string {
	return []string{
		streams.CommandsAll,
		"$JS.>", "$MQTT.>", "$SYS.>", "$KV.>", "$O.>", "$SRV.>", "$JSC.>", "$NRG.>", "$GR.>", "$LDS.>", "$NATS.>", "$G.>",
		"_INBOX.>", "_R_.>", "_GR_.>",
	}
}

// commands are the subjects that a device may subscribe to. A client id that
// is no plain name could hold a wildcard or reach into another device's
// commands, so it has none.
func commands(clientID string) []string {
	if !streams.ValidToken(clientID) {
		return nil
	}
	return streams.CommandSubjects(clientID)
}
