package front

import (
	"fmt"

	"headwater/streams"
)

// Reason is why a client is refused, as a value of a metric's label.
type Reason string

// Reasons.
const (
	ReasonRate        Reason = "rate"
	ReasonConnections Reason = "connections"
	ReasonFull        Reason = "full"
	ReasonSlow        Reason = "slow"
	ReasonProtocol    Reason = "protocol"
	ReasonVersion     Reason = "version"
	ReasonConnect     Reason = "connect"
	ReasonClientID    Reason = "client-id"
	ReasonUser        Reason = "user"
	ReasonTopic       Reason = "topic"
	ReasonPayload     Reason = "payload"
	ReasonMalformed   Reason = "malformed"
	ReasonUnsupported Reason = "unsupported"
	ReasonReader      Reason = "slow-reader"
	ReasonBusy        Reason = "busy"
	// ReasonServer is for a client that nats-server did not answer. It is only counted.
	ReasonServer Reason = "server"
)

// Reasons returns all of them.
func Reasons() []Reason {
	return []Reason{
		ReasonRate, ReasonConnections, ReasonFull, ReasonSlow, ReasonProtocol, ReasonVersion, ReasonConnect, ReasonClientID,
		ReasonUser, ReasonTopic, ReasonPayload, ReasonMalformed, ReasonUnsupported, ReasonReader, ReasonBusy, ReasonServer,
	}
}

// Reason codes of MQTT 5.
const (
	codeWithWill       = 0x04
	codeUnspecified    = 0x80
	codeMalformed      = 0x81
	codeVersion        = 0x84
	codeClientID       = 0x85
	codePassword       = 0x86
	codeNotAuthorized  = 0x87
	codeUnavailable    = 0x88
	codeBusy           = 0x89
	codeShuttingDown   = 0x8b
	codeAuthMethod     = 0x8c
	codeTopicName      = 0x90
	codeTopicAlias     = 0x94
	codePacketTooLarge = 0x95
	codeShared         = 0x9e
	codeSubscriptionID = 0xa1
)

// refusal is an error for which a client is refused.
type refusal struct {
	reason Reason
	// code is the reason code of MQTT 5.
	code byte
	// text says what is wrong, for people, without a full stop.
	text string
}

func (r *refusal) Error() string { return r.text }

var (
	errRate        = &refusal{ReasonRate, 0, "its address connects too often: --mqtt-connect-rate bounds that"}
	errConnections = &refusal{ReasonConnections, 0, "its address has too many connections: --mqtt-connections-per-address bounds them"}
	errFull        = &refusal{ReasonFull, 0, "there are too many connections: --mqtt-connections bounds them"}
	errSlow        = &refusal{ReasonSlow, codeMalformed, fmt.Sprintf("it sent no CONNECT within %s", connectWithin)}
	errProtocol    = &refusal{ReasonProtocol, codeMalformed, "what it sends is not MQTT; a device may speak TLS where none is expected, or the other way round"}
	errPlain       = &refusal{ReasonProtocol, codeMalformed, "it connects without TLS, which is required: --mqtt-tls"}
	errVersion     = &refusal{ReasonVersion, codeVersion, "it speaks a version of MQTT other than 3.1, 3.1.1 and 5"}
	errConnect     = &refusal{ReasonConnect, codeMalformed, "its CONNECT is malformed"}
	errConnectSize = &refusal{ReasonConnect, codePacketTooLarge, fmt.Sprintf("its CONNECT is larger than %d KiB", maxConnect>>10)}
	errAuthMethod  = &refusal{ReasonConnect, codeAuthMethod, "it asks for an authentication method; only users with passwords and certificates are known"}
	errClientID    = &refusal{ReasonClientID, codeClientID, fmt.Sprintf("its client id is empty, longer than %d bytes, or not text", maxName)}
	errUser        = &refusal{ReasonUser, codePassword, fmt.Sprintf("its user is longer than %d bytes, not text, or one that only a front may send", maxName)}
	errTopic       = &refusal{ReasonTopic, codeTopicName, fmt.Sprintf("a topic is empty, longer than %d bytes, not text, or holds a wildcard", maxName)}
	errPayload     = &refusal{ReasonPayload, codePacketTooLarge, fmt.Sprintf("a message is larger than %d KiB", streams.MaxDevicePayload>>10)}
	errMalformed   = &refusal{ReasonMalformed, codeMalformed, "a packet is malformed"}
	errTooLarge    = &refusal{ReasonMalformed, codePacketTooLarge, fmt.Sprintf("a packet other than a message is larger than %d KiB", maxControl>>10)}
	errAlias       = &refusal{ReasonUnsupported, codeTopicAlias, "it uses a topic alias"}
	errShared      = &refusal{ReasonUnsupported, codeShared, "it asks for a shared subscription"}
	errIdentifier  = &refusal{ReasonUnsupported, codeSubscriptionID, "it asks for a subscription identifier"}
	errBusy        = &refusal{ReasonBusy, codeBusy, fmt.Sprintf("more devices connect at once than can be let in within %s; it may try again", turnWithin)}
	errReader      = &refusal{ReasonReader, codeUnspecified, fmt.Sprintf("it took nothing of what was sent to it for %s", writeWithin)}
)

// Refused is a client that was refused.
type Refused struct {
	Reason Reason
	// Client is its client id; empty when it has not sent one.
	Client string
	// Host is its address.
	Host string
	// Why says what is wrong, for people, without a full stop.
	Why string
}

// returnCode is the code of a CONNACK before MQTT 5 for a reason code of MQTT 5. It
// returns false if there is none; then the connection is closed without an answer.
func returnCode(code byte) (byte, bool) {
	switch code {
	case codeVersion:
		return 1, true
	case codeClientID:
		return 2, true
	case codeUnavailable, codeBusy:
		return 3, true
	case codePassword:
		return 4, true
	case codeNotAuthorized:
		return 5, true
	}
	return 0, false
}

// reasonCode is the reason code of MQTT 5 for the code of a CONNACK before it.
func reasonCode(code byte) byte {
	switch code {
	case 0:
		return 0
	case 1:
		return codeVersion
	case 2:
		return codeClientID
	case 3:
		return codeUnavailable
	case 4:
		return codePassword
	case 5:
		return codeNotAuthorized
	}
	return codeUnspecified
}
