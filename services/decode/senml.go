package decode

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// labels are the members of a record of SenML. A pack in CBOR has the numbers of the
// first ones in place of their names: -1 for bver to -6 for bs, then 0 for n to 8 for vd.
var (
	baseLabels  = [...]string{"bver", "bn", "bt", "bu", "bv", "bs"}
	valueLabels = [...]string{"n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"}
)

// senMLVersion is the version of SenML that is understood.
const senMLVersion = 10

// isSenML reports whether a JSON text is a pack: the first record names what it is of, and
// has nothing that is not of SenML.
func (d *Decoder) isSenML(text []byte) bool {
	d.json.reset(text)
	if d.json.kind() != '[' {
		return false
	}
	if err := d.json.next(); err != nil || d.json.kind() != '{' || d.root(d.limits.Keys) != nil {
		return false
	}
	named := false
	for i := int32(1); i < d.nodes[0].end; i = d.nodes[i].end {
		key := d.nodes[i].key
		if !slices.Contains(baseLabels[:], key) && !slices.Contains(valueLabels[:], key) {
			return false
		}
		named = named || key == "n" || key == "bn"
	}
	return named
}

// pack is the state of a pack of SenML: the base values so far.
type pack struct {
	name, unit       string
	time, value, sum float64
}

// senML reads a pack.
func (b *items) senML(body []byte) *Error {
	b.json.reset(bytes.TrimPrefix(body, byteOrderMark))
	if b.json.kind() != '[' {
		// Input that is not JSON has an error of its own.
		if err := b.json.skip(); err != nil {
			return err
		}
		return refuse("", "a pack of SenML is an array of records")
	}
	if err := b.json.next(); err != nil {
		return err
	}
	var base pack
	for index := 0; b.json.kind() != ']'; index++ {
		if index >= b.limits.Readings {
			return tooLarge("", "the body has more than %d records", b.limits.Readings)
		}
		if err := b.root(b.limits.Keys); err != nil {
			return err
		}
		first := b.open()
		site, device, err := b.record(&base)
		if failed := b.shut(index, first, site, device, err); failed != nil {
			return failed
		}
	}
	if err := b.json.next(); err != nil {
		return err
	}
	return b.json.end()
}

// record reads a record of SenML, which is the tree.
func (b *items) record(base *pack) (site, device string, err *Error) {
	if b.nodes[0].kind != '{' {
		return "", "", refuse("", "a record of SenML is an object")
	}
	var name, unit string
	var at float64
	value, sum := int32(-1), int32(-1)
	for i := int32(1); i < b.nodes[0].end && err == nil; i = b.nodes[i].end {
		var v float64
		switch key := b.nodes[i].key; key {
		case "bver":
			if v, err = b.numberAt(i); err == nil && v > senMLVersion {
				err = refuse("", "version %v of SenML is not known", v)
			}
		case "bn":
			base.name, err = b.stringAt(i)
		case "bu":
			base.unit, err = b.stringAt(i)
		case "bt":
			base.time, err = b.numberAt(i)
		case "bv":
			base.value, err = b.numberAt(i)
		case "bs":
			base.sum, err = b.numberAt(i)
		case "n":
			name, err = b.stringAt(i)
		case "u":
			unit, err = b.stringAt(i)
		case "t":
			at, err = b.numberAt(i)
		case "v", "vb", "vs", "vd":
			value = i
		case "s":
			sum = i
		case "ut":
		default:
			if strings.HasSuffix(key, "_") {
				err = refuse("", "the record must not be read by who does not know this label")
			}
		}
		if err != nil {
			err.Field = clipped(b.nodes[i].key)
		}
	}
	if err != nil || value < 0 && sum < 0 {
		return "", "", err // a record without a value sets base values only
	}
	site, device, metric := b.owner(base.name, name)
	if err := checkPlace(site, device); err != nil {
		return site, device, err
	}
	if err := checkToken("n", metric); err != nil {
		return site, device, err
	}
	if unit == "" {
		unit = base.unit
	}
	if len(unit) > b.limits.Unit {
		return site, device, tooLarge("u", "the unit has %d bytes, more than %d", len(unit), b.limits.Unit)
	}
	first := b.open()
	if value >= 0 {
		r := Reading{Metric: metric}
		if err := b.scalar(&r, value); err != nil {
			err.Field = b.nodes[value].key
			return site, device, err
		}
		if r.Kind == Value {
			r.Value, r.Unit = r.Value+base.value, senMLUnit(unit)
		}
		b.readings = append(b.readings, r)
	}
	if sum >= 0 {
		v, err := b.numberAt(sum)
		if err != nil {
			err.Field = "s"
			return site, device, err
		}
		b.readings = append(b.readings, Reading{Metric: b.join(metric, "sum"), Kind: Value, Value: v + base.sum})
	}
	return site, device, b.stamp(b.readings[first:], senMLTime(base.time+at, b.arrival), site, device, b.arrival)
}

// senMLTime returns the time of a record: below 2^28 seconds it is relative to now.
func senMLTime(seconds float64, arrival int64) moment {
	const relative, latest = 1 << 28, 9e9
	switch {
	case seconds == 0:
		return moment{}
	case seconds < relative && seconds > -latest:
		return moment{ns: arrival + int64(seconds*float64(time.Second)), given: true}
	case seconds > latest || seconds < -latest:
		seconds = latest
	}
	whole := int64(seconds)
	return moment{ns: whole*int64(time.Second) + int64((seconds-float64(whole))*float64(time.Second)), given: true}
}

// senMLUnit returns the usual spelling of a unit of SenML.
func senMLUnit(u string) string {
	switch u {
	case "Cel":
		return "°C"
	case "%RH", "%EL", "/100":
		return "%"
	case "Ohm":
		return "Ω"
	}
	return u
}

// owner returns whose reading a record is: the base name is the device, or what is before
// the last separator of the name.
func (b *items) owner(base, name string) (site, device, metric string) {
	if name == "" {
		base, name = cutName(base)
	} else if base == "" && b.source.Device == "" {
		base, name = cutName(name)
	}
	device = b.source.Device
	if device == "" {
		device = b.join("", strings.Trim(strings.TrimPrefix(base, "urn:dev:"), separators))
	}
	metric = b.source.Metric
	if metric == "" {
		metric = b.join("", strings.Trim(name, separators))
	}
	return b.source.Site, device, metric
}

// separators divide the parts of names of SenML.
const separators = ":/._-"

func cutName(name string) (before, last string) {
	name = strings.TrimRight(name, separators)
	i := strings.LastIndexAny(name, ":/")
	if strings.HasPrefix(name, "urn:dev:") && strings.Count(name[:max(i, 0)], ":") == 2 {
		return name, "value" // such a URN names a device, like urn:dev:ow:10e2073a01080063
	}
	return name[:max(i, 0)], name[i+1:]
}

// numberAt returns the number that a value is.
func (d *Decoder) numberAt(i int32) (float64, *Error) {
	if d.nodes[i].kind != '0' {
		return 0, refuse("", "it is not a number")
	}
	v, err := parseFloat(d.nodes[i].text)
	if err != nil {
		return 0, outOfRange(d.nodes[i].text)
	}
	return v, nil
}

// stringAt returns the string that a value is.
func (d *Decoder) stringAt(i int32) (string, *Error) {
	if d.nodes[i].kind != '"' {
		return "", refuse("", "it is not a text")
	}
	return d.names.get(d.nodes[i].text), nil
}
