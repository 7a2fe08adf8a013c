// Package oncall says who is notified at a time: whose turn it is in a rota, who stands in,
// and which channels rest during quiet hours. It is pure: the same declaration and the same
// time give the same answer, wherever they are asked for.
package oncall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/services/internal/calendar"
	"headwater/services/internal/listed"
)

// Bounds of what is declared and kept.
const (
	// MaxRotas is the greatest number of rotas, MaxMembers that of the people of one.
	MaxRotas   = 20
	MaxMembers = 50
	// MaxName bounds the name of a person, in bytes.
	MaxName = 64
	// MaxOverrides is the greatest number of overrides, those that have ended included.
	MaxOverrides = 200
	// Longest is the longest that an override may last.
	Longest = 92 * 24 * time.Hour
	// MaxComment and maxAuthor bound texts of an override, in bytes.
	MaxComment = 200
	maxAuthor  = 100
	// maxShifts bounds what Plan returns.
	maxShifts = 1000
)

// Rota is a list of people who take turns.
type Rota struct {
	// Name is unique among rotas and channels.
	Name string
	// Place is the time zone of the handovers.
	Place *time.Location
	// Days and At say when one turn ends and the next begins.
	Days calendar.Days
	At   calendar.Clock
	// First is a day, as midnight in UTC: the first handover on it or after it begins the
	// turn of the first member.
	First time.Time
	// Members take turns in this order. Their names are unique.
	Members []Member
}

// Member is a person of a rota.
type Member struct {
	Name string
	// Notify lists the channels that reach the person.
	Notify []string
}

// Equal reports whether two rotas are the same.
func (r Rota) Equal(o Rota) bool {
	return r.Name == o.Name && r.Place.String() == o.Place.String() && r.Days == o.Days && r.At == o.At && r.First.Equal(o.First) &&
		slices.EqualFunc(r.Members, o.Members, func(a, b Member) bool { return a.Name == b.Name && slices.Equal(a.Notify, b.Notify) })
}

// Member returns the member of that name.
func (r Rota) Member(name string) (Member, bool) {
	i := slices.IndexFunc(r.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return Member{}, false
	}
	return r.Members[i], true
}

// Channels returns the channels of all members.
func (r Rota) Channels() []string {
	var all []string
	for _, m := range r.Members {
		for _, channel := range m.Notify {
			if !slices.Contains(all, channel) {
				all = append(all, channel)
			}
		}
	}
	return all
}

