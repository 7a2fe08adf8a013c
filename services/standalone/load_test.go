package main

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// load publishes n readings over the connections, as fast as the window of each allows,
// and returns when all are sent and, with QoS 1, acknowledged. It uses the packets of the
// Paho client without its goroutines for each message, so that the load itself uses little
// of the machine.
type load struct {
	// addresses are the servers, which the connections use in turn.
	addresses   []string
	connections int
	// window is how many readings of a connection may wait for their
	// acknowledgement.
	window int
	qos    byte
	// devices report in turn; their readings are a millisecond apart.
	devices int
	// from is the event time of the first reading.
	from time.Time
}

func (l load) run(tb testing.TB, n int) {
	tb.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, l.connections)
	for c := range l.connections {
		wg.Go(func() {
			if err := l.connection(c, n); err != nil {
				errs <- fmt.Errorf("connection %d: %w", c, err)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		tb.Fatal(err)
	default:
	}
}

// connection publishes the readings c, c + connections, c + 2 connections...
func (l load) connection(c, n int) error {
	conn, err := net.Dial("tcp", l.addresses[c%len(l.addresses)])
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		return err
	}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession = "MQTT", 4, true
	connect.ClientIdentifier, connect.Keepalive = fmt.Sprintf("load-%d-%d", l.qos, c), 60
	if err := connect.Write(conn); err != nil {
		return err
	}
	r, w := bufio.NewReaderSize(conn, 16<<10), bufio.NewWriterSize(conn, 16<<10)
	if packet, err := packets.ReadPacket(r); err != nil {
		return err
	} else if ack, ok := packet.(*packets.ConnackPacket); !ok || ack.ReturnCode != 0 {
		return fmt.Errorf("connection refused: %v", packet)
	}
	mine := (n - c + l.connections - 1) / l.connections
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.Qos = l.qos
	sent, acked := 0, 0
	for acked < mine {
		for sent < mine && sent-acked < l.window {
			i := c + sent*l.connections
			publish.MessageID = uint16(sent%65535) + 1
			publish.TopicName = fmt.Sprintf("sensors/bench/device-%04d/temperature", i%l.devices)
			publish.Payload = fmt.Appendf(publish.Payload[:0], `{"value":%d.%d,"ts":%d}`, 20+i%7, i%10, l.from.UnixMilli()+int64(i/l.devices))
			if err := publish.Write(w); err != nil {
				return err
			}
			sent++
			if l.qos == 0 {
				acked++
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if l.qos == 0 {
			continue
		}
		// Wait for one acknowledgement, then take the others that came with it.
		for first := true; acked < sent && (first || r.Buffered() >= 4); first = false {
			if _, err := packets.ReadPacket(r); err != nil {
				return fmt.Errorf("after %d of %d: %w", acked, mine, err)
			}
			acked++
		}
	}
	return nil
}
