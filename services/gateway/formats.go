package gateway

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/services/internal/credentials"
	"headwater/streams"
)

// decodes decodes a body of a sender that arrived at arrival, in nanoseconds since the Unix
// epoch. An error refuses the body as a whole.
type decodes func(from credentials.Credential, d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error)

// alike makes a decoder for bodies that do not depend on their sender.
func alike(f func(*decode.Decoder, []byte, int64) ([]decode.Item, error)) decodes {
	return func(_ credentials.Credential, d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error) {
		return f(d, body, arrival)
	}
}

// formats are the forms in which Path takes readings, by the type of the body.
var formats = map[string]decodes{
	"application/json":       alike((*decode.Decoder).Items),
	"application/x-protobuf": alike(batchItems),
	"application/protobuf":   alike(batchItems),
}

// formatOf returns how the body of a request is decoded. The type is required so that a web
// page of another origin cannot send readings through the browser of a user who can reach
// the gateway.
func formatOf(h http.Header) (decodes, *fault) {
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	f, known := formats[kind]
	if err != nil || !known || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return nil, &fault{status: http.StatusUnsupportedMediaType, Error: "the Content-Type must be one of " + strings.Join(types(), ", ") + ", in UTF-8"}
	}
	return f, nil
}

// types are the types of bodies that Path takes.
func types() []string {
	var out []string
	for kind := range formats {
		out = append(out, kind)
	}
	slices.Sort(out)
	return out
}

// maxBatch bounds a batch, in bytes, because its empty columns take many times their size
// in memory.
const maxBatch = 1 << 20

// batchItems decodes a batch of headwater.telemetry.v1. The readings of a device that
// follow each other are one item. An event time of 0 means that of the arrival.
func batchItems(d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error) {
	if len(body) > maxBatch {
		return nil, &decode.Error{Reason: decode.ReasonTooLarge, Detail: fmt.Sprintf("the batch has %d bytes, more than %d", len(body), maxBatch)}
	}
	b, err := streams.DecodeTelemetry(body)
	if err != nil {
		return nil, err
	}
	if most := decode.DefaultLimits().Readings; len(b.GetSeries()) > most {
		return nil, &decode.Error{Reason: decode.ReasonTooLarge, Detail: fmt.Sprintf("the batch has more than %d readings", most)}
	}
	kinds := map[telemetryv1.Kind]decode.Kind{
		telemetryv1.Kind_KIND_VALUE: decode.Value, telemetryv1.Kind_KIND_FLAG: decode.Flag, telemetryv1.Kind_KIND_TEXT: decode.Text,
	}
	var items []decode.Item
	dictionary, i := b.Dictionary(), 0
	for sent := range b.Readings() {
		s := dictionary[sent.Series]
		r := decode.Reading{
			Metric: s.Metric, Unit: s.Unit, Time: sent.Time, Kind: kinds[sent.Kind], Value: sent.Value, Flag: sent.Flag, Text: sent.Text,
		}
		fault := d.Admit(s.Site, s.Device, &r, arrival)
		last := len(items) - 1
		switch {
		case fault != nil:
			items = append(items, decode.Item{Index: i, Site: s.Site, Device: s.Device, Err: fault})
		case last >= 0 && items[last].Err == nil && items[last].Site == s.Site && items[last].Device == s.Device:
			items[last].Readings = append(items[last].Readings, r)
		default:
			items = append(items, decode.Item{Index: i, Site: s.Site, Device: s.Device, Readings: []decode.Reading{r}})
		}
		i++
	}
	return items, nil
}
