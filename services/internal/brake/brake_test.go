package brake

import (
	"fmt"
	"testing"
	"time"
)

const (
	burst = 10
	pause = time.Second
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// device is a client at a host.
type device struct{ host, id string }

// guesses sends that many wrong passwords and returns how many were looked at.
func guesses(b *Brake, d device, now time.Time, count int) (seen int) {
	for range count {
		s := b.Sender(d.host, d.id)
		if !b.Holds(s, now) {
			b.Wrong(s, now)
			seen++
		}
	}
	return seen
}

func TestGuessesAreSlow(t *testing.T) {
	b := New(burst, pause)
	d := device{"203.0.113.7", "guesser"}
	if seen := guesses(b, d, midnight, 1000); seen != burst {
		t.Errorf("%d guesses were looked at, want %d", seen, burst)
	}
	seen := 0
	for i := range 1000 {
		seen += guesses(b, d, midnight.Add(time.Duration(i)*10*time.Millisecond), 1)
	}
	if seen < 9 || seen > 10 {
		t.Errorf("%d guesses were looked at within 10 s, want one a second", seen)
	}
	if seen := guesses(b, d, midnight.Add(time.Hour), 1000); seen != burst {
		t.Errorf("%d guesses were looked at after an hour, want %d", seen, burst)
	}
}

func TestWhoSharesABrake(t *testing.T) {
	for _, test := range []struct {
		name, guesser, other string
		shared               bool
	}{
		{"the same address", "203.0.113.7", "203.0.113.7", true},
		{"a neighbour by IPv4", "203.0.113.7", "203.0.113.8", false},
		{"mapped", "203.0.113.7", "::ffff:203.0.113.7", true},
		{"the same network by IPv6", "2001:db8:1:2::1", "2001:db8:1:2:aaaa::9", true},
		{"another network by IPv6", "2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"with a zone", "fe80::1%eth0", "fe80::2%eth1", true},
		{"no addresses", "", "nonsense", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := New(burst, pause)
			guesses(b, device{test.guesser, "guesser"}, midnight, 100)
			if held := b.Holds(b.Sender(test.other, "other"), midnight); held != test.shared {
				t.Errorf("held is %t, want %t", held, test.shared)
			}
		})
	}
}

// TestKnownDeviceGetsIn has somebody guess from the address of a device that has
// logged in before.
func TestKnownDeviceGetsIn(t *testing.T) {
	b := New(burst, pause)
	door := device{"203.0.113.7", "door-1"}
	b.Right(door.host, door.id)
	guesses(b, device{"203.0.113.7", "guesser"}, midnight, 1000)
	if b.Holds(b.Sender(door.host, door.id), midnight) {
		t.Error("a known device is held by the guesses of another one")
	}
	if !b.Holds(b.Sender("203.0.113.7", "door-2"), midnight) {
		t.Error("a device that nobody knows is not held")
	}
	if b.Holds(b.Sender("203.0.113.8", "door-1"), midnight) {
		t.Error("a device elsewhere is held")
	}
	// With the client id of a known device nobody guesses faster either.
	if seen := guesses(b, door, midnight, 1000); seen != burst {
		t.Errorf("%d guesses were looked at, want %d", seen, burst)
	}
}

func TestBrakeIsBounded(t *testing.T) {
	b := New(burst, pause)
	for i := range 3 * most {
		d := device{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "c"}
		guesses(b, d, midnight, 1)
		b.Right(d.host, d.id)
	}
	if len(b.free) > most || len(b.known) > most {
		t.Errorf("%d senders and %d devices are remembered, want %d at most", len(b.free), len(b.known), most)
	}
	// Those that have waited make room first.
	late := midnight.Add(time.Minute)
	guesses(b, device{"192.0.2.1", ""}, late, 1)
	if len(b.free) != 1 {
		t.Errorf("%d senders are remembered after a minute, want 1", len(b.free))
	}
}
