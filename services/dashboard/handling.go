package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/services/internal/handling"
	"headwater/streams"
	"headwater/web/view"
)

const (
	// sweepEvery is how often what was done about alerts that are gone is removed.
	sweepEvery = time.Hour
	// sweepAfter is how long it is kept at least, so that an alert has come to the
	// bucket of alerts.
	sweepAfter = 10 * time.Minute
)

// actionsOf are the actions of people, as they are recorded.
var actionsOf = map[view.AlertAction]audit.Action{
	view.AlertAcknowledge: audit.AlertAcknowledge, view.AlertUnacknowledge: audit.AlertUnacknowledge,
	view.AlertComment: audit.AlertComment, view.AlertAssign: audit.AlertAssign, view.AlertResolve: audit.AlertResolve,
}

// handlings store what people do about alerts, for the notifier, which decides what
// follows. They change by compare-and-set, so any number of dashboards may change them.
type handlings struct {
	js      jetstream.JetStream
	log     *slog.Logger
	book    *fleet.Book
	changes recorder
	// show shows an alert as it is after a change, before the notifier has committed it.
	show func(view.Alert)
}

// Handle implements alerts.Source. Every way in which people act on an alert ends here:
// pages, API, and links in messages.
func (h *handlings) Handle(ctx context.Context, episode string, action view.AlertAction, note view.Note) (view.Alert, error) {
	id, _, err := streams.ParseEpisodeID(episode)
	if err != nil {
		return view.Alert{}, view.ErrNotFound
	}
	alert, known := h.book.Alert(id)
	switch {
	case !known:
		return view.Alert{}, view.ErrNotFound
	case alert.Episode != episode:
		return alert, fmt.Errorf("%w: a newer one has begun", view.ErrOver)
	case !alert.Active() && action != view.AlertComment && action != view.AlertAssign:
		return alert, view.ErrOver
	}
	before := alert
	alert, err = h.store(ctx, alert, action, note)
	if errors.Is(err, handling.ErrSame) {
		return alert, nil
	}
	h.changes.record(ctx, audit.Entry{
		Who: note.Author, Action: actionsOf[action], Object: alert.Rule + " on " + alert.Site + "/" + alert.Device + " " + alert.Metric,
		Detail: episode, Before: doneBefore(action, before), After: note.Text,
	}, err)
	if err != nil {
		return alert, err
	}
	h.show(alert)
	return alert, nil
}

// doneBefore says what an action replaces.
func doneBefore(action view.AlertAction, a view.Alert) string {
	switch {
	case action == view.AlertAssign:
		return a.Assignee
	case action == view.AlertUnacknowledge && a.Acknowledged != nil:
		return "acknowledged by " + a.Acknowledged.Author
	}
	return ""
}

// store writes an action and returns the alert after it.
func (h *handlings) store(ctx context.Context, alert view.Alert, action view.AlertAction, note view.Note) (view.Alert, error) {
	bucket, err := h.js.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return alert, fmt.Errorf("%w: bucket %s", view.ErrUnavailable, streams.BucketSilences)
	}
	key := streams.HandlingKey(alert.ID)
	for range saveAttempts {
		var revision uint64
		stored := handling.Handling{}
		entry, err := bucket.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return alert, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		default:
			revision = entry.Revision()
			stored, err = handling.Decode(entry.Value())
			if err != nil {
				return alert, err
			}
		}
		if stored.Episode != alert.Episode {
			stored = handling.Handling{Episode: alert.Episode}
		}
		next, err := stored.With(handling.Action(action), handling.Note{Author: note.Author, At: note.At, Text: note.Text})
		if errors.Is(err, handling.ErrSame) {
			return handled(alert, stored), err
		}
		if errors.Is(err, handling.ErrResolved) {
			return alert, view.ErrOver
		}
		if err != nil {
			return alert, err
		}
		body, err := next.Encode()
		if err != nil {
			return alert, err
		}
		if revision == 0 {
			// Create also takes the place of a key that was removed.
			_, err = bucket.Create(ctx, key, body)
		} else {
			_, err = bucket.Update(ctx, key, body, revision)
		}
		switch {
		case err == nil:
			return handled(alert, next), nil
		case !streams.IsConflict(err) && !errors.Is(err, jetstream.ErrKeyExists):
			return alert, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
	}
	return alert, view.ErrConflict
}

// handled returns an alert with what was done about it, as the notifier will commit it.
func handled(a view.Alert, h handling.Handling) view.Alert {
	zone := a.Started.Location()
	note := func(n *handling.Note) *view.Note {
		if n == nil {
			return nil
		}
		return &view.Note{Author: n.Author, At: n.At.In(zone), Text: n.Text}
	}
	a.Assignee, a.Comments = h.Assignee, nil
	for _, n := range h.Comments {
		a.Comments = append(a.Comments, *note(&n))
	}
	if !a.Active() {
		return a
	}
	a.State, a.Acknowledged, a.Resolved = view.AlertFiring, note(h.Acknowledged), note(h.Resolved)
	if a.Acknowledged != nil {
		a.State = view.AlertAcknowledged
	}
	if a.Resolved != nil {
		a.State, a.End, a.Ended = view.AlertResolved, view.AlertByHand, a.Resolved.At
		if a.Ended.Before(a.Started) {
			a.Ended = a.Started
		}
		a.Updated = a.Ended
		if a.Learned.Before(a.Resolved.At) {
			a.Learned = a.Resolved.At
		}
	}
	return a
}

// run removes what was done about alerts that are gone until ctx ends.
func (h *handlings) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := h.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			h.log.Warn("what was done about alerts that are gone was not removed", "err", err)
		}
	}
}

// sweep removes what was done about alerts that neither the book nor the bucket of alerts
// knows.
func (h *handlings) sweep(ctx context.Context, now time.Time) error {
	bucket, err := h.js.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketSilences, err)
	}
	alerts, err := h.js.KeyValue(ctx, streams.BucketAlerts)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketAlerts, err)
	}
	keys, err := bucket.ListKeysFiltered(ctx, streams.HandlingKeys)
	if err != nil {
		return fmt.Errorf("list the keys of bucket %s: %w", streams.BucketSilences, err)
	}
	defer func() { _ = keys.Stop() }()
	for key := range keys.Keys() {
		id, ok := streams.ParseHandlingKey(key)
		if _, known := h.book.Alert(id); known || !ok {
			continue
		}
		entry, err := bucket.Get(ctx, key)
		if err == nil && now.Sub(entry.Created()) > sweepAfter {
			_, gone := alerts.Get(ctx, id)
			switch {
			case errors.Is(gone, jetstream.ErrKeyNotFound):
				err = bucket.Purge(ctx, key, jetstream.LastRevision(entry.Revision()))
			default:
				err = gone
			}
		}
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !streams.IsConflict(err) {
			return cmp.Or(ctx.Err(), fmt.Errorf("key %s of bucket %s: %w", key, streams.BucketSilences, err))
		}
	}
	return nil
}
