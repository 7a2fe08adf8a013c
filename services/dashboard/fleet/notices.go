package fleet

import (
	"slices"
	"sync"
	"time"

	"headwater/web/view"
)

// Bounds of what is kept of notifications.
const (
	maxNotices   = 20_000
	maxNoticesOf = 100 // of an episode
)

// NoticeKey names a message: the commit that it is part of, and its place in it.
type NoticeKey struct {
	Sequence uint64
	Index    int
}

// Notices keep whom people were notified of alerts through, and what became of that. They
// may be used by many goroutines.
type Notices struct {
	mu  sync.RWMutex // guards what follows
	all map[NoticeKey]*notice
	// order are the keys, the oldest first.
	order []NoticeKey
	of    map[string][]*notice
}

type notice struct {
	view.Notice
	episodes []string
}

// NewNotices returns no notices.
func NewNotices() *Notices {
	return &Notices{all: make(map[NoticeKey]*notice), of: make(map[string][]*notice)}
}

// Decided takes a message that the notifier has committed, about some episodes.
func (n *Notices) Decided(k NoticeKey, v view.Notice, episodes []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(k)
	if len(n.order) >= maxNotices {
		n.forget(n.order[0])
		n.order = n.order[1:]
	}
	v.Outcome = view.NoticeWaiting
	one := &notice{v, episodes}
	n.all[k], n.order = one, append(n.order, k)
	for _, e := range episodes {
		if len(n.of[e]) < maxNoticesOf {
			n.of[e] = append(n.of[e], one)
		}
	}
}

func (n *Notices) forget(k NoticeKey) {
	one := n.all[k]
	if one == nil {
		return
	}
	delete(n.all, k)
	for _, e := range one.episodes {
		n.of[e] = slices.DeleteFunc(n.of[e], func(o *notice) bool { return o == one })
		if len(n.of[e]) == 0 {
			delete(n.of, e)
		}
	}
}

// Done takes what became of a message.
func (n *Notices) Done(k NoticeKey, outcome view.NoticeOutcome, at time.Time, attempts uint32, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if one := n.all[k]; one != nil {
		one.Outcome, one.Done, one.Attempts, one.Error = outcome, at, attempts, reason
	}
}

// Of returns the notifications about an episode, the oldest first.
func (n *Notices) Of(episode string) []view.Notice {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var out []view.Notice
	for _, one := range n.of[episode] {
		out = append(out, one.Notice)
	}
	return out
}
