// Package window summarises what one series did in windows of event time:
// tumbling, hopping, sliding and session windows, and minutes that are rolled
// up to hours and days. It is pure: event times, the watermark of the device
// and the clock of the lane are arguments.
//
// A Series keeps the readings that a late reading might still be compared with,
// in the order of their event times, and sums up a window when it closes. A
// minute that no reading can change any more is folded into its hour, and an
// hour into its day; a summary of an hour or day combines the fold with the
// readings that are still kept. This has three consequences:
//
//  1. A summary is the same, bit for bit, whatever the order in which the
//     readings arrived within the lateness.
//  2. A repeated reading is always distinguished from a contradicting one.
//  3. A late reading costs no more than summing up its window once more.
package window

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// MaxTime bounds event times to either side of the Unix epoch, in nanoseconds,
	// so that no bound of a window overflows: 146 years.
	MaxTime = 1 << 62
	// Never is a time that never comes.
	Never = math.MaxInt64

	minTime = -MaxTime
)

// Kind is the way in which a window is cut out of time.
type Kind uint8

const (
	// Tumbling windows follow one another: [n*Width, (n+1)*Width).
	Tumbling Kind = iota
	// Hopping windows have a width and begin at every multiple of Every, so that
	// a reading lies in several: [n*Every, n*Every+Width).
	Hopping
	// Sliding windows end with a reading and reach back by Width. At the end of
	// each step [n*Every, (n+1)*Every) the window of the step's last reading is
	// emitted; a step without readings emits nothing.
	Sliding
	// Session windows hold readings that follow one another in less than Gap. They
	// end a Gap after the last reading, or when they are as long as Width.
	Session
)

// Window is one way to cut windows. Its zero value is not usable.
type Window struct {
	// Name identifies the window in summaries.
	Name string
	Kind Kind
	// Width is the length of a window; the greatest length of a session.
	Width time.Duration
	// Every is the distance of hopping windows and the step of sliding ones.
	Every time.Duration
	// Gap ends a session.
	Gap time.Duration
	// Delay is how long after its end a window waits before it closes.
	Delay time.Duration
	// Lateness is how far, beyond Delay, a reading may be behind the watermark of
	// its device and still change the summary of its window.
	Lateness time.Duration
}

// maxOverlap bounds the number of windows of one kind that a reading belongs
// to.
const maxOverlap = 60

// validate returns what is wrong with the window, or nil.
func (w *Window) validate() error {
	switch {
	case w.Width <= 0 || w.Width > 24*time.Hour:
		return fmt.Errorf("window %s: the width %v must be above 0 and at most a day", w.Name, w.Width)
	case w.Delay < 0 || w.Lateness < 0:
		return fmt.Errorf("window %s: delay and lateness must not be negative", w.Name)
	case (w.Kind == Hopping || w.Kind == Sliding) && (w.Every <= 0 || w.Every > w.Width || w.Width/w.Every > maxOverlap):
		return fmt.Errorf("window %s: every %v must be at most the width %v, and at least %v", w.Name, w.Every, w.Width, w.Width/maxOverlap)
	case w.Kind == Session && (w.Gap <= 0 || w.Gap > w.Width):
		return fmt.Errorf("window %s: the gap %v must be above 0 and at most %v", w.Name, w.Gap, w.Width)
	}
	return nil
}

// step is the distance between the starts of two windows.
func (w *Window) step() time.Duration {
	if w.Kind == Tumbling {
		return w.Width
	}
	return w.Every
}

// Spec lists the windows. It is shared by the series of one goroutine.
type Spec struct {
	// Windows are the windows that each series has.
	Windows []Window
	// Calendar, if set, rolls the windows of a minute, which must be among
	// Windows, up to hours and days.
	Calendar *Calendar
	// MaxReadings bounds the readings that a series keeps. A series with more
	// readings than that within the lateness loses lateness, never a summary. Only
	// a sliding window then does not reach back beyond the readings that are kept.
	MaxReadings int

	// scratch holds the values of the window that is being summed up.
	scratch []float64
}

// Names of the roll-ups.
const (
	NameMinute = "1m"
	NameHour   = "1h"
	NameDay    = "1d"
)

// maxWindows reserves the numbers of the roll-ups.
const maxWindows = 64

// Windows with these numbers are the roll-ups, not elements of Spec.Windows.
const (
	ofHours = 254
	ofDays  = 255
)

