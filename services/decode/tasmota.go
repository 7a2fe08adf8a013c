package decode

import (
	"maps"
	"slices"
	"strings"
)

// tasmotaUnits are the units of Tasmota's values whose units the payload does not name.
var tasmotaUnits = map[string]string{
	"Power": "W", "ApparentPower": "VA", "ReactivePower": "var", "Voltage": "V", "Current": "A", "Total": "kWh", "Yesterday": "kWh",
	"Today": "kWh", "Period": "Wh", "Frequency": "Hz", "Humidity": "%", "Illuminance": "lx", "CarbonDioxide": "ppm", "eCO2": "ppm", "TVOC": "ppb",
	"UptimeSec": "s", "RSSI": "%", "Signal": "dBm", "Battery": "%", "Heap": "kB",
}

// tasmota reads Tasmota: tele/device/SENSOR, or device/tele/SENSOR. A device may have
// several levels.
func (m *message) tasmota() (bool, *Error) {
	if m.level(0) == "tasmota" && m.level(1) == "discovery" {
		return m.none("it describes the device")
	}
	if len(m.levels) < 3 {
		return false, nil
	}
	prefix, device := m.levels[0], m.levels[1:len(m.levels)-1]
	if !tasmotaPrefix(prefix) {
		prefix, device = m.level(-2), m.levels[:len(m.levels)-2]
		if !tasmotaPrefix(prefix) {
			return false, nil
		}
	}
	name, kind := m.called(device...), m.level(-1)
	switch {
	case prefix == "cmnd":
		return m.none("it is a command")
	case kind == "LWT":
		return m.presence(name, string(m.payload))
	case strings.HasPrefix(kind, "INFO"), kind == "LOGGING", kind == "HASS_STATE":
		return m.none("it describes the device")
	case m.payload[0] != '{':
		return m.single(name, m.called(kind), tasmotaUnits[kind])
	}
	if err := m.object(); err != nil {
		return true, err
	}
	root := int32(0)
	if strings.HasPrefix(kind, "STATUS") {
		root = max(m.child(0, "StatusSNS"), m.child(0, "StatusSTS"))
		if root < 0 {
			return m.none("it describes the settings of the device")
		}
	}
	when, err := m.moment(root)
	if err != nil {
		return true, err
	}
	units := m.unitsOf(root)
	m.dropAll(root, "Uptime", "SleepMode", "TempUnit", "PressureUnit", "SpeedUnit")
	if wifi := m.child(root, "Wifi"); wifi >= 0 {
		m.dropAll(wifi, "SSId", "BSSId", "Mode", "Downtime")
	}
	m.drop(root, "ENERGY", "TotalStartTime")
	return true, m.emit(name, when, units, func() { m.flatten(root, "") })
}

func tasmotaPrefix(level string) bool {
	return slices.Contains([]string{"tele", "stat", "cmnd"}, level)
}

// unitsOf returns the units of a payload of Tasmota, some of which it names itself.
func (m *message) unitsOf(root int32) map[string]string {
	units := make(map[string]string, len(tasmotaUnits)+4)
	maps.Copy(units, tasmotaUnits)
	if t := m.textAt(root, "TempUnit"); t == "C" || t == "F" {
		for _, metric := range []string{"Temperature", "DewPoint", "HeatIndex", "FeelsLike"} {
			units[metric] = "°" + t
		}
	}
	if p := m.textAt(root, "PressureUnit"); p != "" && len(p) <= m.limits.Unit {
		units["Pressure"], units["SeaPressure"] = p, p
	}
	return units
}
