package decode

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is one value of a JSON text. The values lie one behind the other in the order of
// the text, those in an object or an array right behind it.
type node struct {
	// key names the member of an object; empty for every other value.
	key string
	// text is the spelling of a number, or the content of a string.
	text []byte
	// kind is that of JSON, or one of the kinds below for what is not read.
	kind jsontext.Kind
	// end is the index behind the last value in this one.
	end int32
}

// Kinds of values that are read over.
const (
	tooDeep jsontext.Kind = 'D'
	tooMany jsontext.Kind = 'M'
)

// mostElements is how many values an array may have, each of which is a metric.
const mostElements = 64

// tree is the JSON text that is being decoded.
type tree struct {
	nodes []node
	// plain holds the strings that have escapes.
	plain []byte
}

// parse reads a payload that is one JSON text with at most so many members and elements.
// A word for a number that is not finite is read as a string of it, so that it costs its
// own field only.
func (d *Decoder) parse(payload []byte, most int) *Error {
	for words := 0; ; words++ {
		d.json.reset(payload)
		err := d.root(most)
		if err == nil {
			err = d.json.end()
		}
		if err == nil || err.Reason != ReasonValue || words == mostElements {
			return err
		}
		first, last := wordAround(payload, err.at)
		payload = bytes.Join([][]byte{payload[:first], payload[first:last], payload[last:]}, []byte{'"'})
	}
}

// root reads the next value of the JSON text as a tree of its own.
func (d *Decoder) root(most int) *Error {
	d.nodes, d.plain = d.nodes[:0], d.plain[:0]
	left := most
	err := d.read("", 0, &left)
	if err == nil && left < 0 {
		err = tooLarge("", "there are more than %d keys", most)
	}
	return err
}

// read reads the next value. Left is how many members and elements there may still be.
func (d *Decoder) read(key string, depth int, left *int) (err *Error) {
	at := len(d.nodes)
	n := node{key: key, kind: d.json.kind()}
	d.nodes = append(d.nodes, n)
	switch n.kind {
	case '0':
		n.text, err = d.json.value()
	case '"':
		n.text, err = d.content()
	case '{', '[':
		if depth >= d.limits.Depth {
			n.kind, err = tooDeep, d.json.skip()
			break
		}
		n.kind, err = d.inside(n.kind, depth+1, left)
	default:
		err = d.json.next()
	}
	if err != nil {
		return err
	}
	if n.kind == tooMany {
		d.nodes = d.nodes[:at+1]
	}
	n.end = int32(len(d.nodes))
	d.nodes[at] = n
	return nil
}

// content reads a string, which stays valid as long as the tree.
func (d *Decoder) content() ([]byte, *Error) {
	text, err := d.json.text()
	if err != nil || !d.json.escaped {
		return text, err
	}
	first := len(d.plain)
	d.plain = append(d.plain, text...)
	return d.plain[first:len(d.plain):len(d.plain)], nil
}

// inside reads an object or an array. It returns the kind of its node.
func (d *Decoder) inside(kind jsontext.Kind, depth int, left *int) (jsontext.Kind, *Error) {
	if err := d.json.next(); err != nil {
		return kind, err
	}
	closing, elements, before := kind+2, 0, *left
	for d.json.kind() != closing {
		key := ""
		if kind == '{' {
			b, err := d.json.text()
			if err != nil {
				return kind, err
			}
			key = d.names.get(b)
		} else {
			elements++
		}
		*left--
		if elements > mostElements || *left < 0 {
			if err := d.json.skip(); err != nil {
				return kind, err
			}
			continue
		}
		if err := d.read(key, depth, left); err != nil {
			return kind, err
		}
	}
	if elements > mostElements {
		kind, *left = tooMany, before
	}
	return kind, d.json.next()
}

// child returns the member of an object with that key, or -1.
func (d *Decoder) child(of int32, key string) int32 {
	if of < 0 || d.nodes[of].kind != '{' {
		return -1
	}
	for i := of + 1; i < d.nodes[of].end; i = d.nodes[i].end {
		if d.nodes[i].key == key {
			return i
		}
	}
	return -1
}

// find returns the value at a path of keys, or -1.
func (d *Decoder) find(of int32, path ...string) int32 {
	for _, key := range path {
		of = d.child(of, key)
	}
	return of
}

// textAt returns the string or the spelling of the number at a path; empty for none.
func (d *Decoder) textAt(of int32, path ...string) string {
	if i := d.find(of, path...); i >= 0 {
		return d.names.get(d.nodes[i].text)
	}
	return ""
}

// drop has the value at a path read as null, which has no reading.
func (d *Decoder) drop(of int32, path ...string) {
	if i := d.find(of, path...); i >= 0 {
		d.nodes[i].kind = 'n'
	}
}

