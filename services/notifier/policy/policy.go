// Package policy decides what people are notified of: which change in the life of an
// alert is worth a message, to which channels, and in which words. It is pure: the
// same history gives the same decisions, whenever and wherever it runs.
package policy

import (
	"slices"
)

// Phase is the part of an episode's life that a transition is about.
type Phase int

const (
	// Open means that an episode began.
	Open Phase = iota + 1
	// Update means that an episode continues, with newer evidence.
	Update
	// Close means that an episode ended.
	Close
)

// State is where an alert is in its life.
type State int

const (
	// Unknown is the state of an alert that has not been seen yet.
	Unknown State = iota
	// Firing is the state during an episode.
	Firing
	// Resolved is the state after the last episode.
	Resolved
)

// Transition is what a detector reported about one episode of one rule on one
// series.
type Transition struct {
	Phase Phase
	// Start is when the episode began, in nanoseconds since the Unix epoch, event
	// time. It identifies the episode.
	Start int64
	// Now is when it is decided on, in nanoseconds since the Unix epoch.
	Now int64
}

// Entry is what was decided so far about one rule on one series. The zero value
// means that nothing was.
type Entry struct {
	State State
	// Episode is the start of the newest episode, in nanoseconds since the Unix epoch,
	// event time.
	Episode int64
	// Notified lists the channels that were notified that the episode fires.
	Notified []string
	// Ended is set once the channels were notified that the episode is over.
	Ended bool
	// Mute is the silence that holds back messages about the episode while it fires.
	Mute Mute
	// Acknowledged is set while somebody has acknowledged the episode: nobody is reminded
	// of it, and of its messages only that of its end is sent.
	Acknowledged bool
	// Flap reports whether the alert flaps.
	Flap Flap
}

// Mute is a silence as far as it matters to one alert. The zero Mute is none.
type Mute struct {
	// ID identifies the silence, By is who asked for it.
	ID, By string
	// Gateway is the device whose silence explains the alert, if that is what holds
	// messages back.
	Gateway string `json:",omitempty"`
	// Until is when it ends, in nanoseconds since the Unix epoch; 0 if it ends with the
	// episode.
	Until int64
}

// Channel is what the policy knows of a channel.
type Channel struct {
	Name string
	// Resolved is set if the channel is notified of the end of alerts.
	Resolved bool
}

// Reason names why a decision was made.
type Reason string

