package decode_test

import (
	"fmt"
	"time"

	"headwater/services/decode"
)

// A device that names itself in the topic sends an object of metrics.
func ExampleDecoder_Append() {
	arrival := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC).UnixNano()
	d := decode.New(decode.DefaultLimits(), nil, nil)

	payload := `{"temperature": {"value": 21.5, "unit": "°C"}, "door": "on", "ts": 1773500960}`
	readings, err := d.Append(nil, "hall", "door-1", "", []byte(payload), arrival)
	if err != nil {
		fmt.Println(err)
	}
	for _, r := range readings {
		fmt.Println(r.Metric, r.Kind, r.Value, r.Unit, r.Flag, time.Unix(0, r.Time).UTC().Format(time.TimeOnly))
	}

	// A payload that is refused has a reason for the dead letter.
	_, err = d.Append(nil, "hall", "door-1", "temperature", []byte(`{"value": 21.5, "ts": "yesterday"}`), arrival)
	fmt.Println(err)
	// Output:
	// temperature value 21.5 °C false 15:09:20
	// door flag 0  true 15:09:20
	// ts: "yesterday" is not a time: a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970, or a text such as 2026-03-14T15:09:26Z
}

// The body of an HTTP request has one item or an array of items. An item that is
// refused does not stop the others.
func ExampleDecoder_Items() {
	arrival := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC).UnixNano()
	d := decode.New(decode.DefaultLimits(), nil, nil)

	items, err := d.Items([]byte(`[
		{"site": "hall", "device": "door-1", "metric": "temperature", "value": 21.5},
		{"site": "hall", "device": "door-2", "metric": "temperature"}
	]`), arrival)
	if err != nil {
		fmt.Println(err)
	}
	for _, item := range items {
		if item.Err != nil {
			fmt.Println(item.Device, item.Err)
			continue
		}
		fmt.Println(item.Device, item.Readings[0].Metric, item.Readings[0].Value)
	}
	// Output:
	// door-1 temperature 21.5
	// door-2 value: the value is missing
}
