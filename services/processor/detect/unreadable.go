package detect

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Unreadable finds series of numbers whose sensor gives too much that is no
// number: an "unavailable" or "ERR" where a temperature belongs.
//
// An episode opens when of the readings within a time more than Share are no
// numbers, ten at least of which three are none, and closes when half of Share
// or less is left. A series is judged from its thirtieth number in a row on at
// which the share was bearable: one that mostly consists of texts never is.
type Unreadable struct {
	// Share is how much of a series need not be numbers, in per cent: above 0 and
	// below 100.
	Share float64
	// Within is the span of event time in which the share is taken, which moves on
	// by twelfths of it: a minute at least.
	Within time.Duration
	// Silence closes an episode whose series has no reading of any kind for that
	// long.
	Silence time.Duration
}

var _ Detector = (*Unreadable)(nil)

// Misreader is a State that wants to know of what a series gave that is no
// finite number. All other states never see it.
type Misreader interface {
	State
	// Misread takes what was read at an event time instead of a number. It must be
	// after that of the reading before, as for Observe; otherwise, and before the
	// first number, it changes nothing.
	Misread(at int64, what, unit string, out []Verdict) []Verdict
}

const (
	// shareParts is in how many parts the readings within the time are counted.
	shareParts = 12
	// shareNumbers is from how many numbers in a row on a series is judged,
	// shareReadings how many readings there must be for a share of them, shareLeast
	// how many of them that are no numbers are an episode at least.
	shareNumbers, shareReadings, shareLeast = 30, 10, 3
	// maxMisread bounds what is shown of a text, in bytes.
	maxMisread = 40
)

// Validate returns all that is wrong with the parameters, joined.
func (d *Unreadable) Validate() error {
	var errs []error
	if !(d.Share > 0 && d.Share < 100) {
		errs = append(errs, errors.New("unreadable: share must be above 0 and below 100 per cent"))
	}
	if d.Within < time.Minute {
		errs = append(errs, errors.New("unreadable: within must be a minute or more"))
	}
	if d.Silence <= 0 {
		errs = append(errs, errors.New("unreadable: silence must be above 0"))
	}
	return errors.Join(errs...)
}

// Bytes is the memory of the state of one series.
func (d *Unreadable) Bytes() int { return int(reflect.TypeFor[unreadableState]().Size()) }

// Start returns the state of a series that has no readings yet.
func (d *Unreadable) Start() State {
	return &unreadableState{of: d, last: before, number: Sample{Time: before}}
}

// Read returns the state that Append wrote.
func (d *Unreadable) Read(r *codec.Reader) State {
	s := &unreadableState{of: d, last: r.Int(), deaf: readDeaf(r), number: readSample(r), index: r.Int(), lost: r.Int()}
	s.learned = uint8(min(r.Uint(), shareNumbers))
	if s.told = r.Float(); s.told > 0 {
		s.start = r.Int()
	}
	for i := range s.parts {
		s.parts[i] = sharePart{numbers: uint32(r.Uint()), others: uint32(r.Uint())}
	}
	return s
}

// sharePart counts the readings of a twelfth of the time.
type sharePart struct{ numbers, others uint32 }

// unreadableState is what Unreadable knows of one series.
type unreadableState struct {
	of *Unreadable
	// last is the event time of the last reading, number the last that was one.
	last   int64
	deaf   deaf
	number Sample
	start  int64
	// told is the score that was told last, 0 while no episode is open.
	told float64
	// index numbers the newest of the parts, each of which is at its number modulo
	// their count.
	index int64
	// lost is the time that is left out of the parts: nobody listened.
	lost  int64
	parts [shareParts]sharePart
	// learned counts the numbers in a row while the share was bearable.
	learned uint8
}

// Append appends the state to b.
func (s *unreadableState) Append(b []byte) []byte {
	b = s.deaf.append(codec.Int(b, s.last))
	b = codec.Int(codec.Int(appendSample(b, s.number), s.index), s.lost)
	if b = codec.Float(codec.Uint(b, uint64(s.learned)), s.told); s.told > 0 {
		b = codec.Int(b, s.start)
	}
	for _, p := range s.parts {
		b = codec.Uint(codec.Uint(b, uint64(p.numbers)), uint64(p.others))
	}
	return b
}

// Open returns the score that was told last of the open episode, or 0.
func (s *unreadableState) Open() float64 { return s.told }

// Score is above 0 while too much is no number.
func (s *unreadableState) Score() float64 {
	if s.told == 0 {
		return 0
	}
	return share(s.told)
}

// Learning reports whether it is not known that the series is one of numbers.
func (s *unreadableState) Learning() bool { return s.learned < shareNumbers }

// Due is when the series of an open episode is silent.
func (s *unreadableState) Due() int64 {
	if s.told == 0 {
		return Never
	}
	return s.last + int64(s.deaf) + int64(s.of.Silence)
}

