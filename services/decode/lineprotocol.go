package decode

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LineNames says what names the site and the device of a line of InfluxDB's line
// protocol.
type LineNames struct {
	// SiteTags and DeviceTags are tags, of which the first that a line has counts.
	SiteTags, DeviceTags []string
	// Site and Device are for lines without such a tag. Without a Site the Bucket names it,
	// or else it is default; without a Device the measurement names it.
	Site, Device, Bucket string
}

// LineFormat says how a body of line protocol is read.
type LineFormat struct {
	Names LineNames
	// Precision is what a timestamp counts; 0 means nanoseconds.
	Precision time.Duration
}

// Lines decodes a body of InfluxDB's line protocol. Each line is one item, whose Index is
// that of the line, from 0. A field that is refused is a further item of that Index, and
// does not stop the other fields of its line.
//
// The metric of a field is measurement_tags_field: the values of the tags that name neither
// site nor device, in the order of their keys, tell apart what a device measures several
// times. A field that is called value adds nothing. Characters that a name cannot have
// become _, and a name that is too long ends in a hash of what was cut off.
//
// The error, always an *Error, means that the body as a whole is refused. Arrival is in
// nanoseconds since the Unix epoch. The items do not refer to body.
func (d *Decoder) Lines(body []byte, f LineFormat, arrival int64) ([]Item, error) {
	if len(body) > d.limits.Payload {
		return nil, tooLarge("", "the body has %d bytes, more than %d", len(body), d.limits.Payload)
	}
	if f.Precision <= 0 {
		f.Precision = time.Nanosecond
	}
	l := lines{Decoder: d, format: f, arrival: arrival, rest: bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))}
	if names := &l.format.Names; names.Site == "" && names.Bucket != "" {
		names.Site = l.plain([]byte(names.Bucket))
	}
	if l.format.Names.Site == "" {
		l.format.Names.Site = "default"
	}
	for len(l.rest) > 0 {
		if err := l.line(); err != nil {
			return nil, err
		}
	}
	return l.items, nil
}

// readingsPerLine is how many times more readings than lines a body may have: one line of
// an agent carries the figures of a whole subsystem.
const readingsPerLine = 4

// lines is a body of which the lines before rest have been read.
type lines struct {
	*Decoder
	format   LineFormat
	arrival  int64
	rest     []byte
	number   int
	items    []Item
	readings []Reading

	// The memory of one line.
	tags []tag
	name []byte
}

type tag struct{ key, value []byte }

// line reads the next line. An error means that the body is refused.
func (l *lines) line() *Error {
	index := l.number
	end := bytes.IndexByte(l.rest, '\n')
	if end < 0 {
		end = len(l.rest)
	}
	if first := bytes.TrimLeft(l.rest[:end], " \t\r"); len(first) == 0 || first[0] == '#' {
		l.skip(end)
		return nil
	}
	if len(l.items) >= l.limits.Readings {
		return tooLarge("", "the body has more than %d lines", l.limits.Readings)
	}
	item, first := Item{Index: index}, len(l.readings)
	p := point{in: l.rest}
	faults, err := l.point(&item, &p)
	if err != nil {
		item.Err, l.readings = err, l.readings[:first]
		// What follows the fault need not be what it seems, so the next line counts.
		p.at = end
	}
	l.skip(p.at)
	if len(l.readings) > readingsPerLine*l.limits.Readings {
		return tooLarge("", "the body has more than %d readings", readingsPerLine*l.limits.Readings)
	}
	item.Readings = l.readings[first:len(l.readings):len(l.readings)]
	if len(item.Readings) > 0 || item.Err != nil {
		l.items = append(l.items, item)
	}
	for _, fault := range faults {
		l.items = append(l.items, Item{Index: index, Site: item.Site, Device: item.Device, Err: fault})
	}
	return nil
}

// skip continues after the newline at a position.
func (l *lines) skip(end int) {
	end = min(end+1, len(l.rest))
	l.number += bytes.Count(l.rest[:end], []byte{'\n'})
	l.rest = l.rest[end:]
}

