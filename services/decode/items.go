package decode

import (
	"bytes"
	"fmt"
)

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
	d.json.reset(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	b := items{Decoder: d, arrival: arrival}
	err := b.read()
	if err == nil {
		err = d.json.end()
	}
	if err != nil {
		return nil, err
	}
	return b.items, nil
}

// items is the body that Items has read so far.
type items struct {
	*Decoder
	arrival  int64
	items    []Item
	readings []Reading
}

func (b *items) read() *Error {
	if b.json.kind() != '[' {
		return b.add()
	}
	if _, err := b.json.next(); err != nil {
		return err
	}
	for b.json.kind() != ']' {
		if err := b.add(); err != nil {
			return err
		}
	}
	_, err := b.json.next()
	return err
}

// add reads the next item. An error means that the rest of the body cannot be
// read.
func (b *items) add() *Error {
	if len(b.items) >= b.limits.Readings {
		return tooLarge("", "the body has more than %d items", b.limits.Readings)
	}
	item, first, outside := Item{Index: len(b.items)}, len(b.readings), b.json.depth()
	token, err := b.json.next()
	if err != nil {
		return err
	}
	if token.Kind() == '{' {
		err = b.item(&item)
	} else {
		err = refuse("", "an item is an object such as {\"site\":\"s\",\"device\":\"d\",\"metric\":\"m\",\"value\":21.5}")
	}
	if err != nil {
		if err.whole {
			return err
		}
		item.Err, b.readings = err, b.readings[:first]
		if err := b.leave(outside); err != nil {
			return err
		}
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

// leave reads until the depth is back to that outside of a refused item.
func (b *items) leave(outside int) *Error {
	for b.json.depth() > outside {
		if _, err := b.json.next(); err != nil {
			return err
		}
		if b.json.depth() > b.limits.Depth {
			return b.json.invalid(b.json.dec.InputOffset(), fmt.Sprintf("it is nested more than %d deep", b.limits.Depth))
		}
	}
	return nil
}

// item reads the members of an item, whose opening brace has been read.
func (b *items) item(item *Item) *Error {
	single, present, several := Reading{}, false, false
	when, first, keys := moment{}, len(b.readings), 0
	for b.json.kind() != '}' {
		key, err := b.key(&keys)
		if err != nil {
			return err
		}
		switch key {
		case "site":
			item.Site, err = b.name(key)
		case "device":
			item.Device, err = b.name(key)
		case "metric":
			single.Metric, err = b.name(key)
		case "value":
			present, err = b.scalar(&single, key)
			if err == nil && !present {
				err = refuse(key, "null is not a reading")
			}
		case "unit":
			single.Unit, err = b.unit(key)
		case "values":
			several = true
			err = b.values(&keys)
		case "ts":
			when, err = b.time()
		default:
			err = refuse(key, "the key is not known here: an item takes site, device, metric, value, unit and ts, or site, device, values and ts")
		}
		if err != nil {
			return err
		}
	}
	if _, err := b.json.next(); err != nil {
		return err
	}
	if err := complete(*item, single, present, several); err != nil {
		return err
	}
	if present {
		b.readings = append(b.readings, single)
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
func (b *items) values(keys *int) *Error {
	if b.json.kind() != '{' {
		return refuse("values", "values is an object of metrics, such as {\"temperature\":21.5}")
	}
	if _, err := b.json.next(); err != nil {
		return err
	}
	for b.json.kind() != '}' {
		key, err := b.key(keys)
		if err != nil {
			return err
		}
		b.readings, err = b.metric(b.readings, key, "values.", keys)
		if err != nil {
			return err
		}
	}
	_, err := b.json.next()
	return err
}

// name reads the name of a site, device or metric.
func (b *items) name(field string) (string, *Error) {
	if b.json.kind() != '"' {
		// Input that is not JSON has an error of its own.
		_, err := b.json.next()
		if err == nil {
			err = refuse(field, "the name is not a text")
		}
		return "", err
	}
	text, err := b.json.text()
	if err != nil {
		return "", err
	}
	if err := checkToken(field, text); err != nil {
		return "", err
	}
	return b.names.get(text), nil
}
