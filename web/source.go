package web

import (
	"context"
	"errors"
	"time"

	"headwater/web/view"
)

// ErrUnavailable is returned by a source that cannot be reached now. The page
// says so; asking again later may work. Wrap it with what is away.
var ErrUnavailable = errors.New("not available now")

// Devices tells what the devices said last. Its methods answer from memory, at
// once, and may be called by many goroutines.
type Devices interface {
	// Devices returns one page of the devices that a query selects.
	Devices(q view.DeviceQuery) view.Devices
	// Device returns one device; false when it is not known.
	Device(site, device string) (view.Device, bool)
	// Follow collects the new readings of a device until the feed is closed.
	Follow(site, device string) Feed
}

// Feed is the readings of one device as they come. It is for one goroutine.
type Feed interface {
	// Recent returns the latest readings that are remembered, oldest first.
	Recent() []view.Point
	// Take returns the readings that came since the last Take, bounded: of too
	// many in a series, those that keep its extremes.
	Take() []view.Point
	// Close ends the collecting.
	Close()
}

// Alerts tells of alerts and anomalies, from memory.
type Alerts interface {
	// Alerts returns the alerts that last, and at most resolved of those that
	// are over.
	Alerts(resolved int) view.Alerts
	// Episodes returns the anomalies of a device that touch [from, to), the
	// newest first.
	Episodes(site, device string, from, to time.Time) []view.Episode
	// Summaries returns the latest windows of a device, the newest first.
	Summaries(site, device string) []view.Summary
}

// History tells the past.
type History interface {
	// Series returns the history of a series without its episodes. An error
	// that wraps ErrUnavailable means that the database cannot be reached.
	Series(ctx context.Context, q view.SeriesQuery) (view.Series, error)
}

// Pipeline tells how the parts do.
type Pipeline interface {
	// Pipeline returns the latest that is known, from memory.
	Pipeline() view.Pipeline
	// Status returns what every page shows, from memory.
	Status() view.Status
	// Version returns a number that changes whenever anything changed that
	// Devices, Alerts or Pipeline tell.
	Version() uint64
}

// ErrNotFound is returned by a source for what is not there, or not any more.
var ErrNotFound = errors.New("there is no such dead letter")

// DeadLetters tells what could not be processed, and does what people decide
// about it. An error that wraps ErrUnavailable means that they cannot be reached
// or, of a redrive, that nobody is there to do it.
type DeadLetters interface {
	// DeadLetters reads one page of them.
	DeadLetters(ctx context.Context, q view.DeadLetterQuery) (view.DeadLetters, error)
	// DeadLetter reads one of them; ErrNotFound when it is not there.
	DeadLetter(ctx context.Context, sequence uint64) (view.DeadLetter, error)
	// Redrive has the selected letters processed again, the oldest first, a
	// bounded number at a time: Next of the answer tells where to go on. One
	// letter that is not there counts as gone.
	Redrive(ctx context.Context, s view.DeadLetterSelection) (view.Redrive, error)
	// Purge removes the selected letters for ever and returns how many they were.
	Purge(ctx context.Context, s view.DeadLetterSelection) (uint64, error)
}

// Ledger tells what became of what arrived.
type Ledger interface {
	// Ledger returns the account of a range. An error that wraps ErrUnavailable
	// means that the database or NATS cannot be reached; what is on its way, and
	// when the database last answered, is told all the same.
	Ledger(ctx context.Context, q view.LedgerQuery) (view.Ledger, error)
}

// Sources are where the facts come from. All are needed.
type Sources struct {
	Devices     Devices
	Alerts      Alerts
	History     History
	Pipeline    Pipeline
	DeadLetters DeadLetters
	Ledger      Ledger
}
