package oncall

import (
	"context"
	"slices"
	"time"

	"headwater/web/view"
)

// Source says who is on call, and changes that. An error that wraps view.ErrUnavailable
// means that nothing was changed, or that it is not known whether; view.ErrNotFound and
// view.ErrConflict mean what they say; any other says what is wrong with what was asked for.
type Source interface {
	// OnCall returns who is on call now and later, from memory.
	OnCall() (State, error)
	// StandIn has somebody stand in, and returns the override as it was made. A zero From
	// means now, a zero Until the end of the shift that From is in.
	StandIn(ctx context.Context, o Override) (Override, error)
	// Return ends an override before its time; view.ErrNotFound when it has ended.
	Return(ctx context.Context, id string) error
	// Declare puts another text in force that says who is on call, unless another version
	// is in force than the one of that revision.
	Declare(ctx context.Context, text string, revision uint64, by view.Author) error
}

// State is who is on call.
type State struct {
	Rotas []Rota  `json:"rotas"`
	Quiet []Quiet `json:"quiet_hours"`
	Steps []Step  `json:"escalation"`
	// Text is what declares all of it, and Revision the version of the configuration that
	// it is from.
	Text     string `json:"-"`
	Revision uint64 `json:"revision"`
	// File is the name of the file in which it is declared and changed; empty if it is
	// changed on the page.
	File string `json:"file,omitempty"`
}

// Rota is a list of people who take turns.
type Rota struct {
	Name string `json:"name"`
	// Handover says when turns end, like "mon 09:00", in the time zone.
	Handover string `json:"handover"`
	Zone     string `json:"time_zone"`
	// Place is that time zone.
	Place  *time.Location `json:"-"`
	People []Person       `json:"people"`
	// StandIns are the names of channels that may stand in beside the people.
	StandIns []string `json:"-"`
	// Shifts are who is on call from now on, the first of them now.
	Shifts []Shift `json:"shifts"`
	// Overrides are those that have not ended, in the order in which they begin.
	Overrides []Override `json:"overrides"`
}

// Person is one who takes turns.
type Person struct {
	Name string `json:"name"`
	// Notify lists the channels that reach the person.
	Notify []string `json:"notify"`
}

// Shift is who is on call for a time.
type Shift struct {
	Person
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Reason is why: one of Turn, StandsIn or Gone.
	Reason string `json:"reason"`
}

// Why somebody is on call.
const (
	// Turn means: it is the turn of the person.
	Turn = "turn"
	// StandsIn means: the person stands in.
	StandsIn = "override"
	// Gone means: who was to stand in is not there any more.
	Gone = "gone"
)

// Override has somebody stand in.
type Override struct {
	ID   string `json:"id"`
	Rota string `json:"rota"`
	// Who is the name of a person of the rota, or of a channel.
	Who     string    `json:"who"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Author  string    `json:"author"`
	Comment string    `json:"comment,omitempty"`
}

// Quiet are hours in which channels rest.
type Quiet struct {
	// Severity is the greatest that can wait.
	Severity view.Severity `json:"severity"`
	// When is like "daily 22:00 to 07:00".
	When string `json:"when"`
	// Zone is the time zone; empty for that of each site.
	Zone string `json:"time_zone,omitempty"`
	// Channels are those that rest; none means all.
	Channels []string `json:"channels,omitempty"`
	// Instead lists those that are notified in their place; without any, messages wait.
	Instead []string `json:"instead,omitempty"`
	// Now reports whether it is so now, in the time zone of the configuration if it has none
	// of its own.
	Now bool `json:"now"`
}

// Step is a step of the escalation.
type Step struct {
	Severity view.Severity `json:"severity"`
	// After is like "10 min".
	After  string   `json:"after"`
	Notify []string `json:"notify"`
}

// Others are the people who may take over from who is on call now.
func (r Rota) Others() []string {
	var all []string
	for _, p := range r.People {
		if len(r.Shifts) == 0 || p.Name != r.Shifts[0].Name {
			all = append(all, p.Name)
		}
	}
	return all
}

// tint is the number of the colour of a person, from 0 to tints-1; of somebody else it is
// tints.
func (r Rota) tint(name string) int {
	i := slices.IndexFunc(r.People, func(p Person) bool { return p.Name == name })
	if i < 0 {
		return tints
	}
	return i % tints
}

const tints = 6

// Day is a day of the calendar.
type Day struct {
	// At is its midnight, at the place of the rota.
	At    time.Time
	Parts []Part
}

// Part is who is on call in a part of a day.
type Part struct {
	Shift
	// Since is when it begins, like 09:00; empty at the beginning of the day.
	Since string
}

// days is how many days the calendar has.
const days = 14

// calendar returns the days from that of the first shift on.
func (r Rota) calendar() []Day {
	if len(r.Shifts) == 0 {
		return nil
	}
	first := r.Shifts[0].From.In(r.Place)
	out := make([]Day, days)
	for i := range out {
		begin := time.Date(first.Year(), first.Month(), first.Day()+i, 0, 0, 0, 0, r.Place)
		end := time.Date(first.Year(), first.Month(), first.Day()+i+1, 0, 0, 0, 0, r.Place)
		out[i].At = begin
		for _, s := range r.Shifts {
			if !s.From.Before(end) || !s.Until.After(begin) {
				continue
			}
			p := Part{Shift: s}
			if s.From.After(begin) && len(out[i].Parts) > 0 {
				p.Since = s.From.In(r.Place).Format("15:04")
			}
			out[i].Parts = append(out[i].Parts, p)
		}
	}
	return out
}
