package alerts

import (
	"context"

	"headwater/web/view"
)

// Source is what the page of alerts shows and changes. Alerts, About and Silences
// answer from memory, at once. An error that wraps view.ErrUnavailable means that
// nothing was changed, or that it is not known whether.
type Source interface {
	// Alerts returns the active alerts, and at most resolved of the others.
	Alerts(resolved int) view.Alerts
	// Story returns one episode; false when it is not known.
	Story(episode string) (view.Story, bool)
	// About returns what an alert shows of its rule; false when there is no rule of
	// the name.
	About(rule string) (view.RuleAbout, bool)
	// Silences returns the silences, the newest first.
	Silences() ([]view.Silence, error)
	// Mute adds a silence and returns it with its id.
	Mute(ctx context.Context, s view.Silence) (view.Silence, error)
	// Unmute ends a silence before its time; view.ErrNotFound when it has ended.
	Unmute(ctx context.Context, id string) error
	// Handle does something about an episode and returns the alert after it;
	// view.ErrNotFound when there is no such alert, view.ErrOver when the episode is over. What was done before changes nothing.
	Handle(ctx context.Context, episode string, action view.AlertAction, note view.Note) (view.Alert, error)
}
