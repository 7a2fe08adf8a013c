package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"

	"github.com/nats-io/jwt/v2"

	"headwater/streams"
)

// Anonymous selects the clients that may connect without a user and a password.
type Anonymous string

const (
	// AnonymousLoopback admits clients on the machine of nats-server. Behind a
	// proxy on that machine every client looks like one.
	AnonymousLoopback Anonymous = "loopback"
	// AnonymousAny admits all.
	AnonymousAny Anonymous = "any"
	// AnonymousNone admits none.
	AnonymousNone Anonymous = "none"
)

// Credential is a user and its password. The zero Credential admits nobody.
type Credential struct{ User, Password string }

// Policy decides who may connect, and as what.
type Policy struct {
	// Anonymous applies to clients that send neither user nor password. Without a
	// Device credential it applies to every client but the reader.
	Anonymous Anonymous
	// Device admits a device from anywhere.
	Device Credential
	// Reader admits an application from anywhere, which may subscribe to what
	// devices publish, and publish nothing.
	Reader Credential
}

// Validate reports every problem of the policy.
func (p Policy) Validate() error {
	var problems []error
	switch p.Anonymous {
	case AnonymousLoopback, AnonymousAny, AnonymousNone:
	default:
		problems = append(problems, fmt.Errorf("anonymous devices: %q is none of loopback, any and none", p.Anonymous))
	}
	for _, c := range []struct {
		of string
		Credential
	}{{"devices", p.Device}, {"reader", p.Reader}} {
		if (c.User == "") != (c.Password == "") {
			problems = append(problems, fmt.Errorf("user and password of the %s belong together", c.of))
		}
	}
	if p.Reader.User != "" && p.Reader.User == p.Device.User {
		problems = append(problems, errors.New("devices and the reader need different users"))
	}
	return errors.Join(problems...)
}

// Role is what a client is admitted as.
type Role int

const (
	// RoleDevice publishes readings, and subscribes to its own commands.
	RoleDevice Role = iota
	// RoleReader subscribes to what devices publish, with QoS 0.
	RoleReader
	// RoleOwner publishes for the devices of its credential, and subscribes to its own
	// commands.
	RoleOwner
)

// Refusal is why a client may not connect; empty when it may.
type Refusal string

const (
	// RefusalMalformed is for a request that nats-server did not write.
	RefusalMalformed Refusal = "malformed"
	// RefusalProtocol is for a connection that is not MQTT.
	RefusalProtocol Refusal = "protocol"
	// RefusalAnonymous is for a client that sent no password and needs one at its
	// address.
	RefusalAnonymous Refusal = "anonymous"
	// RefusalPassword is for a wrong user or password.
	RefusalPassword Refusal = "password"
	// RefusalRevoked is for a device whose credential is revoked.
	RefusalRevoked Refusal = "revoked"
	// RefusalClientID is for a client id that belongs to another device.
	RefusalClientID Refusal = "client-id"
	// RefusalUnknown is for a device without a credential where each must have one.
	RefusalUnknown Refusal = "unknown"
	// RefusalThrottled is for a client whose address sent too many wrong passwords
	// recently. Its own password was not compared.
	RefusalThrottled Refusal = "throttled"
	// RefusalForged is for a client whose user only a front may send, and no front with
	// the same key has sent it recently.
	RefusalForged Refusal = "forged"
)

// String returns the reason as a sentence.
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
	case RefusalRevoked:
		return "its credential is revoked"
	case RefusalClientID:
		return "a device with a credential has its name as the client id, also with : or / and more, or one that the credential lists; nobody else may use those"
	case RefusalUnknown:
		return "devices without a credential are refused"
	case RefusalThrottled:
		return "too many wrong passwords came from this address: try again later"
	case RefusalForged:
		return "the user is one that only a front of this installation may send; the clocks of its machines may differ by 5 minutes"
	}
	return "admitted"
}

// Device is a client that wants to connect.
type Device struct {
	// Protocol is mqtt, also within a WebSocket; nats or websocket for others.
	Protocol string
	// Host is the address that it connects from, as the front sees it, else nats-server.
	Host string
	// ClientID, User and Password are what it sent.
	ClientID, User, Password string
	// Certificate is what it proved by TLS; the zero Certificate if it has none.
	Certificate Certificate
}