// path returns where a value is in the tree of the root, such as update.state or a[2].
func (d *Decoder) path(root, to int32) string {
	var b strings.Builder
	for at := root; at < to; {
		n, position := &d.nodes[at], 0
		for i := at + 1; i < n.end; i = d.nodes[i].end {
			if to < d.nodes[i].end {
				switch {
				case n.kind == '[':
					b.WriteString("[" + strconv.Itoa(position) + "]")
				case b.Len() > 0:
					b.WriteString("." + d.nodes[i].key)
				default:
					b.WriteString(d.nodes[i].key)
				}
				at = i
				break
			}
			position++
		}
		if b.Len() > mostPath {
			break
		}
	}
	if b.Len() > mostPath {
		return strings.ToValidUTF8(b.String()[:mostPath], "") + "…"
	}
	return b.String()
}

// mostPath bounds a path in an error, in bytes.
const mostPath = 80

// taking is what was taken of the payload so far.
type taking struct {
	out    []Reading
	faults []*Error
	// from is where paths begin, and first where the readings of the same object do.
	from  int32
	first int
	// renamed is set when a name of a metric is not as it was sent, so that two fields
	// may have the same.
	renamed bool
	name    []byte
}

// fault records why a value is not a reading.
func (d *Decoder) fault(i int32, err *Error) {
	path := d.path(d.from, i)
	if err.Field != "" && path != "" {
		path += "."
	}
	err.Field = path + err.Field
	d.faults = append(d.faults, err)
}

// flatten takes all readings in a value: null has none, the members of an object and the
// elements of an array have the name of the whole before their own.
func (d *Decoder) flatten(i int32, name string) {
	n := &d.nodes[i]
	switch n.kind {
	case 'n':
	case '{':
		d.members(i, name)
	case '[':
		for j, position := i+1, 0; j < n.end; j, position = d.nodes[j].end, position+1 {
			d.flatten(j, d.join(name, strconv.Itoa(position)))
		}
	case tooDeep:
		d.fault(i, refuse("", "it is nested more than %d deep", d.limits.Depth))
	case tooMany:
		d.fault(i, refuse("", "the array has more than %d values", mostElements))
	default:
		d.leaf(i, name, "")
	}
}

// members takes the readings of an object. In {"value":21.5,"unit":"°C"} the value has
// the name and the unit of the whole.
func (d *Decoder) members(i int32, name string) {
	end, unit, measured := d.nodes[i].end, int32(-1), int32(-1)
	if name != "" {
		measured = d.child(i, "value")
		if measured >= 0 && d.nodes[measured].kind != '{' && d.nodes[measured].kind != '[' {
			unit = d.child(i, "unit")
		}
	}
	for j := i + 1; j < end; j = d.nodes[j].end {
		switch j {
		case unit:
		case measured:
			if unit < 0 {
				d.flatten(j, name)
				continue
			}
			text, err := d.unit(unit)
			if err != nil {
				d.fault(unit, err)
			} else if d.nodes[j].kind != 'n' {
				d.leaf(j, name, text)
			}
		default:
			d.flatten(j, d.join(name, d.nodes[j].key))
		}
	}
}

// unit returns the unit that a value is. Null means none.
func (d *Decoder) unit(i int32) (string, *Error) {
	n := &d.nodes[i]
	switch n.kind {
	case 'n':
		return "", nil
	case '"':
	default:
		return "", refuse("", "the unit is not a text")
	}
	if len(n.text) > d.limits.Unit {
		return "", tooLarge("", "the unit has %d bytes, more than %d", len(n.text), d.limits.Unit)
	}
	if err := binary("", n.text); err != nil {
		return "", err
	}
	return d.names.get(n.text), nil
}

// leaf takes the reading that a number, a bool or a string is.
func (d *Decoder) leaf(i int32, name, unit string) {
	r := Reading{Metric: name, Unit: unit}
	err := d.scalar(&r, i)
	if err == nil {
		err = checkToken("", name)
	}
	if err == nil && d.renamed {
		for _, other := range d.out[d.first:] {
			if other.Metric == name {
				err = refuse("", "another field is the metric %s, too", name)
				break
			}
		}
	}
	if err != nil {
		d.fault(i, err)
		return
	}
	d.out = append(d.out, r)
}

// scalar makes r the reading that a number, a bool or a string is.
func (d *Decoder) scalar(r *Reading, i int32) *Error {
	switch n := &d.nodes[i]; n.kind {
	case '0':
		_, err := d.number(r, n.text)
		return err
	case '"':
		return d.text(r, n.text)
	case 't', 'f':
		r.Kind, r.Flag = Flag, n.kind == 't'
		return nil
	case 'n':
		return refuse("", "null is not a reading")
	case '{':
		return refuse("", "an object is not a value")
	}
	return refuse("", "an array is not a value")
}

