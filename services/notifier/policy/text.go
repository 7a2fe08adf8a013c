package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/proto/figure"
	"headwater/services/rule"
)

// Bounds of what is sent, in bytes; ntfy cuts messages at 4096.
const (
	// MaxTitle bounds a title.
	MaxTitle = 200
	// MaxBody bounds a body.
	MaxBody = 3000
	// maxWhat bounds the description in a title, so that the device has room.
	maxWhat = 100
	// maxUnit bounds a unit, which a device chose.
	maxUnit = 24
	// maxMore is room for the line that counts what is not listed.
	maxMore = 32
	// maxSentence bounds the words of the evidence.
	maxSentence = 1000
)

// Late is the least delay that a message mentions, between an event and the moment
// at which Headwater learned of it.
const Late = 2 * time.Minute

// Notice is the content of a message about one alert. Times are nanoseconds since the
// Unix epoch.
type Notice struct {
	// Over is set if the episode has ended.
	Over bool
	// End is why it has ended.
	End End
	// Reminder is set if it is ongoing and people were notified before.
	Reminder bool
	// Rule is the name of the rule. Its Description may be empty.
	Rule, Description    string
	Severity             rule.Severity
	Site, Device, Metric string
	// Unit may be empty. A device chose it, so it may hold anything.
	Unit string
	// Started and Ended are in event time; Ended counts when Over is set.
	Started, Ended int64
	// Happened is the event time of what the message is about, and Learned when
	// Headwater learned of it.
	Happened, Learned int64
	// Value is the value that was judged; nil when there is none.
	Value *float64
	// Low and High bound what is normal; nil when that side is open.
	Low, High *float64
	// Sentence is the reason in words.
	Sentence string
	// Labels and Runbook are those of the rule; either may be empty.
	Labels  map[string]string
	Runbook string
	// Muted is the silence that has ended, if that is what the message is about.
	Muted Mute
	// Acknowledged and Resolved say which people have done so, if any.
	Acknowledged, Resolved Mark
	// Escalated is set if it is sent because nobody has acknowledged the alert.
	Escalated bool
	// Waited is set if it waited until quiet hours ended.
	Waited bool
	// Flapping is set if the alert begins again and again.
	Flapping bool
	// Behind counts the devices whose silence that of this gateway explains.
	Behind int
	// Place is the time zone of the site, in which times are written; nil means UTC.
	Place *time.Location
}

// End is why an episode ended.
type End string

// The kinds of ends. The empty one is that of an alert that ended before ends had kinds.
const (
	// Recovered means: the values are normal again.
	Recovered End = "recovered"
	// NoData means: no readings come any more, so nobody knows.
	NoData End = "no_data"
	// RuleChanged means: the rule was changed or removed.
	RuleChanged End = "rule_changed"
	// ByHand means: a person has resolved it.
	ByHand End = "by_hand"
)

// headline returns the first words about an end.
func (e End) headline() string {
	switch e {
	case NoData:
		return "Ended without data"
	case RuleChanged:
		return "Ended by a change of the rule"
	case ByHand:
		return "Resolved by hand"
	}
	return "Resolved"
}

// Mark says who did something and when, in nanoseconds since the Unix epoch. The zero
// Mark means that nobody did.
type Mark struct {
	By string
	At int64
}

// Title returns one line for a lock screen.
func (n Notice) Title() string {
	what := strings.TrimRight(firstLine(n.Description), " .")
	if what == "" {
		what = n.Rule
	}
	return figure.Clip(fmt.Sprintf("%s: %s (%s)", n.headline(), figure.Clip(clean(what), maxWhat), clean(n.Device)), MaxTitle)
}

func (n Notice) headline() string {
	if n.Over {
		return n.End.headline()
	}
	headline := "Warning"
	switch n.Severity {
	case rule.Critical:
		headline = "Critical"
	case rule.Info:
		headline = "Info"
	}
	if n.Reminder || n.Muted != (Mute{}) {
		return "Still " + strings.ToLower(headline)
	}
	return headline
}

// Body returns a few lines: what, where and when, each once.
func (n Notice) Body() string {
	lines := append(n.what(), n.when())
	if lag := time.Duration(n.Learned - n.Happened); lag >= Late {
		lines = append(lines, fmt.Sprintf("Happened %s ago, learned now.", figure.Duration(lag)))
	}
	if n.Escalated {
		lines = append(lines, "Nobody has acknowledged it, so you are notified too.")
	}
	if n.Waited {
		lines = append(lines, "It waited until the quiet hours ended.")
	}
	if n.Flapping {
		lines = append(lines, "It flaps: it began at least "+figure.Plural(FlapsAfter, "time", "times")+" within "+figure.Duration(FlapWithin)+".")
	}
	if n.Behind > 0 {
		lines = append(lines, figure.Plural(n.Behind, "device behind it is", "devices behind it are")+" silent too.")
	}
	if n.Muted != (Mute{}) {
		lines = append(lines, n.unmuted())
	}
	for _, m := range []struct {
		done string
		Mark
	}{{"Acknowledged", n.Acknowledged}, {"Resolved", n.Resolved}} {
		if m.At != 0 {
			lines = append(lines, m.done+" by "+figure.Clip(clean(m.By), maxWhat)+", "+moment(time.Unix(0, m.At).In(n.place())))
		}
	}
	// Without a description the title names the rule.
	if rule := "Rule " + clean(n.Rule) + n.labels(); firstLine(n.Description) != "" || len(n.Labels) > 0 {
		lines = append(lines, rule)
	}
	if n.Runbook != "" {
		lines = append(lines, "What to do: "+clean(n.Runbook))
	}
	return figure.Clip(strings.Join(lines, "\n"), MaxBody)
}

