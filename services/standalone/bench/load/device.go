package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"headwater/services/internal/process"
	"headwater/services/standalone/bench/oracle"
)

// Reading is one reading to be sent.
type Reading struct {
	ID     oracle.ID
	Series oracle.Series
	// Time is the event time, in nanoseconds since the Unix epoch; 0 sends none.
	Time  int64
	Value float64
	// planted, if set, is the payload to send in place of the reading. It is in no book.
	planted string
}

func (r Reading) topic() string {
	return fmt.Sprintf("sensors/%s/%s/%s", Site, r.Series.Device, r.Series.Metric)
}

func (r Reading) payload() []byte {
	if r.planted != "" {
		return []byte(r.planted)
	}
	if r.Time == 0 {
		return fmt.Appendf(nil, "%v", r.Value)
	}
	return fmt.Appendf(nil, `{"value":%v,"ts":%d}`, r.Value, r.Time)
}

// Device is an MQTT client with a session that outlives its connections. It sends again
// what was not acknowledged, in order, for as long as it takes.
type Device struct {
	// Addresses are the servers. When a connection ends, the device tries the next one.
	Addresses []string
	// ID is the client identifier.
	ID string
	In <-chan Reading
	// Window is how many readings may wait for their acknowledgement.
	Window int
	// Acked is called for each acknowledged reading.
	Acked func(Reading)

	// newest is the latest time of an acknowledged reading.
	connects, newest atomic.Int64
	// at is the index, from 1, of the connected address; 0 while there is no connection.
	at atomic.Int64
	// turn counts the addresses that were tried.
	turn int

	// waiting are readings that were sent but not acknowledged, oldest first.
	waiting []waiting
	last    uint16
}

type waiting struct {
	packet uint16
	Reading
}

const (
	// Patience is how long a device waits for an acknowledgement or a connection before it
	// reconnects.
	Patience = 10 * time.Second
	// reconnect is the pause between two attempts.
	reconnect = 300 * time.Millisecond
)

// Run sends until In is closed and everything is acknowledged, or ctx ends.
func (d *Device) Run(ctx context.Context) {
	for ctx.Err() == nil {
		address := d.turn % len(d.Addresses)
		d.turn++
		d.at.Store(0)
		if d.session(ctx, address) {
			return
		}
		process.Sleep(ctx, reconnect)
	}
}

// Connects returns the number of its connections so far.
func (d *Device) Connects() int64 { return d.connects.Load() }

// Newest returns the latest time of an acknowledged reading.
func (d *Device) Newest() time.Time { return time.Unix(0, d.newest.Load()) }

// At returns the address of the connected server, or "" while there is no connection.
func (d *Device) At() string {
	if at := d.at.Load(); at > 0 {
		return d.Addresses[at-1]
	}
	return ""
}

// session uses one connection. It returns true when nothing is left to send.
func (d *Device) session(ctx context.Context, address int) (done bool) {
	conn, err := net.DialTimeout("tcp", d.Addresses[address], Patience)
	if err != nil {
		return false
	}
	defer conn.Close()
	// When ctx ends, every read and write fails.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r, w := bufio.NewReaderSize(conn, 4<<10), bufio.NewWriterSize(conn, 16<<10)
	if err := d.connect(conn, r); err != nil {
		return false
	}
	d.connects.Add(1)
	d.at.Store(int64(address) + 1)
	acks := make(chan uint16, d.Window)
	gone := make(chan struct{})
	defer func() {
		_ = conn.Close()
		<-gone
		// Acknowledgements that came before the connection ended count.
		close(acks)
		for packet := range acks {
			d.settle(packet)
		}
		done = done || d.In == nil && len(d.waiting) == 0
	}()
	go func() {
		defer close(gone)
		readAcks(r, acks)
	}()
	for _, again := range d.waiting {
		if d.publish(w, again, true) != nil {
			return false
		}
	}
	return d.exchange(ctx, conn, w, acks, gone)
}

// connect logs in within Patience.
func (d *Device) connect(conn net.Conn, r *bufio.Reader) error {
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion = "MQTT", 4
	connect.ClientIdentifier = d.ID
	if err := connect.Write(conn); err != nil {
		return err
	}
	packet, err := packets.ReadPacket(r)
	if err != nil {
		return err
	}
	if ack, ok := packet.(*packets.ConnackPacket); !ok || ack.ReturnCode != packets.Accepted {
		return fmt.Errorf("connection refused: %v", packet)
	}
	return conn.SetDeadline(time.Time{})
}

// readAcks forwards acknowledgements until the connection ends. The channel has room for
// all of them.
func readAcks(r io.Reader, acks chan<- uint16) {
	for {
		packet, err := packets.ReadPacket(r)
		if err != nil {
			return
		}
		if ack, ok := packet.(*packets.PubackPacket); ok {
			select {
			case acks <- ack.MessageID:
			default:
				return
			}
		}
	}
}

func (d *Device) exchange(ctx context.Context, conn net.Conn, w *bufio.Writer, acks <-chan uint16, gone <-chan struct{}) (done bool) {
	idle := time.NewTimer(Patience)
	defer idle.Stop()
	in := d.In
	for {
		next := in
		if len(d.waiting) >= d.Window {
			next = nil
		}
		if len(next) == 0 {
			_ = conn.SetWriteDeadline(time.Now().Add(Patience))
			if w.Flush() != nil {
				return false
			}
		}
		select {
		case r, more := <-next:
			if !more {
				in = nil
				if len(d.waiting) == 0 {
					return true
				}
				// A closed channel is always ready, so stop receiving from it.
				d.In = nil
				continue
			}
			d.last = d.last%65535 + 1
			d.waiting = append(d.waiting, waiting{d.last, r})
			if d.publish(w, d.waiting[len(d.waiting)-1], false) != nil {
				return false
			}
		case packet := <-acks:
			idle.Reset(Patience)
			d.settle(packet)
			if d.In == nil && len(d.waiting) == 0 {
				return true
			}
		case <-idle.C:
			if len(d.waiting) > 0 {
				return false
			}
			idle.Reset(Patience)
		case <-gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (d *Device) settle(packet uint16) {
	for i, w := range d.waiting {
		if w.packet == packet {
			d.newest.Store(max(d.newest.Load(), w.Time))
			d.Acked(w.Reading)
			d.waiting = append(d.waiting[:i], d.waiting[i+1:]...)
			return
		}
	}
}

func (d *Device) publish(w io.Writer, r waiting, again bool) error {
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.Qos, publish.Dup, publish.MessageID = 1, again, r.packet
	publish.TopicName, publish.Payload = r.topic(), r.payload()
	return publish.Write(w)
}
