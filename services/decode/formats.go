package decode

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Home is the site of devices whose topics and payloads name none, and for which no site
// is declared.
const Home = "home"

// Message is what became of a message on a topic that is of a format, not Headwater's own.
type Message struct {
	// Format names the format that took the message; empty if none did.
	Format string
	// Items has one item for each device, and one with an error for what could not be
	// read. Its Err is Partial if anything was read.
	Items []Item
	// Nothing says why a message that was understood has no reading, such as "it is a
	// command"; empty otherwise.
	Nothing string
	// Rebirth is the topic on which an edge node of Sparkplug B is to be asked for its
	// births; empty if there is nothing to ask.
	Rebirth string
}

// Format is a format of the table, for people.
type Format struct {
	Name string
	// Topics are patterns of its topics: {device} is the name of a device, or of a gateway
	// that speaks for several, + one level, and # any number of levels.
	Topics []string
	// Reads says what is understood.
	Reads string
}

// format is a format of the table. Read returns false for a message that is of another
// format.
type format struct {
	Format

	read func(m *message) (bool, *Error)
}

// formats is the table of formats. The first that takes a message counts.
var formats = []format{
	{Format{
		"Tasmota",
		[]string{"tele/{device}/#", "stat/{device}/#", "{device}/tele/#", "{device}/stat/#", "cmnd/{device}/#", "tasmota/discovery/#"},
		"SENSOR, STATE, STATUS8, STATUS10, RESULT, POWER; LWT is online",
	}, (*message).tasmota},
	{Format{
		"Zigbee2MQTT",
		[]string{"zigbee2mqtt/{device}/#"},
		"states of devices, as JSON or as single attributes; last_seen; availability is online",
	}, (*message).zigbee},
	{Format{
		"Shelly",
		[]string{"{device}/events/rpc", "{device}/status/#", "{device}/online", "shellies/{device}/#"},
		"Gen2 and later: NotifyStatus, NotifyFullStatus, NotifyEvent, status of components, online; Gen1: shellies/",
	}, (*message).shelly},
	{Format{
		"Sparkplug B",
		[]string{"spBv1.0/+/+/{device}/#"},
		"births, data and deaths of edge nodes and devices, with aliases and sequence; the group is the site; a death is online = false",
	}, (*message).sparkplug},
	{Format{
		"ChirpStack",
		[]string{"application/+/device/{device}/event/+"},
		"version 4: uplinks with the object of a codec, and status",
	}, (*message).chirpStack},
	{Format{
		"The Things Stack",
		[]string{"v3/+/devices/{device}/#"},
		"version 3: uplinks with a decoded payload",
	}, (*message).thingsStack},
	{Format{
		"rtl_433",
		[]string{"rtl_433/{device}/#"},
		"events and devices; a device is model, channel and id",
	}, (*message).rtl433},
	{Format{
		"OpenMQTTGateway",
		[]string{"home/{device}/#"},
		"also Theengs Gateway: BTtoMQTT, RTL_433toMQTT, SYStoMQTT and others; LWT is online",
	}, (*message).openMQTTGateway},
	{Format{
		"ESPHome",
		[]string{"{device}/+/+/state", "{device}/+/+/+/state", "{device}/status", "{device}/debug"},
		"states of all components; status is online",
	}, (*message).espHome},
}

// Formats returns the table of formats.
func Formats() []Format {
	all := make([]Format, len(formats))
	for i, f := range formats {
		all[i] = f.Format
	}
	return all
}

// mostValues bounds the members and elements of a payload of a format.
const mostValues = 4096

// message is a message that a format reads.
type message struct {
	*Decoder
	topic  string
	levels []string
	// payload is without white space around it, raw as it came.
	payload, raw []byte
	arrival      int64
	site         string
	items        []Item
	readings     []Reading
	nothing      string
	rebirth      string
	// timed is set when each reading has a time of its own already.
	timed bool
}

// mostLevels bounds the levels of a topic.
const mostLevels = 32