// Called returns the texts of a message with what people call one of its devices: the name
// in place of the device at the end of the title, where Title writes it, and a line of the
// body that says which device that is. Without a name and a room they stay as they are.
func Called(title, body, device, name, room string) (newTitle, newBody string) {
	device = clean(device)
	if name != "" {
		if start, found := strings.CutSuffix(title, "("+device+")"); found {
			title = figure.Clip(start+"("+clean(name)+")", MaxTitle)
		}
	}
	switch name, room = clean(name), clean(room); {
	case name != "" && room != "":
		body += "\n" + device + " is " + name + ", in " + room
	case name != "":
		body += "\n" + device + " is " + name
	case room != "":
		body += "\n" + device + " is in " + room
	}
	return title, body
}

// Silent returns the title of a message about devices of one site that are silent, or
// report again: the whole site if whole is set. The notice is about one of them.
func (n Notice) Silent(devices int, whole bool) string {
	what, some := "is silent", "are silent"
	if n.Over {
		what, some = "reports again", "report again"
	}
	if whole {
		return figure.Clip(fmt.Sprintf("%s: site %s %s: %d devices", n.headline(), clean(n.Site), what, devices), MaxTitle)
	}
	return figure.Clip(fmt.Sprintf("%s: %d devices at %s %s, %s among them", n.headline(), devices, clean(n.Site), some, clean(n.Device)), MaxTitle)
}

// Group returns the texts of one message about many alerts: the notices, worst first,
// are the ones that it lists out of total. Site is that of all of them, or empty.
func Group(notices []Notice, total int, site string) (title, body string) {
	if len(notices) == 0 {
		return "", ""
	}
	what := figure.Plural(total, "alert", "alerts")
	if site != "" {
		what += " at " + clean(site)
	}
	headline := notices[0].headline()
	if notices[0].Over && slices.ContainsFunc(notices, func(n Notice) bool { return n.headline() != headline }) {
		headline = "Ended" // in several ways, which the lines name
	}
	title = fmt.Sprintf("%s: %s, %s among them", headline, what, clean(notices[0].Device))
	lines := make([]string, 0, len(notices)+1)
	size := 0
	for _, n := range notices {
		line := n.Title()
		size += len(line) + 1
		if size > MaxBody-maxMore {
			break
		}
		lines = append(lines, line)
	}
	if more := total - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return figure.Clip(title, MaxTitle), strings.Join(lines, "\n")
}

// labels returns the labels as they stand after the name of the rule.
func (n Notice) labels() string {
	if len(n.Labels) == 0 {
		return ""
	}
	parts := make([]string, 0, len(n.Labels))
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		parts = append(parts, clean(name)+"="+clean(n.Labels[name]))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// what returns the lines about the series and its value. The sentence of a detector
// names the value and what is normal; without one they are written here.
func (n Notice) what() []string {
	series := clean(n.Metric) + " of " + clean(n.Device) + " at " + clean(n.Site)
	if sentence := figure.Clip(clean(n.Sentence), maxSentence); sentence != "" {
		return []string{upperFirst(sentence), series}
	}
	if n.Value == nil {
		return []string{series}
	}
	var bounds []float64
	for _, bound := range []*float64{n.Low, n.High} {
		if bound != nil {
			bounds = append(bounds, *bound)
		}
	}
	texts := figure.Apart(*n.Value, bounds...)
	s := series + ": " + n.quantity(texts[0])
	switch {
	case n.Low != nil && n.High != nil:
		s += fmt.Sprintf(" (normal: %s to %s)", texts[1], n.quantity(texts[2]))
	case n.High != nil:
		s += fmt.Sprintf(" (normal: at most %s)", n.quantity(texts[1]))
	case n.Low != nil:
		s += fmt.Sprintf(" (normal: at least %s)", n.quantity(texts[1]))
	}
	return []string{s}
}

func upperFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

func (n Notice) when() string {
	place := n.place()
	from := time.Unix(0, n.Started).In(place)
	zone := ""
	if place != time.UTC {
		zone = " (" + place.String() + ")"
	}
	if !n.Over {
		return "Since " + moment(from) + zone
	}
	to := time.Unix(0, n.Ended).In(place)
	begin, end := moment(from), moment(to)
	if from.Format("MST") == to.Format("MST") {
		begin = from.Format(time.DateTime)
		if from.Format(time.DateOnly) == to.Format(time.DateOnly) {
			end = to.Format("15:04:05 MST")
		}
	}
	return fmt.Sprintf("Lasted %s, from %s to %s%s", figure.Duration(to.Sub(from)), begin, end, zone)
}

// unmuted returns the line about the silence that has ended.
func (n Notice) unmuted() string {
	if n.Muted.Gateway != "" {
		return "Nobody was notified while its gateway " + clean(n.Muted.Gateway) + " was silent. That is back, this is not."
	}
	s := "It was muted"
	if by := figure.Clip(clean(n.Muted.By), maxWhat); by != "" {
		s += " by " + by
	}
	if n.Muted.Until != 0 {
		s += " until " + moment(time.Unix(0, n.Muted.Until).In(n.place()))
	}
	return s + ", and still fires."
}

func (n Notice) place() *time.Location {
	if n.Place == nil {
		return time.UTC
	}
	return n.Place
}

// moment formats a time in its zone.
func moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }

// quantity adds the unit to a number.
func (n Notice) quantity(number string) string {
	if unit := figure.Clip(clean(n.Unit), maxUnit); unit != "" {
		return number + " " + unit
	}
	return number
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// Clean returns a text as one line without characters that are invisible or change the
// direction of writing.
func Clean(s string) string { return clean(s) }

// clean turns any text into one line without characters that are invisible or change
// the direction of writing: texts from devices end up here.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "")))
}
