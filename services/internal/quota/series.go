package quota

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// period is how long a device's count of new metrics lasts.
	period = 24 * time.Hour
	// mostMetrics bounds the metrics that are remembered, of all devices.
	mostMetrics = 1 << 20
)

// Series bounds the metrics that each device may begin: most of them within a day. A metric
// that it has begun is free. A device with no more than most metrics is never refused, also
// after everything was forgotten. Any number of goroutines may use it.
type Series struct {
	most  int // 0 sets no bound
	limit int // of metrics that are remembered
	seed  maphash.Seed

	mu sync.Mutex // guards what follows
	// known are the metrics of all devices, hashed.
	known map[uint64]struct{}
	begun map[Device]begun
}

// begun is how many metrics a device has begun since a time.
type begun struct {
	since time.Time
	n     int
}

// NewSeries returns a bound of that many new metrics of each device within a day; 0 sets none.
func NewSeries(most int) *Series {
	return &Series{most: most, limit: mostMetrics, seed: maphash.MakeSeed(), known: make(map[uint64]struct{}), begun: make(map[Device]begun)}
}

// Most returns the bound, 0 if there is none.
func (s *Series) Most() int { return s.most }

// Begin reports whether readings of a metric of a device may be stored, and counts the metric
// if it is new.
func (s *Series) Begin(of Device, metric string, now time.Time) bool {
	if s.most == 0 {
		return true
	}
	name := maphash.Comparable(s.seed, [3]string{of.Site, of.Device, metric})
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.known[name]; known {
		return true
	}
	if len(s.known) >= s.limit {
		// It forgets the counts as well, or metrics that are known would count again.
		clear(s.known)
		clear(s.begun)
	}
	b := s.begun[of]
	if now.Sub(b.since) >= period {
		b = begun{since: now}
	}
	if b.n >= s.most {
		return false
	}
	b.n++
	s.known[name], s.begun[of] = struct{}{}, b
	return true
}
