package decode

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Form is how the readings of a body are written.
type Form string

// The forms of bodies.
const (
	// FormJSON is JSON: items as Items takes them or, of a source that is a device, what
	// Append takes.
	FormJSON Form = "JSON"
	// FormNDJSON is JSON with one value on each line.
	FormNDJSON Form = "NDJSON"
	// FormCSV is a table whose first line names the columns: separated by commas,
	// semicolons or tabs.
	FormCSV Form = "CSV"
	// FormSenML and FormSenMLCBOR are the packs of RFC 8428.
	FormSenML     Form = "SenML"
	FormSenMLCBOR Form = "SenML CBOR"
	// FormCBOR (RFC 8949) and FormMessagePack hold what JSON may hold.
	FormCBOR        Form = "CBOR"
	FormMessagePack Form = "MessagePack"
	// FormLines is the line protocol of InfluxDB.
	FormLines Form = "line protocol"
)

// FormOf returns the form of a media type without parameters, in lower case; empty when
// it is not known.
func FormOf(mediaType string) Form {
	switch mediaType {
	case "application/json":
		return FormJSON
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		return FormNDJSON
	case "text/csv":
		return FormCSV
	case "application/senml+json":
		return FormSenML
	case "application/senml+cbor":
		return FormSenMLCBOR
	case "application/cbor":
		return FormCBOR
	case "application/msgpack", "application/x-msgpack", "application/vnd.msgpack":
		return FormMessagePack
	}
	return ""
}

// Source says whose readings a body has when the body does not say so.
type Source struct {
	// Site is that of readings whose body names none. Device and Metric are empty, or
	// all readings are of that device or metric, whatever the body says.
	Site, Device, Metric string
}

// lines is how the line protocol of the source is read.
func (s Source) lines() LineFormat {
	names := LineNames{Site: s.Site, Device: s.Device}
	if s.Device == "" {
		names.SiteTags, names.DeviceTags = []string{"site"}, []string{"device", "host"}
	}
	return LineFormat{Names: names}
}

