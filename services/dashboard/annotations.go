package dashboard

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/web/annotations"
	"headwater/web/view"
)

// mostOfChart bounds the annotations of one chart.
const mostOfChart = 100

// annotationSource implements annotations.Source, and what the charts show of them.
type annotationSource struct {
	shelf *shelf[view.Annotation]
	fleet *fleet.Fleet
	// former returns the devices that a device continues.
	former  func(site, device string) []deviceName
	changes recorder
}

func newAnnotations(js jetstream.JetStream, f *fleet.Fleet, former func(site, device string) []deviceName, changes recorder) *annotationSource {
	return &annotationSource{fleet: f, former: former, changes: changes, shelf: &shelf[view.Annotation]{
		js: js, bucket: streams.BucketAnnotations, key: streams.AnnotationKey, parse: streams.ParseAnnotationKey,
		most: annotations.MaxAnnotations, largest: streams.MaxAnnotation, what: "annotation",
	}}
}

// onEntry applies an entry of the bucket.
func (s *annotationSource) onEntry(entry jetstream.KeyValueEntry) { s.shelf.onEntry(entry) }

// Annotations implements annotations.Source.
func (s *annotationSource) Annotations(q annotations.Query) ([]view.Annotation, bool) {
	text := strings.ToLower(q.Text)
	all := slices.DeleteFunc(s.shelf.list(), func(a view.Annotation) bool {
		return len(q.Sites) > 0 && !slices.Contains(q.Sites, a.Site) ||
			q.Site != "" && a.Site != q.Site || q.Device != "" && !a.Of(cmp.Or(q.Site, a.Site), q.Device) ||
			!q.From.IsZero() && a.End().Before(q.From) || !q.To.IsZero() && !a.From.Before(q.To) ||
			!strings.Contains(strings.ToLower(a.Where()+"\n"+a.Text+"\n"+a.Author), text)
	})
	slices.SortFunc(all, later)
	all = all[min(q.Skip, len(all)):]
	most := min(q.Most, len(all))
	return all[:most], len(all) > most
}

// later orders annotations: those about the latest times first.
func later(a, b view.Annotation) int { return cmp.Or(b.From.Compare(a.From), cmp.Compare(a.ID, b.ID)) }

// AnnotationsOf implements device.Source.
func (s *annotationSource) AnnotationsOf(site, device string, from, to time.Time) []view.Annotation {
	of := append([]deviceName{{site, device}}, s.former(site, device)...)
	all := slices.DeleteFunc(s.shelf.list(), func(a view.Annotation) bool {
		return !a.Touches(from, to) || !slices.ContainsFunc(of, func(n deviceName) bool { return a.Of(n.site, n.device) })
	})
	slices.SortFunc(all, later)
	return all[:min(mostOfChart, len(all))]
}

// Annotation implements annotations.Source.
func (s *annotationSource) Annotation(id string) (view.Annotation, bool) { return s.shelf.get(id) }

// Annotate implements annotations.Source.
func (s *annotationSource) Annotate(ctx context.Context, a view.Annotation) (view.Annotation, error) {
	known := len(s.fleet.After("", []string{a.Site}, "", "", 1, time.Now())) > 0
	if a.Device != "" {
		_, known = s.fleet.Device(a.Site, a.Device, time.Now())
	}
	if a.Site == "" || !known {
		return a, view.ErrNotFound
	}
	a.From, a.To, a.Created = stored(a.From), stored(a.To), stored(time.Now())
	a, err := s.shelf.create(ctx, a)
	if !refused(err) {
		s.changes.record(ctx, audit.Entry{Who: a.Author, Action: audit.AnnotationAdd, Object: a.Where(), After: annotationWords(a)}, err)
	}
	return a, err
}

// stored returns a time as it is stored: in UTC and to the millisecond.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// RemoveAnnotation implements annotations.Source.
func (s *annotationSource) RemoveAnnotation(ctx context.Context, id string) error {
	a, err := s.shelf.remove(ctx, id)
	if !refused(err) {
		s.changes.record(ctx, audit.Entry{Action: audit.AnnotationRemove, Object: a.Where(), Before: annotationWords(a)}, err)
	}
	return err
}

// annotationWords says what an annotation is about, and what it says.
func annotationWords(a view.Annotation) string {
	words := a.From.UTC().Format(time.RFC3339)
	if !a.To.IsZero() {
		words += " to " + a.To.UTC().Format(time.RFC3339)
	}
	return words + ": " + a.Text
}
