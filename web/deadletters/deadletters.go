package deadletters

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"headwater/streams"
	"headwater/web/ui"
	"headwater/web/view"
)

// Facts are what the page of dead letters shows.
type Facts struct {
	Query   Query
	Letters Letters
}

func pageURL(q Query) string {
	v := url.Values{}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	if q.Reason != "" {
		v.Set("reason", q.Reason)
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if len(v) == 0 {
		return "/deadletters"
	}
	return "/deadletters?" + v.Encode()
}

// why returns the detail that the service gave as a sentence, else the meaning of
// the reason.
func why(l Letter) string {
	if l.Detail != "" {
		return ui.Sentence(l.Detail)
	}
	return reasonWords(l.Reason)
}

// reasonWords explain the reasons of dead letters.
func reasonWords(reason string) string {
	switch reason {
	case "topic":
		return "The topic does not have the form sensors/<site>/<device>/<metric>."
	case "payload":
		return "The message could not be understood as a reading."
	case "value":
		return "The value is not a finite number."
	case "clock":
		return "The time of the reading is too far in the past or in the future."
	case "too-large":
		return "The message is too large."
	case "rejected":
		return "InfluxDB refused the point."
	case "malformed":
		return "The stored message is damaged."
	case "undeliverable":
		return "A notification could not be delivered."
	}
	return ""
}

// payloadNote says how much of the original is shown, and how.
func payloadNote(l Letter) string {
	note := ui.FormatBytes(uint64(max(0, l.Size)))
	_, isText := payloadText(l.Payload)
	shown := len(l.Payload)
	if !isText {
		note += ", as hexadecimal bytes"
		shown = min(shown, hexBytes)
	}
	if shown < l.Size {
		note += ", the first " + ui.FormatBytes(uint64(shown)) + " shown"
	}
	return note
}

// payloadText returns bytes for people: as text when they are, with control
// characters made visible, else as a hex dump of at most hexBytes.
func payloadText(b []byte) (text string, isText bool) {
	cut := b
	for i := 0; i < utf8.UTFMax && len(cut) > 0 && !utf8.Valid(cut); i++ {
		cut = cut[:len(cut)-1] // the payload may have been cut inside a character
	}
	if utf8.Valid(cut) && len(cut) > 0 || len(b) == 0 {
		readable := 0
		var s strings.Builder
		for _, r := range string(cut) {
			switch {
			case r == '\n' || r == '\t' || unicode.IsPrint(r) && !view.TurnsDirection(r):
				s.WriteRune(r)
				readable++
			default:
				s.WriteString(view.CodePoint(r))
			}
		}
		if total := utf8.RuneCount(cut); readable*10 >= total*7 {
			return s.String(), true
		}
	}
	return hexDump(b[:min(len(b), hexBytes)]), false
}

const hexBytes = 512

func hexDump(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for i, c := range b {
		if i > 0 {
			if i%16 == 0 {
				s.WriteByte('\n')
			} else {
				s.WriteByte(' ')
			}
		}
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// confirmURL is the address of the page that asks before something is done.
func confirmURL(do string, s Selection) string {
	v := url.Values{"do": {do}}
	if s.Sequence != 0 {
		v.Set("sequence", strconv.FormatUint(s.Sequence, 10))
	}
	if s.Service != "" {
		v.Set("service", s.Service)
	}
	if s.Reason != "" {
		v.Set("reason", s.Reason)
	}
	return "/deadletters/confirm?" + v.Encode()
}

// matching counts the letters of a service and a reason, and how many of them can
// be redriven.
func matching(counts []Count, service, reason string) (all, redrivable uint64) {
	for _, c := range counts {
		if service != "" && c.Service != service || reason != "" && c.Reason != reason {
			continue
		}
		all += c.Count
		if streams.NotRedrivable(c.Service, c.Reason) == "" {
			redrivable += c.Count
		}
	}
	return all, redrivable
}

// letters is a number of dead letters in words.
func letters(n uint64) string { return ui.Plural(n, "dead letter", "dead letters") }

// ofWhat says which letters a service and a reason select.
func ofWhat(service, reason string) string {
	switch {
	case service != "" && reason != "":
		return " of " + service + " · " + reason
	case service != "":
		return " of " + service
	case reason != "":
		return " with the reason " + reason
	}
	return ""
}

// ConfirmFacts are what the page shows that asks before something is done.
type ConfirmFacts struct {
	// Purge says that the letters are to be purged, else redriven.
	Purge     bool
	Selection Selection
	// Letter is the letter that is meant; nil if the letters of the selection are.
	Letter *Letter
	// Counts are over all letters, by service and reason.
	Counts []Count
}

func (f ConfirmFacts) do() string {
	if f.Purge {
		return "purge"
	}
	return "redrive"
}

func (f ConfirmFacts) counted() (all, redrivable uint64) {
	if f.Letter == nil {
		return matching(f.Counts, f.Selection.Service, f.Selection.Reason)
	}
	if NotRedrivable(*f.Letter) == "" {
		return 1, 1
	}
	return 1, 0
}

// Title is the question that the page asks.
func (f ConfirmFacts) Title() string {
	what := "dead letter № " + strconv.FormatUint(f.Selection.Sequence, 10)
	if f.Letter == nil {
		n, _ := f.counted()
		what = letters(n) + ofWhat(f.Selection.Service, f.Selection.Reason)
	}
	if f.Purge {
		return "Purge " + what + "?"
	}
	return "Redrive " + what + "?"
}

// nothing reports whether there is nothing to do.
func (f ConfirmFacts) nothing() bool {
	all, redrivable := f.counted()
	return all == 0 || !f.Purge && redrivable == 0
}

// backURL is where the button Cancel leads.
func (f ConfirmFacts) backURL() string {
	return pageURL(Query{Service: f.Selection.Service, Reason: f.Selection.Reason})
}

// RedriveFacts are what the page shows when letters were redriven.
type RedriveFacts struct {
	Selection Selection
	Result    Redrive
}

// rest selects the letters that are still to be redriven.
func (f RedriveFacts) rest() Selection {
	s := f.Selection
	s.From = f.Result.Next
	return s
}

// others are the letters that did not become readings, the first of them.
func (f RedriveFacts) others() (shown []Redriven, more int) {
	for _, l := range f.Result.Letters {
		if l.Outcome == OutcomeRedriven {
			continue
		}
		if len(shown) < maxOthers {
			shown = append(shown, l)
		} else {
			more++
		}
	}
	return shown, more
}

// maxOthers bounds the letters that the result lists one by one.
const maxOthers = 100

// outcomeWords names the outcome of a letter.
func outcomeWords(outcome string) string {
	switch outcome {
	case OutcomeRedriven:
		return "redriven"
	case OutcomeRefused:
		return "refused again"
	case OutcomeKept:
		return "stays"
	case OutcomeGone:
		return "was gone"
	}
	return "failed"
}
