package connect

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
)

// Server is how devices reach this Headwater.
type Server struct {
	// Host and Port are those of MQTT, Encrypted that it takes TLS.
	Host, Port string
	Encrypted  bool
	// HTTP is the address of the API.
	HTTP string
	// Authority says that clients have to trust the authority of the page /trust.
	Authority bool
	// LoopbackOnly says that only this machine reaches MQTT.
	LoopbackOnly bool
}

// NewServer returns how devices reach MQTT on a listener, which is host:port, after
// mqtts:// if it takes TLS, or empty for the usual port. HTTP is the address at which the
// browser reaches this server, whose host the devices are taken to reach too.
func NewServer(listener, http string, authority bool) Server {
	s := Server{Host: "localhost", Port: "1883", HTTP: http, Authority: authority}
	at := http[strings.LastIndexByte(http, '/')+1:]
	if host, _, err := net.SplitHostPort(at); err == nil {
		s.Host = host
	} else if at != "" {
		s.Host = strings.Trim(at, "[]")
	}
	address, encrypted := strings.CutPrefix(listener, "mqtts://")
	s.Encrypted = encrypted
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return s
	}
	s.Port = port
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		s.Host, s.LoopbackOnly = host, true
	} else if host != "" && (ip == nil || !ip.IsUnspecified()) {
		s.Host = host
	}
	return s
}

// Place is the site and the device that the examples name.
type Place struct{ Site, Device string }

func (p Place) topic(metric string) string {
	topic := "sensors/" + p.Site + "/" + p.Device
	if metric != "" {
		topic += "/" + metric
	}
	return topic
}

// step is one thing to do.
type step struct {
	title, text string
	// code is to be copied; empty if there is nothing.
	code string
}

// way is a kind of device or program, and what to do there.
type way struct {
	// id is in the address, name is shown.
	id, name string
	steps    func(s Server, p Place) []step
}

// caFile is where the examples keep the certificate of the authority.
const caFile = "headwater-ca.crt"

// ways are all kinds, in the order of their tabs.
var ways = []way{
	{"mosquitto", "mosquitto_pub", func(s Server, p Place) []step {
		return []step{{"Send a reading", "", "mosquitto_pub -h " + s.Host + s.option(" -p ", s.Port, "1883") + s.trust(" --cafile "+caFile, " --tls-use-os-certs") +
			" -q 1 -t " + p.topic("temperature") + " -m 21.5"}}
	}},
	{"curl", "curl", func(s Server, p Place) []step {
		return []step{
			{"Send a reading", "", "curl " + s.ca("--cacert "+caFile+" ") + s.HTTP + "/api/v1/telemetry -H 'Content-Type: application/json' \\\n  -d '" + p.item() + "'"},
			{"Or as line protocol of InfluxDB", "", "curl " + s.ca("--cacert "+caFile+" ") + s.HTTP + "/api/v2/write --data-binary 'temperature,site=" + p.Site + ",device=" + p.Device + " value=21.5'"},
		}
	}},
	{"tasmota", "Tasmota", func(s Server, p Place) []step {
		tls := ""
		if s.Encrypted {
			tls = "; SetOption103 1"
		}
		return []step{
			{
				"Enter this in the console of the device",
				"Console is in the main menu of its web page. The device is called as its topic. Its site is home, unless a mapping says otherwise." + s.certificate(" It needs a firmware with TLS, which remembers the certificate."),
				"Backlog MqttHost " + s.Host + "; MqttPort " + s.Port + "; Topic " + p.Device + "; TelePeriod 60" + tls,
			},
		}
	}},
	{"zigbee2mqtt", "Zigbee2MQTT", func(s Server, _ Place) []step {
		scheme := "mqtt://"
		if s.Encrypted {
			scheme = "mqtts://"
		}
		return []step{
			{
				"Say where the broker is", "In configuration.yaml. Each device is called as in Zigbee2MQTT. Its site is home, unless a mapping says otherwise.",
				"mqtt:\n  base_topic: zigbee2mqtt\n  server: " + scheme + net.JoinHostPort(s.Host, s.Port) + s.certificate("\n  ca: /app/data/"+caFile),
			},
			{"Restart Zigbee2MQTT", "A device shows when it next reports; press one of its buttons if it has any.", ""},
		}
	}},
	{"shelly", "Shelly", func(s Server, _ Place) []step {
		tls, note := "", ""
		if s.Encrypted {
			tls, note = `,"ssl_ca":"*"`, " The connection is encrypted; with ssl_ca * the device does not check the certificate."
		}
		return []step{
			{
				"Switch on MQTT", "For Gen2 and later, also in the web page of the device under Settings, MQTT. 192.168.1.50 stands for its address. Its site is home, unless a mapping says otherwise." + note,
				"curl -X POST http://192.168.1.50/rpc/Mqtt.SetConfig \\\n  -d '{\"config\":{\"enable\":true,\"server\":\"" + net.JoinHostPort(s.Host, s.Port) + "\",\"rpc_ntf\":true,\"status_ntf\":true" + tls + "}}'",
			},
			{"Restart the device", "", "curl http://192.168.1.50/rpc/Shelly.Reboot"},
		}
	}},
	{"esphome", "ESPHome", func(s Server, p Place) []step {
		return []step{
			{"Say where the broker is", "In the YAML of the node. It needs no api: section.", "mqtt:\n  broker: " + s.Host + "\n  port: " + s.Port + s.certificate("\n  certificate_authority: !secret headwater_ca") + "\n  discovery: false"},
			{"Give each sensor its topic", "", "sensor:\n  - platform: dht\n    pin: GPIO4\n    temperature:\n      name: Temperature\n      state_topic: " + p.topic("temperature") + "\n    humidity:\n      name: Humidity\n      state_topic: " + p.topic("humidity")},
		}
	}},
	{"telegraf", "Telegraf", func(s Server, p Place) []step {
		return []step{
			{"Write here as to InfluxDB", "The host of the agent is the device; a tag site, or else the bucket, is the site.", "[[outputs.influxdb_v2]]\n  urls = [\"" + s.HTTP + "\"]\n  token = \"\"\n  organization = \"any\"\n  bucket = \"" + p.Site + "\"" + s.ca("\n  tls_ca = \"/etc/telegraf/"+caFile+"\"")},
		}
	}},
	{"node-red", "Node-RED", func(s Server, p Place) []step {
		return []step{
			{"Import this flow", "Menu, Import. It sends a reading every 10 s; replace the inject node by what you have.", nodeRED(s, p)},
		}
	}},
	{"python", "Python", func(s Server, p Place) []step {
		tls := ""
		if s.Encrypted {
			tls = "client.tls_set(" + s.ca("\""+caFile+"\"") + ")\n"
		}
		return []step{
			{"Install the client", "", "pip install paho-mqtt"},
			{"Send a reading", "", "import json, paho.mqtt.client as mqtt\n\nclient = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=\"" + p.Device + "\")\n" + tls +
				"client.connect(\"" + s.Host + "\", " + s.Port + ")\nclient.loop_start()\n" +
				"client.publish(\"" + p.topic("") + "\", json.dumps({\"temperature\": 21.5, \"humidity\": 40}), qos=1).wait_for_publish()"},
		}
	}},
	{"arduino", "Arduino", func(s Server, p Place) []step {
		note := ""
		if s.Encrypted {
			note = " This Headwater encrypts: use WiFiClientSecure with the certificate of /trust in place of WiFiClient."
		}
		return []step{
			{"Install the library PubSubClient", "Tools, Manage Libraries." + note, ""},
			{"Send a reading every 10 s", "For an ESP8266 include ESP8266WiFi.h instead of WiFi.h.", "#include <WiFi.h>\n#include <PubSubClient.h>\n\nWiFiClient net;\nPubSubClient mqtt(net);\n\nvoid setup() {\n" +
				"  WiFi.begin(\"NETWORK\", \"PASSWORD\");\n  while (WiFi.status() != WL_CONNECTED) delay(200);\n  mqtt.setServer(\"" + s.Host + "\", " + s.Port + ");\n}\n\n" +
				"void loop() {\n  if (!mqtt.connected()) mqtt.connect(\"" + p.Device + "\");\n  mqtt.loop();\n  static unsigned long last = 0;\n  if (millis() - last > 10000) {\n    last = millis();\n" +
				"    mqtt.publish(\"" + p.topic("temperature") + "\", \"21.5\");\n  }\n}"},
		}
	}},
}