const (
	// ReasonOpened means: a new episode; notify.
	ReasonOpened Reason = "opened"
	// ReasonReplaced means: a new episode began while the previous one was still open;
	// notify of the new one, and end the old one without a message.
	ReasonReplaced Reason = "replaced"
	// ReasonMissed means: the opening was never seen; notify as if the episode had just
	// opened.
	ReasonMissed Reason = "missed"
	// ReasonUpdated means: the episode continues; nobody is notified.
	ReasonUpdated Reason = "updated"
	// ReasonRepeated means: nothing new.
	ReasonRepeated Reason = "repeated"
	// ReasonReopened means: an episode that was over continues; the channels were
	// notified of it, and nobody is notified twice.
	ReasonReopened Reason = "reopened"
	// ReasonOld means: the transition is about an episode before the newest one.
	ReasonOld Reason = "old"
	// ReasonResolved means: the episode is over; notify the channels that were notified
	// of it.
	ReasonResolved Reason = "resolved"
	// ReasonResolvedAgain means: an episode that was reopened is over again; the
	// channels were notified of its end before.
	ReasonResolvedAgain Reason = "resolved_again"
	// ReasonUnseen means: the episode ended before anything of it was seen; nobody is
	// notified.
	ReasonUnseen Reason = "unseen"
	// ReasonMuted means: a silence begins during the episode, or replaces another one;
	// nobody is notified.
	ReasonMuted Reason = "muted"
	// ReasonMuteEnded means: the time of a silence is over and the alert still fires;
	// notify of that.
	ReasonMuteEnded Reason = "mute_ended"
	// ReasonUnmuted means: a silence was removed during the episode; notify the channels
	// that were not notified of the episode.
	ReasonUnmuted Reason = "unmuted"
	// ReasonAcknowledged means: somebody acknowledged the episode; nobody is notified.
	ReasonAcknowledged Reason = "acknowledged"
	// ReasonUnacknowledged means: an acknowledgement was taken back; notify the channels
	// that were not notified of the episode.
	ReasonUnacknowledged Reason = "unacknowledged"
	// ReasonResolvedByHand means: somebody resolved the episode; notify the channels that
	// were notified of it.
	ReasonResolvedByHand Reason = "resolved_by_hand"
	// ReasonNoted means: people wrote something about the episode; nobody is notified.
	ReasonNoted Reason = "noted"
	// ReasonTooLate means: people did something about an episode before the newest one.
	ReasonTooLate Reason = "too_late"
	// ReasonSettled means: the alert flaps no more; nobody is notified.
	ReasonSettled Reason = "settled"
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonOpened, ReasonReplaced, ReasonMissed, ReasonUpdated, ReasonRepeated, ReasonReopened, ReasonOld,
		ReasonResolved, ReasonResolvedAgain, ReasonUnseen,
		ReasonMuted, ReasonMuteEnded, ReasonUnmuted,
		ReasonAcknowledged, ReasonUnacknowledged, ReasonResolvedByHand, ReasonNoted, ReasonTooLate, ReasonSettled,
	}
}

// Hold names why a channel is not notified.
type Hold string

const (
	// HoldNotListed means: the rule notifies other channels only.
	HoldNotListed Hold = "not_listed"
	// HoldNotNotified means: the channel was never notified that this episode fires.
	HoldNotNotified Hold = "not_told"
	// HoldResolvedOff means: the channel is not notified of the end of alerts.
	HoldResolvedOff Hold = "resolved_off"
	// HoldMuted means: a silence holds back messages about the episode.
	HoldMuted Hold = "muted"
	// HoldNotified means: the channel was notified before that the episode fires.
	HoldNotified Hold = "told"
	// HoldAcknowledged means: somebody has acknowledged the episode.
	HoldAcknowledged Hold = "acknowledged"
	// HoldQuiet means: the channel has quiet hours, and others are notified in its place.
	HoldQuiet Hold = "quiet"
)

// Decision is what follows from a transition.
type Decision struct {
	Reason Reason
	// Entry is what the next decision about this alert starts from.
	Entry Entry
	// Changed is set if the alert itself changed, its evidence included.
	Changed bool
	// Notify lists the channels that get a message, in the order of Audience.Channels.
	Notify []string
	// Held holds the reason for each of the other channels. It is empty when the
	// decision is not about notifying.
	Held map[string]Hold
}

// Audience is whom a decision may reach.
type Audience struct {
	// Notify lists the channels that the rule names. Nil means all, empty but not nil
	// means none.
	Notify []string
	// Channels are the configured channels.
	Channels []Channel
	// Quiet lists the channels that Notify would have without their quiet hours.
	Quiet []string
	// Mute is the silence that holds back messages about the alert now.
	Mute Mute
}

// Decide returns what follows from the transition, after what was decided before.
func Decide(last Entry, t Transition, to Audience) Decision {
	if last.State != Unknown && t.Start < last.Episode {
		return Decision{Reason: ReasonOld, Entry: last}
	}
	if last.State == Unknown || t.Start > last.Episode {
		return begin(last, t, to)
	}
	return proceed(last, t, to)
}

