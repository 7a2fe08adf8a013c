package front

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAClientWaitsForItsDevice has a message wait because its device sends too much. What comes
// after it on the connection waits too, and nothing is lost.
func TestAClientWaitsForItsDevice(t *testing.T) {
	loud, other := publishing("sensors/hall/loud/t", 5), publishing("sensors/hall/other/t", 5)
	for _, test := range []struct {
		name       string
		wait, want time.Duration
		keepAlive  uint16
	}{
		{"not at all", 0, 0, 60},
		{"until it has paid", 700 * time.Millisecond, 700 * time.Millisecond, 60},
		{"not without end", time.Hour, longestHold, 0},
		{"so that its connection stays alive", time.Hour, time.Second, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, out := deps(), new(tape)
				start := time.Now()
				d.Wait = func(topic string) time.Duration {
					if topic != "sensors/hall/loud/t" {
						return 0
					}
					if test.wait > 0 && !bytes.Equal(out.out.Bytes(), other) {
						t.Errorf("what was read before is not passed on: %q", out.out.Bytes())
					}
					return test.wait
				}
				in := &tape{pieces: [][]byte{other, loud, other}}
				s := newSession(newFront(t, d), in, "192.0.2.1")
				s.connect.level, s.connect.keepAlive = level311, test.keepAlive
				s.up.src, s.up.dst = in, out
				_ = s.up.move() // until the end of the tape
				if got := time.Since(start); got != test.want {
					t.Errorf("it waited %s, want %s", got, test.want)
				}
				if want := bytes.Join([][]byte{other, loud, other}, nil); !bytes.Equal(out.out.Bytes(), want) {
					t.Errorf("passed on is %q, want %q", out.out.Bytes(), want)
				}
			})
		})
	}
}

// TestAFrontStopsWhileAClientWaits must not pass on the message, which the client then sends
// again, and must not wait for it.
func TestAFrontStopsWhileAClientWaits(t *testing.T) {
	d := deps()
	d.Wait = func(string) time.Duration { return time.Hour }
	stopping := make(chan struct{})
	close(stopping)
	in, out := &tape{pieces: [][]byte{publishing("a", 5)}}, new(tape)
	s := newSession(newFront(t, d), in, "192.0.2.1")
	s.stopping, s.connect.level, s.up.src, s.up.dst = stopping, level311, in, out
	if err := s.up.move(); !errors.Is(err, errStopping) || out.out.Len() > 0 {
		t.Errorf("%v, passed on is %q", err, out.out.Bytes())
	}
}
