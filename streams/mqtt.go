package streams

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// AnswerTimeout is how long nats-server waits for the answer to a message with QoS 1 or 2.
// Then it closes the connection of the device, which sends again. It is longer than the
// takeover from a killed bridge, and than a round on a slow disk.
const AnswerTimeout = 15 * time.Second

// MQTTStored is the answer on which nats-server acknowledges a message to its device.
func MQTTStored() []byte { return mqttAnswer(map[string]any{"stream": StreamMQTT, "seq": 1}) }

// MQTTRefused is the answer on which nats-server closes the connection of the device. It
// logs the reason.
func MQTTRefused(reason string) []byte {
	const unavailable = 503
	return mqttAnswer(map[string]any{"error": map[string]any{"code": unavailable, "err_code": codeStoreFailed, "description": reason}})
}

func mqttAnswer(answer map[string]any) []byte {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts and numbers can always be encoded
	}
	return body
}

// A reply subject of nats-server ends in a number of ReplyDigits digits that grows with each
// message of the server. The front's are like it.
const (
	ReplyDigits  = 10
	replyLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// AppendReplyNumber appends the number that a reply subject ends in. It is not negative.
func AppendReplyNumber(dst []byte, n int64) []byte {
	dst = append(dst, "0000000000"...)
	for i := len(dst) - 1; n > 0 && i >= len(dst)-ReplyDigits; i-- {
		dst[i] = replyLetters[n%int64(len(replyLetters))]
		n /= int64(len(replyLetters))
	}
	return dst
}

// ReplyNumber returns the number that a reply subject ends in, and the text before it. ok is
// false when it does not end in a number.
func ReplyNumber(reply string) (before string, n int64, ok bool) {
	if len(reply) <= ReplyDigits {
		return "", 0, false
	}
	before = reply[:len(reply)-ReplyDigits]
	for _, c := range []byte(reply[len(before):]) {
		digit := strings.IndexByte(replyLetters, c)
		if digit < 0 {
			return "", 0, false
		}
		n = n*int64(len(replyLetters)) + int64(digit)
	}
	return before, n, true
}

// MQTTAnswersTo is what the reply subjects of a front begin with, within MQTTAnswers; their
// numbers follow. The name is a token. A front takes answers together.
func MQTTAnswersTo(front string) string { return frontAnswers + front + answersOf }

const (
	frontAnswers = "$MQTT.JSA.together-"
	answersOf    = ".MS."
	together     = "stored"
)

// MQTTStoredTogether returns the subject of a message which says that all messages are stored
// whose reply subjects, as EncodeReplies packs them, are in its body. They begin with a text that
// ReplyNumber returned. ok is false for nats-server's own, which it must answer one by one.
func MQTTStoredTogether(before string) (subject string, ok bool) {
	return before + together, strings.HasPrefix(before, frontAnswers)
}

// IsStoredTogether reports whether a subject within MQTTAnswers is of MQTTStoredTogether.
func IsStoredTogether(subject string) bool { return strings.HasSuffix(subject, answersOf+together) }

// MQTTAnswer returns why a message of a device was not stored, or nil, from the answer to it.
func MQTTAnswer(body []byte) error {
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("decode the answer of the bridge: %w", err)
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Description)
	}
	return nil
}

// MQTTStoredSubject returns the subject within MQTTAll on which a message with QoS 1 or 2 waits
// for its answer, from that on which it is delivered.
func MQTTStoredSubject(subject string) string { return mqttPrefix + subject }

// MQTTPublished is the header of a message that a device published with QoS 1.
func MQTTPublished() nats.Header { return nats.Header{MQTTPublishedHeader: {"1"}} }

// MQTTPublishedHeader holds the QoS with which a device published a message.
const MQTTPublishedHeader = "Nmqtt-Pub"

// Nats-server's own form of sessions and retained messages of MQTT, in the account of the
// devices. It is not documented, so tests of the bridge watch over it.
const (
	// StreamSessions holds what nats-server remembers of each client id.
	StreamSessions = "$MQTT_sess"
	// SessionsAll are the subjects of all sessions.
	SessionsAll     = sessionPrefix + ">"
	sessionPrefix   = "$MQTT.sess."
	retainedPrefix  = "$MQTT.rmsgs."
	sessionTaken    = "$MQTT.JSA.headwater.SP."
	retainedSource  = "Nmqtt-RSource"
	retainedFlags   = "Nmqtt-RFlags"
	retainedCleared = "-0"
)

// SessionSubject is the subject of the session of a client id in StreamSessions.
func SessionSubject(clientID string) string { return sessionPrefix + sessionHash(clientID) }

// sessionHash is how nats-server names a session.
func sessionHash(clientID string) string {
	const digits, length = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 8
	sum := sha256.Sum256([]byte(clientID))
	for i, b := range sum[:length] {
		sum[i] = digits[int(b)%len(digits)]
	}
	return string(sum[:length])
}

// SessionTaken is the message on which each nats-server forgets the session of a client id
// in its memory and closes its connection without sending its will: it says that the client
// connected elsewhere.
func SessionTaken(clientID string) *nats.Msg {
	body, err := json.Marshal(map[string]any{"stream": StreamSessions, "seq": uint64(math.MaxInt64)})
	if err != nil {
		panic(err) // texts and numbers can always be encoded
	}
	return &nats.Msg{Subject: sessionTaken + sessionHash(clientID) + ".0", Data: body}
}

// SessionConsumers returns the consumers of a session, by their streams.
func SessionConsumers(session []byte) (map[string][]string, error) {
	type consumer struct {
		Durable string `json:"durable_name"`
	}
	var s struct {
		Consumers map[string]*consumer `json:"cons"`
		Released  *consumer            `json:"pubrel"`
	}
	if err := json.Unmarshal(session, &s); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	all := make(map[string][]string)
	for _, c := range s.Consumers {
		if c != nil && c.Durable != "" {
			all[StreamMQTT] = append(all[StreamMQTT], c.Durable)
		}
	}
	if s.Released != nil && s.Released.Durable != "" {
		all[streamReleased] = []string{s.Released.Durable}
	}
	return all, nil
}

// SessionClient returns the client id of a session; empty if it cannot be read.
func SessionClient(session []byte) string {
	var s struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(session, &s); err != nil {
		return ""
	}
	return s.ID
}

// streamReleased is nats-server's stream of messages with QoS 2 on their way to devices.
const streamReleased = "$MQTT_out"

// RetainedSubject is the subject in StreamRetained of the retained message on a subject, or
// on all that a pattern covers.
func RetainedSubject(subject string) string { return retainedPrefix + subject }

// RetainedBy returns the user that published a retained message.
func RetainedBy(header nats.Header) string { return header.Get(retainedSource) }

// RetainedCleared is the message that clears the retained message on a subject of
// StreamRetained.
func RetainedCleared(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{retainedFlags: {retainedCleared}}}
}
