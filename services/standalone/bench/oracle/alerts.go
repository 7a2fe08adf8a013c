package oracle

import (
	"cmp"
	"fmt"
	"slices"
)

// Episode is one stretch of abnormal readings: from the first one beyond the bound to the
// first one back, in nanoseconds since the Unix epoch. End is 0 while it is ongoing.
type Episode struct {
	Rule, Device string
	Start, End   int64
}

func (e Episode) compare(o Episode) int {
	return cmp.Or(cmp.Compare(e.Rule, o.Rule), cmp.Compare(e.Device, o.Device), cmp.Compare(e.Start, o.Start), cmp.Compare(e.End, o.End))
}

// Values that scripted devices report. They are so far apart that a limit between them,
// and a rise of half their distance, detect every change and nothing else.
const (
	Calm   = 20.0
	Raised = 100.0
	// Limit and Rise are the parameters of the rules.
	Limit = 60.0
	Rise  = 40.0
)

// Script is the value of the n-th reading of a device that is calm and raised by turns.
// Each device has a rhythm of its own.
func Script(device, n int) float64 {
	calm, raised := 5+device%4, 2+device%3
	if n%(calm+raised) < calm {
		return Calm
	}
	return Raised
}

// Episodes returns the episodes of a rule on a device. Points are in the order in which
// the device reported them.
func Episodes(rule, device string, points []Point) []Episode {
	var out []Episode
	open := false
	for _, p := range points {
		switch raised := p.Value > Limit; {
		case raised && !open:
			out = append(out, Episode{Rule: rule, Device: device, Start: p.Time})
		case !raised && open:
			out[len(out)-1].End = p.Time
		}
		open = p.Value > Limit
	}
	return out
}

// JudgeEpisodes lists each episode that is missing, has another end, exists twice or
// should not exist.
func JudgeEpisodes(want, got []Episode) []string {
	want, got = slices.Clone(want), slices.Clone(got)
	slices.SortFunc(want, Episode.compare)
	slices.SortFunc(got, Episode.compare)
	var wrong []string
	for len(want) > 0 || len(got) > 0 {
		c := 0
		switch {
		case len(want) == 0:
			c = 1
		case len(got) == 0:
			c = -1
		default:
			c = want[0].compare(got[0])
		}
		switch {
		case c < 0:
			wrong = append(wrong, fmt.Sprintf("no alert %+v", want[0]))
			want = want[1:]
		case c > 0:
			wrong = append(wrong, fmt.Sprintf("alert %+v is not due", got[0]))
			got = got[1:]
		default:
			want, got = want[1:], got[1:]
		}
	}
	return wrong
}

// Call is one message that a receiver accepted.
type Call struct {
	// Key is its idempotency key.
	Key string
	// Episode has an end if the message reports the end.
	Episode Episode
}

// JudgeCalls requires two messages for each episode, one for the start and one for the
// end, each with a key of its own. Messages with a known key are repeats, of which there
// may be as many as repeats. It returns the violations and the number of repeats.
func JudgeCalls(want []Episode, calls []Call, repeats int) (wrong []string, again int) {
	due := make(map[Episode]string)
	for _, e := range want {
		due[Episode{Rule: e.Rule, Device: e.Device, Start: e.Start}] = ""
		if e.End != 0 {
			due[e] = ""
		}
	}
	for _, c := range calls {
		key, known := due[c.Episode]
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("message %s about %+v is not due", c.Key, c.Episode))
		case key == "":
			due[c.Episode] = c.Key
		case key == c.Key:
			again++
		default:
			wrong = append(wrong, fmt.Sprintf("messages %s and %s report the same, %+v", key, c.Key, c.Episode))
		}
	}
	for e, key := range due {
		if key == "" {
			wrong = append(wrong, fmt.Sprintf("nobody was notified of %+v", e))
		}
	}
	if again > repeats {
		wrong = append(wrong, fmt.Sprintf("%d messages came again, and at most %d may", again, repeats))
	}
	return wrong, again
}
