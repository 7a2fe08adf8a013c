package gateway

import (
	"errors"
	"sync"

	"headwater/services/decode"
)

var (
	// errBusy is returned by put while the queue is full.
	errBusy = errors.New("too many readings wait for the stream")
	// errClosed is returned by put before the gateway has found the streams, and while
	// it stops.
	errClosed = errors.New("the gateway is starting or stopping")
)

// request is a request that waits for a commit. The committer owns it until it is
// answered.
type request struct {
	// items have no errors.
	items    []decode.Item
	readings int
	arrival  int64
	// decide says that the lanes are to decide about the devices of the items; places are
	// then where the readings are stored.
	decide bool
	places []place
	// err is the first error of a message with readings of the request.
	err error
	// done gets the answer, once. It has room for it.
	done chan error
}

// queue holds the requests that wait for the next commit.
type queue struct {
	// wake has a value when a request was added.
	wake chan struct{}
	most int

	mu       sync.Mutex
	isOpen   bool
	waiting  []*request
	readings int
}

// newQueue returns a closed queue for at most that many readings.
func newQueue(most int) *queue {
	return &queue{wake: make(chan struct{}, 1), most: most}
}

func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isOpen = true
}

// close makes put refuse everything from now on. The waiting requests stay.
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
	case q.readings > 0 && q.readings+r.readings > q.most:
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
