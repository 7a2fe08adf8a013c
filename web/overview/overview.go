package overview

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/web/ui"
	"headwater/web/view"
)

// Facts are what the overview shows.
type Facts struct {
	Query   Query
	Devices Devices
	// Firing are the first of the firing alerts, FiringMore counts the others.
	Firing     []view.Alert
	FiringMore int
	// Silent are the first of the devices that have stopped reporting.
	Silent []view.Device
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
	if o.Query.Site != "" {
		v.Set("site", o.Query.Site)
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// with returns the address of the first page of the query with another state or site.
func (o Facts) with(state view.State, site string) string {
	o.Query.State, o.Query.Site = state, site
	return o.PageURL(1)
}

// maxSites bounds the sites that are shown.
const maxSites = 60

// Sites returns the sites to show, those with the most problems first, and how many
// others there are: none while all devices of the only site are in the list.
func (o Facts) Sites() (sites []Site, more int) {
	for _, s := range o.Devices.Sites {
		if o.Query.Site == "" || o.Query.Site == s.Name {
			sites = append(sites, s)
		}
	}
	if len(o.Devices.Sites) < 2 && o.Devices.Total <= o.Query.Size {
		return nil, 0
	}
	slices.SortStableFunc(sites, func(a, b Site) int {
		return cmp.Or(b.Firing-a.Firing, b.Silent-a.Silent)
	})
	n := min(maxSites, len(sites))
	return sites[:n], len(sites) - n
}

// group is the devices of one site in the list.
type group struct {
	Site    string
	Devices []view.Device
}

// groups returns the devices of the page by site.
func (o Facts) groups() []group {
	var out []group
	for _, d := range o.Devices.Items {
		if len(out) == 0 || out[len(out)-1].Site != d.Site {
			out = append(out, group{Site: d.Site})
		}
		last := &out[len(out)-1]
		last.Devices = append(last.Devices, d)
	}
	return out
}

// stripPath returns the cells of one state as lines. A cell is 1 wide; the line is as thick
// as the strip is high.
func stripPath(strip []view.State, state view.State) string {
	var b strings.Builder
	for i := 0; i < len(strip); {
		n := 1
		for i+n < len(strip) && strip[i+n] == strip[i] {
			n++
		}
		if strip[i] == state {
			b.WriteString("M" + strconv.Itoa(i) + " 1h" + strconv.Itoa(n))
		}
		i += n
	}
	return b.String()
}

// words says how many devices of the site are in which state.
func (s Site) words() string {
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{s.Firing, "firing"}, {s.Silent, "silent"}, {s.Unknown, "not heard yet"}} {
		if p.n > 0 {
			parts = append(parts, ui.FormatCount(uint64(p.n))+" "+p.word)
		}
	}
	if parts == nil {
		return "all OK"
	}
	return strings.Join(parts, ", ")
}

// trendSlots is how much of the recent past makes a trend: five minutes.
const trendSlots = 20

// trend says where a metric is heading: 1 up, -1 down, 0 neither. A change counts when it
// is well above what the readings of a slot differ by.
func trend(m view.Metric) int {
	if len(m.Spark) < 6 {
		return 0
	}
	slots := m.Spark[max(0, len(m.Spark)-trendSlots):]
	third := len(slots) / 3
	before, after, spread := 0.0, 0.0, 0.0
	for i, s := range slots {
		spread += (s.Max - s.Min) / float64(len(slots))
		switch {
		case i < third:
			before += s.Last / float64(third)
		case i >= len(slots)-third:
			after += s.Last / float64(third)
		}
	}
	least := max(2*spread, 0.01*max(math.Abs(before), math.Abs(after)))
	switch change := after - before; {
	case change > least:
		return 1
	case change < -least:
		return -1
	}
	return 0
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

// current is the value of aria-current of a selection.
func current(is bool) string {
	if is {
		return "true"
	}
	return "false"
}

// placeWords says where a device is, and its id if it is called something else.
func placeWords(d view.Device) string {
	parts := []string{d.Site}
	if d.About.Room != "" {
		parts = append(parts, view.Plain(d.About.Room))
	}
	if d.About.Name != "" {
		parts = append(parts, d.Device)
	}
	return strings.Join(parts, " · ")
}
