package handling_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/internal/handling"
)

const episode = "0f3a9c5d71b2e684-dn5mn57qoq2o"

// TestWith takes one episode through its life, and each bound once.
func TestWith(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 5).UTC()
	by := func(author, text string) handling.Note { return handling.Note{Author: author, At: at, Text: text} }
	h := handling.Handling{Episode: episode}
	for _, step := range []struct {
		name   string
		action handling.Action
		note   handling.Note
		want   handling.Handling
		err    error
	}{
		{"acknowledge", handling.Acknowledge, by("ann", " on my way "), handling.Handling{Acknowledged: new(by("ann", "on my way"))}, nil},
		{"the first who acknowledges counts", handling.Acknowledge, by("bob", ""), handling.Handling{}, handling.ErrSame},
		{"take it back", handling.Unacknowledge, by("bob", ""), handling.Handling{}, nil},
		{"twice", handling.Unacknowledge, by("bob", ""), handling.Handling{}, handling.ErrSame},
		{"comment", handling.Comment, by("bob", "two\nlines"), handling.Handling{Comments: []handling.Note{by("bob", "two\nlines")}}, nil},
		{"assign", handling.Assign, by("ann", "bob"), handling.Handling{Comments: []handling.Note{by("bob", "two\nlines")}, Assignee: "bob"}, nil},
		{"assign again", handling.Assign, by("ann", "bob"), handling.Handling{}, handling.ErrSame},
		{"assign nobody", handling.Assign, by("ann", ""), handling.Handling{Comments: []handling.Note{by("bob", "two\nlines")}}, nil},
		{"resolve", handling.Resolve, by("ann", ""), handling.Handling{Comments: []handling.Note{by("bob", "two\nlines")}, Resolved: new(by("ann", ""))}, nil},
		{"acknowledge what is over", handling.Acknowledge, by("ann", ""), handling.Handling{}, handling.ErrResolved},
	} {
		got, err := h.With(step.action, step.note)
		if !errors.Is(err, step.err) {
			t.Fatalf("%s: %v, want %v", step.name, err, step.err)
		}
		if err != nil {
			continue
		}
		step.want.Episode, step.want.Changed = episode, at
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("%s: %s", step.name, d)
		}
		body, err := got.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := handling.Decode(body); err != nil || cmp.Diff(got, again) != "" {
			t.Errorf("%s: %v %s", step.name, err, cmp.Diff(got, again))
		}
		h = got
	}
	for name, bad := range map[string]struct {
		action handling.Action
		note   handling.Note
	}{
		"no author":        {handling.Comment, by("", "x")},
		"author too long":  {handling.Comment, by(strings.Repeat("a", handling.MaxName+1), "x")},
		"no text":          {handling.Comment, by("ann", " ")},
		"text too long":    {handling.Comment, by("ann", strings.Repeat("a", handling.MaxText+1))},
		"hidden text":      {handling.Comment, by("ann", "a\u202eb")},
		"assignee":         {handling.Assign, by("ann", strings.Repeat("a", handling.MaxName+1))},
		"no time":          {handling.Comment, handling.Note{Author: "ann", Text: "x"}},
		"no such action":   {"dance", by("ann", "x")},
		"hidden assignee":  {handling.Assign, by("ann", "a\x1b[31m")},
		"author of a note": {handling.Comment, by("a\nb", "x")},
	} {
		if _, err := h.With(bad.action, bad.note); err == nil {
			t.Errorf("%s: done", name)
		}
	}
	for range handling.MaxComments - len(h.Comments) {
		var err error
		h, err = h.With(handling.Comment, by("ann", "x"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.With(handling.Comment, by("ann", "x")); err == nil {
		t.Error("one comment too many")
	}
	for _, bad := range []string{"x", "{}", `{"episode":"a"}`, `{"episode":"` + episode + `","acknowledged":{}}`} {
		if _, err := handling.Decode([]byte(bad)); err == nil {
			t.Errorf("decoded %s", bad)
		}
	}
}
