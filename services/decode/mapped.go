package decode

import (
	"encoding/json"

	"headwater/services/decode/mapping"
)

// Mapped decodes a message by a declared mapping. Site is that of devices for which the
// mapping names none; Home if empty. The error, always an *Error, means that nothing of
// the message could be read. What it returns does not refer to payload.
func (d *Decoder) Mapped(by *mapping.Mapping, site, topic string, payload []byte, arrival int64) (Message, error) {
	if site == "" {
		site = Home
	}
	if len(payload) > d.limits.Payload {
		return Message{}, tooLarge("", "the payload has %d bytes, more than %d", len(payload), d.limits.Payload)
	}
	value, err := d.value(payload)
	if err != nil {
		return Message{}, err
	}
	m := &message{Decoder: d, topic: topic, payload: payload, arrival: arrival, site: site}
	for i, r := range by.Map(topic, value, string(trim(payload))) {
		if r.Err != nil {
			m.refuse(i, refuse(r.Field, "%s", r.Err))
			continue
		}
		m.site = site
		if r.Site != "" {
			m.site = m.join("", r.Site)
		}
		if err := m.entry(r.Entry); err != nil {
			m.refuse(i, err)
		}
	}
	if len(m.items) == 1 && m.items[0].Err != nil {
		return Message{}, m.items[0].Err
	}
	out := Message{Items: m.items}
	if len(m.items) == 0 {
		out.Nothing = "it holds no value"
	}
	return out, nil
}

// refuse adds an item for what could not be read.
func (m *message) refuse(index int, err *Error) {
	m.items = append(m.items, Item{Index: index, Err: err})
}

// value returns the value of the JSON of a payload, which may be in CBOR or MessagePack;
// of another payload its text.
func (d *Decoder) value(payload []byte) (any, *Error) {
	text := trim(payload)
	if len(text) == 0 {
		return "", nil
	}
	if err := binary("", text); err != nil {
		form := d.binaryForm(payload)
		if form == "" {
			return nil, err
		}
		if text, err = d.asJSON(form, payload); err != nil {
			return nil, err
		}
	}
	if !json.Valid(text) {
		return string(text), nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, refuse("", "%s", err) // a number beyond a float64
	}
	return v, nil
}

// entry takes the readings of an entry of a mapping.
func (m *message) entry(e mapping.Entry) *Error {
	if len(e.Unit) > m.limits.Unit {
		return tooLarge("unit", "the unit has %d bytes, more than %d", len(e.Unit), m.limits.Unit)
	}
	if err := binary("unit", []byte(e.Unit)); err != nil {
		return err
	}
	if err := checkPlace(m.site, m.join("", e.Device)); err != nil {
		return err
	}
	var when moment
	if len(e.Time) > 0 {
		if err := m.parse(e.Time, 1); err != nil {
			return err
		}
		var err *Error
		if when, err = m.timeAt(0); err != nil {
			err.Field = "time"
			return err
		}
	}
	if len(e.Value) == 0 {
		return nil
	}
	if err := m.parse(e.Value, mostValues); err != nil {
		return err
	}
	if kind := m.nodes[0].kind; kind != '{' && e.Metric == "" {
		return refuse("metric", "the metric is missing: only the value of an object names its metrics")
	}
	if !when.given {
		var err *Error
		if when, err = m.moment(0); err != nil {
			return err
		}
	}
	metric := m.join("", e.Metric)
	return m.emit(m.join("", e.Device), when, nil, func() {
		m.flatten(0, metric)
		for i := range m.out {
			if r := &m.out[i]; r.Unit == "" && i >= len(m.readings) && (r.Kind == Value || r.Kind == Text && jsonNumber([]byte(r.Text))) {
				r.Unit = e.Unit
			}
		}
	})
}
