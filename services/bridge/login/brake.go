package login

import (
	"net/netip"
	"time"
)

const (
	// brakeBurst is how many wrong passwords a sender may send at once.
	brakeBurst = 10
	// brakePause is the time until it may send another one.
	brakePause = time.Second
	// brakeMost bounds the senders, and the devices, that are remembered.
	brakeMost = 4096
	// brakeClient bounds the client id of a device that is remembered, in bytes.
	brakeClient = 128
)

// brake slows down clients that guess passwords. The clients of one address together
// may send brakeBurst wrong passwords, then one every brakePause. Any password beyond
// that is refused without a comparison, even a right one. A client that has logged in
// from its address before is a sender of its own: it still gets in while another one
// behind the same router or proxy guesses. One goroutine only.
type brake struct {
	// free is the time at which a sender that used some of its burst has all of it again.
	free map[sender]time.Time
	// known are devices that have logged in.
	known map[sender]bool
}

// sender is a group of clients that share one burst.
type sender struct {
	network netip.Prefix
	// client is the client id of a known device, else empty.
	client string
}

func newBrake() *brake {
	return &brake{free: make(map[sender]time.Time), known: make(map[sender]bool)}
}

// sender returns the group that a client belongs to.
func (b *brake) sender(d Device) sender {
	s := sender{network: network(d.Host), client: d.ClientID}
	if !b.known[s] {
		s.client = ""
	}
	return s
}

// network is what one household has: an address of IPv4, 64 bits of IPv6. Hosts that
// are not addresses share one network.
func network(host string) netip.Prefix {
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

// holds reports whether the sender must wait before it sends a password.
func (b *brake) holds(s sender, now time.Time) bool {
	return b.free[s].Sub(now) > (brakeBurst-1)*brakePause
}

// wrong counts a wrong password.
func (b *brake) wrong(s sender, now time.Time) {
	free := b.free[s]
	if free.Before(now) {
		free = now
		b.makeRoom(now)
	}
	b.free[s] = free.Add(brakePause)
}

// makeRoom forgets the senders that have their whole burst, or else any sender.
func (b *brake) makeRoom(now time.Time) {
	if len(b.free) < brakeMost {
		return
	}
	for s, free := range b.free {
		if !free.After(now) {
			delete(b.free, s)
		}
	}
	for s := range b.free {
		if len(b.free) < brakeMost {
			return
		}
		delete(b.free, s)
	}
}

// right remembers a client that sent the right password.
func (b *brake) right(d Device) {
	s := sender{network: network(d.Host), client: d.ClientID}
	if s.client == "" || len(s.client) > brakeClient || b.known[s] {
		return
	}
	for other := range b.known {
		if len(b.known) < brakeMost {
			break
		}
		delete(b.known, other)
	}
	b.known[s] = true
}
