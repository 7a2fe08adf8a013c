package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// publisher is one connection of a device with one reading in flight.
type publisher struct {
	conn    net.Conn
	r       *bufio.Reader
	publish *packets.PublishPacket
}

func newPublisher(address, id string) (*publisher, error) {
	conn, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: conn, r: bufio.NewReaderSize(conn, 64), publish: packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession, connect.ClientIdentifier = "MQTT", 4, true, id
	if err := connect.Write(conn); err != nil {
		return nil, err
	}
	packet, err := packets.ReadPacket(p.r)
	if err != nil {
		return nil, err
	}
	if ack, ok := packet.(*packets.ConnackPacket); !ok || ack.ReturnCode != packets.Accepted {
		return nil, fmt.Errorf("%s is refused: %v", id, packet)
	}
	p.publish.Qos, p.publish.TopicName = 1, "sensors/bench/"+id+"/temperature"
	return p, nil
}

// send publishes a reading and returns when it is acknowledged.
func (p *publisher) send(n int) error {
	p.publish.MessageID = uint16(n%65535) + 1
	p.publish.Payload = strconv.AppendFloat(p.publish.Payload[:0], 20+float64(n%100)/10, 'f', 1, 64)
	if err := p.publish.Write(p.conn); err != nil {
		return err
	}
	_, err := packets.ReadPacket(p.r)
	return err
}

// BenchmarkAcknowledgement measures what a single device waits for the PUBACK of a
// reading in power-safe, one reading at a time, beside the time of one sync of the disk.
func BenchmarkAcknowledgement(b *testing.B) {
	const readings = 2000
	each := rawSync(b)
	cfg := testConfig(b.TempDir())
	cfg.Durability = PowerSafe
	at, _ := start(b, cfg)
	p, err := newPublisher(at.MQTT, "single")
	if err != nil {
		b.Fatal(err)
	}
	defer p.conn.Close()
	for b.Loop() {
		took := make([]time.Duration, readings)
		for n := range took {
			begin := time.Now()
			if err := p.send(n); err != nil {
				b.Fatal(err)
			}
			took[n] = time.Since(begin)
		}
		slices.Sort(took)
		b.ReportMetric(milliseconds(took[readings/2]), "p50-ms")
		b.ReportMetric(milliseconds(took[readings*99/100]), "p99-ms")
		b.ReportMetric(milliseconds(each), "sync-ms")
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkCPU measures the CPU time that a standalone takes for a reading, all of it
// together, while devices send a reading a second each, in power-safe. The devices are in
// another process. There are 10,000 of them, or fewer if the limit of open files asks for
// that: with a front each has three connections in the standalone.
func BenchmarkCPU(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	for _, front := range []string{frontOn, "off"} {
		b.Run("front="+front, func(b *testing.B) {
			connections := uint64(1)
			if front == frontOn {
				connections = 3
			}
			benchmarkCPU(b, front, int(min(10_000, (limit.Cur-2000)/connections)))
		})
	}
}

func benchmarkCPU(b *testing.B, front string, devices int) {
	const warm, window = 10 * time.Second, 30 * time.Second
	at, cmd := startChild(b, b.TempDir(), childFolder+"_DURABILITY="+string(PowerSafe), childFolder+"_FRONT="+front)
	for b.Loop() {
		publishers := connectAll(b, at.MQTT, devices)
		var acked atomic.Int64
		stop := make(chan struct{})
		var sending sync.WaitGroup
		errs := make(chan error, devices)
		begin := time.Now()
		for i, p := range publishers {
			sending.Go(func() {
				// The devices send in turn, evenly over each second.
				for n := 0; ; n++ {
					due := begin.Add(time.Duration(n)*time.Second + time.Duration(i)*time.Second/time.Duration(devices))
					select {
					case <-stop:
						return
					case <-time.After(time.Until(due)):
					}
					if err := p.send(n); err != nil {
						errs <- err
						return
					}
					acked.Add(1)
				}
			})
		}
		time.Sleep(warm) //nolint:forbidigo // it measures a window of time
		user, system := cpuTime(b, cmd.Process.Pid)
		readings := acked.Load()
		time.Sleep(window) //nolint:forbidigo // it measures a window of time
		userAfter, systemAfter := cpuTime(b, cmd.Process.Pid)
		readings = acked.Load() - readings
		close(stop)
		sending.Wait()
		select {
		case err := <-errs:
			b.Fatal(err)
		default:
		}
		for _, p := range publishers {
			_ = p.conn.Close()
		}
		perReading := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(readings) }
		b.ReportMetric(perReading(userAfter+systemAfter-user-system), "µs/reading")
		b.ReportMetric(perReading(systemAfter-system), "µs-system/reading")
		b.ReportMetric(float64(readings)/window.Seconds(), "readings/s")
	}
}

// connectAll connects devices, several at a time.
func connectAll(b *testing.B, address string, n int) []*publisher {
	b.Helper()
	publishers := make([]*publisher, n)
	var connecting sync.WaitGroup
	var failed atomic.Pointer[error]
	const together = 20
	for first := range together {
		connecting.Go(func() {
			for i := first; i < n && failed.Load() == nil; i += together {
				p, err := newPublisher(address, fmt.Sprintf("device-%05d", i))
				if err != nil {
					failed.Store(&err)
					return
				}
				publishers[i] = p
			}
		})
	}
	connecting.Wait()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	return publishers
}

// cpuTime is the time that a process has been on a CPU, in its own code and in the kernel.
func cpuTime(b *testing.B, pid int) (user, system time.Duration) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// The name of the program may hold spaces; what follows its bracket does not.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const hertz = 100 // of the kernel's interface, whatever its clock is
	ticks := func(field int) time.Duration {
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(n) * time.Second / hertz
	}
	return ticks(11), ticks(12)
}