// point reads measurement, tags, fields and time. Faults are those of single fields; an
// error refuses the line.
func (l *lines) point(item *Item, p *point) (faults []*Error, err *Error) {
	p.blanks()
	measurement, stop := p.key(", ")
	switch {
	case len(measurement) == 0:
		return nil, refuse("", "the measurement is missing")
	case stop == 0:
		return nil, refuse("", "%s has no fields: a line is measurement,tag=value field=value time", quote(measurement))
	}
	if err := l.readTags(p, stop); err != nil {
		return nil, err
	}
	l.address(item, measurement)
	l.metric(measurement)

	first, prefix := len(l.readings), len(l.name)
	for more := true; more; {
		key, stop := p.key("=, ")
		if stop != '=' || len(key) == 0 {
			return nil, refuse("", "a field is missing after %s: it is key=value", quote(l.name[:prefix]))
		}
		p.at++
		if len(l.readings)-first+len(faults) >= l.limits.Keys {
			return nil, tooLarge("", "the line has more than %d fields", l.limits.Keys)
		}
		var r Reading
		fault, err := l.field(&r, key, p)
		if err != nil {
			return nil, err
		}
		if fault != nil {
			faults = append(faults, fault)
		} else {
			l.name = appendPart(l.name[:prefix], key, string(key) == "value")
			r.Metric = l.token(l.name)
			l.readings = append(l.readings, r)
		}
		more = p.at < len(p.in) && p.in[p.at] == ','
		if more {
			p.at++
		}
	}
	when, err := l.time(p)
	if err != nil {
		return nil, err
	}
	if err := l.stamp(l.readings[first:], when, item.Site, item.Device, l.arrival); err != nil {
		if when.ns != 0 && unitOf(when.ns/int64(l.format.Precision)) != int64(l.format.Precision) {
			err.Detail += "; does the parameter precision say what the time counts?"
		}
		return nil, err
	}
	return faults, nil
}

// readTags reads the tags, in the order of their keys.
func (l *lines) readTags(p *point, stop byte) *Error {
	l.tags = l.tags[:0]
	for stop == ',' {
		p.at++
		var key, value []byte
		key, stop = p.key("=, ")
		if stop != '=' || len(key) == 0 {
			return refuse("", "the tag %s is not key=value", quote(key))
		}
		p.at++
		value, stop = p.key(", ")
		if stop == 0 {
			return refuse("", "the line ends in the tag %s and has no fields", quote(key))
		}
		if len(l.tags) >= l.limits.Keys {
			return tooLarge("", "the line has more than %d tags", l.limits.Keys)
		}
		l.tags = append(l.tags, tag{key, value})
	}
	p.blanks()
	order := func(a, b tag) int { return bytes.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(l.tags, order) {
		slices.SortStableFunc(l.tags, order)
	}
	return nil
}

// address finds the site and the device of a line, and takes their tags out.
func (l *lines) address(item *Item, measurement []byte) {
	names := &l.format.Names
	item.Site, item.Device = names.Site, names.Device
	if v := l.takeTag(names.SiteTags); v != nil {
		item.Site = l.plain(v)
	}
	v := l.takeTag(names.DeviceTags)
	if v == nil && item.Device == "" {
		v = measurement
	}
	if v != nil {
		item.Device = l.plain(v)
	}
}

// takeTag returns the value of the first of these tags that the line has, without its
// further tags losing their order.
func (l *lines) takeTag(keys []string) []byte {
	for _, key := range keys {
		for i, t := range l.tags {
			if string(t.key) == key && len(t.value) > 0 {
				l.tags = slices.Delete(l.tags, i, i+1)
				return t.value
			}
		}
	}
	return nil
}

// metric begins the name of each metric of a line.
func (l *lines) metric(measurement []byte) {
	l.name = appendToken(l.name[:0], measurement)
	for _, t := range l.tags {
		l.name = appendPart(l.name, t.value, false)
	}
}

// appendPart appends a part of the name of a metric, unless it is left out. What stands at
// its ends and cannot be in a name is dropped: the path / adds nothing, /home adds home.
func appendPart(name, part []byte, leaveOut bool) []byte {
	odd := func(r rune) bool { return r > 0x7f || !tokenCharacter(byte(r)) }
	part = bytes.TrimFunc(part, odd)
	if leaveOut || len(part) == 0 {
		return name
	}
	return appendToken(append(name, '_'), part)
}

// appendToken appends a text with _ for each run of characters that a name cannot have.
func appendToken(to, text []byte) []byte {
	for i, c := range text {
		switch {
		case tokenCharacter(c):
			to = append(to, c)
		case i == 0 || tokenCharacter(text[i-1]):
			to = append(to, '_')
		}
	}
	return to
}

// plain returns a name that a text spells.
func (l *lines) plain(text []byte) string {
	l.name = appendToken(l.name[:0], text)
	return l.token(l.name)
}

// token returns a name that is not longer than names may be.
func (l *lines) token(name []byte) string {
	if len(name) > longestToken {
		h := fnv.New32a()
		_, _ = h.Write(name) // it cannot fail
		name = fmt.Appendf(name[:longestToken-9:longestToken-9], "_%08x", h.Sum32())
	}
	return l.names.get(name)
}

// field reads the value of a field. A fault is of the field alone; after an error it is
// unknown where the field ends.
func (l *lines) field(r *Reading, key []byte, p *point) (fault, err *Error) {
	if p.at < len(p.in) && p.in[p.at] == '"' {
		text, ok := p.text()
		if !ok {
			return nil, refuse(clipField(key), "the text has no closing quote")
		}
		fault = l.text(r, text)
		if fault != nil {
			fault.Field = clipField(key)
		}
		return fault, nil
	}
	value := p.value()
	switch string(value) {
	case "":
		return nil, refuse(clipField(key), "the value is missing")
	case "t", "T", "true", "True", "TRUE":
		r.Kind, r.Flag = Flag, true
		return nil, nil
	case "f", "F", "false", "False", "FALSE":
		r.Kind = Flag
		return nil, nil
	}
	number := value
	if last := value[len(value)-1]; last == 'i' || last == 'u' {
		number = value[:len(value)-1]
		if len(number) == 0 || bytes.ContainsAny(number, ".eE") {
			return refuse(clipField(key), "%s is not a whole number", quote(value)), nil
		}
	}
	if numeric(number) {
		isNumber, fault := l.Decoder.number(r, number)
		if fault != nil {
			fault.Field = clipField(key)
		}
		if isNumber || fault != nil {
			return fault, nil
		}
	}
	return refuse(clipField(key), "%s is neither a number nor true, false or a text in quotes", quote(value)), nil
}

// clipField keeps the name of a field short in an error.
func clipField(key []byte) string {
	return strings.ToValidUTF8(string(key[:min(len(key), longestToken)]), "_")
}

// time reads the timestamp, if there is one, and the end of the line.
func (l *lines) time(p *point) (moment, *Error) {
	p.blanks()
	text := p.value()
	p.blanks()
	if p.at < len(p.in) && p.in[p.at] != '\n' {
		return moment{}, refuse("", "something follows the time: %s", quote(p.in[p.at:]))
	}
	if len(text) == 0 {
		return moment{}, nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return moment{}, refuse("ts", "%s is not a time: a time is a whole number", quote(text))
	}
	unit := int64(l.format.Precision)
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return moment{}, beyondCalendars(text)
	}
	return moment{ns: n * unit, given: true}, nil
}

