package streams

import (
	"encoding/json"
	"time"
)

// AnswerTimeout is how long nats-server waits for the answer to what was published
// over MQTT with QoS 1 or 2. Then it closes the device's connection, and the
// device sends again. It is longer than it takes until a bridge that was killed has
// been replaced, and than a slow disk takes for a round.
const AnswerTimeout = 15 * time.Second

// MQTTStored is the answer that has nats-server acknowledge a message to its
// device.
func MQTTStored() []byte { return mqttAnswer(map[string]any{"stream": StreamMQTT, "seq": 1}) }

// MQTTRefused is the answer on which nats-server closes the device's connection;
// the reason goes into its log.
func MQTTRefused(reason string) []byte {
	const unavailable, storeFailed = 503, 10077
	return mqttAnswer(map[string]any{"error": map[string]any{"code": unavailable, "err_code": storeFailed, "description": reason}})
}

func mqttAnswer(answer map[string]any) []byte {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts and numbers can be encoded
	}
	return body
}
