package influxd

import (
	"bytes"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// failing remembers since when writes fail because the disk was full. The write-ahead
// log of a shard then refuses everything until it is reopened, even after there is space
// again. Any number of goroutines may use it.
type failing struct {
	mu    sync.Mutex
	since time.Time
}

// Full returns since when writes fail because the disk is or was full. It returns the
// zero time while they succeed.
func (s *Server) Full() time.Time {
	s.failing.mu.Lock()
	defer s.failing.mu.Unlock()
	return s.failing.since
}

// watch records the outcome of every write.
func (f *failing) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/write" && r.URL.Path != "/api/v2/write" {
			next.ServeHTTP(w, r)
			return
		}
		seen := &answer{ResponseWriter: w}
		next.ServeHTTP(seen, r)
		f.note(seen)
	})
}

func (f *failing) note(a *answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case a.status < http.StatusMultipleChoices:
		f.since = time.Time{}
	case a.full && f.since.IsZero():
		f.since = time.Now()
	}
}

// answer passes a response on and remembers its status.
type answer struct {
	http.ResponseWriter
	status int
	full   bool
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(body []byte) (int, error) {
	if a.status >= http.StatusInternalServerError && bytes.Contains(body, []byte(syscall.ENOSPC.Error())) {
		a.full = true
	}
	return a.ResponseWriter.Write(body)
}
