package front

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"headwater/streams/streamtest"
)

// TestNetworksTakeTurns has many clients of one network wait, and few of others.
func TestNetworksTakeTurns(t *testing.T) {
	g := newGate(1)
	network := func(name byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, name}), 32) }
	if g.join(network('a')) != nil {
		t.Fatal("the first one waits")
	}
	waiting := make(map[string]*waiter)
	for _, c := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
		if waiting[c] = g.join(network(c[0])); waiting[c] == nil {
			t.Fatalf("%s does not wait", c)
		}
	}
	for _, c := range []string{"a2", "c1"} {
		if !g.quit(waiting[c]) {
			t.Errorf("%s cannot go", c)
		}
		delete(waiting, c)
	}
	var order []string
	for range 5 {
		g.leave()
		for name, w := range waiting {
			select {
			case <-w.turn:
				order = append(order, name)
				delete(waiting, name)
				if g.quit(w) {
					t.Errorf("%s goes and has its turn", name)
				}
			default:
			}
		}
	}
	if want := []string{"a1", "b1", "a3", "b2", "a4"}; !slices.Equal(order, want) {
		t.Errorf("they have their turns as %v, want %v", order, want)
	}
	g.leave()
	if g.free != 1 || len(g.lines) > 0 || g.turns.Len() > 0 {
		t.Errorf("%d are free, %d lines are left", g.free, len(g.lines))
	}
}

// TestConnectsAtOnceAreBounded has more clients connect than nats-server gets to see at a
// time. All of them are let in in the end.
func TestConnectsAtOnceAreBounded(t *testing.T) {
	server, d := newFake(t), deps()
	server.hold = make(chan struct{})
	d.Server = server.Addr().String()
	var f *Front
	dial, refused := serve(t, d, time.Minute, func(front *Front) { f, front.patience = front, time.Minute })
	const more = 20
	var clients []net.Conn
	for i := range connectsAtOnce + more {
		conn := dial()
		if _, err := conn.Write(connecting(4, fmt.Sprint("c", i))); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, conn)
	}
	streamtest.Eventually(t, "the others wait", func() bool {
		f.gate.mu.Lock()
		defer f.gate.mu.Unlock()
		waiting := 0
		for _, line := range f.gate.lines {
			waiting += line.Len()
		}
		return waiting == more
	})
	if n := len(server.all()); n > connectsAtOnce {
		t.Errorf("nats-server sees %d connects at a time", n)
	}
	close(server.hold)
	for i, conn := range clients {
		answer := make([]byte, 4)
		if _, err := io.ReadFull(conn, answer); err != nil || answer[3] != 0 {
			t.Fatalf("client %d is answered %x, %v", i, answer, err)
		}
	}
	select {
	case r := <-refused:
		t.Errorf("refused: %+v", r)
	default:
	}
}

// TestWaitingIsBounded has clients wait for a turn that does not come.
func TestWaitingIsBounded(t *testing.T) {
	d := deps()
	d.Server = newFake(t).Addr().String()
	dial, refused := serve(t, d, time.Minute, func(f *Front) {
		f.patience = 10 * time.Millisecond
		for range connectsAtOnce {
			f.gate.join(netip.Prefix{})
		}
	})
	for level, want := range map[byte][]byte{4: {0x20, 2, 0, 3}, 5: {0, codeBusy}} {
		out := exchange(t, dial(), connecting(level, "a"))
		if level == 4 && !slices.Equal(out, want) || level == 5 && (len(out) < 4 || !slices.Equal(out[2:4], want)) {
			t.Errorf("level %d: the answer is %x", level, out)
		}
		if r := <-refused; r.Reason != ReasonBusy || r.Client != "a" {
			t.Errorf("refused for %+v", r)
		}
	}
}
