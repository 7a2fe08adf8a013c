package front

import (
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"
)

func TestLimitsHoldForAnAddressAndForAll(t *testing.T) {
	a, b, here := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("127.0.0.1/32")
	now := time.Unix(1_800_000_000, 0)
	l := newLimiter(50, 30, 1)
	enter := func(network netip.Prefix, n int, want error) {
		t.Helper()
		for i := range n {
			if err := l.enter(network, now); !errors.Is(err, want) {
				t.Fatalf("connection %d of %s: %v, want %v", i+1, network, err, want)
			}
		}
	}
	enter(a, burstSeconds, nil)
	enter(a, 1, errRate)
	enter(b, burstSeconds, nil) // another address has a rate of its own
	now = now.Add(time.Second)
	enter(a, 1, nil)
	enter(a, 1, errRate)
	now = now.Add(time.Hour)
	enter(a, burstSeconds, nil)
	now = now.Add(time.Hour)
	enter(a, 30-2*burstSeconds-1, nil)
	enter(a, 1, errConnections)
	enter(here, 50-30-burstSeconds, nil)
	enter(here, 1, errFull)
	l.leave(a)
	enter(here, 1, nil) // this machine has no limits of its own
	enter(b, 1, errFull)
}

func TestLimiterForgetsAddresses(t *testing.T) {
	l := newLimiter(2*maxNetworks, 10, 1)
	now := time.Unix(1_800_000_000, 0)
	network := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	for i := range maxNetworks + 10 {
		if err := l.enter(network(i), now); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			l.leave(network(i))
		}
	}
	if n := len(l.networks); n > maxNetworks {
		t.Errorf("%d addresses are remembered", n)
	}
	if l.networks[network(0)].connections != 1 || l.open != 1 {
		t.Errorf("the connection that is open was forgotten: %+v, %d open", l.networks[network(0)], l.open)
	}
}

func TestOpenFilesBoundConnections(t *testing.T) {
	for files, want := range map[uint64]int{0: math.MaxInt, 1: 1, 1024: 170, 20_000: 6000, 1 << 20: 348_858} {
		if got := connectionsWith(files); got != want {
			t.Errorf("with %d open files %d devices may connect, want %d", files, got, want)
		}
	}
}
