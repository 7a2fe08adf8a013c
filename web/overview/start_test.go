package overview

import "testing"

func TestStartCommands(t *testing.T) {
	for mqtt, want := range map[string]string{
		"":                   "mosquitto_pub -q 1 -t sensors/home/kitchen/temperature -m 21.5",
		"0.0.0.0:1883":       "mosquitto_pub -q 1 -t sensors/home/kitchen/temperature -m 21.5",
		"mqtts://[::]:8883":  "mosquitto_pub --tls-use-os-certs -p 8883 -q 1 -t sensors/home/kitchen/temperature -m 21.5",
		"broker.local:18830": "mosquitto_pub -h broker.local -p 18830 -q 1 -t sensors/home/kitchen/temperature -m 21.5",
	} {
		if got := (Start{MQTT: mqtt}).MQTTCommand(); got != want {
			t.Errorf("%q: %s, want %s", mqtt, got, want)
		}
	}
}
