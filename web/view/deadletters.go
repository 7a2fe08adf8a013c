package view

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"headwater/streams"
)

func deadLettersURL(q DeadLetterQuery) string {
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

// why returns what the service said, or else what the reason means.
func why(l DeadLetter) string {
	if l.Detail != "" {
		return plain(l.Detail)
	}
	return reasonWords(l.Reason)
}

// payloadNote says how much of the original is shown, and how.
func payloadNote(l DeadLetter) string {
	note := FormatBytes(uint64(max(0, l.Size)))
	_, isText := payloadText(l.Payload)
	shown := len(l.Payload)
	if !isText {
		note += ", as hexadecimal bytes"
		shown = min(shown, hexBytes)
	}
	if shown < l.Size {
		note += ", the first " + FormatBytes(uint64(shown)) + " shown"
	}
	return note
}

// NotRedrivable says why nobody can redrive a letter; empty if it can be.
func NotRedrivable(l DeadLetter) string { return streams.NotRedrivable(l.Service, l.Reason) }

// confirmURL is the address of the page that asks before something is done.
func confirmURL(do string, s DeadLetterSelection) string {
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

// matching counts the letters of a service and a reason, and those of them that
// can be redriven.
func matching(counts []DeadLetterCount, service, reason string) (all, redrivable uint64) {
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
func letters(n uint64) string { return plural(n, "dead letter", "dead letters") }

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
	Selection DeadLetterSelection
	// Letter is the one that is meant, nil if those of the selection are.
	Letter *DeadLetter
	// Counts are over all letters, by service and reason.
	Counts []DeadLetterCount
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

// nothing says that there is nothing to do.
func (f ConfirmFacts) nothing() bool {
	all, redrivable := f.counted()
	return all == 0 || !f.Purge && redrivable == 0
}

// backURL is where one goes who does not want it.
func (f ConfirmFacts) backURL() string {
	return deadLettersURL(DeadLetterQuery{Service: f.Selection.Service, Reason: f.Selection.Reason})
}

// RedriveFacts are what the page shows when letters were redriven.
type RedriveFacts struct {
	Selection DeadLetterSelection
	Result    Redrive
}

// rest is the selection of what is still to be redriven.
func (f RedriveFacts) rest() DeadLetterSelection {
	s := f.Selection
	s.From = f.Result.Next
	return s
}

// others are the letters that did not become readings, the first of them.
func (f RedriveFacts) others() (shown []RedrivenLetter, more int) {
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

// maxOthers bounds the letters of which the result tells one by one.
const maxOthers = 100

// outcomeWords says what became of a letter.
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

// sentence makes a sentence of a detail.
func sentence(detail string) string {
	detail = strings.TrimSuffix(plain(detail), ".")
	if detail == "" {
		return ""
	}
	return upperFirst(detail) + "."
}

// upperFirst returns a text with its first letter in upper case.
func upperFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}
