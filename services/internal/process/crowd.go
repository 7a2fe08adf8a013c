package process

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxConnections is how many connections to a listener for HTTP one address may have open.
// Everybody behind one router or proxy shares an address.
const maxConnections = 512

// crowd is a listener that closes connections beyond a number for each address, so that
// one client that opens thousands, or opens them and sends nothing, does not keep the
// others out. This machine has no such bound: a proxy here would be one client.
type crowd struct {
	net.Listener

	most    int
	refused prometheus.Counter

	mu   sync.Mutex
	open map[netip.Prefix]int // guarded by mu
}

func newCrowd(l net.Listener, most int, refused prometheus.Counter) *crowd {
	return &crowd{Listener: l, most: most, refused: refused, open: make(map[netip.Prefix]int)}
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := Network(conn.RemoteAddr().String())
		if !from.IsValid() {
			return conn, nil
		}
		if c.enter(from) {
			return &guest{Conn: conn, leave: sync.OnceFunc(func() { c.leave(from) })}, nil
		}
		c.refused.Inc()
		_ = conn.Close() // An error means that it is closed.
	}
}

func (c *crowd) enter(from netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from] >= c.most {
		return false
	}
	c.open[from]++
	return true
}

func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from]--; c.open[from] <= 0 {
		delete(c.open, from)
	}
}

// guest is a connection that is counted.
type guest struct {
	net.Conn

	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}

// Network returns what one household has, from host:port: an address of IPv4, 64 bits of
// IPv6. It is not valid for this machine, and for what is not an address.
func Network(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	addr := at.Addr().Unmap().WithZone("")
	if err != nil || addr.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(addr, bits).Masked()
}
