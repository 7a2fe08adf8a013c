package problems

import (
	"sync"
	"time"
)

// FadeAfter is how long a problem that fades is reported after it was last set.
const FadeAfter = 10 * time.Minute

// Fading reports problems that are over when nothing was heard of them for a while. It is
// safe for concurrent use.
type Fading struct {
	report *Reporter

	mu   sync.Mutex
	last map[string]time.Time // by id; guarded by mu
}

// NewFading returns a Fading of a reporter.
func NewFading(report *Reporter) *Fading {
	return &Fading{report: report, last: make(map[string]time.Time)}
}

// Set reports a problem that there is now. Beyond Most of them it is left out.
func (f *Fading) Set(id string, p Problem, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.last[id]; !known && len(f.last) >= Most {
		return
	}
	f.last[id] = now
	p.Since = now
	f.report.Set(id, p)
}

// Forget withdraws the problems that were not set recently.
func (f *Fading) Forget(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, last := range f.last {
		if now.Sub(last) >= FadeAfter {
			delete(f.last, id)
			f.report.Clear(id)
		}
	}
}
