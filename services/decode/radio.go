package decode

import "strings"

// rtlUnits are the units in the names of the values of rtl_433.
var rtlUnits = []struct{ suffix, unit string }{
	{"_C", "°C"},
	{"_F", "°F"},
	{"_hPa", "hPa"},
	{"_kPa", "kPa"},
	{"_PSI", "psi"},
	{"_inHg", "inHg"},
	{"_km_h", "km/h"},
	{"_m_s", "m/s"},
	{"_mi_h", "mph"},
	{"_mph", "mph"},
	{"_mm", "mm"},
	{"_in", "in"},
	{"_lux", "lx"},
	{"_W", "W"},
	{"_V", "V"},
	{"_mV", "mV"},
	{"_kWh", "kWh"},
	{"_dB", "dB"},
	{"_deg", "°"},
	{"humidity", "%"},
	{"moisture", "%"},
	{"_A", "A"},
	{"_Hz", "Hz"},
	{"_m3", "m³"},
	{"_ppm", "ppm"},
}

// rtlUnit returns the unit of a value of rtl_433; empty if its name has none.
func rtlUnit(metric string) string {
	for _, u := range rtlUnits {
		if strings.HasSuffix(metric, u.suffix) {
			return u.unit
		}
	}
	return ""
}

// rtl433 reads rtl_433: rtl_433/host/events with the model in the payload, and
// rtl_433/host/devices/model/channel/id/key with one value each.
func (m *message) rtl433() (bool, *Error) {
	if m.levels[0] != "rtl_433" || len(m.levels) < 3 {
		return false, nil
	}
	switch kind := m.levels[2]; {
	case kind == "availability" && len(m.levels) == 3:
		return m.presence(m.called(m.levels[1]), string(m.payload))
	case kind == "devices" && len(m.levels) > 4:
		last := len(m.levels) - 1
		switch m.levels[last] {
		case "time", "id", "model", "channel", "mic", "mod", "subtype", "type":
			return m.none("it repeats what the topic says")
		}
		return m.single(m.called(m.levels[3:last]...), m.called(m.levels[last]), rtlUnit(m.levels[last]))
	case m.payload[0] == '{':
		return m.rtlEvent()
	}
	return m.none("it describes the receiver")
}

// rtlEvent reads an event, whose payload names the device.
func (m *message) rtlEvent() (bool, *Error) {
	if err := m.object(); err != nil {
		return true, err
	}
	parts := []string{m.textAt(0, "model")}
	if parts[0] == "" {
		return m.none("it describes the receiver")
	}
	for _, key := range []string{"subtype", "channel", "id"} {
		if part := m.textAt(0, key); part != "" {
			parts = append(parts, part)
		}
	}
	when := m.timeOf(0, "time")
	m.dropAll(0, "time", "model", "subtype", "channel", "id", "type", "mic", "mod", "protocol", "sequence_num", "raw_msg")
	return true, m.emit(m.called(parts...), when, nil, func() {
		m.flatten(0, "")
		for i := range m.out {
			if r := &m.out[i]; r.Kind == Value && r.Unit == "" {
				r.Unit = rtlUnit(r.Metric)
			}
		}
	})
}

// omgUnits are the units of the values of OpenMQTTGateway and Theengs.
var omgUnits = map[string]string{
	"tempc": "°C", "tempf": "°F", "hum": "%", "batt": "%", "volt": "V", "rssi": "dBm", "pres": "hPa", "lux": "lx", "moi": "%", "fer": "µS/cm",
	"weight": "kg", "distance": "m", "co2": "ppm", "pm25": "µg/m³", "uptime": "s", "power": "W", "current": "A",
}

// openMQTTGateway reads OpenMQTTGateway and Theengs Gateway: base/gateway/BTtoMQTT/id.
func (m *message) openMQTTGateway() (bool, *Error) {
	at := 0
	for i, level := range m.levels {
		if i >= 2 && strings.HasSuffix(level, "toMQTT") {
			at = i
			break
		}
	}
	gateway := m.called(m.level(max(at, 2) - 1))
	if at == 0 {
		last := m.level(-1)
		switch {
		case len(m.levels) == 3 && last == "LWT":
			return m.presence(gateway, string(m.payload))
		case len(m.levels) >= 3 && m.level(2) == "commands":
			return m.none("it is a command")
		case len(m.levels) == 3 && last == "version":
			return m.none("it describes the gateway")
		}
		return false, nil
	}
	if m.payload[0] != '{' {
		return m.single(gateway, m.called(m.levels[at:]...), "")
	}
	kind := strings.TrimSuffix(m.levels[at], "toMQTT")
	if kind == "RTL_433" {
		return m.rtlEvent()
	}
	if err := m.object(); err != nil {
		return true, err
	}
	switch kind {
	case "SYS":
		m.dropAll(0, "version", "env", "ip", "mac", "modules", "SSID", "BSSID", "ssid", "bssid", "gatewayname", "acttout")
		return m.all(gateway, "", omgUnits)
	case "BT":
	default:
		return m.all(gateway, m.called(kind), omgUnits)
	}
	id := m.textAt(0, "id")
	if id == "" {
		id = m.level(-1)
	}
	m.dropAll(0, "id", "mac_type", "manufacturerdata", "servicedata", "servicedatauuid", "name", "brand", "model", "model_id", "type",
		"track", "tempf", "mac", "cidc", "acts", "cont", "hostname", "adv_type", "prmac")
	return m.all(m.called(strings.ReplaceAll(id, ":", "")), "", omgUnits)
}

// chirpStack reads ChirpStack version 4.
func (m *message) chirpStack() (bool, *Error) {
	if len(m.levels) != 6 || m.levels[0] != "application" || m.levels[2] != "device" || m.levels[4] != "event" {
		return false, nil
	}
	kind := m.levels[5]
	if kind != "up" && kind != "status" {
		return m.none("it is an event without values")
	}
	if err := m.object(); err != nil {
		return true, err
	}
	device := m.textAt(0, "deviceInfo", "deviceName")
	if device == "" {
		device = m.levels[3]
	}
	return true, m.emit(m.called(device), m.timeOf(0, "time"), map[string]string{"margin": "dB", "batteryLevel": "%"}, func() {
		if kind == "status" {
			for _, key := range []string{"margin", "batteryLevel", "externalPowerSource"} {
				m.value(key, 0, key)
			}
			return
		}
		m.uplink(m.child(0, "object"), "object", "device profile of ChirpStack")
		m.radio(m.child(0, "rxInfo"))
	})
}

// thingsStack reads The Things Stack version 3.
func (m *message) thingsStack() (bool, *Error) {
	if len(m.levels) < 5 || m.levels[0] != "v3" || m.levels[2] != "devices" {
		return false, nil
	}
	if m.levels[4] != "up" {
		return m.none("it is an event without values")
	}
	if err := m.object(); err != nil {
		return true, err
	}
	up := m.child(0, "uplink_message")
	when := m.timeOf(up, "received_at")
	if !when.given {
		when = m.timeOf(0, "received_at")
	}
	return true, m.emit(m.called(m.levels[3]), when, nil, func() {
		m.uplink(m.child(up, "decoded_payload"), "uplink_message.decoded_payload", "application of The Things Stack")
		m.radio(m.child(up, "rx_metadata"))
	})
}

// uplink takes the values of a decoded payload of LoRaWAN.
func (m *message) uplink(i int32, field, where string) {
	if i < 0 || m.nodes[i].kind == 'n' {
		m.faults = append(m.faults, refuse(field, "the payload is not decoded: give the %s a codec", where))
		return
	}
	m.flatten(i, "")
}
