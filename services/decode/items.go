package decode

import "bytes"

// Item is one object of a body.
type Item struct {
	// Index is the position of the item in the body, from 0.
	Index int
	// Site and Device are valid tokens if Err is nil. Otherwise they are what was
	// read before the error.
	Site, Device string
	// Readings is not empty if Err is nil, and empty otherwise.
	Readings []Reading
	// Err explains why the item was refused.
	Err *Error
}

// Items decodes a body of one item or an array of items. An item is
// {"site":"s","device":"d","metric":"m","value":21.5,"unit":"°C","ts":1700000000}
// or {"site":"s","device":"d","values":{"m":21.5,"n":true},"ts":1700000000}.
// Unit and ts are optional, and values is the same object of metrics as in
// Append.
//
// An item is accepted as a whole or not at all, and a refused item does not
// stop the others. The error, always an *Error, means that the body as a whole
// cannot be read. Arrival is in nanoseconds since the Unix epoch. The items do
// not refer to body or to memory that the Decoder reuses.
func (d *Decoder) Items(body []byte, arrival int64) ([]Item, error) {
	if len(body) > d.limits.Payload {
		return nil, tooLarge("", "the body has %d bytes, more than %d", len(body), d.limits.Payload)
	}
	d.json.reset(bytes.TrimPrefix(body, byteOrderMark))
	b := items{Decoder: d, arrival: arrival}
	err := b.list()
	if err == nil {
		err = d.json.end()
	}
	if err != nil {
		return nil, err
	}
	return b.items, nil
}

// items is the body that is read so far.
type items struct {
	*Decoder
	arrival  int64
	source   Source
	items    []Item
	readings []Reading
}

func (b *items) list() *Error {
	if b.json.kind() != '[' {
		return b.add()
	}
	if err := b.json.next(); err != nil {
		return err
	}
	for b.json.kind() != ']' {
		if err := b.add(); err != nil {
			return err
		}
	}
	return b.json.next()
}

// add reads the next item. An error means that the rest of the body cannot be
// read.
func (b *items) add() *Error {
	if len(b.items) >= b.limits.Readings {
		return tooLarge("", "the body has more than %d items", b.limits.Readings)
	}
	if err := b.root(b.limits.Keys); err != nil {
		return err
	}
	item, first := Item{Index: len(b.items)}, len(b.readings)
	if item.Err = b.item(&item); item.Err != nil {
		b.readings = b.readings[:first]
	}
	if len(b.readings) > b.limits.Readings {
		return tooLarge("", "the body has more than %d readings", b.limits.Readings)
	}
	// Without its bound, an append to one item's readings would overwrite the next
	// item's.
	item.Readings = b.readings[first:len(b.readings):len(b.readings)]
	b.items = append(b.items, item)
	return nil
}

// item reads the members of an item, which is the tree.
func (b *items) item(item *Item) *Error {
	if b.nodes[0].kind != '{' {
		return refuse("", "an item is an object such as {\"site\":\"s\",\"device\":\"d\",\"metric\":\"m\",\"value\":21.5}")
	}
	single, present, several := Reading{}, false, int32(-1)
	when, first := moment{}, len(b.readings)
	for i := int32(1); i < b.nodes[0].end; i = b.nodes[i].end {
		var err *Error
		key := b.nodes[i].key
		switch key {
		case "site":
			item.Site, err = b.nameAt(i)
		case "device":
			item.Device, err = b.nameAt(i)
		case "metric":
			single.Metric, err = b.nameAt(i)
		case "value":
			present, err = true, b.scalar(&single, i)
		case "unit":
			single.Unit, err = b.unit(i)
		case "values":
			several = i
			if b.nodes[i].kind != '{' {
				err = refuse("", "values is an object of metrics, such as {\"temperature\":21.5}")
			}
		case "ts":
			when, err = b.timeAt(i)
		default:
			err = refuse("", "the key is not known here: an item takes site, device, metric, value, unit and ts, or site, device, values and ts")
		}
		if err != nil {
			err.Field = clipped(key)
			return err
		}
	}
	if err := complete(*item, single, present, several >= 0); err != nil {
		return err
	}
	if present {
		b.readings = append(b.readings, single)
	} else if err := b.values(several); err != nil {
		return err
	}
	if len(b.readings) == first {
		return refuse("values", "the object holds no reading")
	}
	return b.stamp(b.readings[first:], when, item.Site, item.Device, b.arrival)
}

// complete refuses an item with a missing or a contradictory part.
func complete(item Item, single Reading, present, several bool) *Error {
	switch {
	case item.Site == "":
		return refuse("site", "the site is missing")
	case item.Device == "":
		return refuse("device", "the device is missing")
	case several && (present || single.Metric != "" || single.Unit != ""):
		return refuse("values", "an item has either values, or metric, value and unit")
	case several:
		return nil
	case single.Metric == "":
		return refuse("metric", "the metric is missing")
	case !present:
		return refuse("value", "the value is missing")
	}
	return nil
}

// values reads the object of several metrics of one item.
func (b *items) values(i int32) *Error {
	b.begin(b.readings)
	b.renamed = false
	b.members(i, "")
	b.readings, b.out = b.out, nil
	return together(b.faults)
}

// nameAt reads the name of a site, device or metric.
func (b *items) nameAt(i int32) (string, *Error) {
	n := &b.nodes[i]
	if n.kind != '"' {
		return "", refuse("", "the name is not a text")
	}
	if err := checkToken("", n.text); err != nil {
		return "", err
	}
	return b.names.get(n.text), nil
}