// Listen says from when on silence counts.
func (s *unreadableState) Listen(from int64) { s.deaf = listen(s.last, from) }

// Observe counts a number.
func (s *unreadableState) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(s.last) {
		return out
	}
	out = s.Tick(r.Time, unit, out)
	s.reach(r.Time).numbers++
	s.number = r
	if s.told == 0 && s.learned == shareNumbers {
		return out
	}
	numbers, others := s.counts()
	if s.learned < shareNumbers {
		if s.learned++; s.beyond(numbers, others, 1) {
			s.learned = 0
		}
	}
	if s.told > 0 && !s.beyond(numbers, others, 2) {
		out = append(out, s.close(r.Time, quantity(r.Value, unit)+": "+s.sentence(numbers, others)))
	}
	return out
}

// Misread counts what is no number.
func (s *unreadableState) Misread(at int64, what, unit string, out []Verdict) []Verdict {
	if at <= s.last || s.number.Time == before {
		return out
	}
	out = s.Tick(at, unit, out)
	s.reach(at).others++
	numbers, others := s.counts()
	switch beyond := s.beyond(numbers, others, 1); {
	case !beyond:
		return out
	case s.learned < shareNumbers:
		s.learned = 0
		return out
	case numbers+others < shareReadings || others < shareLeast:
		return out
	}
	score := ratio(100*float64(others)/float64(numbers+others), s.of.Share)
	phase := Update
	switch {
	case s.told == 0:
		phase, s.start = Open, at
	case score < s.told*telling:
		return out
	}
	s.told = score
	v := s.verdict(phase, at, s.sentence(numbers, others)+", the last one "+shown(what)+"; the last number was "+quantity(s.number.Value, unit))
	v.Evidence.Score = score
	return append(out, v)
}

// Tick closes an episode whose series is silent.
func (s *unreadableState) Tick(now int64, unit string, out []Verdict) []Verdict {
	if due := s.Due(); due <= now {
		out = append(out, s.close(due, "no reading for "+span(s.of.Silence)+"; the last number was "+quantity(s.number.Value, unit)))
	}
	return out
}

// Stop closes the open episode for a reason of the caller's.
func (s *unreadableState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.told > 0 {
		out = append(out, s.close(max(now, s.last), reason))
	}
	return out
}

// reach returns the part that a reading at the time belongs to, which is the
// newest from now on.
func (s *unreadableState) reach(at int64) *sharePart {
	s.lost += int64(s.deaf)
	index := floor(at-s.lost, s.of.Within/shareParts)
	if s.last == before {
		s.index = index
	}
	for range min(index-s.index, shareParts) {
		s.index++
		*s.part(s.index) = sharePart{}
	}
	s.index, s.last, s.deaf = index, at, 0
	return s.part(index)
}

// part returns where the part of the number is. Times before 1970 have negative
// ones.
func (s *unreadableState) part(index int64) *sharePart {
	return &s.parts[(index%shareParts+shareParts)%shareParts]
}

// counts adds the parts up.
func (s *unreadableState) counts() (numbers, others uint64) {
	for _, p := range s.parts {
		numbers += uint64(p.numbers)
		others += uint64(p.others)
	}
	return numbers, others
}

// beyond reports whether the share that is no number is more than one of so many
// parts of the bearable.
func (s *unreadableState) beyond(numbers, others, part uint64) bool {
	return 100*float64(part*others) > s.of.Share*float64(numbers+others)
}

func (s *unreadableState) sentence(numbers, others uint64) string {
	total := numbers + others
	if others == 0 {
		return "all of " + strconv.FormatUint(total, 10) + " readings within " + span(s.of.Within) + " are numbers"
	}
	text := strconv.FormatUint(others, 10) + " of " + strconv.FormatUint(total, 10) + " readings within " + span(s.of.Within)
	if others == 1 {
		text += " is no number"
	} else {
		text += " are no numbers"
	}
	return text + " (" + figure.Number(100*float64(others)/float64(total)) + " %)"
}

// shown writes what was read so that it is one line, whatever it was.
func shown(what string) string {
	if len(what) > maxMisread {
		what = strings.ToValidUTF8(what[:maxMisread], "") + "…"
	}
	return fmt.Sprintf("%q", what)
}

func (s *unreadableState) close(at int64, sentence string) Verdict {
	s.told = 0
	return s.verdict(Close, at, sentence)
}

func (s *unreadableState) verdict(phase Phase, at int64, sentence string) Verdict {
	return Verdict{Phase: phase, Start: s.start, Time: at, Evidence: Evidence{
		Value: s.number.Value, Baseline: s.number.Value, Low: math.Inf(-1), High: math.Inf(1),
		Samples: []Sample{s.number}, Sentence: sentence,
	}}
}