// Body decodes a body of a form. Without a device in the source, the body names the
// devices: by site and device in JSON and in the columns of CSV, by the tags site and
// device (or host) in the line protocol, with times in nanoseconds, by the base name in SenML.
//
// What is readable is taken: an item has either readings or an error, and several items
// may have the index of one line or record. The error, always an *Error, means that the
// body as a whole cannot be read. Arrival is in nanoseconds since the Unix epoch. The
// items do not refer to body.
func (d *Decoder) Body(form Form, from Source, body []byte, arrival int64) ([]Item, error) {
	if len(body) > d.limits.Payload {
		return nil, tooLarge("", "the body has %d bytes, more than %d", len(body), d.limits.Payload)
	}
	b := items{Decoder: d, arrival: arrival, source: from}
	var err *Error
	switch form {
	case FormJSON:
		err = b.oneJSON(bytes.TrimPrefix(body, byteOrderMark), 0)
	case FormNDJSON:
		err = b.ndjson(body)
	case FormCSV:
		err = b.csv(body)
	case FormSenML:
		err = b.senML(body)
	case FormLines:
		return d.Lines(body, from.lines(), arrival)
	case FormSenMLCBOR, FormCBOR, FormMessagePack:
		var text []byte
		text, err = d.asJSON(form, body)
		switch {
		case err != nil:
		case form == FormSenMLCBOR || form == FormCBOR && d.isSenML(text):
			err = b.senML(text)
		default:
			err = b.oneJSON(text, 0)
		}
	default:
		err = refuse("", "the form %s is not known", quote(string(form)))
	}
	if err == nil && len(b.readings) > d.limits.Readings {
		err = tooLarge("", "the body has more than %d readings", d.limits.Readings)
	}
	if err != nil {
		return nil, err
	}
	return b.items, nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// ofBody appends the readings of a body that is of one device.
func (d *Decoder) ofBody(dst []Reading, form Form, from Source, body []byte, arrival int64) ([]Reading, error) {
	all, err := d.Body(form, from, body, arrival)
	if err != nil {
		return dst, err
	}
	d.begin(dst)
	for _, item := range all {
		if item.Err != nil {
			if position := "[" + strconv.Itoa(item.Index) + "]"; item.Err.Field == "" {
				item.Err.Field = position
			} else {
				item.Err.Field = position + "." + item.Err.Field
			}
			d.faults = append(d.faults, item.Err)
		}
		d.out = append(d.out, item.Readings...)
	}
	return d.taken(dst, nil)
}

// form returns the form that a payload seems to have; empty for none.
func (d *Decoder) form(raw, trimmed []byte) Form {
	switch first, rest, more := bytes.Cut(trimmed, []byte{'\n'}); {
	case trimmed[0] == '{':
		if more && len(trim(rest)) > 0 && jsontext.Value(first).IsValid() {
			return FormNDJSON
		}
		return FormJSON
	case trimmed[0] == '[':
		if d.isSenML(trimmed) {
			return FormSenML
		}
		return FormJSON
	case binary("", trimmed) != nil:
		return d.binaryForm(raw)
	case trimmed[0] == '"':
	case looksLikeLines(first):
		return FormLines
	case more && separator(first) != 0:
		return FormCSV
	}
	return ""
}

// open starts the readings of an item and returns where they begin.
func (b *items) open() (first int) { return len(b.readings) }

// shut ends an item with the readings since first, or with an error.
func (b *items) shut(index, first int, site, device string, err *Error) *Error {
	if err != nil {
		b.readings = b.readings[:first]
	} else if len(b.readings) == first {
		return nil
	}
	if len(b.items) >= 2*b.limits.Readings {
		return tooLarge("", "the body has more than %d items", b.limits.Readings)
	}
	b.items = append(b.items, Item{
		Index: index, Site: site, Device: device, Err: err, Readings: b.readings[first:len(b.readings):len(b.readings)],
	})
	return nil
}

// oneJSON reads one JSON text.
func (b *items) oneJSON(body []byte, index int) *Error {
	b.json.reset(body)
	if b.source.Device == "" {
		if err := b.list(); err != nil {
			return err
		}
		return b.json.end()
	}
	if err := b.parse(trim(body), b.limits.Keys); err != nil {
		return err
	}
	return b.ofDevice(index)
}

// ofDevice takes the tree as readings of the device of the source.
func (b *items) ofDevice(index int) *Error {
	first := b.open()
	b.begin(b.readings)
	err := b.take(0, b.source.Metric, b.source.Site, b.source.Device, b.arrival)
	if err == nil {
		err = together(b.faults)
		b.readings = b.out
	}
	b.out = nil
	if err != nil && len(b.readings) > first {
		err.Partial = true
		if failed := b.shut(index, first, b.source.Site, b.source.Device, nil); failed != nil {
			return failed
		}
		first = b.open()
	}
	if err == nil && len(b.readings) == first {
		err = refuse("", "the object holds no reading")
	}
	return b.shut(index, first, b.source.Site, b.source.Device, err)
}

// ndjson reads one JSON text on each line.
func (b *items) ndjson(body []byte) *Error {
	index := 0
	for line := range bytes.Lines(body) {
		line = trim(line)
		if len(line) == 0 {
			continue
		}
		if index >= b.limits.Readings {
			return tooLarge("", "the body has more than %d items", b.limits.Readings)
		}
		before := len(b.items)
		if err := b.oneJSON(line, index); err != nil {
			if err.Reason == ReasonTooLarge {
				return err
			}
			b.items = b.items[:before]
			if err := b.shut(index, len(b.readings), b.source.Site, b.source.Device, err); err != nil {
				return err
			}
		}
		index++
	}
	return nil
}

// separator returns what divides the columns of a line; 0 for none.
func separator(line []byte) byte {
	best, most := byte(0), 0
	for _, c := range []byte(",;\t") {
		if n := bytes.Count(line, []byte{c}); n > most {
			best, most = c, n
		}
	}
	return best
}

// column is what a column of CSV holds.
type column struct {
	name, metric string
	index        int
}

// csv reads a table. Its columns are site, device, metric, value, unit and a time; every
// other one is a metric.
func (b *items) csv(body []byte) *Error {
	body = bytes.TrimPrefix(body, byteOrderMark)
	header, _, _ := bytes.Cut(bytes.TrimLeft(body, "\r\n"), []byte{'\n'})
	comma := separator(header)
	if comma == 0 {
		comma = ','
	}
	r := csv.NewReader(bytes.NewReader(body))
	r.Comma, r.FieldsPerRecord, r.ReuseRecord, r.TrimLeadingSpace = rune(comma), -1, true, true
	names, err := r.Read()
	if err != nil {
		return refuse("", "it is not CSV: %v", csvFault(err))
	}
	special := make(map[string]int)
	var metrics []column
	for i, name := range names {
		name = strings.TrimSpace(name)
		key := strings.ToLower(name)
		switch {
		case slices.Contains(csvColumns, key):
			if key == "timestamp" || key == "time" {
				key = "ts"
			}
			if _, twice := special[key]; twice {
				return refuse(quote(name), "the column occurs twice")
			}
			special[key] = i
		case jsonNumber([]byte(name)):
			return refuse("", "the first line must name the columns, such as ts,temperature,humidity; %s is a number", quote(name))
		default:
			metrics = append(metrics, column{name: name, metric: b.join(b.source.Metric, name), index: i})
		}
	}
	if len(metrics) > b.limits.Keys {
		return tooLarge("", "there are more than %d columns", b.limits.Keys)
	}
	for index := 0; ; index++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if index >= b.limits.Readings {
			return tooLarge("", "the body has more than %d lines", b.limits.Readings)
		}
		if err != nil {
			if failed := b.shut(index, b.open(), "", "", refuse("", "%s", csvFault(err))); failed != nil {
				return failed
			}
			continue
		}
		if failed := b.row(index, row, special, metrics, comma == ';'); failed != nil {
			return failed
		}
	}
}

