package writer

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inProgress holds the messages whose points are being stored. Nats-server would
// deliver them again if it was not told that they are in progress. It is safe for
// concurrent use.
type inProgress struct {
	mu   sync.Mutex
	next int
	all  map[int][]jetstream.Msg // guarded by mu
}

// add holds messages until release is called. The slice must not change until then.
func (p *inProgress) add(messages []jetstream.Msg) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[int][]jetstream.Msg)
	}
	id := p.next
	p.next++
	p.all[id] = messages
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.all, id)
	}
}

// run marks all messages that are held as in progress, once an interval, until done
// is closed.
func (p *inProgress) run(done <-chan struct{}, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			p.tick()
		}
	}
}

func (p *inProgress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, messages := range p.all {
		for _, m := range messages {
			// If it is lost, the next one follows, or the message is delivered again.
			_ = m.InProgress()
		}
	}
}
