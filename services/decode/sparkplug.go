package decode

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Births is what edge nodes of Sparkplug B said of their metrics when they came online,
// without which their data cannot be read. It is kept in memory only: an edge node is
// asked again after a restart. It is safe for concurrent use.
type Births struct {
	mu    sync.Mutex
	nodes map[edgeNode]*born // guarded by mu
	// metrics counts those of all nodes.
	metrics int // guarded by mu
}

// edgeNode names an edge node.
type edgeNode struct{ group, node string }

// born is what an edge node said.
type born struct {
	// sequence is the number of its last message, and session that of its connection.
	sequence, session uint64
	// devices are its own metrics, under an empty name, and those of its devices.
	devices map[string]*bornDevice
}

type bornDevice struct {
	aliases map[uint64]bornMetric
	names   map[string]bornMetric
}

// bornMetric is what a birth says of a metric.
type bornMetric struct {
	metric, unit string
	kind         uint64
}

// mostBorn bounds the metrics that are remembered, and mostNodes the edge nodes.
const (
	mostBorn  = 200_000
	mostNodes = 10_000
)

// NewBirths returns the births of no edge node.
func NewBirths() *Births { return &Births{nodes: make(map[edgeNode]*born)} }

// Know has the decoder read Sparkplug B by births that it shares with others. Unless it
// learns, it changes nothing in them: it reads messages that came earlier.
func (d *Decoder) Know(b *Births, learns bool) { d.births, d.learns = b, learns }

// Data types of Sparkplug B whose values are not what the bits of the field are.
const (
	sparkInt8    = 1
	sparkInt16   = 2
	sparkInt32   = 3
	sparkInt64   = 4
	sparkBoolean = 11
)

// sparkMetric is a metric of a payload.
type sparkMetric struct {
	name              []byte
	alias, time, kind uint64
	hasAlias, hasTime bool
	null              bool
	properties        []byte
	field             protowire.Number // of the value; 0 for none
	number            uint64
	text              []byte
}

// sparkplug reads Sparkplug B: spBv1.0/group/type/node/device.
func (m *message) sparkplug() (bool, *Error) {
	if m.levels[0] != "spBv1.0" || len(m.levels) < 3 {
		return false, nil
	}
	group, kind, node, device := m.level(1), m.level(2), m.level(3), m.level(4)
	switch {
	case group == "STATE", kind == "STATE":
		return m.none("it is the state of a host application")
	case kind == "NCMD", kind == "DCMD":
		return m.none("it is a command")
	case len(m.levels) < 4 || len(m.levels) > 5 || node == "" || (kind[:1] == "D") != (len(m.levels) == 5):
		return true, refuse("", "the topic is spBv1.0/<group>/<type>/<edge node>, and /<device> behind it for the types that begin with D")
	}
	if m.births == nil {
		m.births = NewBirths()
	}
	m.site = m.called(group)
	m.births.mu.Lock()
	defer m.births.mu.Unlock()
	p := &sparkPayload{message: m, id: edgeNode{group, node}, device: device, birth: kind == "NBIRTH" || kind == "DBIRTH"}
	p.born = m.births.nodes[p.id]
	if err := p.scan(); err != nil {
		return true, err
	}
	name := m.called(node)
	if device != "" {
		name = m.called(node, device)
	}
	switch kind {
	case "NBIRTH", "DBIRTH", "NDATA", "DDATA":
		return true, p.data(name)
	case "DDEATH":
		p.follow()
		_, err := m.presence(name, "offline")
		return true, err
	case "NDEATH":
		return true, p.death(name)
	}
	return true, refuse("", "%s is not a type of message of Sparkplug B", quote(kind))
}

// sparkPayload is a payload that is being read.
type sparkPayload struct {
	*message
	id     edgeNode
	device string
	birth  bool
	born   *born
	// time is in milliseconds.
	time, sequence       uint64
	hasTime, hasSequence bool
	metrics              [][]byte
}

// scan finds the parts of the payload.
func (p *sparkPayload) scan() *Error {
	b := p.raw
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return notSparkplug()
		}
		b = b[n:]
		switch {
		case kind == protowire.VarintType && (number == 1 || number == 3):
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return notSparkplug()
			}
			b = b[n:]
			if number == 1 {
				p.time, p.hasTime = v, true
			} else {
				p.sequence, p.hasSequence = v, true
			}
		case kind == protowire.BytesType && number == 2:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return notSparkplug()
			}
			b = b[n:]
			if p.metrics = append(p.metrics, v); len(p.metrics) > p.limits.Readings {
				return tooLarge("", "there are more than %d metrics", p.limits.Readings)
			}
		default:
			n := protowire.ConsumeFieldValue(number, kind, b)
			if n < 0 {
				return notSparkplug()
			}
			b = b[n:]
		}
	}
	return nil
}

func notSparkplug() *Error { return refuse("", "it is not a payload of Sparkplug B") }

