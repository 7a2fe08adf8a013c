package load_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
)

// serve is a server of MQTT that acknowledges as many readings of each
// connection and closes it at the next one; it hands on what it was sent.
func serve(t *testing.T, acks int, got chan<- packets.PublishPacket) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn, acks, got)
			hangUp(conn.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// hangUp closes a connection after the device has read all answers: closing it while
// there is something unread resets it, and the answers may be lost.
func hangUp(conn *net.TCPConn) {
	_ = conn.CloseWrite()            // An error means that the device has closed it,
	_, _ = io.Copy(io.Discard, conn) // and so does one here.
	_ = conn.Close()
}

func answer(conn net.Conn, acks int, got chan<- packets.PublishPacket) {
	for {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch p := packet.(type) {
		case *packets.ConnectPacket:
			err = packets.NewControlPacket(packets.Connack).Write(conn)
		case *packets.PublishPacket:
			got <- *p
			if acks == 0 {
				return
			}
			acks--
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = p.MessageID
			err = ack.Write(conn)
		}
		if err != nil {
			return
		}
	}
}

// TestDeviceResumesAtAnotherServer has a device whose first server fails after
// one acknowledgement: what was not acknowledged is sent to the second one, in
// order.
func TestDeviceResumesAtAnotherServer(t *testing.T) {
	const readings = 5
	first, second := make(chan packets.PublishPacket, readings), make(chan packets.PublishPacket, readings)
	addresses := []string{serve(t, 1, first), serve(t, readings, second)}
	book, in := oracle.NewBook(), make(chan load.Reading, readings)
	series := oracle.Series{Device: "d", Metric: "n"}
	var want []string
	for n := range readings {
		id, at := book.Issue(series, time.Unix(int64(n+1), 0), float64(n))
		in <- load.Reading{ID: id, Series: series, Time: at, Value: float64(n)}
		want = append(want, string(payload(n)))
	}
	close(in)
	d := &load.Device{Addresses: addresses, ID: "d", In: in, Window: 2, Acked: func(r load.Reading) { book.Ack(r.ID) }}
	d.Run(t.Context())
	if issued, acked := book.Totals(); acked != issued {
		t.Errorf("%d of %d readings are acknowledged", acked, issued)
	}
	if d.At() != addresses[1] || d.Connects() != 2 || !d.Newest().Equal(time.Unix(readings, 0)) {
		t.Errorf("it is at %s after %d connections, newest reading %s", d.At(), d.Connects(), d.Newest())
	}
	close(second)
	var got []string
	for p := range second {
		got = append(got, string(p.Payload))
	}
	if !slices.Equal(got, want[1:]) {
		t.Errorf("the second server got %q, want %q", got, want[1:])
	}
}

func payload(n int) []byte {
	return []byte(`{"value":` + string(rune('0'+n)) + `,"ts":` + string(rune('1'+n)) + `000000000}`)
}
