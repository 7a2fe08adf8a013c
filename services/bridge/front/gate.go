package front

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// connectsAtOnce is how many connects nats-server works on at a time. Each costs
	// signatures and, for a session that stays, a sync of the disk; more of them at once are
	// no faster, and hold up the messages of the devices that are connected.
	connectsAtOnce = 16
	// turnWithin is how long a client may wait for its turn. It is shorter than most clients
	// wait for their answer.
	turnWithin = 10 * time.Second
)

// gate bounds the connects that nats-server works on at a time. The others wait, each
// network in a line of its own, and the lines take turns: so many clients at one address
// hold up each other. Any number of goroutines may use it.
type gate struct {
	mu   sync.Mutex // guards what follows
	free int
	// lines holds the clients that wait, turns the networks that have some of them, the
	// next one first.
	lines map[netip.Prefix]*list.List // of *waiter
	turns list.List                   // of netip.Prefix
}

// waiter is a client that waits for its turn.
type waiter struct {
	network netip.Prefix
	at      *list.Element
	turn    chan struct{} // closed when it has come
}

func newGate(most int) *gate { return &gate{free: most, lines: make(map[netip.Prefix]*list.List)} }

// enter waits for a turn, for which leave must be called; or it returns errBusy.
func (g *gate) enter(ctx context.Context, network netip.Prefix, patience time.Duration) error {
	w := g.join(network)
	if w == nil {
		return nil
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-w.turn:
		return nil
	case <-timeout.C:
	case <-ctx.Done():
	}
	if !g.quit(w) {
		return nil // its turn has come meanwhile
	}
	return errBusy
}

// join returns nil for a client whose turn has come, else it joins the line.
func (g *gate) join(network netip.Prefix) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free > 0 {
		g.free--
		return nil
	}
	line := g.lines[network]
	if line == nil {
		line = list.New()
		g.lines[network] = line
		g.turns.PushBack(network)
	}
	w := &waiter{network: network, turn: make(chan struct{})}
	w.at = line.PushBack(w)
	return w
}

// quit takes a client out of its line. It returns false if its turn has come.
func (g *gate) quit(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.at == nil {
		return false
	}
	g.lines[w.network].Remove(w.at) // an empty line is removed when it is its turn
	return true
}

// leave ends a turn.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.turns.Front(); e != nil; e = g.turns.Front() {
		network := e.Value.(netip.Prefix)
		line := g.lines[network]
		first := line.Front()
		if first == nil {
			delete(g.lines, network)
			g.turns.Remove(e)
			continue
		}
		g.turns.MoveToBack(e)
		w := line.Remove(first).(*waiter)
		w.at = nil
		close(w.turn)
		return
	}
	g.free++
}