// join returns the name of a part of what has a name, with an underscore between the two
// and in place of every other character that names do not have.
func (d *Decoder) join(name, key string) string {
	if name == "" && plainName(key) {
		return key
	}
	d.renamed = true
	b := d.name[:0]
	if name != "" {
		b = append(append(b, name...), '_')
	}
	d.name = appendName(b, key)
	return d.names.get(d.name)
}

func plainName(s string) bool {
	for i := range len(s) {
		if !tokenCharacter(s[i]) {
			return false
		}
	}
	return true
}

// appendName appends what a name becomes: letters, digits, hyphens and underscores.
func appendName(dst []byte, s string) []byte {
	for _, c := range s {
		if c < 0x80 && tokenCharacter(byte(c)) {
			dst = append(dst, byte(c))
		} else {
			dst = append(dst, '_')
		}
	}
	return dst
}

// take takes all readings of a value, with the event time among the members of an
// object. The elements of an array of objects are taken one by one. An error means that
// nothing of it is taken.
func (d *Decoder) take(i int32, name, site, device string, arrival int64) *Error {
	if objects(d.nodes, i) {
		for j := i + 1; j < d.nodes[i].end; j = d.nodes[j].end {
			if err := d.take(j, name, site, device, arrival); err != nil {
				d.fault(j, err)
			}
		}
		return nil
	}
	if name == "" && d.nodes[i].kind != '{' {
		return refuse("", "it is an array without a name: send an object of metrics, such as {\"temperature\":21.5}")
	}
	when, err := d.moment(i)
	if err != nil {
		return err
	}
	d.from, d.first, d.renamed = 0, len(d.out), false
	d.flatten(i, name)
	err = d.stamp(d.out[d.first:], when, site, device, arrival)
	if err != nil {
		d.out = d.out[:d.first]
	}
	return err
}

// objects reports whether a value is an array of objects.
func objects(nodes []node, i int32) bool {
	if nodes[i].kind != '[' || nodes[i].end == i+1 {
		return false
	}
	for j := i + 1; j < nodes[i].end; j = nodes[j].end {
		if nodes[j].kind != '{' {
			return false
		}
	}
	return true
}

// timeKeys are the usual names of the event time, the surest first.
var timeKeys = [...]string{"ts", "time", "timestamp", "Time"}

// leastClock is the least number that is a time under a name that is not ts: seconds
// since 1970 in the year 2001. Others are readings, such as the seconds since a start.
const leastClock = 1e9

// moment returns the event time among the members of an object, which then are no
// readings. What does not look like a time is a reading, unless its name is ts.
func (d *Decoder) moment(of int32) (moment, *Error) {
	var out moment
	for position, key := range timeKeys {
		i := d.child(of, key)
		if i < 0 {
			continue
		}
		when, err := d.timeAt(i)
		if position > 0 && d.nodes[i].kind == '0' {
			if v, _ := parseFloat(d.nodes[i].text); v < leastClock {
				continue
			}
		}
		if err != nil {
			if position > 0 {
				continue
			}
			return out, err
		}
		d.nodes[i].kind = 'n'
		if !out.given {
			out = when
		}
	}
	return out, nil
}

// timeAt reads an event time. Null means none.
func (d *Decoder) timeAt(i int32) (moment, *Error) {
	switch n := &d.nodes[i]; n.kind {
	case '0':
		return numberTime(n.text)
	case '"':
		return textTime(n.text)
	case 'n':
		return moment{}, nil
	}
	return moment{}, refuse("ts", timeForm)
}

// begin starts to take readings, which are appended to dst.
func (d *Decoder) begin(dst []Reading) {
	d.out, d.faults, d.first, d.from = dst, d.faults[:0], len(dst), 0
}

// taken returns dst with what was taken since begin, and an error that names the rest.
func (d *Decoder) taken(dst []Reading, err *Error) ([]Reading, error) {
	out := d.out
	d.out = nil
	if err != nil {
		return dst, err
	}
	if rest := together(d.faults); rest != nil {
		if rest.Partial = len(out) > len(dst); !rest.Partial {
			return dst, rest
		}
		return out, rest
	}
	if len(out) == len(dst) {
		return dst, refuse("", "the object holds no reading")
	}
	return out, nil
}

// mostNamed bounds the fields that one error names beside its own, in bytes.
const mostNamed = 300

// together returns one error for all faults of a payload, or nil.
func together(faults []*Error) *Error {
	if len(faults) == 0 {
		return nil
	}
	all := *faults[0]
	var b strings.Builder
	b.WriteString(all.Detail)
	for i, f := range faults[1:] {
		if b.Len() > mostNamed {
			fmt.Fprintf(&b, ", and %d more", len(faults)-1-i)
			break
		}
		separator := ", "
		if i == 0 {
			separator = "; also not read: "
		}
		b.WriteString(separator + f.Field)
	}
	all.Detail = b.String()
	return &all
}
