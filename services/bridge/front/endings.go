package front

import "sync"

// endings are the sessions that nats-server keeps, and that end with their connection, by
// client id. Any number of goroutines may use it.
type endings struct {
	mu   sync.Mutex
	byID map[string]*ending // guarded by mu
}

// ending is the end of one session.
type ending struct {
	// begun is set while the session is ended. It is guarded by the mutex of endings.
	begun bool
	done  chan struct{} // closed when it has ended
}

func newEndings() *endings { return &endings{byID: make(map[string]*ending)} }

// add notes that a session ends with its connection.
func (e *endings) add(client string) *ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := &ending{done: make(chan struct{})}
	e.byID[client] = end
	return end
}

// take has a new connection of a client take over its session, which does not end then. It
// returns what the connection has to wait for if the session is just being ended, else nil.
func (e *endings) take(client string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := e.byID[client]
	switch {
	case end == nil:
		return nil
	case end.begun:
		return end.done
	}
	delete(e.byID, client)
	return nil
}

// begin reports whether the session is to be ended: no other connection has taken it over.
func (e *endings) begin(client string, end *ending) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	end.begun = e.byID[client] == end
	return end.begun
}

// finish forgets the session.
func (e *endings) finish(client string, end *ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byID[client] == end {
		delete(e.byID, client)
	}
	close(end.done)
}
