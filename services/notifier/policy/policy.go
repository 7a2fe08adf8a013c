// Package policy decides what people are told: which change in the life of an
// alert is worth a message, to which channels, and in which words. It is pure:
// the same history gives the same decisions, whenever and wherever it is run.
package policy

import (
	"slices"
)

// Phase is the part of an episode's life that a transition tells of.
type Phase int

const (
	// Open says that an episode began.
	Open Phase = iota + 1
	// Update says that an episode goes on, with newer evidence.
	Update
	// Close says that an episode is over.
	Close
)

// State is where an alert is in its life.
type State int

const (
	// Unknown is the state of an alert that nobody has heard of.
	Unknown State = iota
	// Firing is the state while an episode lasts.
	Firing
	// Resolved is the state after the last episode.
	Resolved
)

// Transition is what a detector said about one episode of one rule on one
// series.
type Transition struct {
	Phase Phase
	// Start is when the episode began, in nanoseconds since the Unix epoch,
	// event time. It names the episode.
	Start int64
}

// Entry is what was decided before about one rule on one series. The zero
// value stands for nothing.
type Entry struct {
	State State
	// Episode is the start of the newest episode, in nanoseconds since the Unix
	// epoch, event time.
	Episode int64
	// Told lists the channels that were told that the episode fires.
	Told []string
	// Ended says that the channels were told that the episode is over.
	Ended bool
	// Mute is the silence that holds back news of the episode while it fires.
	Mute Mute
}

// Mute is a silence as it matters to one alert. The zero Mute is none.
type Mute struct {
	// ID names the silence, By says who asked for it.
	ID, By string
	// Until is when it ends, in nanoseconds since the Unix epoch; 0 when that is with
	// the episode.
	Until int64
}

// Channel is what the policy knows of a channel.
type Channel struct {
	Name string
	// Resolved says whether the channel wants to hear that an alert is over.
	Resolved bool
}

// Reason names why a transition led to what it led to.
type Reason string

const (
	// ReasonOpened means: a new episode; people are told.
	ReasonOpened Reason = "opened"
	// ReasonReplaced means: a new episode while the one before was still open; people
	// are told of the new one, and the old one ends in silence.
	ReasonReplaced Reason = "replaced"
	// ReasonMissed means: the first that was heard of an episode is that it goes on;
	// people are told as if it had just opened.
	ReasonMissed Reason = "missed"
	// ReasonUpdated means: the episode goes on; nobody is told.
	ReasonUpdated Reason = "updated"
	// ReasonRepeated means: nothing new.
	ReasonRepeated Reason = "repeated"
	// ReasonReopened means: an episode that was over goes on; people know of it, and
	// hear nothing twice.
	ReasonReopened Reason = "reopened"
	// ReasonOld means: it is about an episode before the newest one.
	ReasonOld Reason = "old"
	// ReasonResolved means: the episode is over; whoever was told of it is told.
	ReasonResolved Reason = "resolved"
	// ReasonResolvedAgain means: an episode that was reopened is over again; people
	// know.
	ReasonResolvedAgain Reason = "resolved_again"
	// ReasonUnseen means: the episode is over before anything was heard of it; nobody
	// is notified.
	ReasonUnseen Reason = "unseen"
	// ReasonMuted means: a silence begins while the episode lasts, or another one takes
	// its place; nobody is notified.
	ReasonMuted Reason = "muted"
	// ReasonMuteEnded means: the time of a silence is over and the episode lasts; people
	// are notified of that.
	ReasonMuteEnded Reason = "mute_ended"
	// ReasonUnmuted means: somebody took a silence back while the episode lasts; those
	// are notified who do not know of the episode.
	ReasonUnmuted Reason = "unmuted"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonOpened, ReasonReplaced, ReasonMissed, ReasonUpdated, ReasonRepeated, ReasonReopened, ReasonOld,
		ReasonResolved, ReasonResolvedAgain, ReasonUnseen,
		ReasonMuted, ReasonMuteEnded, ReasonUnmuted,
	}
}

// Hold names why a channel is not told of what others may be told of.
type Hold string

const (
	// HoldNotListed means: the rule tells other channels only.
	HoldNotListed Hold = "not_listed"
	// HoldNotTold means: the channel was never told that this episode fires.
	HoldNotTold Hold = "not_told"
	// HoldResolvedOff means: the channel does not want to hear that alerts are over.
	HoldResolvedOff Hold = "resolved_off"
	// HoldMuted means: a silence holds back news of the episode.
	HoldMuted Hold = "muted"
	// HoldTold means: the channel was told before that the episode fires.
	HoldTold Hold = "told"
)

