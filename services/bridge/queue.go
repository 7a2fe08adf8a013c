package bridge

import (
	"slices"
	"sync"
	"time"

	"headwater/streams"
)

// message is something that a device published.
type message struct {
	subject string
	data    []byte
	// reply is where nats-server waits for the answer; empty for QoS 0.
	reply string
	// once is the id that nats-server gave a message with QoS 2: it is the same when
	// the device releases it again. Empty for others.
	once string
	// arrival is in nanoseconds since the Unix epoch.
	arrival int64
	// buried says that its dead letter is stored.
	buried bool
	// gone says that somebody else has answered it.
	gone bool
}

// overhead is what a message takes beside its texts, about.
const overhead = 256

func (m *message) size() int { return len(m.subject) + len(m.data) + len(m.reply) + overhead }

// queue holds messages in the order of their arrival until they are stored, in
// bounded memory. Any number of goroutines may use it.
type queue struct {
	// limit bounds the bytes.
	limit int
	// wake signals that there is something new.
	wake chan struct{}

	mu sync.Mutex // guards what follows
	// waiting[first:] are those that are not taken yet.
	waiting []*message
	first   int
	bytes   int
	// pending are those that wait, by their reply, while others answer them; else nil.
	pending map[string]*message
}

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

// add takes in a message, which arrives now, or returns false when the queue is
// full.
func (q *queue) add(m *message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	// Under the lock, so that what is added after a look is not older than it.
	m.arrival = time.Now().UnixNano()
	if q.pending != nil {
		// What nobody has answered by then, the device sends again.
		for q.skip(); q.first < len(q.waiting) && m.arrival-q.waiting[q.first].arrival > int64(streams.AnswerTimeout); q.skip() {
			q.remove()
		}
	}
	if q.bytes+m.size() > q.limit {
		return false
	}
	q.bytes += m.size()
	q.waiting = append(q.waiting, m)
	if q.pending != nil {
		q.pending[m.reply] = m
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// next takes the first message, nil if there is none.
func (q *queue) next() *message {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.skip()
	if q.first == len(q.waiting) {
		return nil
	}
	m := q.waiting[q.first]
	q.remove()
	return m
}

// skip passes over what others have answered.
func (q *queue) skip() {
	for q.first < len(q.waiting) && q.waiting[q.first].gone {
		q.remove()
	}
}

// remove removes the first message.
func (q *queue) remove() {
	m := q.waiting[q.first]
	q.waiting[q.first] = nil
	q.first++
	if q.bytes -= m.size(); q.first == len(q.waiting) {
		q.waiting, q.first = q.waiting[:0], 0
	} else if q.first > 1024 && q.first > len(q.waiting)/2 {
		q.waiting, q.first = append(q.waiting[:0], q.waiting[q.first:]...), 0
	}
	if q.pending != nil {
		delete(q.pending, m.reply)
	}
}

// putBack returns messages that were taken, in their order, to the head.
func (q *queue) putBack(messages []*message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range messages {
		q.bytes += m.size()
	}
	q.waiting, q.first = append(slices.Clip(messages), q.waiting[q.first:]...), 0
}

// oldest returns when the first message arrived, or now when there is none.
func (q *queue) oldest() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.skip()
	if q.first < len(q.waiting) {
		return q.waiting[q.first].arrival
	}
	return time.Now().UnixNano()
}

// olderThan removes and returns what arrived before a time.
func (q *queue) olderThan(limit time.Time) []*message {
	q.mu.Lock()
	defer q.mu.Unlock()
	var old []*message
	for q.skip(); q.first < len(q.waiting) && q.waiting[q.first].arrival < limit.UnixNano(); q.skip() {
		old = append(old, q.waiting[q.first])
		q.remove()
	}
	return old
}

// len returns how many messages wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) - q.first
}

// watch says whether others answer the messages: then answered must be called for
// each.
func (q *queue) watch(others bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = nil
	if others {
		q.pending = make(map[string]*message)
		for _, m := range q.waiting[q.first:] {
			q.pending[m.reply] = m
		}
	}
}

// answered removes a message that another bridge has answered.
func (q *queue) answered(reply string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.pending[reply]; m != nil {
		q.bytes -= len(m.data)
		m.gone, m.data = true, nil
		delete(q.pending, reply)
	}
}
