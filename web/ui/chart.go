package ui

import (
	"net/url"
	"strings"
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
