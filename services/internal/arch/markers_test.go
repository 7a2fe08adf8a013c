package arch_test

import (
	"regexp"
	"testing"
)

// marker is a phrase that careful translation leaves behind and that ordinary
// English does not need.
type marker struct {
	find *regexp.Regexp
	// but excludes matches: it is compared with the match and the words around it.
	but *regexp.Regexp
	// write is what to write instead.
	write string
}

func words(find, write string) marker {
	return marker{find: regexp.MustCompile(`(?i)\b(` + find + `)\b`), write: write}
}

func (m marker) except(but string) marker {
	m.but = regexp.MustCompile(`(?i)` + but)
	return m
}

// markers are the worst phrases, each with a better one. The test skips this file.
var markers = []marker{
	words(`anew`, "again: recreate, rebuild, recompute, rewrite"),
	words(`for ever`, "forever, permanently"),
	words(`(work|works|worked|working) off`, "process, drain"),
	words(`(is|are|was|were|be|been|being) told`, "notify (people), emit (summaries, verdicts), send, distinguish"),
	words(`(tell|tells|told|telling) of`, "report"),
	words(`retold`, "emitted again"),
	words(`whoever`, "any process that, the person who"),
	words(`(is|are|was|were) no numbers?`, "is not a number, non-numeric").except(`there (is|are|was|were) no numbers?\b`),
	words(`lacks`, "is missing, has no"),
	words(`(stops|stopped|stopping) to`, "stops reporting, stops listening").except(`\bto (a|an|the|be)\b`),
	words(`the begin`, "the start, the beginning"),
	words(`had again`, "rebuild, recover"),
	words(`the ones? before`, "the previous one").except(`the ones? before (it|this|that|the|an?)\b`),
	words(`(go|goes|went|going|gone) on`, "continue, resume, still").except(`(go|goes|went|going|gone) on (to|the|a|an|this|that|with)\b|(is|are) going on\b`),
	words(`says whether`, "reports whether"),
	words(`(see|sees|saw|seen) to it`, "ensure"),
	words(`(is|are|was|were) no more`, "no longer exists").except(`no more (than|[a-z]+s)\b`),
	words(`remade`, "recreated"),
	words(`(befall|befalls|befell)`, "happens to"),
	words(`more seldom`, "less often"),
}

// examples are texts with a marker, each with the phrase that is found, and texts
// without one.
var examples = map[string]string{
	"The bucket is made anew.":                 "anew",
	"It keeps them for ever, or until then.":   "for ever",
	"A sender works off the messages.":         "works off",
	"which the notifier is told of":            "is told",
	"An Update tells of a change.":             "tells of",
	"Whoever reads it in order":                "Whoever",
	"a value that is no number":                "is no number",
	"the bucket lacks a key":                   "lacks",
	"a series that has stopped to report":      "stopped to",
	"from the begin of the window":             "the begin",
	"the state is had again":                   "had again",
	"It follows the one before.":               "the one before",
	"the reader goes on where it was":          "goes on",
	"done says whether it is over":             "says whether",
	"bound sees to it that there is room":      "sees to it",
	"a session that is no more":                "is no more",
	"There is no number in the list.":          "",
	"The share is no more than a half.":        "",
	"there are no more messages":               "",
	"It tells a repeat from a contradiction.":  "",
	"forever; renewal; lacking; black; slacks": "",
	"The list goes on the page.":               "",
	"a lane works offline":                     "",
	"The previous one stops at the beginning.": "",
	"what is going on in the factory":          "",
	"too early to say whether it reports":      "",
}

func TestMarkers(t *testing.T) {
	for text, want := range examples {
		// Broken over two lines wherever there is a space.
		for i := range text {
			if text[i] != ' ' && i > 0 {
				continue
			}
			p := passage{lines: []line{{1, text[:i]}, {2, text[i:]}}}
			found := p.find()
			switch {
			case want == "" && len(found) > 0:
				t.Errorf("%q: found %q", text, found[0].found)
			case want != "" && (len(found) == 0 || found[0].found != want):
				t.Errorf("%q, broken at %d: found %v, want %q", text, i, found, want)
			}
		}
	}
	p := passage{lines: []line{{7, "the bucket is made"}, {8, "anew, and"}}}
	if found := p.find(); len(found) != 1 || found[0].line != 8 {
		t.Errorf("found %v, want a phrase in line 8", found)
	}
}