// csvColumns are the columns that are no metrics.
var csvColumns = []string{"site", "device", "metric", "value", "unit", "ts", "time", "timestamp"}

func csvFault(err error) string {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return "line " + strconv.Itoa(e.Line) + ": " + e.Err.Error()
	}
	return err.Error()
}

// row reads a line of CSV. An error means that no other can be read.
func (b *items) row(index int, row []string, special map[string]int, metrics []column, decimalComma bool) *Error {
	cell := func(name string) string {
		if i, ok := special[name]; ok && i < len(row) {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	site, device := b.source.Site, b.source.Device
	if s := cell("site"); s != "" && device == "" {
		site = s
	}
	if device == "" {
		device = cell("device")
	}
	err := checkPlace(site, device)
	var when moment
	if text := cell("ts"); text != "" && err == nil {
		when, err = textTime([]byte(text))
	}
	first := b.open()
	var faults []*Error
	take := func(name, metric, unit, text string) {
		if text == "" {
			return
		}
		r := Reading{Metric: metric}
		if decimalComma && strings.Count(text, ",") == 1 && !strings.Contains(text, ".") {
			if dotted := strings.Replace(text, ",", ".", 1); jsonNumber([]byte(dotted)) {
				text = dotted
			}
		}
		err := b.bare(&r, []byte(text))
		if err == nil {
			err = checkToken("", metric)
		}
		if err == nil && len(unit) > b.limits.Unit {
			err = tooLarge("", "the unit has %d bytes, more than %d", len(unit), b.limits.Unit)
		}
		if err != nil {
			err.Field = clipped(name)
			faults = append(faults, err)
			return
		}
		r.Unit = b.names.get([]byte(unit))
		b.readings = append(b.readings, r)
	}
	if err == nil {
		if _, long := special["value"]; long {
			metric := b.source.Metric
			if metric == "" {
				metric = b.join("", cell("metric"))
			}
			take("value", metric, cell("unit"), cell("value"))
		}
		for _, c := range metrics {
			if c.index < len(row) {
				take(c.name, c.metric, "", strings.TrimSpace(row[c.index]))
			}
		}
		err = b.stamp(b.readings[first:], when, site, device, b.arrival)
	}
	if failed := b.shut(index, first, site, device, err); failed != nil || err != nil {
		return failed
	}
	if rest := together(faults); rest != nil {
		return b.shut(index, b.open(), site, device, rest)
	}
	return nil
}

// clipped returns the name of a field for an error.
func clipped(name string) string {
	if len(name) <= mostPath {
		return strings.ToValidUTF8(name, "")
	}
	return strings.ToValidUTF8(name[:mostPath], "") + "…"
}

// checkPlace returns what is wrong with a site and a device.
func checkPlace(site, device string) *Error {
	switch {
	case site == "":
		return refuse("site", "the site is missing")
	case device == "":
		return refuse("device", "the device is missing")
	}
	if err := checkToken("site", site); err != nil {
		return err
	}
	return checkToken("device", device)
}

// stamp gives the readings of a payload their common event time, and has each
// understood as its series is declared.
func (d *Decoder) stamp(readings []Reading, when moment, site, device string, arrival int64) *Error {
	var common Reading
	if err := d.place(&common, when, site, arrival); err != nil {
		return err
	}
	for i := range readings {
		readings[i].Time, readings[i].HasTime = common.Time, common.HasTime
		d.understand(&readings[i], site, device)
	}
	return nil
}

// looksLikeLines reports whether a text begins like the line protocol.
func looksLikeLines(line []byte) bool {
	p := point{in: line}
	measurement, stop := p.key(", ")
	for stop == ',' {
		p.at++
		_, stop = p.key(", ")
	}
	p.blanks()
	field, equal := p.key("=, ")
	return len(measurement) > 0 && stop == ' ' && equal == '=' && len(field) > 0
}
