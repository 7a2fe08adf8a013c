package silences

import (
	"context"
	"time"

	"headwater/web/view"
)

// Source has the silences and changes them. Silences and Preview answer from memory. An
// error that wraps view.ErrUnavailable means that nothing was changed, or that it is not
// known whether; an error that wraps nothing says what is wrong with what was asked for.
type Source interface {
	// Silences returns the silences, the newest first, with those that have ended of the
	// last days.
	Silences() ([]view.Silence, error)
	// Preview returns what a silence would mute now.
	Preview(s view.Silence) (Preview, error)
	// Mute adds a silence, or changes the one of its id, and returns it.
	// view.ErrNotFound means that the one of its id has ended.
	Mute(ctx context.Context, s view.Silence) (view.Silence, error)
	// Unmute ends a silence before its time; view.ErrNotFound when it has ended.
	Unmute(ctx context.Context, id string) error
	// Place returns the time zone of a site, or that of all sites for a name that is of
	// none.
	Place(site string) *time.Location
}

// Preview is what a silence would mute.
type Preview struct {
	// Firing counts the alerts that fire now, Matching those of them that the silence
	// matches, and Held those that it would mute now.
	Firing   int `json:"firing"`
	Matching int `json:"matching"`
	Held     int `json:"held"`
	// Alerts are some that match.
	Alerts []view.Alert `json:"alerts"`
}
