package ui

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"headwater/web/view"
)

// SeriesName names a series in an address: site, device, metric and, unless it is empty,
// unit, with dots between.
func SeriesName(site, device, metric, of string) string {
	name := site + "." + device + "." + metric
	if of != "" {
		name += "." + of
	}
	return name
}

// SeriesOf returns the parts of a name of SeriesName, which are to be checked. What is
// missing is empty.
func SeriesOf(name string) (site, device, metric, of string) {
	parts := append(strings.SplitN(name, ".", 4), "", "", "")
	return parts[0], parts[1], parts[2], parts[3]
}

// SeriesCSV is the address of series as CSV.
func SeriesCSV(names ...string) string {
	return "/api/v1/series.csv?" + url.Values{"series": names}.Encode()
}

// ChartSeries is a series of a chart for its script.
type ChartSeries struct {
	Site   string    `json:"site"`
	Device string    `json:"device"`
	Metric string    `json:"metric"`
	Of     string    `json:"of,omitempty"`
	Unit   string    `json:"unit,omitempty"`
	Kind   view.Kind `json:"kind"`
	Name   string    `json:"name"`
}

// ChartAttributes are the series of a chart for its script.
func ChartAttributes(all []ChartSeries) templ.Attributes {
	text, err := json.Marshal(all)
	if err != nil {
		text = []byte("[]") // texts alone are always written
	}
	out := templ.Attributes{"data-series": string(text)}
	if !slices.ContainsFunc(all, func(s ChartSeries) bool { return s.Kind != view.KindFlag }) {
		out["data-kind"] = string(view.KindFlag)
	}
	return out
}
