package gateway

import (
	"errors"
	"sync"

	"headwater/services/decode"
)

var (
	// errBusy is returned by put while as many readings wait as may.
	errBusy = errors.New("too many readings wait for the stream")
	// errClosed is returned by put before the gateway has found the streams and
	// while it stops.
	errClosed = errors.New("the gateway is starting or stopping")
)

// request is what waits for a commit. Until its answer it belongs to the
// committer.
type request struct {
	// items are free of errors.
	items    []decode.Item
	readings int
	arrival  int64
	// err is the first failure of a message that holds readings of the request.
	err error
	// done takes the answer, once; it never blocks.
	done chan error
}

// queue holds the requests that wait for the next commit.
type queue struct {
	// wake has a value while something may wait.
	wake chan struct{}
	most int

	mu       sync.Mutex
	isOpen   bool
	waiting  []*request
	readings int
}

// newQueue returns a closed queue of that many readings at most.
func newQueue(most int) *queue {
	return &queue{wake: make(chan struct{}, 1), most: most}
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = true
}

// close has put refuse everything from now on. What waits stays.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = false
}

// put adds a request, which will be answered, or returns errBusy or errClosed.
func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case !q.isOpen:
		return errClosed
	case q.readings+r.readings > q.most:
		return errBusy
	}
	q.waiting = append(q.waiting, r)
	q.readings += r.readings
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take empties the queue.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.waiting
	q.waiting, q.readings = nil, 0
	return waiting
}

// requests returns how many requests wait.
func (q *queue) requests() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// len returns how many readings wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.readings
}
