package detect

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"headwater/proto/figure"
	"headwater/services/processor/codec"
)

// Unreadable finds series of numbers whose sensor sends too many values that
// are not numbers: an "unavailable" or "ERR" instead of a temperature.
//
// An episode opens when more than Share of the readings within a time are not
// numbers, of at least ten readings and three such values. It closes when half
// of Share or less is left. A series is judged after thirty numbers in a row at
// which the share was acceptable: one that mostly consists of texts is never
// judged.
type Unreadable struct {
	// Share is how much of a series need not be numbers, in per cent: above 0 and
	// below 100.
	Share float64
	// Within is the span of event time over which the share is taken, at least a
	// minute. It moves by a twelfth of itself at a time.
	Within time.Duration
	// Silence closes an episode whose series has no reading of any kind for that
	// long.
	Silence time.Duration
}

var _ Detector = (*Unreadable)(nil)

// Misreader is a State that also takes the values of a series that are not
// finite numbers. Other states never see them.
type Misreader interface {
	State
	// Misread takes a value that is not a number, and its event time. It changes
	// nothing before the first number, or if the time is not after that of the
	// previous reading.
	Misread(at int64, what, unit string, out []Verdict) []Verdict
}

const (
	// shareParts is the number of parts in which the readings within the time are
	// counted.
	shareParts = 12
	// shareNumbers is the number of numbers in a row after which a series is
	// judged. shareReadings is the least number of readings, and shareLeast the
	// least number of non-numeric ones among them, that make an episode.
	shareNumbers, shareReadings, shareLeast = 30, 10, 3
	// maxMisread bounds how much of a text is shown, in bytes, the mark of a cut included.
	maxMisread = 43
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
	return &unreadableState{of: d, last: noTime, number: Sample{Time: noTime}}
}

// Read returns the state that Append wrote.
func (d *Unreadable) Read(r *codec.Reader) State {
	s := &unreadableState{of: d, last: r.Int(), deaf: readDeaf(r), number: readSample(r), index: r.Int(), lost: r.Int()}
	s.learned = uint8(min(r.Uint(), shareNumbers))
	s.emitted = r.Float()
	if s.emitted > 0 {
		s.start = r.Int()
	}
	for i := range s.parts {
		s.parts[i] = sharePart{numbers: uint32(r.Uint()), others: uint32(r.Uint())}
	}
	return s
}

// sharePart counts the readings in a twelfth of the time.
type sharePart struct{ numbers, others uint32 }

// unreadableState is what Unreadable knows of one series.
type unreadableState struct {
	of *Unreadable
	// last is the event time of the last reading, number the last numeric reading.
	last   int64
	deaf   deaf
	number Sample
	start  int64
	// emitted is the last score emitted, 0 while no episode is open.
	emitted float64
	// index is the number of the newest part. Each part is at its number modulo
	// their count.
	index int64
	// lost is the time that is left out of the parts, because Headwater did not listen.
	lost  int64
	parts [shareParts]sharePart
	// learned counts the numbers in a row while the share was acceptable.
	learned uint8
}

// Append appends the state to b.
func (s *unreadableState) Append(b []byte) []byte {
	b = s.deaf.append(codec.Int(b, s.last))
	b = codec.Int(codec.Int(appendSample(b, s.number), s.index), s.lost)
	b = codec.Float(codec.Uint(b, uint64(s.learned)), s.emitted)
	if s.emitted > 0 {
		b = codec.Int(b, s.start)
	}
	for _, p := range s.parts {
		b = codec.Uint(codec.Uint(b, uint64(p.numbers)), uint64(p.others))
	}
	return b
}

// Open returns the last score emitted for the open episode, or 0.
func (s *unreadableState) Open() float64 { return s.emitted }

// Score is above 0 while too many values are not numbers.
func (s *unreadableState) Score() float64 {
	if s.emitted == 0 {
		return 0
	}
	return share(s.emitted)
}

// Learning reports whether it is unknown that the series consists of numbers.
func (s *unreadableState) Learning() bool { return s.learned < shareNumbers }

// Due is when the series of an open episode counts as silent.
func (s *unreadableState) Due() int64 {
	if s.emitted == 0 {
		return Never
	}
	return s.last + int64(s.deaf) + int64(s.of.Silence)
}

// Listen sets from when silence counts.
func (s *unreadableState) Listen(from int64) { s.deaf = listen(s.last, from) }

