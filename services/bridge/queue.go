package bridge

import (
	"slices"
	"sync"
	"time"

	"headwater/streams"
)

// message is a message that a device published.
type message struct {
	subject string
	data    []byte
	// reply is where nats-server waits for the answer; empty for QoS 0.
	reply string
	// once is the id that nats-server gave a message with QoS 2, the same each time that
	// the device releases it; empty for others.
	once string
	// arrival is in nanoseconds since the Unix epoch.
	arrival int64
	// buried is set when its dead letter is stored.
	buried bool
	// charged is set when its device has paid for it.
	charged bool
	// gone is set when another bridge has answered it.
	gone bool
}

// overhead is about what a message takes beside its texts, in bytes.
const overhead = 256

func (m *message) size() int { return len(m.subject) + len(m.data) + len(m.reply) + overhead }

// queue holds messages in the order of their arrival until they are stored, in bounded
// memory. Any number of goroutines may use it.
type queue struct {
	// limit bounds the memory, in bytes.
	limit int
	// wake has a value when a message was added.
	wake chan struct{}

	mu sync.Mutex // guards what follows
	// waiting[first:] are the messages, of which the first is not gone.
	waiting []*message
	first   int
	bytes   int
	// pending are the messages by their reply subjects while other bridges answer them;
	// else nil.
	pending map[string]*message
}

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

// add adds a message, which arrives now. It returns false when the queue is full.
func (q *queue) add(m *message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	// Under the lock, so that a message that is added after a look is not older than it.
	m.arrival = time.Now().UnixNano()
	if q.pending != nil {
		// The device sends again what no bridge has answered by then.
		q.removeBefore(m.arrival - int64(streams.AnswerTimeout))
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

// next takes the first message, or returns nil when there is none.
func (q *queue) next() *message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == len(q.waiting) {
		return nil
	}
	return q.remove()
}

// remove removes and returns the first message.
func (q *queue) remove() *message {
	m := q.waiting[q.first]
	q.drop()
	if q.pending != nil {
		delete(q.pending, m.reply)
	}
	for q.first < len(q.waiting) && q.waiting[q.first].gone {
		q.drop()
	}
	return m
}

// drop takes the first message from the slice.
func (q *queue) drop() {
	q.bytes -= q.waiting[q.first].size()
	q.waiting[q.first] = nil
	q.first++
	switch {
	case q.first == len(q.waiting):
		q.waiting, q.first = q.waiting[:0], 0
	case q.first > 1024 && q.first > len(q.waiting)/2:
		q.waiting, q.first = append(q.waiting[:0], q.waiting[q.first:]...), 0
	}
}

// removeBefore removes and returns the messages that arrived before a time.
func (q *queue) removeBefore(limit int64) (old []*message) {
	for q.first < len(q.waiting) && q.waiting[q.first].arrival < limit {
		old = append(old, q.remove())
	}
	return old
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
	if q.first < len(q.waiting) {
		return q.waiting[q.first].arrival
	}
	return time.Now().UnixNano()
}

// span returns how many messages wait, and when the first one and the last one arrived.
func (q *queue) span() (n int, oldest, newest int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n = len(q.waiting) - q.first; n > 0 {
		oldest, newest = q.waiting[q.first].arrival, q.waiting[len(q.waiting)-1].arrival
	}
	return n, oldest, newest
}

// olderThan removes and returns the messages that arrived before a time.
func (q *queue) olderThan(limit time.Time) []*message {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.removeBefore(limit.UnixNano())
}

// len returns how many messages wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) - q.first
}

// watch sets whether other bridges answer the messages. While they do, answered must be
// called for each answer.
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
	m := q.pending[reply]
	if m == nil {
		return
	}
	if m == q.waiting[q.first] {
		q.remove()
		return
	}
	q.bytes -= len(m.data)
	m.gone, m.data = true, nil
	delete(q.pending, reply)
}