// option is a flag of a command, unless its value is the usual one.
func (s Server) option(flag, value, usual string) string {
	if value == usual {
		return ""
	}
	return flag + value
}

// trust chooses what a client of MQTT needs to trust this server.
func (s Server) trust(authority, public string) string {
	switch {
	case !s.Encrypted:
		return ""
	case s.Authority:
		return authority
	}
	return public
}

// certificate returns text if MQTT is encrypted with a certificate of the authority.
func (s Server) certificate(text string) string { return s.trust(text, "") }

// ca returns text if HTTP is encrypted with a certificate of the authority.
func (s Server) ca(text string) string {
	if s.needsTrust() {
		return text
	}
	return ""
}

// needsTrust reports whether devices need the certificate of the authority.
func (s Server) needsTrust() bool {
	return s.Authority && (s.Encrypted || strings.HasPrefix(s.HTTP, "https://"))
}

// fetch downloads the certificate of the authority, which is served without TLS too.
func (s Server) fetch() string {
	return "curl -o " + caFile + " http://" + strings.TrimPrefix(strings.TrimPrefix(s.HTTP, "https://"), "http://") + "/trust/ca.crt"
}

// item is a reading over HTTP.
func (p Place) item() string {
	return fmt.Sprintf(`{"site":%q,"device":%q,"metric":"temperature","value":21.5,"unit":"°C"}`, p.Site, p.Device)
}

// nodeRED is a flow that sends a reading.
func nodeRED(s Server, p Place) string {
	type node map[string]any
	broker := node{"id": "hw-broker", "type": "mqtt-broker", "name": "Headwater", "broker": s.Host, "port": s.Port, "protocolVersion": "4", "usetls": s.Encrypted}
	flow := []node{
		{"id": "hw-inject", "type": "inject", "name": "every 10 s", "repeat": "10", "props": []node{{"p": "payload"}}, "payload": "21.5", "payloadType": "num", "x": 130, "y": 80, "wires": [][]string{{"hw-out"}}},
		{"id": "hw-out", "type": "mqtt out", "name": "", "topic": p.topic("temperature"), "qos": "1", "retain": "false", "broker": "hw-broker", "x": 360, "y": 80, "wires": [][]string{}},
		broker,
	}
	text, err := json.Marshal(flow)
	if err != nil {
		return "" // cannot be: it holds texts and numbers only
	}
	return string(text)
}
