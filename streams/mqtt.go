package streams

import (
	"encoding/json"
	"time"
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
