// Package decode turns what devices send into readings. It decides which
// payloads are readings and what their event times are. For a payload that it
// refuses it gives the reason that people read on the dead letter. The bridge
// calls it for each MQTT message and the gateway for each HTTP body.
//
// It is pure: no I/O, and the time of arrival is an argument. JSON is split
// into tokens by the released form of encoding/json/jsontext, which by itself
// refuses invalid UTF-8 and a key that occurs twice.
package decode

import "time"

// Kind is the type of a reading's value.
type Kind uint8

// The kinds of values. The zero Kind is invalid.
const (
	// Value is a finite float64, in Reading.Value.
	Value Kind = iota + 1
	// Flag is a bool, in Reading.Flag.
	Flag
	// Text is valid UTF-8, in Reading.Text.
	Text
)

// String returns the name that people and the device registry use: value, flag
// or text.
func (k Kind) String() string {
	switch k {
	case Value:
		return "value"
	case Flag:
		return "flag"
	case Text:
		return "text"
	}
	return "unknown"
}

// Reading is one value of one metric of the device that sent it.
type Reading struct {
	// Metric is a valid token: 1 to 64 characters of A-Z, a-z, 0-9, _ and -.
	Metric string
	// Unit is as the device sent it, empty if it sent none.
	Unit string
	// Text holds the value of kind Text.
	Text string
	// Time is the event time in nanoseconds since the Unix epoch. It is the time
	// of arrival when HasTime is false.
	Time int64
	// Value holds the value of kind Value. It is neither NaN nor infinite.
	Value float64
	// Kind says which field holds the value.
	Kind Kind
	// Flag holds the value of kind Flag.
	Flag bool
	// HasTime reports whether the payload gave the event time.
	HasTime bool
}

// Limits bounds what a Decoder accepts. Anything beyond them is refused with a
// reason; nothing is truncated.
type Limits struct {
	// Payload is the greatest size of a payload or body, in bytes.
	Payload int
	// Depth is how deeply the JSON may be nested, objects and arrays together.
	Depth int
	// Keys is how many keys the objects of one payload or item may have together.
	Keys int
	// Readings is how many items one body may have, and how many readings all of
	// them together.
	Readings int
	// Text is the greatest length of a value of kind Text, in bytes of UTF-8.
	Text int
	// Unit is the greatest length of a unit, in bytes of UTF-8.
	Unit int
	// Past is how much older than its arrival a reading may be.
	Past time.Duration
	// Future is how far ahead of its arrival a reading may be.
	Future time.Duration
}

// DefaultLimits returns the limits that apply unless people configure others.
func DefaultLimits() Limits {
	return Limits{
		Payload:  256 << 10,
		Depth:    8,
		Keys:     256,
		Readings: 10_000,
		Text:     1 << 10,
		Unit:     64,
		Past:     7 * 24 * time.Hour,
		Future:   5 * time.Minute,
	}
}

// Decoder decodes payloads. It reuses its memory from one payload to the next
// and must not be used by two goroutines at a time. What it returns stays
// valid.
type Decoder struct {
	limits Limits
	zone   Zones
	series Declared
	json   tokens
	names  names
	digits []byte
	// transcoded is the JSON of a binary payload.
	transcoded []byte
	births     *Births
	learns     bool
	tree
	taking
}

// Zones returns the time zone of a site, or nil if it is unknown.
type Zones func(site string) *time.Location

// Series is what people declare of the readings of a series.
type Series struct {
	// Unit is the unit of the numbers; empty when none is declared.
	Unit string
	// Literal keeps every text as it was sent: "21.5" in quotes, on and off are
	// texts then.
	Literal bool
}

// Declared returns what is declared of a series.
type Declared func(site, device, metric string) Series

// New returns a Decoder with the given limits. A limit that is zero or less
// admits nothing, so start from DefaultLimits. A time that names no zone is
// read in that of its site; without zones it is refused. Declared may be nil.
func New(limits Limits, zones Zones, declared Declared) *Decoder {
	if zones == nil {
		zones = func(string) *time.Location { return nil }
	}
	if declared == nil {
		declared = func(string, string, string) Series { return Series{} }
	}
	return &Decoder{limits: limits, zone: zones, series: declared, learns: true}
}

// Append decodes the payload of one message of a device and appends its
// readings to dst. Site, device and metric are those that the topic names; the
// metric is empty for a topic that names only the device.
//
// With a metric the payload is a bare number, true, false or text, a JSON
// string, or an object {"value":21.5,"ts":1700000000,"unit":"°C"} in which ts
// and unit are optional. Without a metric it is an object of metrics, whose
// values are bare or {"value":21.5,"unit":"°C"}, with an optional ts for all of
// them, or one of the forms that Body takes. An empty payload, with which MQTT clears
// a retained message, has no reading: Append then returns dst and no error.
//
// Any other JSON is flattened: a part of an object or an array is a metric that has
// the name of the whole and its own, with an underscore between them; null has no
// reading; characters that names do not have become underscores. Each object of an
// array of objects has a time of its own. The time is also taken from time, timestamp
// and Time, if that is one.
//
// Devices spell alike values differently. Unless the series is declared as
// literal, on, off, true and false in any case are flags, and a JSON string that is
// a whole JSON number is that number. A number of a series whose unit is declared
// is converted to it, or has it if it came without a unit; one in a unit that does
// not convert stays as it was sent. A number of 2^53 or more that a float64 does not
// represent exactly becomes a text of its digits, never another number.
//
// What is readable is taken. The error is always an *Error. If it is Partial it names
// what was not readable; otherwise nothing was, and dst is returned unchanged. Arrival
// is in nanoseconds since the Unix epoch. The readings do not refer to payload.
func (d *Decoder) Append(dst []Reading, site, device, metric string, payload []byte, arrival int64) ([]Reading, error) {
	if len(payload) > d.limits.Payload {
		return dst, tooLarge("", "the payload has %d bytes, more than %d", len(payload), d.limits.Payload)
	}
	if len(payload) == 0 {
		return dst, nil
	}
	raw := payload
	payload = trim(payload)
	if len(payload) == 0 {
		return dst, refuse("", "the payload is blank")
	}
	c := payload[0]
	if metric != "" && c != '{' && c != '[' {
		r := Reading{Metric: metric, Time: arrival}
		var err *Error
		if c == '"' {
			err = d.quoted(&r, payload)
		} else {
			err = d.bare(&r, payload)
		}
		if err == nil {
			d.understand(&r, site, device)
			return append(dst, r), nil
		}
		if form := d.binaryForm(raw); form != "" {
			return d.ofBody(dst, form, Source{Site: site, Device: device, Metric: metric}, raw, arrival)
		}
		return dst, err
	}
	switch form := d.form(raw, payload); form {
	case FormJSON:
		d.begin(dst)
		err := d.parse(payload, d.limits.Keys)
		if err == nil {
			err = d.take(0, metric, site, device, arrival)
		}
		return d.taken(dst, err)
	case "":
		return dst, refuse("", "a topic that names only a device takes an object of metrics, such as {\"temperature\":21.5}, not %s", quote(payload))
	default:
		return d.ofBody(dst, form, Source{Site: site, Device: device, Metric: metric}, raw, arrival)
	}
}

// quoted decodes a payload that is one JSON string.
func (d *Decoder) quoted(r *Reading, payload []byte) *Error {
	d.json.reset(payload)
	b, err := d.json.text()
	if err != nil {
		return err
	}
	if err := d.text(r, b); err != nil {
		return err
	}
	return d.json.end()
}
