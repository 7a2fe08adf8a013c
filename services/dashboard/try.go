package dashboard

import (
	"context"
	"strconv"
	"time"

	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/decode/intake"
	"headwater/services/internal/config"
	"headwater/streams"
	"headwater/web/deadletters"
)

// Try implements deadletters.Source: with the usual patterns of Headwater's own topics and
// the mappings, units and time zones in force.
func (d *deadLetters) Try(_ context.Context, name string, payload []byte) (deadletters.Tried, error) {
	topics, err := topic.New(topic.Defaults()...)
	if err != nil {
		return deadletters.Tried{}, err
	}
	c := d.config()
	if c == nil {
		c = &config.Config{TimeZone: config.DefaultTimeZone}
	}
	limits := decode.DefaultLimits()
	limits.Payload = streams.MaxDevicePayload
	decoder := decode.New(limits, func(site string) *time.Location {
		location, err := time.LoadLocation(c.Zone(site))
		if err != nil {
			return nil // the configuration is checked where it is written
		}
		return location
	}, func(site, device, metric string) (declared decode.Series) {
		declared.Unit, declared.Literal = c.Reading(site, device, metric)
		return declared
	})
	t := intake.Try(decoder, topics, c.Mappings, name, payload, time.Now().UnixNano())
	out := deadletters.Tried{Decoder: t.Decoder, Nothing: t.Nothing, Reason: t.Reason, Problem: t.Problem, Advice: t.Advice}
	for _, item := range t.Items {
		for _, r := range item.Readings {
			out.Readings = append(out.Readings, triedReading(item, r))
		}
	}
	return out, nil
}

func triedReading(item decode.Item, r decode.Reading) deadletters.TriedReading {
	out := deadletters.TriedReading{Site: item.Site, Device: item.Device, Metric: r.Metric, Unit: r.Unit}
	switch r.Kind {
	case decode.Flag:
		out.Value, out.Shown = r.Flag, strconv.FormatBool(r.Flag)
	case decode.Text:
		out.Value, out.Shown = r.Text, strconv.Quote(r.Text)
	default:
		out.Value, out.Shown = r.Value, strconv.FormatFloat(r.Value, 'g', -1, 64)
	}
	if r.Unit != "" {
		out.Shown += " " + r.Unit
	}
	if r.HasTime {
		out.Time = time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
	}
	return out
}
