package decode

import "math"

// Admit checks a reading that came in a form of its own, such as a batch, against the same
// limits as every other, and makes of it what is declared of its series. A Time of 0 means
// that of the arrival, which is in nanoseconds since the Unix epoch.
func (d *Decoder) Admit(site, device string, r *Reading, arrival int64) *Error {
	for _, name := range [...]struct{ field, text string }{{"site", site}, {"device", device}, {"metric", r.Metric}} {
		if err := checkToken(name.field, name.text); err != nil {
			return err
		}
	}
	if len(r.Unit) > d.limits.Unit {
		return tooLarge("unit", "the unit has %d bytes, more than %d", len(r.Unit), d.limits.Unit)
	}
	if err := binary("unit", []byte(r.Unit)); err != nil {
		return err
	}
	switch {
	case r.Kind == Text:
		if err := d.text(r, []byte(r.Text)); err != nil {
			err.Field = "value"
			return err
		}
	case r.Kind == Value && (math.IsNaN(r.Value) || math.IsInf(r.Value, 0)):
		return &Error{Reason: ReasonValue, Field: "value", Detail: "the number is not one that can be stored"}
	}
	if err := d.place(r, moment{ns: r.Time, given: r.Time != 0}, site, arrival); err != nil {
		return err
	}
	d.understand(r, site, device)
	return nil
}