// Message decodes a message on a topic that is not Headwater's own. Site is that of
// devices for which the message names none; Home if empty. Format of what it returns is
// empty if no format takes the message. The error, always an *Error, means that nothing
// of it could be read. What it returns does not refer to payload.
func (d *Decoder) Message(site, topic string, payload []byte, arrival int64) (Message, error) {
	if site == "" {
		site = Home
	}
	m := &message{Decoder: d, topic: topic, levels: strings.SplitN(topic, "/", mostLevels+1), payload: trim(payload), raw: payload, arrival: arrival, site: site}
	if len(m.levels) > mostLevels || len(m.payload) == 0 {
		return Message{}, nil
	}
	for _, f := range formats {
		ok, err := f.read(m)
		if !ok {
			continue
		}
		out := Message{Format: f.Name, Items: m.items, Nothing: m.nothing, Rebirth: m.rebirth}
		if len(m.payload) > d.limits.Payload {
			err = tooLarge("", "the payload has %d bytes, more than %d", len(m.payload), d.limits.Payload)
		}
		if err == nil && len(out.Items) == 0 && out.Nothing == "" {
			out.Nothing = "it holds no value"
		}
		if err != nil {
			return out, err
		}
		return out, nil
	}
	return Message{}, nil
}

// none says that the message is understood and has no reading.
func (m *message) none(why string) (bool, *Error) {
	m.nothing = why
	return true, nil
}

// level returns the level at that place, from the end if it is negative; empty for none.
func (m *message) level(i int) string {
	if i < 0 {
		i += len(m.levels)
	}
	if i < 0 || i >= len(m.levels) {
		return ""
	}
	return m.levels[i]
}

// called returns the name of a device that several parts make up.
func (m *message) called(parts ...string) string { return m.join("", strings.Join(parts, "_")) }

// isJSON reports whether the payload is an object or an array.
func (m *message) isJSON() bool { return m.payload[0] == '{' || m.payload[0] == '[' }

// object parses the payload, which must be an object.
func (m *message) object() *Error {
	if m.payload[0] != '{' {
		return refuse("", "the payload is an object of JSON here, not %s", quote(m.payload))
	}
	return m.parse(m.payload, mostValues)
}

// emit adds an item of a device with all readings that take takes.
func (m *message) emit(device string, when moment, units map[string]string, take func()) *Error {
	if err := checkToken("device", device); err != nil {
		return err
	}
	first := len(m.readings)
	m.begin(m.readings)
	m.renamed = true
	take()
	m.readings, m.out = m.out, nil
	readings := m.readings[first:len(m.readings):len(m.readings)]
	for i := range readings {
		if r := &readings[i]; r.Kind == Value && r.Unit == "" {
			r.Unit = units[r.Metric[strings.LastIndexByte(r.Metric, '_')+1:]]
		}
	}
	if m.timed {
		for i := range readings {
			m.understand(&readings[i], m.site, device)
		}
	} else if err := m.stamp(readings, nearest(when, m.arrival), m.site, device, m.arrival); err != nil {
		return err
	}
	if len(readings) > 0 {
		m.items = append(m.items, Item{Index: len(m.items), Site: m.site, Device: device, Readings: readings})
	}
	if rest := together(m.faults); rest != nil {
		rest.Partial = len(m.items) > 0
		m.items = append(m.items, Item{Index: len(m.items), Site: m.site, Device: device, Err: rest})
	}
	return nil
}

// all emits all values of the tree as readings of a device.
func (m *message) all(device, prefix string, units map[string]string) (bool, *Error) {
	when, err := m.moment(0)
	if err != nil {
		return true, err
	}
	return true, m.emit(device, when, units, func() { m.flatten(0, prefix) })
}

// single emits the payload, which is one bare value, as a metric of a device.
func (m *message) single(device, metric, unit string) (bool, *Error) {
	return true, m.emit(device, moment{}, nil, func() {
		r := Reading{Metric: metric, Unit: unit}
		err := m.bare(&r, m.payload)
		if m.payload[0] == '"' {
			r = Reading{Metric: metric, Unit: unit}
			err = m.quoted(&r, m.payload)
		}
		if err == nil {
			err = checkToken("", metric)
		}
		switch {
		case err == nil && (r.Kind == Value || spellsNumber(r.Text)):
			m.out = append(m.out, r)
		case err == nil:
			r.Unit = ""
			m.out = append(m.out, r)
		case err.Reason == ReasonValue && notFinite(string(m.payload)):
			m.nothing = "the device has no value now"
		default:
			m.faults = append(m.faults, err)
		}
	})
}

func spellsNumber(s string) bool { return jsonNumber([]byte(s)) }