// point scans a line.
type point struct {
	in []byte
	at int
}

func (p *point) blanks() {
	for p.at < len(p.in) && (p.in[p.at] == ' ' || p.in[p.at] == '\t' || p.in[p.at] == '\r') {
		p.at++
	}
}

// key reads up to one of the stops, and returns which, or 0 at the end of the line. A
// backslash keeps a comma, an equals sign or a space from being one; elsewhere it stands
// for itself.
func (p *point) key(stops string) (text []byte, stop byte) {
	begin, escaped := p.at, false
	for ; p.at < len(p.in); p.at++ {
		switch c := p.in[p.at]; c {
		case '\\':
			if p.at+1 < len(p.in) && p.in[p.at+1] != '\n' {
				escaped = true
				p.at++
			}
		case '\n':
			return plainText(p.in[begin:p.at], escaped, ",= "), 0
		case ',', '=', ' ':
			if strings.IndexByte(stops, c) >= 0 {
				return plainText(p.in[begin:p.at], escaped, ",= "), c
			}
		}
	}
	return plainText(p.in[begin:p.at], escaped, ",= "), 0
}

// value reads up to a comma, a space or the end of the line.
func (p *point) value() []byte {
	begin := p.at
	for ; p.at < len(p.in); p.at++ {
		switch p.in[p.at] {
		case ',', ' ', '\t', '\r', '\n':
			return p.in[begin:p.at]
		}
	}
	return p.in[begin:]
}

// text reads a text in quotes, which may hold newlines.
func (p *point) text() (text []byte, ok bool) {
	p.at++
	begin, escaped := p.at, false
	for ; p.at < len(p.in); p.at++ {
		switch p.in[p.at] {
		case '\\':
			escaped = true
			p.at++
		case '"':
			text = plainText(p.in[begin:p.at], escaped, `"\`)
			p.at++
			return text, true
		}
	}
	return nil, false
}

// plainText returns a text without the backslashes before these characters.
func plainText(text []byte, escaped bool, before string) []byte {
	if !escaped {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && strings.IndexByte(before, text[i+1]) >= 0 {
			i++
		}
		out = append(out, text[i])
	}
	return out
}
