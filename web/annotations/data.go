package annotations

import (
	"context"
	"time"

	"headwater/web/view"
)

// Bounds of annotations.
const (
	// MaxAnnotations is the greatest number of annotations.
	MaxAnnotations = 5000
	// onPage are as many as a page of the list shows, and maxAnswer as many as an answer of
	// the API has.
	onPage    = 50
	maxAnswer = 1000
)

// Query selects annotations.
type Query struct {
	// Sites are the only sites; empty means all.
	Sites []string
	// Site and Device select what is about a site, or what is about a device or all of its
	// site; empty means all.
	Site, Device string
	// Text is a part of the text, the author or the names, in any case.
	Text string
	// From and To bound the time that they touch; zero means no bound.
	From, To time.Time
	// Skip leaves out as many of the newest; Most is how many are returned.
	Skip, Most int
}

// Source is the annotations. What only reads answers from memory, at once. Errors wrap
// view.ErrUnavailable, view.ErrNotFound and view.ErrDraft.
type Source interface {
	// Annotations returns those about the latest times first, and whether there are more.
	Annotations(q Query) (all []view.Annotation, more bool)
	// Annotation returns one; false when there is none of that id.
	Annotation(id string) (view.Annotation, bool)
	// Annotate stores a new annotation, gives it its id and time, and returns it.
	Annotate(ctx context.Context, a view.Annotation) (view.Annotation, error)
	// RemoveAnnotation removes one.
	RemoveAnnotation(ctx context.Context, id string) error
}