// Validate returns all problems of the specification, joined.
func (s *Spec) Validate() error {
	var errs []error
	for i := range s.Windows {
		errs = append(errs, s.Windows[i].validate())
		for j := range i {
			if s.Windows[i].Name == s.Windows[j].Name {
				errs = append(errs, fmt.Errorf("window %s occurs twice", s.Windows[i].Name))
			}
		}
	}
	if len(s.Windows) > maxWindows {
		errs = append(errs, fmt.Errorf("%d windows: at most %d", len(s.Windows), maxWindows))
	}
	if s.Calendar != nil && s.minute() == nil {
		errs = append(errs, errors.New("there is no window of a minute to roll up"))
	}
	if s.MaxReadings < 16 {
		errs = append(errs, fmt.Errorf("at most %d readings a series: must be 16 or more", s.MaxReadings))
	}
	return errors.Join(errs...)
}

// equal reports whether both have the same windows, days and hours.
func (s *Spec) equal(o *Spec) bool {
	if (s.Calendar == nil) != (o.Calendar == nil) || s.Calendar != nil && s.Calendar.zone.String() != o.Calendar.zone.String() {
		return false
	}
	return s.MaxReadings == o.MaxReadings && slices.Equal(s.Windows, o.Windows)
}

// minute returns the window that is rolled up.
func (s *Spec) minute() *Window {
	for i := range s.Windows {
		if w := &s.Windows[i]; w.Kind == Tumbling && w.Width == time.Minute {
			return w
		}
	}
	return nil
}

// window returns the window with that number. For roll-ups it returns the
// window of a minute, because they share its delay and lateness.
func (s *Spec) window(i uint8) *Window {
	if i >= ofHours {
		return s.minute()
	}
	return &s.Windows[i]
}

// reach is the longest delay and lateness.
func (s *Spec) reach() int64 {
	reach := time.Duration(0)
	for i := range s.Windows {
		reach = max(reach, s.Windows[i].Delay+s.Windows[i].Lateness)
	}
	return int64(reach)
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

// Progress is how far time has come, in nanoseconds since the Unix epoch.
// Neither part ever goes back.
type Progress struct {
	// Watermark is the greatest event time seen of the device that the series
	// belongs to.
	Watermark int64
	// Lane is the clock of the lane: everything that had arrived by then has been
	// seen.
	Lane int64
}

// Now is the later of both. A window is closed if its end plus its delay is not
// after it.
func (p Progress) Now() int64 { return max(p.Watermark, p.Lane) }

// Reading is one number at one event time, in nanoseconds since the Unix epoch.
// The number must be finite.
type Reading struct {
	Time  int64
	Value float64
}

// Summary is what the series did in [Start, Start+Width).
type Summary struct {
	// Window is the name of the window.
	Window string
	// At identifies the summary among the summaries of its window. It is Start,
	// except for sliding windows, where it is the start of the step in which the
	// window ends.
	At    int64
	Start int64
	Width time.Duration
	// Count is the number of readings. It is 0 only for a session that no longer
	// exists because a late reading has merged it into another one. Then only
	// Revision is valid.
	Count uint64
	// First and Last are by event time.
	Min, Max, Mean, First, Last float64
	// Deviation is the standard deviation of the readings as a whole
	// population.
	Deviation float64
	// TimeMean is the mean over the time from the first reading to the last, with
	// straight lines between them.
	TimeMean float64
	// Rate is the change per second from the first reading to the last, 0 if there
	// is only one.
	Rate float64
	// P50 is the median, or the mean of the two middle readings of an even number.
	// P90, P95 and P99 are the readings of the nearest rank. All are exact while
	// the readings are kept. Those of hours and days, and of windows of a series
	// at MaxReadings, are as accurate as sketch describes.
	P50, P90, P95, P99 float64
	// Revision is 1 for the first summary of a window and rises by one with each
	// summary that replaces it.
	Revision uint32
}

// Result is what became of a reading.
type Result uint8

const (
	// Counted readings are in time for all their windows.
	Counted Result = iota
	// Late readings count, but one of their windows has closed: its summary will
	// be emitted again.
	Late
	// Duplicate readings repeat one that already counts.
	Duplicate
	// Conflict readings replace a reading of the same event time with another
	// value.
	Conflict
	// LateConflict is Conflict for a reading that is too late for some of its
	// windows, which do not include its value.
	LateConflict
	// TooLate readings came after the lateness. They do not count, or only in
	// windows with a longer lateness than others.
	TooLate
)

// String returns the name of the result.
func (r Result) String() string {
	names := [...]string{"counted", "late", "duplicate", "conflict", "late conflict", "too late"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("result %d", uint8(r))
}
