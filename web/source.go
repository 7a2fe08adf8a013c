package web

import (
	"context"
	"errors"
	"strings"
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
var ErrNotFound = errors.New("it is not there")

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

// ErrConflict is returned by a source when somebody else has changed meanwhile
// what was to be changed.
var ErrConflict = errors.New("somebody else has changed it meanwhile")

// ErrReadOnly is returned by a source for a rule that is changed elsewhere.
// Wrap it with where.
var ErrReadOnly = errors.New("the rule cannot be changed here")

// RuleProblems is the error of a rule that cannot be put in force as it is.
type RuleProblems []view.RuleProblem

// Error returns all problems in one line.
func (p RuleProblems) Error() string {
	var b strings.Builder
	for i, one := range p {
		if i > 0 {
			b.WriteString("; ")
		}
		if one.Field != "" {
			b.WriteString(one.Field + ": ")
		}
		b.WriteString(one.Text)
	}
	return b.String()
}

// Rules tells what is watched, from memory. An error that wraps ErrUnavailable
// means that it is not known yet.
type Rules interface {
	// Rules returns the rules whose name, sentence or labels hold the text, in
	// any case.
	Rules(text string) (view.Rules, error)
	// Rule returns one rule; ErrNotFound when there is none of the name.
	Rule(name string) (view.Rule, error)
	// About returns what an alert says of its rule; false when there is no rule
	// of the name any more.
	About(name string) (view.RuleAbout, bool)
	// Check tells what is known of a draft: what is wrong with it, what it would
	// do and which series it would match. It returns the draft as fields and as
	// YAML, whichever it was.
	Check(d view.RuleDraft) view.RuleCheck
}

// RuleStore keeps the rules. An error that wraps ErrUnavailable means that
// nothing was changed, or that it is not known whether.
type RuleStore interface {
	// Save puts a draft in force if the rule still has the revision of the draft,
	// else returns ErrConflict. A draft with problems is refused with them, as
	// RuleProblems.
	Save(ctx context.Context, d view.RuleDraft, author view.Author) (view.Rule, error)
	// Delete removes the rule if it still has the revision.
	Delete(ctx context.Context, name string, revision uint64, author view.Author) error
	// SetState changes the state of a rule if it still has the revision.
	SetState(ctx context.Context, name string, revision uint64, state view.RuleState, author view.Author) (view.Rule, error)
	// Versions returns what is remembered of a rule, the newest first, also of
	// one that was deleted; ErrNotFound when nothing is.
	Versions(ctx context.Context, name string) ([]view.RuleVersion, error)
}

// Silences are what people are not notified of for a time. An error that wraps
// ErrUnavailable means that nothing was changed, or that it is not known whether.
type Silences interface {
	// Silences returns those in force, from memory, the newest first.
	Silences() ([]view.Silence, error)
	// Mute adds a silence and returns it with its id.
	Mute(ctx context.Context, s view.Silence) (view.Silence, error)
	// Unmute ends a silence before its time; ErrNotFound when it is over.
	Unmute(ctx context.Context, id string) error
}

// Replays tries rules over stored readings. An error that wraps ErrUnavailable
// means that nobody is there to do it; ErrNotFound that nothing is known of the
// replay, or not any more.
type Replays interface {
	// Begin begins a replay and returns how it stands: it may have failed already,
	// or be refused for now, as the status says.
	Begin(ctx context.Context, q view.ReplayQuery) (view.Replay, error)
	// Replay tells how a replay stands. One that nobody asks for within
	// streams.ReplayPatience is ended.
	Replay(ctx context.Context, id string) (view.Replay, error)
	// Cancel ends a replay.
	Cancel(ctx context.Context, id string) error
}

// Sources are where the facts come from. All are needed.
type Sources struct {
	Devices     Devices
	Alerts      Alerts
	History     History
	Pipeline    Pipeline
	DeadLetters DeadLetters
	Ledger      Ledger
	Rules       Rules
	RuleStore   RuleStore
	Silences    Silences
	Replays     Replays
}