// begin is Decide for an episode that is new.
func begin(last Entry, t Transition, to Audience) Decision {
	d := Decision{Reason: ReasonOpened, Entry: Entry{State: Firing, Episode: t.Start, Flap: last.Flap.begin(t)}, Changed: true}
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
			d.Held[c.Name] = to.unnamed(c)
		case to.Mute != Mute{}:
			d.Held[c.Name] = HoldMuted
		default:
			d.Notify = append(d.Notify, c.Name)
		}
	}
	d.Entry.Notified = slices.Clone(d.Notify)
	return d
}

// names reports whether the rule notifies the channel.
func (a Audience) names(c Channel) bool { return a.Notify == nil || slices.Contains(a.Notify, c.Name) }

// unnamed returns why the rule does not notify the channel.
func (a Audience) unnamed(c Channel) Hold {
	if slices.Contains(a.Quiet, c.Name) {
		return HoldQuiet
	}
	return HoldNotListed
}

// Remute returns what follows when the silence of an alert changed, at a time in
// nanoseconds since the Unix epoch. Channels that were notified that the episode fires
// are notified of its end, whatever silence there is then.
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
	return d.inform(to, d.Reason == ReasonMuteEnded)
}

// Handling is what people have done about an episode, as far as it decides on messages.
type Handling struct {
	// Episode is the start of the episode, as in Transition.
	Episode                int64
	Acknowledged, Resolved bool
}

// Handle returns what follows from what people have done. The silence of the audience
// must be that of the entry.
func Handle(last Entry, h Handling, to Audience) Decision {
	d := Decision{Reason: ReasonNoted, Entry: last, Changed: true}
	switch {
	case last.State == Unknown || h.Episode != last.Episode:
		d.Reason, d.Changed = ReasonTooLate, false
	case last.State == Resolved:
		// It is too late to acknowledge or resolve it, but not to write something.
	case h.Resolved:
		d.Reason, d.Entry.Acknowledged = ReasonResolvedByHand, h.Acknowledged
		return d.end(to)
	case h.Acknowledged && !last.Acknowledged:
		d.Reason, d.Entry.Acknowledged = ReasonAcknowledged, true
	case !h.Acknowledged && last.Acknowledged:
		d.Reason, d.Entry.Acknowledged = ReasonUnacknowledged, false
		return d.inform(to, false)
	}
	return d
}

// inform notifies of an episode that is not new: the channels that were not notified of
// it, or all of them.
func (d Decision) inform(to Audience, all bool) Decision {
	d.Held = map[string]Hold{}
	notified := slices.Clone(d.Entry.Notified)
	for _, c := range to.Channels {
		known := slices.Contains(d.Entry.Notified, c.Name)
		switch {
		case !to.names(c):
			d.Held[c.Name] = to.unnamed(c)
		case to.Mute != Mute{}:
			d.Held[c.Name] = HoldMuted
		case d.Entry.Acknowledged:
			d.Held[c.Name] = HoldAcknowledged
		case known && !all:
			d.Held[c.Name] = HoldNotified
		default:
			d.Notify = append(d.Notify, c.Name)
			if !known {
				notified = append(notified, c.Name)
			}
		}
	}
	d.Entry.Notified = notified
	return d
}

// end resolves an episode and notifies the channels that were notified of it, unless
// they were notified of its end before.
func (d Decision) end(to Audience) Decision {
	again := d.Entry.Ended
	d.Changed, d.Entry.State, d.Entry.Ended, d.Entry.Mute = true, Resolved, true, Mute{}
	if again {
		return d
	}
	d.Held = map[string]Hold{}
	for _, c := range to.Channels {
		switch {
		case !slices.Contains(d.Entry.Notified, c.Name):
			d.Held[c.Name] = HoldNotNotified
		case !c.Resolved:
			d.Held[c.Name] = HoldResolvedOff
		default:
			d.Notify = append(d.Notify, c.Name)
		}
	}
	return d
}

// proceed is Decide for the newest known episode.
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
		d.Reason = ReasonResolvedAgain
		return d.end(to)
	default:
		d.Reason = ReasonResolved
		return d.end(to)
	}
	return d
}
