package bridge_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/bridge"
	"headwater/streams/streamtest"
)

// standBy starts a bridge that stands by for the one that carries.
func (w *world) standBy(t *testing.T, edit ...func(*bridge.Config, *bridge.Deps)) *running {
	t.Helper()
	r := w.startUnready(t, edit...)
	streamtest.Eventually(t, "the bridge stands by", func() bool { return r.Ready() == nil })
	if r.value(t, "headwater_bridge_leases", "") != 0 {
		t.Error("two bridges carry messages")
	}
	return r
}

// TestStandbyTakesOver has a bridge take over from one that stops, and from one that is
// killed, while devices publish: what was acknowledged to them is stored, each reading
// once, and no connection is closed. TestTakeoverTime bounds how long it takes.
func TestStandbyTakesOver(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	var core *nats.Conn
	first := w.start(t, noLogins)
	second := w.standBy(t, noLogins, func(_ *bridge.Config, deps *bridge.Deps) { core = deps.JS.Conn() })
	l := w.publishLoad(t, 8)
	l.more(t, 1000)

	stopped := time.Now()
	first.stop(t)
	drained := time.Since(stopped)
	second.carries(t)
	t.Logf("the standby carries %s after the first was stopped, which took %s to drain", time.Since(stopped), drained)
	l.more(t, 1000)

	// As with kill -9: it does not release its lease, and nothing that is under way
	// arrives.
	third := w.standBy(t, noLogins)
	l.allUntilNow(t)
	killed := time.Now()
	second.devices.Close()
	core.Close()
	third.carries(t)
	t.Logf("the standby carries %s after the kill", time.Since(killed))
	l.more(t, 1000)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

// TestZombieBridge cuts a bridge off from the services alone: it still reads what devices
// send, and must acknowledge nothing that it could not store.
func TestZombieBridge(t *testing.T) {
	w := newWorld(t)
	w.answerLogins(t)
	var core *nats.Conn
	w.start(t, noLogins, func(_ *bridge.Config, deps *bridge.Deps) { core = deps.JS.Conn() })
	heir := w.standBy(t, noLogins)
	l := w.publishLoad(t, 4)
	l.more(t, 500)
	core.Close()
	heir.carries(t)
	l.more(t, 500)
	w.checkExactlyOnce(t, l)
	w.checkClock(t)
}

// TestStandbyAnswersLogins shows that devices get in by a bridge that only
// stands by.
func TestStandbyAnswersLogins(t *testing.T) {
	w := newWorld(t)
	w.start(t, noLogins)
	w.standBy(t)
	c := w.device(t, "d")
	for n := range 3 {
		publish(t, c, 0, "sensors/hall/d/m", strconv.Itoa(n))
		publish(t, c, 1, "sensors/hall/d/n", strconv.Itoa(n))
	}
	streamtest.Eventually(t, "each message is stored", func() bool { return len(w.readings(t)) >= 6 })
	if got := w.readings(t); len(got) != 6 {
		t.Errorf("%d readings of 6: %q", len(got), got)
	}
}
