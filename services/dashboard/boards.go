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
	"headwater/web/boards"
	"headwater/web/view"
)

// boardSource implements boards.Source.
type boardSource struct {
	*shelf[boards.Board]
	plans       *shelf[boards.Plan]
	alertSource func() alertSource
	fleet       *fleet.Fleet
	changes     recorder
}

func newBoards(js jetstream.JetStream, f *fleet.Fleet, changes recorder, alerts func() alertSource) *boardSource {
	return &boardSource{alertSource: alerts, fleet: f, changes: changes, shelf: &shelf[boards.Board]{
		js: js, bucket: streams.BucketBoards, key: streams.BoardKey, parse: streams.ParseBoardKey,
		most: boards.MaxBoards, largest: streams.MaxBoard, what: "board",
	}, plans: &shelf[boards.Plan]{
		js: js, bucket: streams.BucketBoards, key: streams.PlanKey, parse: streams.ParsePlanKey,
		most: boards.MaxPlans, largest: streams.MaxBoard, what: "plan",
	}}
}

// onEntry applies an entry of the bucket.
func (s *boardSource) onEntry(entry jetstream.KeyValueEntry) {
	s.shelf.onEntry(entry)
	s.plans.onEntry(entry)
}

// Boards implements boards.Source.
func (s *boardSource) Boards() []boards.Board {
	return slices.SortedFunc(slices.Values(s.list()), func(a, b boards.Board) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title)), cmp.Compare(a.ID, b.ID))
	})
}

// Board implements boards.Source.
func (s *boardSource) Board(id string) (boards.Board, bool) { return s.get(id) }

// CreateBoard implements boards.Source.
func (s *boardSource) CreateBoard(ctx context.Context, b boards.Board) (boards.Board, error) {
	b, err := s.create(ctx, b)
	s.record(ctx, audit.BoardSave, b, "created", err)
	return b, err
}

// ChangeBoard implements boards.Source.
func (s *boardSource) ChangeBoard(ctx context.Context, id, what string, change func(boards.Board) (boards.Board, error)) (boards.Board, error) {
	b, err := s.change(ctx, id, func(b boards.Board) (boards.Board, error) { return change(b.Clone()) })
	s.record(ctx, audit.BoardSave, b, what, err)
	return b, err
}

// DeleteBoard implements boards.Source.
func (s *boardSource) DeleteBoard(ctx context.Context, id string) error {
	b, err := s.remove(ctx, id)
	s.record(ctx, audit.BoardDelete, b, "", err)
	return err
}

// record notes a change in the audit.
func (s *boardSource) record(ctx context.Context, action audit.Action, b boards.Board, what string, err error) {
	if refused(err) {
		return
	}
	s.changes.record(ctx, audit.Entry{Action: action, Object: strings.TrimSpace(b.Title + " " + b.ID), After: what}, err)
}

// Device implements boards.Source.
func (s *boardSource) Device(site, dev string) (view.Device, bool) {
	return s.fleet.Device(site, dev, time.Now())
}

// Matching implements boards.Source.
func (s *boardSource) Matching(text string, most int) []view.Device {
	return s.fleet.After(text, nil, "", "", most, time.Now())
}

// Alerts implements boards.Source.
func (s *boardSource) Alerts(resolved int) view.Alerts { return s.alertSource().Alerts(resolved) }
