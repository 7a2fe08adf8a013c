package streams_test

import (
	"fmt"

	"headwater/streams"
)

// The subject of a message is built from the lane of its device. The lane depends only
// on the names and the number of lanes, so every service finds the same one.
func ExampleTelemetrySubject() {
	lane := streams.Lane("hall", "door-1", 8)
	subject := streams.TelemetrySubject(lane, streams.SourceMQTT)
	fmt.Println(subject)
	fmt.Println(streams.ParseTelemetry(subject))

	_, _, err := streams.ParseTelemetry("telemetry.08.mqtt")
	fmt.Println(err)
	// Output:
	// telemetry.5.mqtt
	// 5 mqtt <nil>
	// unknown form of subject: lane "08": in "telemetry.08.mqtt"
}

func ExampleParseDeadLetter() {
	fmt.Println(streams.ParseDeadLetter(streams.DeadLetterSubject("bridge", "payload")))
	// Output: bridge payload <nil>
}

// Nats-server stores what devices publish under subjects of its own.
func ExampleTopicFromMQTT() {
	fmt.Println(streams.TopicFromMQTT("$MQTT.msgs.sensors.hall.door-1.temperature"))
	// Output: sensors/hall/door-1/temperature
}
