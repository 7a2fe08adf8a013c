// Package contract is what a function is given and what it answers, as JSON. This is the
// input of one that runs on readings; the lists of other triggers have their names, and what
// Summary, Anomaly, Alert, Tick and Request make:
//
//	{"readings":[{"site":"hall","device":"door-1","metric":"temperature","time":"2026-11-29T10:00:00Z","value":21.5,"unit":"°C"}]}
//
// A value is a number, true or false, or a text. The answer has the same form; in it, site
// and device may be absent, when all readings of the call are of one device, and so may the
// time, which is then that of the newest reading of the call. A worker may answer
// {"error":"why"} instead.
package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/function"
)

// Bounds of a call.
const (
	// MaxReadings is how many readings one call has, and how many it may answer.
	MaxReadings = 1000
	// maxText and maxUnit bound a text and a unit, in bytes.
	maxText = 1 << 10
	maxUnit = 64
	// past and future are how far the time of an output may be from that of its inputs.
	past   = 7 * 24 * time.Hour
	future = 5 * time.Minute
)

// ErrOutput is returned for an answer that does not fit; the details say why.
var ErrOutput = errors.New("its output does not fit")

// ErrFailed is returned for the answer of a worker that says that it failed.
var ErrFailed = errors.New("it says that it failed")

// Reading is a reading with its series.
type Reading struct {
	telemetryv1.Series
	// Time is in nanoseconds since the Unix epoch.
	Time  int64
	Value float64
	Flag  bool
	Text  string
	// Event, if there is one, is the JSON that the function is given instead: what triggers
	// it is of that series and time, and is no reading.
	Event []byte
}

// Append appends the input of one call to dst. Its list has the name of what triggers the
// function.
func Append(dst []byte, trigger function.Trigger, readings []Reading) []byte {
	dst = append(dst, `{"`...)
	dst = append(dst, trigger...)
	dst = append(dst, `":[`...)
	for i := range readings {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = readings[i].Append(dst)
	}
	return append(dst, `]}`...)
}

// Append appends the reading to dst.
func (r *Reading) Append(dst []byte) []byte {
	if r.Event != nil {
		return append(dst, r.Event...)
	}
	// Names are tokens, which need no escapes.
	dst = append(dst, `{"site":"`...)
	dst = append(dst, r.Site...)
	dst = append(dst, `","device":"`...)
	dst = append(dst, r.Device...)
	dst = append(dst, `","metric":"`...)
	dst = append(dst, r.Metric...)
	dst = append(dst, `","time":"`...)
	dst = time.Unix(0, r.Time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","value":`...)
	switch r.Kind {
	case telemetryv1.Kind_KIND_FLAG:
		dst = strconv.AppendBool(dst, r.Flag)
	case telemetryv1.Kind_KIND_TEXT:
		dst = appendText(dst, r.Text)
	default:
		dst = strconv.AppendFloat(dst, r.Value, 'g', -1, 64)
	}
	if r.Unit != "" {
		dst = append(dst, `,"unit":`...)
		dst = appendText(dst, r.Unit)
	}
	return append(dst, '}')
}

func appendText(dst []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // texts always encode
	}
	return append(dst, text...)
}

type answer struct {
	Readings []output `json:"readings"`
	Error    string   `json:"error"`
}

type output struct {
	Site   string          `json:"site"`
	Device string          `json:"device"`
	Metric string          `json:"metric"`
	Time   string          `json:"time"`
	Value  json.RawMessage `json:"value"`
	Unit   string          `json:"unit"`
}

