// Package handling holds what people do about one episode of an alert: acknowledge
// it, comment on it, take it over, resolve it. It defines the form in which dashboard and
// notifier keep that. It is pure.
package handling

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/streams"
)

// Bounds of what is kept.
const (
	// MaxComments is the largest number of comments on one episode.
	MaxComments = 50
	// MaxText bounds a comment, in bytes.
	MaxText = 500
	// MaxName bounds the name of a person, in bytes.
	MaxName = 100
	// maxContent bounds what Decode reads, in bytes.
	maxContent = 256 << 10
)

// Errors of With.
var (
	// ErrSame is returned when the change would change nothing.
	ErrSame = errors.New("nothing to change")
	// ErrResolved is returned when somebody has resolved the episode.
	ErrResolved = errors.New("the alert has been resolved")
)

// Note says who did or wrote something, and when. The text may be empty unless it is a
// comment.
type Note struct {
	Author string    `json:"author"`
	At     time.Time `json:"at"`
	Text   string    `json:"text,omitempty"`
}

// Handling is what people have done about one episode.
type Handling struct {
	// Episode is its id, see streams.EpisodeID.
	Episode string `json:"episode"`
	// Acknowledged says who has acknowledged it; nil if nobody has.
	Acknowledged *Note `json:"acknowledged,omitempty"`
	// Assignee is the person who takes care of it; empty if nobody does.
	Assignee string `json:"assignee,omitempty"`
	// Comments are the oldest first.
	Comments []Note `json:"comments,omitempty"`
	// Resolved says who has resolved it by hand; nil if nobody has.
	Resolved *Note `json:"resolved,omitempty"`
	// Changed is when it was last changed.
	Changed time.Time `json:"changed"`
}

// Action names what a person does.
type Action string

// The actions.
const (
	// Acknowledge says that the author knows of it. The text is an optional comment.
	Acknowledge Action = "acknowledge"
	// Unacknowledge takes that back.
	Unacknowledge Action = "unacknowledge"
	// Comment adds the text.
	Comment Action = "comment"
	// Assign makes the person named by the text responsible; nobody if it is empty.
	Assign Action = "assign"
	// Resolve ends the episode. The text is an optional comment.
	Resolve Action = "resolve"
)

// With returns the handling after an action, which the note describes. It changes
// nothing in place.
func (h Handling) With(a Action, n Note) (Handling, error) {
	n.Author, n.Text, n.At = strings.TrimSpace(n.Author), strings.TrimSpace(n.Text), n.At.UTC()
	if h.Resolved != nil && a != Comment && a != Assign {
		return h, ErrResolved
	}
	h.Changed = n.At
	switch a {
	case Acknowledge:
		if h.Acknowledged != nil {
			return h, ErrSame
		}
		h.Acknowledged = &n
	case Unacknowledge:
		if h.Acknowledged == nil {
			return h, ErrSame
		}
		h.Acknowledged = nil
	case Comment:
		if n.Text == "" {
			return h, errors.New("a comment must have a text")
		}
		if len(h.Comments) >= MaxComments {
			return h, fmt.Errorf("there are %d comments already", len(h.Comments))
		}
		h.Comments = append(slices.Clip(h.Comments), n)
	case Assign:
		if h.Assignee == n.Text {
			return h, ErrSame
		}
		h.Assignee = n.Text
	case Resolve:
		h.Resolved = &n
	default:
		return h, fmt.Errorf("%q is not an action", a)
	}
	return h, h.Validate()
}

// Validate returns what is wrong with the handling.
func (h Handling) Validate() error {
	if _, _, err := streams.ParseEpisodeID(h.Episode); err != nil {
		return err
	}
	if len(h.Comments) > MaxComments {
		return fmt.Errorf("%d comments, at most %d", len(h.Comments), MaxComments)
	}
	notes := h.Comments
	for _, n := range []*Note{h.Acknowledged, h.Resolved} {
		if n != nil {
			notes = append(slices.Clip(notes), *n)
		}
	}
	for _, n := range notes {
		if err := n.validate(); err != nil {
			return err
		}
	}
	if !printable(h.Assignee) || len(h.Assignee) > MaxName {
		return fmt.Errorf("the assignee must be a name of at most %d bytes, of characters that can be printed", MaxName)
	}
	return nil
}

func (n Note) validate() error {
	switch {
	case n.At.IsZero():
		return errors.New("a note must say when it was made")
	case !printable(n.Author) || n.Author == "" || len(n.Author) > MaxName:
		return fmt.Errorf("the author must be a name of at most %d bytes, of characters that can be printed", MaxName)
	case len(n.Text) > MaxText || !printable(strings.NewReplacer("\r", "", "\n", "", "\t", "").Replace(n.Text)):
		return fmt.Errorf("the text must have at most %d bytes, of characters that can be printed", MaxText)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// Encode encodes the handling for storage.
func (h Handling) Encode() ([]byte, error) { return json.Marshal(h) }

// Decode decodes what Encode returned.
func Decode(content []byte) (Handling, error) {
	var h Handling
	if len(content) > maxContent {
		return h, fmt.Errorf("what was done about an alert takes %d bytes, at most %d", len(content), maxContent)
	}
	if err := json.Unmarshal(content, &h); err != nil {
		return h, fmt.Errorf("decode what was done about an alert: %w", err)
	}
	return h, h.Validate()
}
