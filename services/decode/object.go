package decode

// quoted decodes a payload that is one JSON string.
func (d *Decoder) quoted(r *Reading, payload []byte) *Error {
	d.json.reset(payload)
	b, err := d.json.text()
	if err != nil {
		return err
	}
	if err := d.text(r, "", b); err != nil {
		return err
	}
	return d.json.end()
}

// object decodes {"value":21.5,"ts":1700000000,"unit":"°C"}.
func (d *Decoder) object(r *Reading, site string, payload []byte, arrival int64) *Error {
	d.json.reset(payload)
	if _, err := d.json.next(); err != nil {
		return err
	}
	present, keys, when := false, 0, moment{}
	for d.json.kind() != '}' {
		key, err := d.key(&keys)
		if err != nil {
			return err
		}
		switch key {
		case "value":
			present, err = d.scalar(r, key)
			if err == nil && !present {
				err = refuse(key, "null is not a reading")
			}
		case "ts":
			when, err = d.time()
		case "unit":
			r.Unit, err = d.unit(key)
		default:
			err = refuse(key, "the key is not known here: a topic with a metric takes value, ts and unit; send several metrics to sensors/<site>/<device>")
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.json.next(); err != nil {
		return err
	}
	if !present {
		return refuse("value", "the value is missing")
	}
	if err := d.json.end(); err != nil {
		return err
	}
	return d.place(r, when, site, arrival)
}

// device decodes a flat object of metrics with an optional time for all.
func (d *Decoder) device(dst []Reading, site, device string, payload []byte, arrival int64) ([]Reading, error) {
	d.json.reset(payload)
	if _, err := d.json.next(); err != nil {
		return dst, err
	}
	all, when, keys := dst, moment{}, 0
	for d.json.kind() != '}' {
		key, err := d.key(&keys)
		if err != nil {
			return dst, err
		}
		if key == "ts" {
			when, err = d.time()
		} else {
			all, err = d.metric(all, key, "", &keys)
		}
		if err != nil {
			return dst, err
		}
	}
	if _, err := d.json.next(); err != nil {
		return dst, err
	}
	if err := d.json.end(); err != nil {
		return dst, err
	}
	if len(all) == len(dst) {
		return dst, refuse("", "the object holds no reading")
	}
	if err := d.stamp(all[len(dst):], when, site, device, arrival); err != nil {
		return dst, err
	}
	return all, nil
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

// metric reads the value of one of several metrics, bare or
// {"value":21.5,"unit":"°C"}, and appends its reading unless the value is null.
// Path precedes the key in errors.
func (d *Decoder) metric(dst []Reading, name, path string, keys *int) ([]Reading, *Error) {
	if err := checkToken("", name); err != nil {
		err.Field = path + name
		return dst, err
	}
	r := Reading{Metric: name}
	nested := d.json.kind() == '{'
	var present bool
	var err *Error
	if nested {
		present, err = d.measurement(&r, keys)
	} else {
		present, err = d.scalar(&r, "")
	}
	switch {
	case err != nil && err.whole:
	case err != nil && nested:
		err.Field = path + name + "." + err.Field
	case err != nil:
		err.Field = path + name
	case present:
		dst = append(dst, r)
	}
	return dst, err
}

// measurement reads {"value":21.5,"unit":"°C"}. It returns false if the value
// is null.
func (d *Decoder) measurement(r *Reading, keys *int) (present bool, err *Error) {
	if _, err := d.json.next(); err != nil {
		return false, err
	}
	given := false
	for d.json.kind() != '}' {
		key, err := d.key(keys)
		if err != nil {
			return false, err
		}
		switch key {
		case "value":
			given = true
			present, err = d.scalar(r, key)
		case "unit":
			r.Unit, err = d.unit(key)
		default:
			err = refuse(key, "the key is not known here: the object of a metric takes value and unit")
		}
		if err != nil {
			return false, err
		}
	}
	if _, err := d.json.next(); err != nil {
		return false, err
	}
	if !given {
		return false, refuse("value", "the value is missing")
	}
	return present, nil
}

// key reads the name of an object's next member and counts it.
func (d *Decoder) key(keys *int) (string, *Error) {
	b, err := d.json.text()
	if err != nil {
		return "", err
	}
	*keys++
	if *keys > d.limits.Keys {
		return "", tooLarge("", "there are more than %d keys", d.limits.Keys)
	}
	if len(b) > longestToken {
		return "", refuse("", "the key %s has %d bytes, more than %d", quote(b), len(b), longestToken)
	}
	return d.names.get(b), nil
}

// scalar reads a number, bool or string into r. It returns false for null.
func (d *Decoder) scalar(r *Reading, field string) (present bool, err *Error) {
	switch d.json.kind() {
	case '0':
		b, err := d.json.value()
		if err != nil {
			return false, err
		}
		_, err = d.number(r, field, b)
		return true, err
	case '"':
		b, err := d.json.text()
		if err != nil {
			return false, err
		}
		return true, d.text(r, field, b)
	case '{':
		return false, refuse(field, "an object is not a value")
	case '[':
		return false, refuse(field, "an array is not a value")
	}
	token, err := d.json.next()
	if err != nil || token.Kind() == 'n' {
		return false, err
	}
	r.Kind, r.Flag = Flag, token.Kind() == 't'
	return true, nil
}

// unit reads the unit of a value. Null means none.
func (d *Decoder) unit(field string) (string, *Error) {
	switch d.json.kind() {
	case '"':
		b, err := d.json.text()
		if err != nil {
			return "", err
		}
		if len(b) > d.limits.Unit {
			return "", tooLarge(field, "the unit has %d bytes, more than %d", len(b), d.limits.Unit)
		}
		if err := binary(field, b); err != nil {
			return "", err
		}
		return d.names.get(b), nil
	case '{', '[':
		return "", refuse(field, "the unit is not a text")
	}
	token, err := d.json.next()
	if err == nil && token.Kind() != 'n' {
		err = refuse(field, "the unit is not a text")
	}
	return "", err
}