// follow checks the sequence of the messages of an edge node, and asks for its births if
// one is missing or the node is not known.
func (p *sparkPayload) follow() {
	if !p.learns {
		return
	}
	const modulo = 256
	switch {
	case p.born == nil:
		p.rebirth = "spBv1.0/" + p.id.group + "/NCMD/" + p.id.node
		return
	case !p.hasSequence, p.sequence == p.born.sequence: // the same message again
	case p.sequence != (p.born.sequence+1)%modulo:
		p.rebirth = "spBv1.0/" + p.id.group + "/NCMD/" + p.id.node
	}
	p.born.sequence = p.sequence
}

// start forgets an edge node, which is born again.
func (p *sparkPayload) start() {
	all := p.births
	if old := all.nodes[p.id]; old != nil {
		for _, d := range old.devices {
			all.metrics -= len(d.names)
		}
	}
	if all.metrics > mostBorn || len(all.nodes) >= mostNodes {
		clear(all.nodes)
		all.metrics = 0
	}
	p.born = &born{sequence: p.sequence, devices: make(map[string]*bornDevice)}
	all.nodes[p.id] = p.born
}

// data reads a birth or data.
func (p *sparkPayload) data(name string) *Error {
	node := p.device == ""
	if p.birth && node && p.learns {
		p.start()
	} else {
		p.follow()
	}
	var known *bornDevice
	if p.born != nil {
		known = p.born.devices[p.device]
		if p.birth && p.learns {
			if known != nil {
				p.births.metrics -= len(known.names)
			}
			known = &bornDevice{aliases: make(map[uint64]bornMetric), names: make(map[string]bornMetric)}
			p.born.devices[p.device] = known
		}
	}
	p.timed = true
	return p.emit(name, moment{}, nil, func() {
		for i, b := range p.metrics {
			if err := p.metric(b, known); err != nil {
				err.Field = strings.TrimSuffix("metrics["+strconv.Itoa(i)+"]."+err.Field, ".")
				p.faults = append(p.faults, err)
			}
		}
		if p.birth {
			p.flag("online", true)
			p.out[len(p.out)-1].Time = p.arrival
		}
	})
}

// death reads the death of an edge node. One of an earlier connection is late.
func (p *sparkPayload) death(name string) *Error {
	var session uint64
	for _, b := range p.metrics {
		if m, err := readSparkMetric(b); err == nil && string(m.name) == "bdSeq" {
			session = m.number
		}
	}
	if p.born != nil && session != p.born.session {
		p.nothing = "it is the death of an earlier connection"
		return nil
	}
	_, err := p.presence(name, "offline")
	if p.born == nil || err != nil {
		return err
	}
	for device := range p.born.devices {
		if device != "" {
			if _, err := p.presence(p.called(p.id.node, device), "offline"); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSparkMetric reads the parts of a metric.
func readSparkMetric(b []byte) (m sparkMetric, err *Error) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return m, notSparkplug()
		}
		b = b[n:]
		var v uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v32 uint32
			v32, n = protowire.ConsumeFixed32(b)
			v = uint64(v32)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return m, notSparkplug()
		}
		b = b[n:]
		switch number {
		case 1:
			m.name = text
		case 2:
			m.alias, m.hasAlias = v, true
		case 3:
			m.time, m.hasTime = v, true
		case 4:
			m.kind = v
		case 7:
			m.null = v != 0
		case 9:
			m.properties = text
		case 10, 11, 12, 13, 14, 15, 16, 17, 18:
			m.field, m.number, m.text = number, v, text
		}
	}
	return m, nil
}

// metric takes the reading of a metric, if it has one. A birth is remembered.
func (p *sparkPayload) metric(b []byte, known *bornDevice) *Error {
	m, err := readSparkMetric(b)
	if err != nil {
		return err
	}
	of := bornMetric{kind: m.kind}
	switch {
	case p.birth || len(m.name) > 0 && known == nil:
		if string(m.name) == "bdSeq" && p.born != nil && p.learns {
			p.born.session = m.number
		}
		of.metric, of.unit = p.join("", string(m.name)), p.engineeringUnit(m.properties)
		if known != nil && p.birth && p.learns && p.births.metrics < mostBorn {
			name := strings.Clone(string(m.name))
			if _, twice := known.names[name]; !twice {
				p.births.metrics++
			}
			known.names[name] = of
			if m.hasAlias {
				known.aliases[m.alias] = of
			}
		}
	case len(m.name) > 0:
		if born, ok := known.names[string(m.name)]; ok {
			of = born
		} else {
			of.metric = p.join("", string(m.name))
		}
	default:
		born, ok := bornMetric{}, false
		if known != nil {
			born, ok = known.aliases[m.alias]
		}
		if !ok {
			return refuse("alias", "the alias %d is not known: the edge node is asked for its births, redrive this then", m.alias)
		}
		of = born
	}
	if m.kind == 0 {
		m.kind = of.kind
	}
	if m.null || m.field == 0 || of.metric == "bdSeq" || strings.HasPrefix(of.metric, "Node_Control_") || strings.HasPrefix(of.metric, "Device_Control_") {
		return nil
	}
	r := Reading{Metric: of.metric}
	if err := p.sparkValue(&r, m); err != nil || r.Kind == 0 {
		return err
	}
	if err := checkToken("name", r.Metric); err != nil {
		return err
	}
	if r.Kind == Value {
		r.Unit = of.unit
	}
	p.out = append(p.out, r)
	return p.at(&p.out[len(p.out)-1], m)
}

