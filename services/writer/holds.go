package writer

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// holds are the messages whose points are on their way. Nats-server would
// deliver them again if it heard nothing of them. It is safe for concurrent
// use.
type holds struct {
	mu   sync.Mutex
	next int
	all  map[int][]jetstream.Msg // guarded by mu
}

// add holds messages until release is called. The slice may not change in
// between.
func (h *holds) add(messages []jetstream.Msg) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[int][]jetstream.Msg)
	}
	id := h.next
	h.next++
	h.all[id] = messages
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, id)
	}
}

// run says "in progress" for all that is held, once an interval, until done is
// closed.
func (h *holds) run(done <-chan struct{}, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			h.tick()
		}
	}
}

func (h *holds) tick() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, messages := range h.all {
		for _, m := range messages {
			// A sign that is lost is made up for by the next one, or by a repeat.
			_ = m.InProgress()
		}
	}
}
