package decode

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// zigbeeUnits are the units of the values of Zigbee2MQTT. Voltage is not among them: it
// is in mV of a battery and in V of a plug.
var zigbeeUnits = map[string]string{
	"temperature": "°C", "humidity": "%", "moisture": "%", "pressure": "hPa", "battery": "%", "power": "W", "energy": "kWh", "current": "A",
	"co2": "ppm", "voc": "ppb", "pm25": "µg/m³", "pm10": "µg/m³", "lux": "lx", "frequency": "Hz", "position": "%",
}

// zigbee reads Zigbee2MQTT. Its base topic may be another one: a payload with the quality
// of the link shows it.
func (m *message) zigbee() (bool, *Error) {
	if len(m.levels) < 2 {
		return false, nil
	}
	own, last := m.levels[0] == "zigbee2mqtt", m.level(-1)
	if !own {
		if !bytes.Contains(m.payload, []byte(`"linkquality"`)) || !jsontext.Value(m.payload).IsValid() || m.payload[0] != '{' {
			return false, nil
		}
		if err := m.object(); err != nil {
			return true, err
		}
		return m.zigbeeState(m.called(m.levels[1:]...))
	}
	switch {
	case m.levels[1] == "bridge":
		if last != "state" || len(m.levels) != 3 {
			return m.none("it describes the bridge")
		}
		return m.zigbeePresence(m.called(m.levels[0]))
	case last == "availability":
		return m.zigbeePresence(m.called(m.levels[1 : len(m.levels)-1]...))
	case len(m.levels) > 2 && (last == "set" || last == "get" || m.level(-2) == "set" || m.level(-2) == "get"):
		return m.none("it is a command")
	case m.payload[0] == '{':
		if err := m.object(); err != nil {
			return true, err
		}
		return m.zigbeeState(m.called(m.levels[1:]...))
	case len(m.levels) > 2:
		return m.single(m.called(m.levels[1:len(m.levels)-1]...), m.called(last), zigbeeUnits[last])
	}
	return true, refuse("", "the state of a device is an object of JSON, not %s", quote(m.payload))
}

// zigbeePresence reads online, offline or {"state":"online"}.
func (m *message) zigbeePresence(device string) (bool, *Error) {
	word := string(m.payload)
	if m.payload[0] == '{' {
		if err := m.object(); err != nil {
			return true, err
		}
		word = m.textAt(0, "state")
	}
	return m.presence(device, word)
}

// zigbeeState reads the state of a device, which is the tree.
func (m *message) zigbeeState(device string) (bool, *Error) {
	when := m.timeOf(0, "last_seen")
	m.dropAll(0, "last_seen", "device")
	for _, key := range []string{"action", "click"} {
		if m.textAt(0, key) == "" {
			m.drop(0, key)
		}
	}
	if update := m.child(0, "update"); update >= 0 {
		m.dropAll(update, "latest_release_notes", "latest_source")
	}
	return true, m.emit(device, when, zigbeeUnits, func() { m.flatten(0, "") })
}

// shellyUnits are the units of the values of Shelly devices.
var shellyUnits = map[string]string{
	"apower": "W", "voltage": "V", "current": "A", "freq": "Hz", "tC": "°C", "rh": "%", "rssi": "dBm", "uptime": "s", "percent": "%", "lux": "lx",
	"temperature": "°C", "humidity": "%", "power": "W", "battery": "%", "energy": "W·min", "V": "V",
}

// shellySettings are the components of a full status that measure nothing.
var shellySettings = []string{"cloud", "mqtt", "ws", "ble", "bthome", "matter", "ui", "modbus", "knx", "serial", "plugs_ui"}

// shelly reads Shelly devices of the second generation and later, which are recognized by
// the ends of their topics, and those of the first.
func (m *message) shelly() (bool, *Error) {
	n := len(m.levels)
	switch {
	case m.levels[0] == "shellies":
		return m.shelly1()
	case n == 2 && m.levels[1] == "online":
		if word := string(m.payload); word != "true" && word != "false" {
			return false, nil
		}
		return m.presence(m.called(m.levels[0]), string(m.payload))
	case n >= 3 && m.level(-1) == "rpc" && m.level(-2) == "events":
		return m.shellyEvent(m.called(m.levels[:n-2]...))
	case n >= 3 && m.level(-2) == "status" && m.payload[0] == '{':
		if err := m.object(); err != nil {
			return true, err
		}
		return m.shellyStatus(m.called(m.levels[:n-2]...), moment{}, func() { m.shellyComponent(0, m.level(-1)) })
	}
	return false, nil
}

// shellyEvent reads a notification of the device.
func (m *message) shellyEvent(device string) (bool, *Error) {
	if err := m.object(); err != nil {
		return true, err
	}
	method, params := m.textAt(0, "method"), m.child(0, "params")
	when := m.timeOf(params, "ts")
	m.drop(params, "ts")
	switch {
	case params < 0:
		return false, nil
	case method == "NotifyStatus", method == "NotifyFullStatus":
		return m.shellyStatus(device, when, func() {
			m.each(params, m.shellyComponent)
		})
	case method == "NotifyEvent":
		return true, m.emit(device, when, nil, func() {
			m.each(m.child(params, "events"), func(i int32, _ string) {
				m.value(m.called(m.textAt(i, "component"), "event"), i, "event")
			})
		})
	}
	return m.none("it is a notification without values")
}

func (m *message) shellyStatus(device string, when moment, take func()) (bool, *Error) {
	err := m.emit(device, when, shellyUnits, take)
	for i := range m.readings {
		if r := &m.readings[i]; r.Unit == "" && r.Kind == Value && strings.HasSuffix(r.Metric, "energy_total") {
			r.Unit = "Wh"
		}
	}
	return true, err
}

// shellyComponent takes the values of a component such as switch:0.
func (m *message) shellyComponent(i int32, name string) {
	kind, _, _ := strings.Cut(name, ":")
	switch kind {
	case "sys":
		m.value("uptime", i, "uptime")
		return
	case "wifi":
		m.value("rssi", i, "rssi")
		return
	}
	if slices.Contains(shellySettings, kind) {
		return
	}
	m.dropAll(i, "id", "source", "tF", "timer_started_at", "timer_duration")
	for _, energy := range []string{"aenergy", "ret_aenergy"} {
		if at := m.child(i, energy); at >= 0 {
			m.dropAll(at, "by_minute", "minute_ts")
		}
	}
	if at := m.child(i, "temperature"); at >= 0 {
		m.drop(at, "tF")
	}
	m.flatten(i, m.called(name))
}

// shelly1 reads a device of the first generation: shellies/device/relay/0/power.
func (m *message) shelly1() (bool, *Error) {
	last := m.level(-1)
	switch {
	case len(m.levels) < 3, last == "announce", last == "info", last == "command":
		return m.none("it describes the device, or is a command")
	case len(m.levels) == 3 && last == "online":
		return m.presence(m.called(m.levels[1]), string(m.payload))
	case m.payload[0] == '{':
		if err := m.object(); err != nil {
			return true, err
		}
		return m.all(m.called(m.levels[1]), m.called(m.levels[2:]...), shellyUnits)
	}
	return m.single(m.called(m.levels[1]), m.called(m.levels[2:]...), shellyUnits[last])
}
