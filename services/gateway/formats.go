package gateway

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/services/internal/credentials"
	"headwater/streams"
)

// decodes decodes a body of a sender that arrived at arrival, in nanoseconds since the Unix
// epoch. An error refuses the body as a whole.
type decodes func(from credentials.Credential, d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error)

// types are the types of bodies that Path takes, each by the name that is shown.
var types = []string{
	"application/json", "application/x-ndjson", "text/csv", "application/senml+json", "application/senml+cbor", "application/cbor",
	"application/msgpack", typeBatch,
}

const typeBatch = "application/x-protobuf"

// formatOf returns how the body of a request is decoded. The type is required so that a web
// page of another origin cannot send readings through the browser of a user who can reach
// the gateway: none of the types is one that a form may have.
func formatOf(r *http.Request) (decodes, *fault) {
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form := decode.FormOf(kind)
	if err != nil || form == "" && kind != typeBatch || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return nil, &fault{status: http.StatusUnsupportedMediaType, Error: "the Content-Type must be one of " + strings.Join(types, ", ") + ", in UTF-8"}
	}
	q := r.URL.Query()
	source := decode.Source{Site: q.Get("site"), Device: q.Get("device")}
	if err := checkNames(source.Site, source.Device); err != nil {
		return nil, &fault{status: http.StatusBadRequest, Error: err.Error()}
	}
	return func(from credentials.Credential, d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error) {
		if form == "" {
			return batchItems(d, body, arrival)
		}
		source := source
		if only := from.Devices; source.Site == "" && len(only) == 1 && only[0].Site != credentials.Any {
			source.Site = only[0].Site
		}
		return d.Body(form, source, body, arrival)
	}, nil
}

// checkNames returns what is wrong with the site and the device of the parameters, each of
// which may be empty.
func checkNames(site, device string) error {
	for name, v := range map[string]string{"site": site, "device": device} {
		if v != "" && !streams.ValidToken(v) {
			return fmt.Errorf("%s %q is not 1 to 64 letters, digits, hyphens or underscores", name, clip(v))
		}
	}
	return nil
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
