package overview

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"headwater/web/view"
)

// Facts are what the overview shows.
type Facts struct {
	Query   Query
	Devices Devices
	// Firing are the first of the firing alerts, FiringMore counts the others.
	Firing     []view.Alert
	FiringMore int
	// Rate is the number of readings a second, Rates the numbers of the last 60
	// seconds.
	Rate  float64
	Rates []float64
	Start Start
}

// Pages returns how many pages the query has, at least 1.
func (o Facts) Pages() int {
	if o.Query.Size <= 0 {
		return 1
	}
	return max(1, (o.Devices.Matching+o.Query.Size-1)/o.Query.Size)
}

// PageURL returns the address of another page of the same query.
func (o Facts) PageURL(page int) string { return "/" + o.values(page) }

// LiveURL returns the address of the updates of this page of this query.
func (o Facts) LiveURL() string { return "/live/overview" + o.values(o.Query.Page) }

func (o Facts) values(page int) string {
	v := url.Values{}
	if o.Query.Text != "" {
		v.Set("q", o.Query.Text)
	}
	if o.Query.State != "" {
		v.Set("state", string(o.Query.State))
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

type choice struct{ Value, Text string }

var stateChoices = []choice{
	{"", "All states"}, {string(view.StateFiring), "Firing"}, {string(view.StateSilent), "Silent"}, {string(view.StateUnknown), "Not heard yet"}, {string(view.StateOK), "OK"},
}

// frontMetrics is how many metrics a row of the overview shows.
const frontMetrics = 3

// front returns the metrics that a row of the overview shows: first the metrics
// with firing alerts, then numbers, then the rest.
func front(d view.Device) []view.Metric {
	if len(d.Metrics) <= frontMetrics {
		return d.Metrics
	}
	firing := make(map[string]bool, len(d.Firing))
	for _, a := range d.Firing {
		firing[a.Metric] = true
	}
	out := make([]view.Metric, 0, frontMetrics)
	for _, wanted := range []func(view.Metric) bool{
		func(m view.Metric) bool { return firing[m.Name] },
		func(m view.Metric) bool { return !firing[m.Name] && m.Kind == view.KindNumber },
		func(m view.Metric) bool { return !firing[m.Name] && m.Kind != view.KindNumber },
	} {
		for _, m := range d.Metrics {
			if len(out) < frontMetrics && wanted(m) {
				out = append(out, m)
			}
		}
	}
	return out
}

// primary returns the metric whose recent past a row shows: the first one with
// something to draw.
func primary(d view.Device) (view.Metric, bool) {
	for _, m := range front(d) {
		if len(m.Spark) > 0 {
			return m, true
		}
	}
	return view.Metric{}, false
}

// agedAfter is how much older than the last report of its device a value may be
// before its age is shown.
const agedAfter = 15 * time.Minute

// aged reports whether a value is so much older than the last report of its device
// that its age is shown beside it.
func aged(d view.Device, m view.Metric) bool {
	return !m.Time.IsZero() && d.LastSeen.Sub(m.Time) > agedAfter
}

// RowID is the id of the row of a device on the overview.
func RowID(d view.Device) string { return "d-" + d.Site + "." + d.Device }

// Start is what the first steps need to know.
type Start struct {
	// MQTT is host:port of the MQTT listener, after mqtts:// if it takes TLS. HTTP is the
	// address of this server.
	MQTT, HTTP string
	// Authority says that clients have to trust the authority of the page /trust.
	Authority bool
}

// Secure reports whether devices need the certificate of the authority.
func (s Start) Secure() bool { return s.Authority && strings.HasPrefix(s.HTTP, "https://") }

// caFile is where the first steps keep the certificate of the authority.
const caFile = "headwater-ca.crt"

// FetchCommand downloads the certificate of the authority, which is served without TLS
// too.
func (s Start) FetchCommand() string {
	return "curl -o " + caFile + " http://" + strings.TrimPrefix(s.HTTP, "https://") + "/trust/ca.crt"
}

// MQTTCommand publishes a first reading over MQTT.
func (s Start) MQTTCommand() string {
	host, port := "localhost", "1883"
	address, secure := strings.CutPrefix(s.MQTT, "mqtts://")
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		if h := strings.Trim(address[:i], "[]"); h != "" && h != "0.0.0.0" && h != "::" {
			host = h
		}
		port = address[i+1:]
	}
	command := "mosquitto_pub"
	switch {
	case secure && s.Authority:
		command += " --cafile " + caFile
	case secure:
		command += " --tls-use-os-certs"
	}
	if host != "localhost" && host != "127.0.0.1" {
		command += " -h " + host
	}
	if port != "1883" {
		command += " -p " + port
	}
	return command + " -q 1 -t sensors/home/kitchen/temperature -m 21.5"
}

// HTTPCommand posts a first reading over HTTP.
func (s Start) HTTPCommand() string {
	command := "curl "
	if s.Secure() {
		command += "--cacert " + caFile + " "
	}
	return command + s.HTTP + `/api/v1/telemetry -H 'Content-Type: application/json' \
  -d '{"site":"home","device":"kitchen","metric":"temperature","value":21.5,"unit":"°C"}'`
}
