package dashboard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/web/boards"
	"headwater/web/view"
)

// Plans implements boards.PlanSource.
func (s *boardSource) Plans() []boards.Plan {
	return slices.SortedFunc(slices.Values(s.plans.list()), boards.ComparePlans)
}

// Plan implements boards.PlanSource.
func (s *boardSource) Plan(id string) (boards.Plan, bool) { return s.plans.get(id) }

// pictureName is the name in the object store of the picture of a plan. A plan keeps its old
// picture until it has the new one.
func pictureName(id string, p boards.Picture) string { return id + "." + p.Hash }

// pictures opens the object store.
func (s *boardSource) pictures(ctx context.Context) (jetstream.ObjectStore, error) {
	store, err := s.js.ObjectStore(ctx, streams.StorePlans)
	if err != nil {
		return nil, fmt.Errorf("%w: object store %s", view.ErrUnavailable, streams.StorePlans)
	}
	return store, nil
}

// putPicture stores a picture and sets its hash.
func (s *boardSource) putPicture(ctx context.Context, id string, p boards.Picture, data []byte) (boards.Picture, error) {
	store, err := s.pictures(ctx)
	if err != nil {
		return p, err
	}
	sum := sha256.Sum256(data)
	p.Hash = hex.EncodeToString(sum[:])
	if _, err := store.PutBytes(ctx, pictureName(id, p), data); err != nil {
		return p, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return p, nil
}

// dropPicture removes a picture that no plan has any more. One that stays is in nobody's way.
func (s *boardSource) dropPicture(ctx context.Context, id string, p boards.Picture) {
	if store, err := s.pictures(ctx); err == nil {
		_ = store.Delete(ctx, pictureName(id, p))
	}
}

// CreatePlan implements boards.PlanSource.
func (s *boardSource) CreatePlan(ctx context.Context, p boards.Plan, picture []byte) (boards.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	id := newID()
	if err := s.plans.room(p); err != nil {
		return p, err
	}
	var err error
	if p.Picture, err = s.putPicture(ctx, id, p.Picture, picture); err == nil {
		if p, err = s.plans.add(ctx, id, p); err != nil {
			s.dropPicture(ctx, id, p.Picture)
		}
	}
	s.recordPlan(ctx, audit.PlanSave, p, "created", err)
	return p, err
}

// ChangePlan implements boards.PlanSource.
func (s *boardSource) ChangePlan(ctx context.Context, id, what string, picture []byte, change func(boards.Plan) (boards.Plan, error)) (boards.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if _, ok := s.plans.get(id); !ok {
		return boards.Plan{}, view.ErrNotFound
	}
	var was, stored boards.Picture
	if picture != nil {
		var err error
		if stored, err = s.putPicture(ctx, id, stored, picture); err != nil {
			return boards.Plan{}, err
		}
	}
	p, err := s.plans.change(ctx, id, func(p boards.Plan) (boards.Plan, error) {
		was = p.Picture
		p, err := change(p.Clone())
		if p.Picture.Hash = was.Hash; picture != nil {
			p.Picture.Hash = stored.Hash
		}
		return p, err
	})
	switch {
	case picture == nil || stored.Hash == was.Hash:
	case err == nil:
		s.dropPicture(ctx, id, was)
	case !errors.Is(err, view.ErrUnavailable): // else it may have been stored
		s.dropPicture(ctx, id, stored)
	}
	s.recordPlan(ctx, audit.PlanSave, p, what, err)
	return p, err
}

// DeletePlan implements boards.PlanSource.
func (s *boardSource) DeletePlan(ctx context.Context, id string) error {
	p, err := s.plans.remove(ctx, id)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, callWithin)
		defer cancel()
		s.dropPicture(ctx, id, p.Picture)
	}
	s.recordPlan(ctx, audit.PlanDelete, p, "", err)
	return err
}

// PlanPicture implements boards.PlanSource.
func (s *boardSource) PlanPicture(ctx context.Context, p boards.Plan) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.pictures(ctx)
	if err != nil {
		return nil, err
	}
	data, err := store.GetBytes(ctx, pictureName(p.ID, p.Picture))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return data, nil
}

// recordPlan notes a change in the audit.
func (s *boardSource) recordPlan(ctx context.Context, action audit.Action, p boards.Plan, what string, err error) {
	if !refused(err) {
		s.changes.record(ctx, audit.Entry{Action: action, Object: strings.TrimSpace(p.Title + " " + p.ID), After: what}, err)
	}
}