// presence emits whether a device is online.
func (m *message) presence(device, word string) (bool, *Error) {
	online := false
	switch strings.ToLower(word) {
	case "online", "true", "1", "connected", "on":
		online = true
	case "offline", "false", "0", "disconnected", "off":
	default:
		return true, refuse("", "%s is neither online nor offline", quote(word))
	}
	return true, m.emit(device, moment{}, nil, func() { m.flag("online", online) })
}

func (m *message) flag(metric string, v bool) {
	m.out = append(m.out, Reading{Metric: metric, Kind: Flag, Flag: v})
}

// value takes the number, flag or text at a path under a name, if there is one.
func (m *message) value(name string, of int32, path ...string) {
	if i := m.find(of, path...); i >= 0 {
		m.flatten(i, name)
	}
}

// dropAll has the members with these keys read as null.
func (m *message) dropAll(of int32, keys ...string) {
	for _, key := range keys {
		m.drop(of, key)
	}
}

// each calls f for each member or element of a value.
func (m *message) each(of int32, f func(i int32, key string)) {
	if of < 0 || m.nodes[of].kind != '{' && m.nodes[of].kind != '[' {
		return
	}
	for i := of + 1; i < m.nodes[of].end; i = m.nodes[i].end {
		f(i, m.nodes[i].key)
	}
}

// timeOf reads the time at a path; none if it is no time.
func (m *message) timeOf(of int32, path ...string) moment {
	i := m.find(of, path...)
	if i < 0 {
		return moment{}
	}
	when, err := m.timeAt(i)
	if err != nil {
		return moment{}
	}
	return when
}

// nearest returns a time of a device. The clock on its wall has no zone and shows the time
// of the message, so that the zone is the one in which it is nearest to the arrival. A
// clock that was never set shows a time before 2001 and counts as none.
func nearest(when moment, arrival int64) moment {
	const step, most = int64(15 * time.Minute), int64(15 * time.Hour)
	switch {
	case !when.given:
	case when.ns < leastClock*int64(time.Second):
		return moment{}
	case when.wall:
		if ahead := when.ns - arrival; -most < ahead && ahead < most {
			when.ns -= int64(math.Round(float64(ahead)/float64(step))) * step
			when.wall = false
		}
	}
	return when
}

// best returns the number at a key that is the greatest in an array of objects.
func (m *message) best(of int32, key string) (best float64, ok bool) {
	m.each(of, func(i int32, _ string) {
		j := m.child(i, key)
		if j < 0 {
			return
		}
		if v, err := m.numberAt(j); err == nil && (!ok || v > best) {
			best, ok = v, true
		}
	})
	return best, ok
}

// radio takes how well the best gateway heard a message.
func (m *message) radio(gateways int32) {
	for _, key := range [...]string{"rssi", "snr"} {
		if v, ok := m.best(gateways, key); ok {
			m.out = append(m.out, Reading{Metric: key, Kind: Value, Value: v, Unit: map[string]string{"rssi": "dBm", "snr": "dB"}[key]})
		}
	}
}

// components are the levels of topics in which ESPHome names the kind of a component.
var components = []string{
	"sensor", "binary_sensor", "text_sensor", "switch", "light", "fan", "cover", "climate", "number", "select", "button", "lock", "valve",
	"text", "datetime", "event", "update", "alarm_control_panel", "media_player", "water_heater",
}

// espHome reads ESPHome: name/component/object/state.
func (m *message) espHome() (bool, *Error) {
	last := m.level(-1)
	switch {
	case len(m.levels) == 2 && last == "status" && !m.isJSON():
		return m.presence(m.called(m.levels[0]), string(m.payload))
	case len(m.levels) == 2 && last == "debug":
		return m.none("it is a log of the device")
	case last != "state" && last != "command":
		return false, nil
	}
	at := slices.IndexFunc(m.levels, func(s string) bool { return slices.Contains(components, s) })
	if at < 1 || at > len(m.levels)-3 {
		return false, nil
	}
	if last == "command" {
		return m.none("it is a command")
	}
	device, metric := m.called(m.levels[:at]...), m.called(m.levels[at+1:len(m.levels)-1]...)
	if m.isJSON() {
		if err := m.object(); err != nil {
			return true, err
		}
		return m.all(device, metric, nil)
	}
	return m.single(device, metric, "")
}
