// Package brake slows down those who guess passwords.
package brake

import (
	"net/netip"
	"time"
)

const (
	// most bounds the senders, and the clients, that are remembered.
	most = 4096
	// maxClient bounds the name of a client that is remembered, in bytes.
	maxClient = 128
)

// Brake slows down clients that guess passwords. The clients of one address together
// may send a burst of wrong passwords, then one after each pause. Any password beyond
// that is to be refused without a comparison, even a right one. A client that has logged
// in from its address before is a sender of its own: it still gets in while another one
// behind the same router or proxy guesses. One goroutine only.
type Brake struct {
	burst int
	pause time.Duration
	// free is the time at which a sender that used some of its burst has all of it again.
	free map[Sender]time.Time
	// known are clients that have logged in.
	known map[Sender]bool
}

// Sender is a group of clients that share one burst.
type Sender struct {
	network netip.Prefix
	// client is the name of a known client, else empty.
	client string
}

// New returns a brake that lets a sender send burst wrong passwords at once, then one
// after each pause.
func New(burst int, pause time.Duration) *Brake {
	return &Brake{burst: burst, pause: pause, free: make(map[Sender]time.Time), known: make(map[Sender]bool)}
}

// Sender returns the group that a client at a host belongs to.
func (b *Brake) Sender(host, client string) Sender {
	s := Sender{network: Network(host), client: client}
	if !b.known[s] {
		s.client = ""
	}
	return s
}

// Network is what one household has: an address of IPv4, 64 bits of IPv6. Hosts that
// are not addresses share one network.
func Network(host string) netip.Prefix {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// Known reports whether the sender is a client that has logged in before.
func (s Sender) Known() bool { return s.client != "" }

// Holds reports whether the sender must wait before it sends a password.
func (b *Brake) Holds(s Sender, now time.Time) bool {
	return b.free[s].Sub(now) > time.Duration(b.burst-1)*b.pause
}

// Wrong counts a wrong password.
func (b *Brake) Wrong(s Sender, now time.Time) {
	free := b.free[s]
	if free.Before(now) {
		free = now
		b.makeRoom(now)
	}
	b.free[s] = free.Add(b.pause)
}

// Forgive takes one wrong password back: a caller that compares passwords in parallel counts
// each before the comparison.
func (b *Brake) Forgive(s Sender) { b.free[s] = b.free[s].Add(-b.pause) }

// makeRoom forgets the senders that have their whole burst, or else any sender.
func (b *Brake) makeRoom(now time.Time) {
	if len(b.free) < most {
		return
	}
	for s, free := range b.free {
		if !free.After(now) {
			delete(b.free, s)
		}
	}
	for s := range b.free {
		if len(b.free) < most {
			return
		}
		delete(b.free, s)
	}
}

// Right remembers a client that sent the right password.
func (b *Brake) Right(host, client string) {
	s := Sender{network: Network(host), client: client}
	if s.client == "" || len(s.client) > maxClient || b.known[s] {
		return
	}
	for other := range b.known {
		if len(b.known) < most {
			break
		}
		delete(b.known, other)
	}
	b.known[s] = true
}
