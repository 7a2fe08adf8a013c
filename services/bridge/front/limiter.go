package front

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// burstSeconds is for how many seconds an address may be ahead of its rate.
	burstSeconds = 10
	// maxNetworks bounds the addresses that are remembered.
	maxNetworks = 1 << 16
)

// limiter bounds the connections of each address, and of all. Any number of goroutines may
// use it.
type limiter struct {
	most, mostEach int
	pause          time.Duration

	mu       sync.Mutex // guards what follows
	open     int
	networks map[netip.Prefix]usage
}

// usage is what one address has.
type usage struct {
	connections int
	// free is when it has its whole burst again.
	free time.Time
}

// newLimiter returns a limiter of most connections, mostEach for each address, and of
// rate connects of each address in a second.
func newLimiter(most, mostEach, rate int) *limiter {
	return &limiter{most: most, mostEach: mostEach, pause: time.Second / time.Duration(rate), networks: make(map[netip.Prefix]usage)}
}

// enter counts a connection, or returns why it may not be opened. The limits of an address
// do not hold for this machine: behind a proxy on it, all devices have its address.
func (l *limiter) enter(network netip.Prefix, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		return errFull
	}
	if network.Addr().IsLoopback() {
		l.open++
		return nil
	}
	u, known := l.networks[network]
	if !known {
		l.makeRoom(now)
	}
	if u.free.Before(now) {
		u.free = now
	}
	switch {
	case u.connections >= l.mostEach:
		return errConnections
	case u.free.Sub(now) > (burstSeconds-1)*time.Second:
		return errRate
	}
	u.free = u.free.Add(l.pause)
	u.connections++
	l.networks[network] = u
	l.open++
	return nil
}

// leave counts the end of a connection.
func (l *limiter) leave(network netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if u, known := l.networks[network]; known {
		u.connections--
		l.networks[network] = u
	}
}

// makeRoom forgets the addresses that have neither a connection nor used some of their
// burst, else any that has no connection.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.networks) < maxNetworks {
		return
	}
	for _, busy := range []bool{false, true} {
		for network, u := range l.networks {
			if busy && len(l.networks) < maxNetworks {
				return
			}
			if u.connections == 0 && (busy || !u.free.After(now)) {
				delete(l.networks, network)
			}
		}
	}
}
