package process

import (
	"errors"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// street is a listener to which connections come from made-up addresses.
type street struct {
	net.Listener

	arriving []string
}

var errStreetIsEmpty = errors.New("nobody comes")

// Accept implements net.Listener.
func (s *street) Accept() (net.Conn, error) {
	if len(s.arriving) == 0 {
		return nil, errStreetIsEmpty
	}
	from := s.arriving[0]
	s.arriving = s.arriving[1:]
	addr, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		return nil, err
	}
	one, other := net.Pipe()
	return &walker{Conn: one, from: addr, other: other}, nil
}

type walker struct {
	net.Conn

	other  net.Conn
	from   net.Addr
	closed int
}

func (w *walker) RemoteAddr() net.Addr { return w.from }

func (w *walker) Close() error {
	w.closed++
	return errors.Join(w.Conn.Close(), w.other.Close())
}

// TestOneAddressCannotKeepOthersOut opens more connections from one address than it may
// have. Others still get in, and so does the address itself when it has closed some.
func TestOneAddressCannotKeepOthersOut(t *testing.T) {
	s := &street{}
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	c := newCrowd(s, 3, refused)
	accept := func(from ...string) (in []net.Conn) {
		t.Helper()
		s.arriving = from
		for {
			conn, err := c.Accept()
			if err != nil {
				return in
			}
			in = append(in, conn)
		}
	}
	first := accept("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:4", "[::ffff:192.0.2.1]:5")
	if len(first) != 3 || testutil.ToFloat64(refused) != 2 {
		t.Fatalf("%d got in, %v were refused", len(first), testutil.ToFloat64(refused))
	}
	if others := accept("192.0.2.2:1", "[2001:db8:0:1::1]:1", "[2001:db8:0:1::2]:1", "[2001:db8:0:1::3]:1", "[2001:db8:0:1::4]:1"); len(others) != 4 {
		t.Errorf("%d of others got in, want 4", len(others))
	}
	if here := accept("127.0.0.1:1", "127.0.0.1:2", "[::1]:3", "127.0.0.1:4", "127.0.0.1:5"); len(here) != 5 {
		t.Errorf("%d from this machine got in, want 5", len(here))
	}
	for range 2 { // a connection may be closed more than once
		if err := first[0].Close(); err != nil {
			t.Log(err)
		}
	}
	if again := accept("192.0.2.1:6", "192.0.2.1:7"); len(again) != 1 {
		t.Errorf("%d got in after one was closed, want 1", len(again))
	}
}