// Observe counts a number.
func (s *unreadableState) Observe(r Sample, unit string, out []Verdict) []Verdict {
	if !r.follows(s.last) {
		return out
	}
	out = s.Tick(r.Time, unit, out)
	s.reach(r.Time).numbers++
	s.number = r
	if s.emitted == 0 && s.learned == shareNumbers {
		return out
	}
	numbers, others := s.counts()
	if s.learned < shareNumbers {
		s.learned++
		if s.beyond(numbers, others, 1) {
			s.learned = 0
		}
	}
	if s.emitted > 0 && !s.beyond(numbers, others, 2) {
		out = append(out, s.close(r.Time, quantity(r.Value, unit)+": "+s.sentence(numbers, others)))
	}
	return out
}

// Misread counts a value that is not a number.
func (s *unreadableState) Misread(at int64, what, unit string, out []Verdict) []Verdict {
	if at <= s.last || s.number.Time == noTime {
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
	case s.emitted == 0:
		phase, s.start = Open, at
	case score < s.emitted*worse:
		return out
	}
	s.emitted = score
	v := s.verdict(phase, at, s.sentence(numbers, others)+", the last one "+shown(what)+"; the last number was "+quantity(s.number.Value, unit))
	v.Evidence.Score = score
	return append(out, v)
}

// Tick closes an episode whose series is silent.
func (s *unreadableState) Tick(now int64, unit string, out []Verdict) []Verdict {
	if due := s.Due(); due <= now {
		out = append(out, unheard(s.close(due, "no reading for "+figure.Duration(s.of.Silence)+"; the last number was "+quantity(s.number.Value, unit))))
	}
	return out
}

// Stop closes the open episode for the caller's reason.
func (s *unreadableState) Stop(now int64, reason string, out []Verdict) []Verdict {
	if s.emitted > 0 {
		out = append(out, s.close(max(now, s.last), reason))
	}
	return out
}

// reach returns the part to which a reading at the time belongs. It becomes the
// newest part.
func (s *unreadableState) reach(at int64) *sharePart {
	s.lost += int64(s.deaf)
	index := floor(at-s.lost, s.of.Within/shareParts)
	if s.last == noTime {
		s.index = index
	}
	for range min(index-s.index, shareParts) {
		s.index++
		*s.part(s.index) = sharePart{}
	}
	s.index, s.last, s.deaf = index, at, 0
	return s.part(index)
}

// part returns the part with that number. Times before 1970 have negative
// numbers.
func (s *unreadableState) part(index int64) *sharePart {
	return &s.parts[(index%shareParts+shareParts)%shareParts]
}

// counts adds up the parts.
func (s *unreadableState) counts() (numbers, others uint64) {
	for _, p := range s.parts {
		numbers += uint64(p.numbers)
		others += uint64(p.others)
	}
	return numbers, others
}

// beyond reports whether the non-numeric share is more than 1/part of Share.
func (s *unreadableState) beyond(numbers, others, part uint64) bool {
	return 100*float64(part*others) > s.of.Share*float64(numbers+others)
}

func (s *unreadableState) sentence(numbers, others uint64) string {
	total := numbers + others
	if others == 0 {
		return "all of " + strconv.FormatUint(total, 10) + " readings within " + figure.Duration(s.of.Within) + " are numbers"
	}
	text := strconv.FormatUint(others, 10) + " of " + strconv.FormatUint(total, 10) + " readings within " + figure.Duration(s.of.Within)
	if others == 1 {
		text += " is not a number"
	} else {
		text += " are not numbers"
	}
	return text + " (" + figure.Number(100*float64(others)/float64(total)) + " %)"
}

// shown formats a value on one line, whatever it contains.
func shown(what string) string {
	return fmt.Sprintf("%q", figure.Clip(what, maxMisread))
}

func (s *unreadableState) close(at int64, sentence string) Verdict {
	s.emitted = 0
	return s.verdict(Close, at, sentence)
}

func (s *unreadableState) verdict(phase Phase, at int64, sentence string) Verdict {
	return Verdict{Phase: phase, Start: s.start, Time: at, Evidence: Evidence{
		Value: s.number.Value, Baseline: s.number.Value, Low: math.Inf(-1), High: math.Inf(1),
		Samples: []Sample{s.number}, Sentence: sentence,
	}}
}