// Certificate is a certificate whose chain was verified.
type Certificate struct {
	// URIs are the URIs among the alternative names of its subject.
	URIs []string `json:"uris,omitempty"`
	// Fingerprint is the SHA-256 of the certificate, in lower hexadecimal digits.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Judge returns what the client is admitted as, or why it is refused.
func (p Policy) Judge(d Device) (Role, Refusal) {
	switch {
	case d.Protocol != ProtocolMQTT:
		return 0, RefusalProtocol
	case p.byPassword(d):
		switch {
		case p.Reader.matches(d):
			return RoleReader, ""
		case p.Device.matches(d):
			return RoleDevice, ""
		}
		return 0, RefusalPassword
	case p.Anonymous == AnonymousAny, p.Anonymous == AnonymousLoopback && loopback(d.Host):
		return RoleDevice, ""
	}
	return 0, RefusalAnonymous
}

// byPassword reports whether a password decides about the client.
func (p Policy) byPassword(d Device) bool {
	if d.Protocol != ProtocolMQTT || d.User == "" && d.Password == "" {
		return false
	}
	return p.Device.User != "" || p.Reader.User != "" && p.Reader.User == d.User
}

// names reports whether a user is one of those that several devices or readers share.
func (p Policy) names(user string) bool {
	return user == "" || user == p.Device.User || user == p.Reader.User
}

// ProtocolMQTT is the protocol of devices.
const ProtocolMQTT = "mqtt"

// matches compares in a time that reveals nothing about what was right.
func (c Credential) matches(d Device) bool {
	return c.User != "" && equal(c.User, d.User)&equal(c.Password, d.Password) == 1
}

func equal(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// withheld are the subjects on which no device may publish, not even as its will
// or retained, and which no reader may hear: commands, which other devices obey, and
// nats-server's own traffic within an account. A wildcard stands for a whole token,
// so each subject is listed. Anything else below "$" reaches nothing and becomes a
// dead letter.
//
// Nats-server acknowledges a message that it drops for this reason: MQTT 3.1.1 has
// no other answer.
func withheld() []string {
	return append(streams.SparkplugCommands(),
		streams.CommandsAll,
		"$JS.>", "$MQTT.>", "$SYS.>", "$KV.>", "$O.>", "$SRV.>", "$JSC.>", "$NRG.>", "$GR.>", "$LDS.>", "$NATS.>", "$G.>",
		"_INBOX.>", "_R_.>", "_GR_.>",
	)
}

// commands are the subjects that a device may subscribe to: its own commands and those of
// Sparkplug B, by which the bridge asks edge nodes for their births. A client id that is
// not a valid name has none of its own: it could contain a wildcard, or reach the commands
// of another device.
func commands(clientID string) []string {
	all := append(streams.SparkplugCommands(), streams.SparkplugStates()...)
	if streams.ValidToken(clientID) {
		all = append(all, streams.CommandSubjects(clientID)...)
	}
	return all
}

// mostProtected bounds the devices that are listed to every client without a credential.
const mostProtected = 256

// grant is what a client may do in its role. The limit of a payload is not part of it,
// because nats-server takes none from here; the bridge bounds what a device sends.
func (r *Responder) grant(c *jwt.UserClaims, a admission, clientID string) {
	switch a.role {
	case RoleReader:
		c.Pub.Deny.Add(">")
		c.Sub.Allow.Add(">")
		// With QoS 1 or 2, nats-server delivers from a stream, on subjects below $MQTT,
		// and its stream has no readings: such a subscription would stay silent. Without
		// these subjects it is refused, so that the client sees the failure. MQTT 3.1.1
		// knows no shared subscriptions: $share would be a topic, and stay silent too.
		c.Sub.Deny.Add(append(withheld(), "$share.>")...)
		return
	case RoleOwner:
		for _, p := range a.credential.Devices {
			c.Pub.Allow.Add(r.topics.Grants(p.Site, p.Device)...)
		}
		clientID = a.credential.Name
		if !a.until.IsZero() {
			c.Expires = a.until.Unix()
		}
	default:
		c.Pub.Allow.Add(">")
		for _, p := range r.credentials.Protected(mostProtected) {
			c.Pub.Deny.Add(r.topics.Guards(p.Site, p.Device)...)
		}
	}
	c.Pub.Deny.Add(withheld()...)
	c.Sub.Allow.Add(commands(clientID)...)
}