// Decision is what follows from a transition.
type Decision struct {
	Reason Reason
	// Entry is what the next decision about this alert starts from.
	Entry Entry
	// Changed says whether the alert itself changed, its evidence included.
	Changed bool
	// Tell lists the channels that get a message, in the order of Channels.
	Tell []string
	// Held says of the other channels why they get none. It is empty when the
	// transition is not for telling.
	Held map[string]Hold
}

// Audience is whom a decision may reach.
type Audience struct {
	// Notify lists the channels that the rule names. Nil means all, empty but
	// not nil means none.
	Notify []string
	// Channels are the channels that there are.
	Channels []Channel
	// Mute is the silence that holds back news of the alert now.
	Mute Mute
}

// Decide says what follows when the transition comes after what was decided
// before.
func Decide(last Entry, t Transition, to Audience) Decision {
	if last.State != Unknown && t.Start < last.Episode {
		return Decision{Reason: ReasonOld, Entry: last}
	}
	if last.State == Unknown || t.Start > last.Episode {
		return begin(last, t, to)
	}
	return proceed(last, t, to)
}

// begin is Decide for an episode that nobody has heard of.
func begin(last Entry, t Transition, to Audience) Decision {
	d := Decision{Reason: ReasonOpened, Entry: Entry{State: Firing, Episode: t.Start}, Changed: true}
	switch {
	case t.Phase == Close:
		d.Reason, d.Entry.State = ReasonUnseen, Resolved
		return d
	case t.Phase == Update:
		d.Reason = ReasonMissed
	case last.State == Firing:
		d.Reason = ReasonReplaced
	}
	d.Entry.Mute = to.Mute
	d.Held = map[string]Hold{}
	for _, c := range to.Channels {
		switch {
		case !to.names(c):
			d.Held[c.Name] = HoldNotListed
		case to.Mute != Mute{}:
			d.Held[c.Name] = HoldMuted
		default:
			d.Tell = append(d.Tell, c.Name)
		}
	}
	d.Entry.Told = slices.Clone(d.Tell)
	return d
}

// names reports whether the rule notifies the channel.
func (a Audience) names(c Channel) bool { return a.Notify == nil || slices.Contains(a.Notify, c.Name) }

// Remute says what follows when the silence of an alert is another than before, at a
// time in nanoseconds since the Unix epoch. Channels that were notified that the episode
// fires are notified of its end, whatever silence there is then.
func Remute(last Entry, now int64, to Audience) Decision {
	d := Decision{Reason: ReasonRepeated, Entry: last}
	if last.State != Firing || last.Mute == to.Mute {
		return d
	}
	d.Entry.Mute, d.Changed, d.Reason = to.Mute, true, ReasonMuted
	if to.Mute != (Mute{}) {
		return d
	}
	d.Reason = ReasonUnmuted
	if last.Mute.Until != 0 && now >= last.Mute.Until {
		d.Reason = ReasonMuteEnded
	}
	d.Held = map[string]Hold{}
	told := slices.Clone(last.Told)
	for _, c := range to.Channels {
		known := slices.Contains(last.Told, c.Name)
		switch {
		case !to.names(c):
			d.Held[c.Name] = HoldNotListed
		case known && d.Reason == ReasonUnmuted:
			d.Held[c.Name] = HoldTold
		default:
			d.Tell = append(d.Tell, c.Name)
			if !known {
				told = append(told, c.Name)
			}
		}
	}
	d.Entry.Told = told
	return d
}

// proceed is Decide for the newest episode that was heard of.
func proceed(last Entry, t Transition, to Audience) Decision {
	d := Decision{Reason: ReasonRepeated, Entry: last}
	switch {
	case t.Phase == Open && last.State == Firing, t.Phase != Open && last.State == Resolved:
		// Nothing new.
	case t.Phase == Open:
		d.Reason, d.Changed, d.Entry.State, d.Entry.Mute = ReasonReopened, true, Firing, to.Mute
	case t.Phase == Update:
		d.Reason, d.Changed = ReasonUpdated, true
	case last.Ended:
		d.Reason, d.Changed, d.Entry.State, d.Entry.Mute = ReasonResolvedAgain, true, Resolved, Mute{}
	default:
		d.Reason, d.Changed = ReasonResolved, true
		d.Entry.State, d.Entry.Ended, d.Entry.Mute = Resolved, true, Mute{}
		d.Held = map[string]Hold{}
		for _, c := range to.Channels {
			switch {
			case !slices.Contains(last.Told, c.Name):
				d.Held[c.Name] = HoldNotTold
			case !c.Resolved:
				d.Held[c.Name] = HoldResolvedOff
			default:
				d.Tell = append(d.Tell, c.Name)
			}
		}
	}
	return d
}