// Override has somebody stand in for the person whose turn it is.
type Override struct {
	// ID is a token that no other override has.
	ID   string `json:"id"`
	Rota string `json:"rota"`
	// Who is the name of a member, or of a channel.
	Who   string    `json:"who"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Author is the person who asked for it, Comment says why.
	Author  string `json:"author"`
	Comment string `json:"comment,omitempty"`
}

// Validate returns what is wrong with the override by itself.
func (o Override) Validate() error {
	switch {
	case o.ID == "" || len(o.ID) > MaxName:
		return errors.New("id must be a token")
	case o.Rota == "" || len(o.Rota) > MaxName:
		return errors.New("rota must name a rota")
	case !ValidName(o.Who):
		return errors.New("who must name a person of the rota or a channel")
	case o.From.IsZero() || o.Until.IsZero():
		return errors.New("from and until must say when")
	case !o.Until.After(o.From):
		return errors.New("until must be after from")
	case o.Until.Sub(o.From) > Longest:
		return errors.New("it may last 92 days at most: change the rota for longer")
	case len(o.Author) > maxAuthor:
		return fmt.Errorf("author must have at most %d bytes", maxAuthor)
	case len(o.Comment) > MaxComment || !printable(o.Comment):
		return fmt.Errorf("comment must be one line of at most %d bytes", MaxComment)
	}
	return nil
}

// ValidName reports whether a text may be the name of a person: one line of 1 to 64 bytes
// without spaces around it.
func ValidName(s string) bool {
	return s != "" && len(s) <= MaxName && printable(s) && strings.TrimSpace(s) == s
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// Encode encodes overrides for storage.
func Encode(all []Override) ([]byte, error) { return listed.Encode(all) }

// Decode decodes what Encode returned.
func Decode(content []byte) ([]Override, error) {
	return listed.Decode(content, "override", MaxOverrides, func(o Override) string { return o.ID })
}

// Reason names why somebody is on call.
type Reason string

const (
	// ReasonTurn means: it is the turn of the member.
	ReasonTurn Reason = "turn"
	// ReasonOverride means: the member or channel stands in.
	ReasonOverride Reason = "override"
	// ReasonGone means: who stands in is neither a member nor a channel any more, so it is
	// the member whose turn it is.
	ReasonGone Reason = "gone"
)

// Shift is who is on call for a time: from From up to Until.
type Shift struct {
	Member
	From, Until time.Time
	Reason      Reason
	// Override is the id of the override that it is by; empty for none.
	Override string
}

// Plans says who is on call in a rota.
type Plans struct {
	Rota Rota
	// Overrides may be those of other rotas too. Of those of the same time the last counts.
	Overrides []Override
	// IsChannel reports whether a name is that of a channel.
	IsChannel func(name string) bool
}

// At returns who is on call at a time, and from when until when nothing changes. The rota must have a member and a day of handover.
func (p Plans) At(at time.Time) Shift {
	n, from, until := p.Rota.turn(at)
	s := Shift{Member: p.Rota.Members[n], From: from, Until: until, Reason: ReasonTurn}
	var by Override
	for _, o := range p.Overrides {
		if o.Rota != p.Rota.Name || !o.Until.After(o.From) {
			continue
		}
		switch {
		case at.Before(o.From):
			s.Until = earlier(s.Until, o.From)
		case at.Before(o.Until):
			by = o
		default:
			s.From = later(s.From, o.Until)
		}
	}
	if by.ID == "" {
		return s
	}
	s.Override = by.ID
	member, known := p.Rota.Member(by.Who)
	switch {
	case known:
		s.Member, s.Reason = member, ReasonOverride
	case p.IsChannel != nil && p.IsChannel(by.Who):
		s.Member, s.Reason = Member{Name: by.Who, Notify: []string{by.Who}}, ReasonOverride
	default:
		s.Reason = ReasonGone
		s.From, s.Until = later(s.From, by.From), earlier(s.Until, by.Until)
		return s
	}
	s.From, s.Until = by.From, by.Until
	for _, o := range p.Overrides {
		if o.Rota != p.Rota.Name || o.ID == by.ID {
			continue
		}
		if o.From.After(at) {
			s.Until = earlier(s.Until, o.From)
		}
		if !o.Until.After(at) {
			s.From = later(s.From, o.Until)
		}
	}
	return s
}

// Plan returns who is on call between two times, one shift after the other. Shifts that
// follow each other are of different people or have different reasons.
func (p Plans) Plan(from, until time.Time) []Shift {
	var all []Shift
	for at := from; at.Before(until) && len(all) < maxShifts; {
		s := p.At(at)
		end := s.Until
		if len(all) == 0 {
			s.From = from
		} else {
			s.From = at
		}
		s.Until = earlier(end, until)
		if last := len(all) - 1; last >= 0 && all[last].Name == s.Name && all[last].Reason == s.Reason && all[last].Override == s.Override && s.Reason != ReasonTurn {
			all[last].Until = s.Until
		} else {
			all = append(all, s)
		}
		at = end
	}
	return all
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// turn returns whose turn it is at a time, and from when until when.
func (r Rota) turn(at time.Time) (n int, from, until time.Time) {
	place := r.Place
	local := at.In(place)
	today := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	begin := today
	for {
		if r.Days.Has(begin.Weekday()) {
			from = moment(begin, r.At, place)
			if !from.After(at) {
				break
			}
		}
		begin = begin.AddDate(0, 0, -1)
	}
	next := begin.AddDate(0, 0, 1)
	for !r.Days.Has(next.Weekday()) {
		next = next.AddDate(0, 0, 1)
	}
	first := r.First
	for !r.Days.Has(first.Weekday()) {
		first = first.AddDate(0, 0, 1)
	}
	count := len(r.Members)
	n = (r.handovers(begin) - r.handovers(first)) % count
	return (n + count) % count, from, moment(next, r.At, place)
}

func moment(day time.Time, at calendar.Clock, place *time.Location) time.Time {
	return calendar.Moment(day.Year(), day.Month(), day.Day(), at, place)
}

// handovers counts the days of handover from a Monday long ago up to a day.
func (r Rota) handovers(day time.Time) int {
	const week = 7
	days := int(day.Sub(monday).Hours() / 24)
	weeks, rest := days/week, days%week
	if rest < 0 {
		weeks, rest = weeks-1, rest+week
	}
	n := 0
	for i := range week {
		if r.Days.Has(time.Weekday((int(time.Monday) + i) % week)) {
			n += weeks
			if i <= rest {
				n++
			}
		}
	}
	return n
}

// monday is a Monday.
var monday = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
