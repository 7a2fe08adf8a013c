package policy

import (
	"slices"
	"time"
)

// An alert flaps when FlapsAfter of its episodes began within FlapWithin. It settles when
// none began for FlapWithin.
const (
	FlapsAfter = 5
	FlapWithin = 10 * time.Minute
)

// Flap reports whether an alert begins again and again. The zero Flap is one that does not.
type Flap struct {
	// Begun are the starts of the latest episodes, at most FlapsAfter, the oldest first, in
	// nanoseconds since the Unix epoch, event time.
	Begun []int64 `json:"begun,omitempty"`
	// Since is the start of the first of the episodes for which it flaps; 0 while it does not.
	Since int64 `json:"since,omitempty"`
}

// begin returns what follows from one more episode. Its start decides and not when it was
// learned: what a device kept for hours and sends at once does not flap.
func (f Flap) begin(t Transition) Flap {
	next := Flap{Since: f.Since}
	for _, at := range f.Begun {
		if t.Start-at <= int64(FlapWithin) {
			next.Begun = append(next.Begun, at)
		}
	}
	next.Begun = append(next.Begun, t.Start)
	next.Begun = slices.Clone(next.Begun[max(0, len(next.Begun)-FlapsAfter):])
	switch {
	case len(next.Begun) == 1 || next.settles() <= t.Now:
		next.Since = 0
	case next.Since == 0 && len(next.Begun) == FlapsAfter:
		next.Since = next.Begun[0]
	}
	return next
}

// settles is when the alert flaps no more, unless another episode begins.
func (f Flap) settles() int64 {
	if len(f.Begun) == 0 {
		return 0
	}
	return f.Begun[len(f.Begun)-1] + int64(FlapWithin)
}

// Settles returns when an alert flaps no more, unless another episode begins; false if it
// does not flap.
func (e Entry) Settles() (at int64, flaps bool) { return e.Flap.settles(), e.Flap.Since != 0 }

// Settle returns what follows when no episode began for a while. Now is in nanoseconds since
// the Unix epoch.
func Settle(last Entry, now int64) Decision {
	at, flaps := last.Settles()
	if !flaps || now < at {
		return Decision{Reason: ReasonRepeated, Entry: last}
	}
	d := Decision{Reason: ReasonSettled, Entry: last, Changed: true}
	d.Entry.Flap = Flap{}
	return d
}