// at gives a reading the time of its metric or of the payload.
func (p *sparkPayload) at(r *Reading, m sparkMetric) *Error {
	ms, ok := m.time, m.hasTime
	if !ok {
		ms, ok = p.time, p.hasTime
	}
	when := moment{given: ok && ms != 0, ns: int64(min(ms, math.MaxInt64/uint64(time.Millisecond))) * int64(time.Millisecond)}
	err := p.place(r, when, "", p.arrival)
	if err != nil {
		p.out = p.out[:len(p.out)-1]
	}
	return err
}

// sparkValue makes r the value of a metric; of no kind if it is nothing that is measured.
func (p *sparkPayload) sparkValue(r *Reading, m sparkMetric) *Error {
	integer := func(v int64) *Error {
		if -1<<53 < v && v < 1<<53 {
			r.Kind, r.Value = Value, float64(v)
			return nil
		}
		_, err := p.number(r, strconv.AppendInt(nil, v, 10))
		return err
	}
	float := func(v float64) *Error {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return &Error{Reason: ReasonValue, Detail: strconv.FormatFloat(v, 'g', -1, 64) + " is not a number that can be stored"}
		}
		r.Kind, r.Value = Value, v+0
		return nil
	}
	switch m.field {
	case 10, 11:
		switch m.kind {
		case sparkInt8:
			return integer(int64(int8(m.number)))
		case sparkInt16:
			return integer(int64(int16(m.number)))
		case sparkInt32:
			return integer(int64(int32(m.number)))
		case sparkInt64:
			return integer(int64(m.number))
		case sparkBoolean:
			r.Kind, r.Flag = Flag, m.number != 0
			return nil
		}
		if m.number > math.MaxInt64 {
			_, err := p.number(r, strconv.AppendUint(nil, m.number, 10))
			return err
		}
		return integer(int64(m.number))
	case 12:
		v := math.Float32frombits(uint32(m.number))
		if wide := float64(v); wide != math.Trunc(wide) && !math.IsInf(wide, 0) {
			p.digits = strconv.AppendFloat(p.digits[:0], wide, 'g', -1, 32)
			wide, _ = parseFloat(p.digits) // what was just written can be read
			return float(wide)
		}
		return float(float64(v))
	case 13:
		return float(math.Float64frombits(m.number))
	case 14:
		r.Kind, r.Flag = Flag, m.number != 0
		return nil
	case 15:
		return p.text(r, m.text)
	case 16:
		return nil // bytes and files measure nothing
	}
	return refuse("", "a table or a template is not a value")
}

// engineeringUnit returns the unit among the properties of a metric; empty if there is
// none.
func (p *sparkPayload) engineeringUnit(properties []byte) string {
	var keys, values [][]byte
	for len(properties) > 0 {
		number, kind, n := protowire.ConsumeTag(properties)
		if n < 0 || kind != protowire.BytesType {
			return ""
		}
		v, size := protowire.ConsumeBytes(properties[n:])
		if size < 0 {
			return ""
		}
		properties = properties[n+size:]
		switch number {
		case 1:
			keys = append(keys, v)
		case 2:
			values = append(values, v)
		}
	}
	for i, key := range keys {
		if !strings.EqualFold(string(key), "engUnit") || i >= len(values) {
			continue
		}
		for b := values[i]; len(b) > 0; {
			number, kind, n := protowire.ConsumeTag(b)
			if n < 0 {
				return ""
			}
			size := protowire.ConsumeFieldValue(number, kind, b[n:])
			if size < 0 {
				return ""
			}
			if number == 8 && kind == protowire.BytesType {
				unit, _ := protowire.ConsumeBytes(b[n:])
				if len(unit) <= p.limits.Unit && binary("", unit) == nil {
					return p.names.get(unit)
				}
			}
			b = b[n+size:]
		}
	}
	return ""
}

// RebirthCommand returns the payload of the command by which an edge node sends its births
// again.
func RebirthCommand(now time.Time) []byte {
	const name = "Node Control/Rebirth"
	var metric []byte
	metric = protowire.AppendString(protowire.AppendTag(metric, 1, protowire.BytesType), name)
	metric = protowire.AppendVarint(protowire.AppendTag(metric, 4, protowire.VarintType), sparkBoolean)
	metric = protowire.AppendVarint(protowire.AppendTag(metric, 14, protowire.VarintType), 1)
	payload := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(now.UnixMilli()))
	return protowire.AppendBytes(protowire.AppendTag(payload, 2, protowire.BytesType), metric)
}
