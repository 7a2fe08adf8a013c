package connect

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/streams"
	"headwater/web/ui"
	"headwater/web/view"
)

// metricsShown bounds the metrics of a device that are shown.
const metricsShown = 3

// reported says what a device reported.
func reported(d view.Device) string {
	var all []string
	for _, m := range d.Metrics[:min(len(d.Metrics), metricsShown)] {
		all = append(all, m.Name+" "+ui.ValueWords(d, m)+ui.UnitOf(m))
	}
	out := strings.Join(all, ", ")
	if more := len(d.Metrics) - metricsShown; more > 0 {
		out += " and " + ui.Plural(more, "more metric", "more metrics")
	}
	return out
}

// maxFindings bounds the reasons that the page lists.
const maxFindings = 5

// finding is why a reading may not have come.
type finding struct {
	title, text, help string
	// bytes is what was sent, as far as it is shown.
	bytes string
	at    time.Time
}

// findings are the reasons, the newest first. Those that say the same are one.
func (f Facts) findings() []finding {
	var all []finding
	for _, r := range f.Refused {
		all = append(all, refusedFinding(r))
	}
	for _, u := range f.Undecoded {
		all = append(all, undecodedFinding(u, f.Place))
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		return cmp.Or(b.at.Compare(a.at), strings.Compare(a.title, b.title), strings.Compare(a.text, b.text))
	})
	var out []finding
	for _, one := range all {
		if len(out) < maxFindings && !slices.ContainsFunc(out, func(o finding) bool { return o.title == one.title && o.text == one.text }) {
			out = append(out, one)
		}
	}
	return out
}

func refusedFinding(r Refused) finding {
	f := finding{text: r.Who + ": " + r.Why, at: r.At}
	switch r.What {
	case RefusedLogIn:
		f.title, f.help = "Log-in refused", "See “If it has to log in” below."
	case RefusedRequest:
		f.title = "HTTP request refused"
	default:
		f.title = "MQTT connection refused"
	}
	return f
}

func undecodedFinding(u Undecoded, p Place) finding {
	f := finding{text: u.Topic + ": " + u.Detail + ".", at: u.At, bytes: shown(u)}
	switch u.Reason {
	case streams.ReasonTopic:
		f.title, f.help = "Topic unknown", "The nearest topic that is read is "+Nearest(u.Topic, p)+"."
	case streams.ReasonClock:
		f.title, f.help = "Clock off", "Set the clock of the device, or send no time: then the time of arrival counts."
	case streams.ReasonQuarantined:
		f.title, f.help = "Waits for approval", "Approve it with: headwater device approve "+u.Site+"/"+u.Device
	case streams.ReasonUnwanted:
		f.title = "Device refused"
	case streams.ReasonNewSeries:
		f.title = "Too many metrics"
	default:
		f.title = "Not readable"
	}
	return f
}

// Nearest returns the topic of a reading that is most like a topic.
func Nearest(topic string, p Place) string {
	var names []string
	for level := range strings.SplitSeq(topic, "/") {
		name := strings.Map(func(r rune) rune {
			if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_') {
				return r
			}
			return '_'
		}, level)
		if name != "" && name != "sensors" {
			names = append(names, name[:min(len(name), 64)])
		}
	}
	switch n := len(names); {
	case n == 0:
		names = []string{p.Site, p.Device, "temperature"}
	case n == 1:
		names = []string{p.Site, p.Device, names[0]}
	case n > 3:
		names = names[n-3:]
	}
	return "sensors/" + strings.Join(names, "/")
}

// maxShown bounds the bytes of a payload that are shown.
const maxShown = 120

// shown is the beginning of a payload: as text, or as hexadecimal digits.
func shown(u Undecoded) string {
	begin := u.Payload[:min(len(u.Payload), maxShown)]
	for len(begin) > 0 && len(begin) < len(u.Payload) && !utf8.RuneStart(u.Payload[len(begin)]) {
		begin = begin[:len(begin)-1]
	}
	out := view.Plain(string(begin))
	if !utf8.Valid(begin) || strings.ContainsRune(out, '⟨') {
		out = hex.EncodeToString(begin[:min(len(begin), maxShown/4)])
	}
	switch {
	case u.Size == 0:
		return "no bytes"
	case len(begin) < u.Size || len(out) < len(begin):
		return out + "… (" + strconv.Itoa(u.Size) + " bytes)"
	}
	return out
}