// Parse reads the answer of a call with these readings; valid reports whether a text may
// name a site, a device or a metric. An empty answer has no readings.
func Parse(data []byte, in []Reading, valid func(string) bool) ([]Reading, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, fmt.Errorf("%w: it is not the JSON of the contract: %w", ErrOutput, err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("%w: %s", ErrFailed, a.Error)
	}
	if len(a.Readings) > MaxReadings {
		return nil, fmt.Errorf("%w: %d readings, at most %d", ErrOutput, len(a.Readings), MaxReadings)
	}
	if len(a.Readings) == 0 {
		return nil, nil
	}
	about := summarise(in)
	out := make([]Reading, 0, len(a.Readings))
	for i, o := range a.Readings {
		r, err := about.reading(o, valid)
		if err != nil {
			return nil, fmt.Errorf("%w: reading %d: %w", ErrOutput, i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// about is what an answer may leave out, and what it may not repeat.
type about struct {
	site, device string
	oldest       int64
	newest       int64
	series       map[[3]string]bool
}

func summarise(in []Reading) about {
	a := about{oldest: math.MaxInt64, newest: math.MinInt64, series: make(map[[3]string]bool)}
	one := true
	for i := range in {
		r := &in[i]
		one = one && r.Site == in[0].Site && r.Device == in[0].Device
		a.oldest, a.newest = min(a.oldest, r.Time), max(a.newest, r.Time)
		a.series[[3]string{r.Site, r.Device, r.Metric}] = true
	}
	if one && len(in) > 0 {
		a.site, a.device = in[0].Site, in[0].Device
	}
	return a
}

func (a about) reading(o output, valid func(string) bool) (r Reading, err error) {
	r.Site, r.Device, r.Metric, r.Unit, r.Time = o.Site, o.Device, o.Metric, o.Unit, a.newest
	if r.Site == "" && r.Device == "" {
		r.Site, r.Device = a.site, a.device
	}
	if !valid(r.Site) || !valid(r.Device) || !valid(r.Metric) {
		return r, errors.New("site, device and metric must be 1 to 64 letters, digits, hyphens or underscores")
	}
	if a.series[[3]string{r.Site, r.Device, r.Metric}] {
		return r, fmt.Errorf("%s/%s/%s is what the function was given: an output needs a series of its own", r.Site, r.Device, r.Metric)
	}
	if len(r.Unit) > maxUnit || !utf8.ValidString(r.Unit) {
		return r, fmt.Errorf("the unit is longer than %d bytes", maxUnit)
	}
	if o.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, o.Time)
		if err != nil || at.Before(time.Unix(0, a.oldest).Add(-past)) || at.After(time.Unix(0, a.newest).Add(future)) {
			return r, errors.New("the time is not one of RFC 3339 from 7 days before the readings of the call to 5 minutes after them")
		}
		r.Time = at.UnixNano()
	}
	return r, r.setValue(o.Value)
}

// setValue reads a number, a flag or a text.
func (r *Reading) setValue(raw json.RawMessage) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return errors.New("it has no value")
	}
	switch v := v.(type) {
	case float64:
		r.Kind, r.Value = telemetryv1.Kind_KIND_VALUE, v
	case bool:
		r.Kind, r.Flag = telemetryv1.Kind_KIND_FLAG, v
	case string:
		if len(v) > maxText {
			return fmt.Errorf("the text is longer than %d bytes", maxText)
		}
		r.Kind, r.Text = telemetryv1.Kind_KIND_TEXT, v
	default:
		return errors.New("a value is a number, true or false, or a text")
	}
	return nil
}

// ParseInput reads what Append writes.
func ParseInput(data []byte, valid func(string) bool) (function.Trigger, []Reading, error) {
	var lists map[function.Trigger][]json.RawMessage
	if err := json.Unmarshal(data, &lists); err != nil || len(lists) != 1 {
		return "", nil, errors.New("it is not the JSON of the contract: an object with one list")
	}
	for trigger, list := range lists {
		if !slices.Contains(function.Triggers(), trigger) {
			return "", nil, fmt.Errorf("its list %q is none of the contract", trigger)
		}
		if n := len(list); n == 0 || n > MaxReadings {
			return "", nil, fmt.Errorf("it has %d %s, must be 1 to %d", n, trigger, MaxReadings)
		}
		out := make([]Reading, len(list))
		for i, raw := range list {
			if err := out[i].parse(trigger, raw, valid); err != nil {
				return "", nil, fmt.Errorf("%s %d: %w", trigger, i, err)
			}
		}
		return trigger, out, nil
	}
	return "", nil, nil // there is one list
}

// parse reads one element of an input.
func (r *Reading) parse(trigger function.Trigger, raw json.RawMessage, valid func(string) bool) error {
	var o output
	if err := json.Unmarshal(raw, &o); err != nil {
		return fmt.Errorf("it is not the JSON of the contract: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, o.Time)
	if err != nil {
		return errors.New("the time is not one of RFC 3339")
	}
	r.Site, r.Device, r.Metric, r.Unit, r.Time = o.Site, o.Device, o.Metric, o.Unit, at.UnixNano()
	if trigger.Stream() != "" && (!valid(r.Site) || !valid(r.Device) || !valid(r.Metric)) {
		return errors.New("site, device and metric must be 1 to 64 letters, digits, hyphens or underscores")
	}
	if trigger == function.Readings {
		return r.setValue(o.Value)
	}
	r.Event = raw
	return nil
}
