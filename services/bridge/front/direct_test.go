package front

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/streams"
)

// TestNatsServerHearsOfTheClient has a client send only what the front stores: nats-server must
// not take it for dead, and the client must not hear of what the front asks for it.
func TestNatsServerHearsOfTheClient(t *testing.T) {
	f := newFront(t, deps())
	var sent []*nats.Msg
	f.direct = &direct{
		send:  func(m *nats.Msg) error { sent = append(sent, m); return nil },
		count: prometheus.NewCounter(prometheus.CounterOpts{Name: "n"}), waiting: map[int64]*delivery{},
	}
	client, up := &tape{pieces: [][]byte{publishing("sensors/a/b/c", 3), publishing("sensors/a/b/c", 3)}}, new(tape)
	s := newSession(f, client, "192.0.2.1")
	s.connect.level, s.connect.keepAlive = level311, 60
	s.mayPublish = func(subject string) bool { return subject == "sensors.a.b.c" }
	s.pinged = time.Now().Add(-16 * time.Second)
	s.up.src, s.up.dst = client, up
	_ = s.up.move() // until the end of the tape
	if !bytes.Equal(up.out.Bytes(), []byte{typePingReq << 4, 0}) {
		t.Errorf("nats-server got %x, want one PINGREQ", up.out.Bytes())
	}
	if len(sent) != 4 || sent[0].Subject != "sensors.a.b.c" || sent[1].Subject != streams.MQTTStoredSubject("sensors.a.b.c") || sent[1].Reply == sent[3].Reply {
		t.Errorf("published %v", sent)
	}
	server, down := &tape{pieces: [][]byte{{typePingResp << 4, 0, typePingResp << 4, 0}}}, new(tape)
	s.down.src, s.down.dst = server, down
	_ = s.down.move()
	if !bytes.Equal(down.out.Bytes(), []byte{typePingResp << 4, 0}) {
		t.Errorf("the client got %x, want the PINGRESP that it asked for", down.out.Bytes())
	}
	if late := f.direct.late(time.Now()); len(late) != 0 {
		t.Errorf("%d messages are late at once", len(late))
	}
	if late := f.direct.late(time.Now().Add(streams.AnswerTimeout)); len(late) != 2 {
		t.Errorf("%d messages without an answer are late, want 2", len(late))
	}
}
