// Package window makes summaries of what one series did in tumbling windows of
// event time. It is pure: event times, the watermark of the device and the
// clock of the lane are arguments.
//
// A Series keeps the readings that a late one could still be compared with, in
// the order of their event times, and sums a window up when it closes. A
// summary is therefore the same, bit for bit, whatever the order in which the
// readings arrived within the lateness; a repeat is told apart from a
// contradiction exactly; and a late reading costs no more than adding its
// window up again.
package window

import (
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// MaxTime bounds event times to either side of the Unix epoch, in
	// nanoseconds, so that no bound of a window overflows: 146 years.
	MaxTime = 1 << 62
	// Never is a time that does not come.
	Never = math.MaxInt64

	minTime = -MaxTime
)

// Spec says which windows there are. It is shared by all series and never
// changes while it is in use.
type Spec struct {
	// Widths are the widths of the windows, ascending; each series has windows
	// of every width.
	Widths []time.Duration
	// Delay is how long after its end a window waits before it closes.
	Delay time.Duration
	// Lateness is how far, beyond Delay, a reading may lie behind the watermark
	// of its device and still change the summary of its window.
	Lateness time.Duration
	// MaxReadings bounds the readings that a series keeps. A series that has
	// more of them within the lateness loses lateness, never a summary.
	MaxReadings int
}

// Validate returns all that is wrong with the specification, joined.
func (s *Spec) Validate() error {
	var errs []error
	for i, w := range s.Widths {
		switch {
		case w <= 0 || w > 366*24*time.Hour:
			errs = append(errs, fmt.Errorf("window of %v: must be above 0 and at most a year", w))
		case i > 0 && w <= s.Widths[i-1]:
			errs = append(errs, fmt.Errorf("window of %v: widths must ascend", w))
		}
	}
	if s.Delay < 0 || s.Lateness < 0 {
		errs = append(errs, errors.New("delay and lateness must not be negative"))
	}
	if s.MaxReadings < 16 {
		errs = append(errs, fmt.Errorf("at most %d readings a series: must be 16 or more", s.MaxReadings))
	}
	return errors.Join(errs...)
}

// Start returns the start of the window [start, start+width) that holds t.
// Windows are aligned to the Unix epoch; t must lie within MaxTime.
func Start(t int64, width time.Duration) int64 {
	m := t % int64(width)
	if m < 0 {
		m += int64(width)
	}
	return t - m
}

// Progress says how far time has come, in nanoseconds since the Unix epoch.
// Neither of its parts ever goes back.
type Progress struct {
	// Watermark is the greatest event time seen of the device that the series
	// belongs to.
	Watermark int64
	// Lane is the clock of the lane: everything that had arrived by then has
	// been seen.
	Lane int64
}

// Now is the later of both: a window whose end and delay are not after it is
// closed.
func (p Progress) Now() int64 { return max(p.Watermark, p.Lane) }

// Reading is one number at one event time, in nanoseconds since the Unix
// epoch. The number must be finite.
type Reading struct {
	Time  int64
	Value float64
}

// Summary is what the series did in [Start, Start+Width).
type Summary struct {
	Start int64
	Width time.Duration
	// Count is the number of readings; at least 1.
	Count uint64
	// First and Last are by event time.
	Min, Max, Mean, First, Last float64
	// Deviation is the standard deviation of the readings as a whole
	// population.
	Deviation float64
	// Revision is 1 for the first summary of a window and rises by one with
	// each that replaces it.
	Revision uint32
}

// Result says what became of a reading.
type Result uint8

const (
	// Counted readings are in time for all their windows.
	Counted Result = iota
	// Late readings count, but a window that they belong to has closed: its
	// summary will be told again.
	Late
	// Duplicate readings repeat one that counts already.
	Duplicate
	// Conflict readings contradict one of the same event time, which stands.
	Conflict
	// TooLate readings came after the lateness and do not count.
	TooLate
)

// String returns the name of the result.
func (r Result) String() string {
	names := [...]string{"counted", "late", "duplicate", "conflict", "too late"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("result %d", uint8(r))
}
