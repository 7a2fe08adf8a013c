package bridge_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	cmpdiff "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"headwater/services/bridge"
	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// through has clients connect through a front from now on. With an address they seem to
// come from there. It returns what stops the front.
func (w *world) through(t *testing.T, r *running, address string) (stop func()) {
	t.Helper()
	f := r.front
	if f == nil {
		var err error
		if f, err = r.NewFront(w.Server.MQTT(), front.TLS{}); err != nil {
			t.Fatal(err)
		}
		r.front = f
	}
	// A front that stopped is replaced by one at the same address.
	l, err := net.Listen("tcp", cmp.Or(w.front, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	w.front = l.Addr().String()
	if address != "" {
		l = elsewhere{l, &net.TCPAddr{IP: net.ParseIP(address), Port: 1}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx, l); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// elsewhere is a listener whose clients seem to come from an address.
type elsewhere struct {
	net.Listener
	address net.Addr
}

type elsewhereConn struct {
	*net.TCPConn
	address net.Addr
}

func (l elsewhere) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return elsewhereConn{conn.(*net.TCPConn), l.address}, nil
}

func (c elsewhereConn) RemoteAddr() net.Addr { return c.address }

// raw is a client that sends bytes.
type raw struct {
	*testing.T
	net.Conn
}

func (w *world) raw(t *testing.T) raw {
	t.Helper()
	conn, err := net.Dial("tcp", w.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return raw{t, conn}
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// packet is a packet of at most 16 KiB.
func packet(first byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	if len(body) < 128 {
		return append([]byte{first, byte(len(body))}, body...)
	}
	return append([]byte{first, byte(len(body))&0x7f | 0x80, byte(len(body) >> 7)}, body...)
}

func (c raw) send(packets ...[]byte) {
	c.Helper()
	if _, err := c.Write(slices.Concat(packets...)); err != nil {
		c.Fatal(err)
	}
}

// next returns the next packet, of less than 128 bytes; nil at the end.
func (c raw) next() []byte {
	c.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		c.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		c.Fatal(err)
	}
	return append(head, body...)
}

func (c raw) expect(what string, want ...byte) {
	c.Helper()
	if got := c.next(); !bytes.Equal(got, want) {
		c.Fatalf("%s: %x, want %x", what, got, want)
	}
}

// connect5 connects with MQTT 5.
func (c raw) connect5(id string, properties ...byte) []byte {
	c.Helper()
	c.send(packet(0x10, text("MQTT"), []byte{5, 2, 0, 60, byte(len(properties))}, properties, text(id)))
	answer := c.next()
	if len(answer) < 5 || answer[0] != 0x20 || answer[3] != 0 {
		c.Fatalf("CONNACK %x", answer)
	}
	return answer
}

// awaitReadings waits until TELEMETRY holds readings, in any order.
func (w *world) awaitReadings(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	streamtest.Eventually(t, "the readings are stored", func() bool {
		got = w.readings(t)
		return len(got) >= len(want)
	})
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("stored are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAGatewayWithASpaceInANameGetsInAllItsDevices has one connection for three devices,
// the second of which has a name that nats-server closes connections for.
func TestAGatewayWithASpaceInANameGetsInAllItsDevices(t *testing.T) {
	w := newWorld(t)
	r := w.start(t, withReader(t))
	w.through(t, r, "")
	l := w.listener(t, "app")
	if code := l.subscribe(t, "sensors/+/living room/#", 0); code != 0 {
		t.Fatalf("the subscription is answered with %#x", code)
	}
	c := w.device(t, "zigbee gateway.1")
	for i, device := range []string{"door-01", "living room", "door-02"} {
		publish(t, c, 1, "sensors/hall/"+device+"/temperature", fmt.Sprint(20+i))
	}
	publish(t, c, 2, "sensors/hall/living room/humidity", "40")
	publish(t, c, 0, "sensors/hall/living room/lux", "7")
	w.awaitReadings(t, "mqtt hall/door-01/temperature 20", "mqtt hall/living_room/temperature 21", "mqtt hall/door-02/temperature 22",
		"mqtt2 hall/living_room/humidity 40", "mqtt0 hall/living_room/lux 7")
	for _, want := range []string{"temperature 21", "humidity 40", "lux 7"} {
		if got := l.next(t); got != "sensors/hall/living room/"+want+" retained=false" {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	// Other names become dead letters, under the topic that the gateway sent.
	publish(t, c, 1, "sensors/hall/a * b/temperature", "1")
	streamtest.Eventually(t, "the dead letter is stored", func() bool { return len(w.deadLetters(t)) == 1 })
	if d := w.deadLetters(t)[0]; d.Reason != streams.ReasonTopic || d.Origin != "sensors/hall/a * b/temperature" {
		t.Errorf("dead letter of %q: %s", d.Origin, d.Detail)
	}
}

// TestTheFrontStoresItself has a client send messages, without waiting for acknowledgements, that
// the front gives to the bridge itself, between others that nats-server takes. Everything is
// acknowledged in the order in which it was sent, stored once, and heard by who listens.
func TestTheFrontStoresItself(t *testing.T) {
	const count, each = 400, 100
	w := newWorld(t)
	r := w.start(t, withReader(t))
	w.through(t, r, "")
	l := w.listener(t, "app")
	if code := l.subscribe(t, "sensors/hall/d0/m", 0); code != 0 {
		t.Fatalf("the subscription is answered with %#x", code)
	}
	c := w.raw(t)
	c.send(packet(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text("door-1")))
	c.expect("CONNACK", 0x20, 2, 0, 0)
	var want, heard []string
	for i := 1; i <= count; i++ {
		first, device, value := byte(0x32), fmt.Sprintf("d%d", i%5), fmt.Sprint(i)
		shown := value
		switch i % each {
		case 50: // retained
			first = 0x33
		case 60: // the topic of a command: nats-server drops it
			c.send(packet(first, text("commands/d1/set"), []byte{byte(i >> 8), byte(i)}, []byte("1")))
			continue
		case 70: // large
			value += strings.Repeat(" ", 9000)
		}
		c.send(packet(first, text("sensors/hall/"+device+"/m"), []byte{byte(i >> 8), byte(i)}, []byte(value)))
		want = append(want, "mqtt hall/"+device+"/m "+shown)
		if device == "d0" {
			heard = append(heard, "sensors/hall/d0/m "+value+" retained=false")
		}
		for j := i - each + 1; j <= i && i%each == 0; j++ {
			c.expect(fmt.Sprint("PUBACK ", j), 0x40, 2, byte(j>>8), byte(j))
		}
	}
	byDevice := func(all []string) map[string][]string {
		out := map[string][]string{}
		for _, r := range all {
			place, _, _ := strings.Cut(strings.TrimPrefix(r, "mqtt "), " ")
			out[place] = append(out[place], r)
		}
		return out
	}
	if d := cmpdiff.Diff(byDevice(want), byDevice(w.readings(t))); d != "" {
		t.Errorf("the readings of a device are not stored once and in order:\n%s", d)
	}
	for _, want := range heard {
		if got := l.next(t); got != want {
			t.Fatalf("heard %.60q, want %.60q", got, want)
		}
	}
	// After a retained message nats-server may take all that follow until it is acknowledged.
	if n := r.value(t, "headwater_bridge_front_messages_total", ""); n < count/each*49 || n > count/each*97 {
		t.Errorf("the front gave %v of %d messages to the bridge itself", n, count)
	}
}

// TestTheFrontDisconnectsWhatIsNotStored has the bridge store nothing for a while: the client is
// disconnected, and may send again.
func TestTheFrontDisconnectsWhatIsNotStored(t *testing.T) {
	w := newWorld(t)
	var full atomic.Bool
	r := w.start(t, func(_ *bridge.Config, d *bridge.Deps) {
		d.Refuse = func() error {
			if full.Load() {
				return errors.New("the disk is full")
			}
			return nil
		}
	})
	w.through(t, r, "")
	for _, refused := range []bool{true, false} {
		full.Store(refused)
		c := w.raw(t)
		c.send(packet(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text("door-1")))
		c.expect("CONNACK", 0x20, 2, 0, 0)
		c.send(packet(0x32, text("sensors/hall/door-1/m"), []byte{0, 1}, []byte("1")))
		if refused {
			if end := c.next(); end != nil {
				t.Errorf("got %x, want the end of the connection", end)
			}
			continue
		}
		c.expect("PUBACK", 0x40, 2, 0, 1)
	}
	w.awaitReadings(t, "mqtt hall/door-1/m 1")
	if n := r.value(t, "headwater_bridge_front_messages_total", ""); n != 2 {
		t.Errorf("the front gave %v messages to the bridge itself, want 2", n)
	}
}

// TestAMosquittoBridgeConnects speaks as Mosquitto does when it bridges: with a bit in the
// level, and the name of its host in the client id.
func TestAMosquittoBridgeConnects(t *testing.T) {
	w := newWorld(t)
	w.through(t, w.start(t), "")
	c := w.raw(t)
	c.send(packet(0x10, text("MQTT"), []byte{0x84, 0x2c, 0, 60}, text("box.example.hw"),
		text("$SYS/broker/connection/box.example.hw/state"), text("0")))
	c.expect("CONNACK", 0x20, 2, 0, 0)
	c.send(packet(0x32, text("sensors/hall/door-01/temperature"), []byte{0, 1}, []byte("21.5")))
	c.expect("PUBACK", 0x40, 2, 0, 1)
	w.awaitReadings(t, "mqtt hall/door-01/temperature 21.5")
}

// TestSessionsSurviveAnUpgrade has a session that was begun at nats-server itself.
func TestSessionsSurviveAnUpgrade(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	for i, want := range []byte{0, 1} {
		c := w.raw(t)
		c.send(packet(0x10, text("MQTT"), []byte{4, 0, 0, 60}, text("A4:CF/12_b-c")))
		c.expect("CONNACK", 0x20, 2, want, 0)
		c.send([]byte{0xe0, 0})
		if end := c.next(); end != nil {
			t.Fatalf("after DISCONNECT: %x", end)
		}
		if i == 0 {
			w.through(t, r, "")
		}
	}
}

// TestEveryVersionOfMQTT publishes and subscribes with mosquitto's clients.
func TestEveryVersionOfMQTT(t *testing.T) {
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed (Debian: apt-get install mosquitto-clients)")
		}
	}
	w := newWorld(t)
	w.through(t, w.start(t, withReader(t)), "")
	host, port, err := net.SplitHostPort(w.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		publish := func(qos int) {
			publish := exec.Command("mosquitto_pub", "-h", host, "-p", port, "-V", version, "-i", "pub. "+version,
				"-q", fmt.Sprint(qos), "-t", fmt.Sprintf("sensors/hall/front door/%s-%d", version, qos), "-m", fmt.Sprint(qos))
			if said, err := publish.CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_pub -V %s -q %d: %v: %s", version, qos, err, said)
			}
		}
		for qos := range 3 {
			publish(qos)
			want = append(want, fmt.Sprintf("%s hall/front_door/%s-%d %d", []string{"mqtt0", "mqtt", "mqtt2"}[qos], version, qos, qos))
		}
		listens := exec.Command("mosquitto_sub", "-h", host, "-p", port, "-V", version, "-u", readerUser, "-P", readerPassword,
			"-i", "app."+version, "-t", "sensors/hall/front door/+", "-C", "1", "-F", "%t %p")
		var heard bytes.Buffer
		listens.Stdout, listens.Stderr = &heard, &heard
		if err := listens.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- listens.Wait() }()
		streamtest.Eventually(t, "mosquitto_sub hears a reading", func() bool {
			publish(1)
			select {
			case err = <-ended:
				return true
			default:
				return false
			}
		})
		if line := fmt.Sprintf("sensors/hall/front door/%s-1 1\n", version); err != nil || heard.String() != line {
			t.Errorf("mosquitto_sub -V %s: %v, hears %q, want %q", version, err, &heard, line)
		}
	}
	var kept []string
	streamtest.Eventually(t, "the readings are stored", func() bool {
		kept = w.readings(t)
		return !slices.ContainsFunc(want, func(r string) bool { return !slices.Contains(kept, r) })
	})
}

// TestMQTT5 goes through what MQTT 5 has and MQTT 3.1.1 does not.
func TestMQTT5(t *testing.T) {
	w := newWorld(t)
	w.through(t, w.start(t), "")
	c := w.raw(t)
	answer := c.connect5("", 17, 0, 0, 0, 60)
	if !bytes.Contains(answer, []byte{41, 0, 42, 0}) || !bytes.Contains(answer, []byte{18, 0, 22}) || !bytes.Contains(answer, []byte{17, 255, 255, 255, 255}) {
		t.Errorf("CONNACK %x", answer)
	}
	c.send(packet(0x32, text("sensors/hall/a b/m"), []byte{0, 1, 12, 2, 0, 0, 0, 9, 38, 0, 1, 'k', 0, 1, 'v'}, []byte("1")))
	c.expect("PUBACK", 0x40, 2, 0, 1)
	c.send(packet(0x82, []byte{0, 2, 0}, text("sensors/#"), []byte{1}))
	c.expect("SUBACK for what a device may not hear", 0x90, 4, 0, 2, 0, 0x87)
	c.send(packet(0xa2, []byte{0, 3, 0}, text("a"), text("b c")))
	c.expect("UNSUBACK", 0xb0, 5, 0, 3, 0, 0, 0)
	c.send([]byte{0xc0, 0})
	c.expect("PINGRESP", 0xd0, 0)
	c.send(packet(0x82, []byte{0, 4, 0}, text("$share/g/sensors/#"), []byte{1}))
	c.expect("DISCONNECT", 0xe0, 1, 0x9e)
	if end := c.next(); end != nil {
		t.Errorf("after DISCONNECT: %x", end)
	}
	w.awaitReadings(t, "mqtt hall/a_b/m 1")
}

// TestAnOldSessionOfMQTT5 has a client continue its session without asking to keep it: it
// gets what waited for it, and the session ends with the connection.
func TestAnOldSessionOfMQTT5(t *testing.T) {
	w := newWorld(t)
	w.through(t, w.start(t), "")
	connect := func(flags byte, properties ...byte) (raw, byte) {
		t.Helper()
		c := w.raw(t)
		c.send(packet(0x10, text("MQTT"), []byte{5, flags, 0, 60, byte(len(properties))}, properties, text("door-1")))
		answer := c.next()
		if len(answer) < 5 || answer[0] != 0x20 || answer[3] != 0 {
			t.Fatalf("CONNACK %x", answer)
		}
		return c, answer[2]
	}
	leave := func(c raw) {
		t.Helper()
		c.send([]byte{0xe0, 0})
		for p := c.next(); p != nil; p = c.next() {
		}
	}
	c, _ := connect(2, 17, 0, 0, 0, 60)
	c.send(packet(0x82, []byte{0, 2, 0}, text("commands/door-1/#"), []byte{1}))
	c.expect("SUBACK", 0x90, 4, 0, 2, 0, 1)
	leave(c)
	m := nats.NewMsg("$MQTT.msgs.commands.door-1.set")
	m.Header.Set("Nmqtt-Pub", "1")
	m.Data = []byte("on")
	if _, err := w.devices.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	c, present := connect(0)
	if present != 1 {
		t.Error("the session is lost")
	}
	if got := c.next(); len(got) == 0 || got[0]&^8 != 0x32 || !bytes.HasSuffix(got, []byte("on")) {
		t.Errorf("the command that waited: %x", got)
	}
	leave(c)
	if c, present = connect(0); present != 0 {
		t.Error("the session outlives its connection")
	}
	leave(c)
}

// TestReceiveMaximumIsHonoured has a client that takes one command at a time.
func TestReceiveMaximumIsHonoured(t *testing.T) {
	w := newWorld(t)
	w.through(t, w.start(t), "")
	c := w.raw(t)
	c.connect5("door-1", 33, 0, 1)
	c.send(packet(0x82, []byte{0, 2, 0}, text("commands/door-1/#"), []byte{1}))
	c.expect("SUBACK", 0x90, 4, 0, 2, 0, 1)
	for i := range 3 {
		m := nats.NewMsg("$MQTT.msgs.commands.door-1.set")
		m.Header.Set("Nmqtt-Pub", "1")
		m.Data = []byte{byte('0' + i)}
		if _, err := w.devices.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		m := c.next()
		if len(m) == 0 || m[0]&^8 != 0x32 || m[len(m)-1] != byte('0'+i) {
			t.Fatalf("command %d: %x", i, m)
		}
		// The answer to a ping would come behind another command.
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Fatal("a second command comes before the first one is acknowledged")
		}
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		c.send([]byte{0x40, 2, m[2+2+len("commands/door-1/set")], m[2+2+len("commands/door-1/set")+1]})
	}
}

// TestTheAddressOfAClientReachesLogin has clients that come from elsewhere, for which
// loopback is not enough.
func TestTheAddressOfAClientReachesLogin(t *testing.T) {
	w := newWorld(t)
	file := withPassword(t)
	r := w.start(t, func(cfg *bridge.Config, _ *bridge.Deps) { cfg.User, cfg.PasswordFile = "device", file })
	w.through(t, r, "192.0.2.7")
	connect := []byte{4, 2, 0, 60}
	withUser := []byte{4, 0xc2, 0, 60}
	for range 3 {
		c := w.raw(t)
		c.send(packet(0x10, text("MQTT"), connect, text("host.name")))
		c.expect("CONNACK without a password", 0x20, 2, 0, 5)
	}
	if n := r.value(t, "headwater_bridge_refused_logins_total", string(login.RefusalAnonymous)); n != 3 {
		t.Errorf("%v log-ins are refused as anonymous", n)
	}
	streamtest.Eventually(t, "the dashboard shows it, with its id and its address", func() bool {
		all := w.problems(t)
		return strings.Contains(all, `Device \"host.name\"`) && strings.Contains(all, "192.0.2.7")
	})
	c := w.raw(t)
	c.send(packet(0x10, text("MQTT"), withUser, text("host.name"), text("device"), text(devicePassword)))
	c.expect("CONNACK with the password", 0x20, 2, 0, 0)
	w.front = ""
	w.through(t, r, "")
	c = w.raw(t)
	c.send(packet(0x10, text("MQTT"), connect, text("host.name")))
	c.expect("CONNACK on loopback", 0x20, 2, 0, 0)
	// What only a front may send is not taken from anybody else.
	w.front = ""
	forged, err := login.NewSeal([]byte("guessed")).Close(login.Origin{Host: "127.0.0.1", Sent: time.Now().Unix()}, "a")
	if err != nil {
		t.Fatal(err)
	}
	c = w.raw(t)
	c.send(packet(0x10, text("MQTT"), []byte{4, 0x82, 0, 60}, text("a"), text(forged)))
	c.expect("CONNACK for a forged origin", 0x20, 2, 0, 5)
	if n := r.value(t, "headwater_bridge_refused_logins_total", string(login.RefusalForged)); n != 1 {
		t.Errorf("%v log-ins are refused as forged", n)
	}
}

// TestWhatTheFrontRefusesIsShown has a client that sends what is refused, again and again.
func TestWhatTheFrontRefusesIsShown(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	w.through(t, r, "192.0.2.7")
	for range 3 {
		c := w.raw(t)
		c.send(packet(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text(strings.Repeat("x", 1025))))
		c.expect("CONNACK", 0x20, 2, 0, 2)
		if end := c.next(); end != nil {
			t.Errorf("after CONNACK: %x", end)
		}
	}
	if n := r.value(t, "headwater_bridge_front_refused_total", "client-id"); n != 3 {
		t.Errorf("%v are counted", n)
	}
	streamtest.Eventually(t, "the dashboard shows it", func() bool {
		all := w.problems(t)
		return strings.Contains(all, "client id is empty, longer than 1024 bytes") && strings.Contains(all, "192.0.2.7")
	})
}

// TestNothingAcknowledgedIsLostWhenServersRestart publishes through the front while
// nats-server restarts, and then the front.
func TestNothingAcknowledgedIsLostWhenServersRestart(t *testing.T) {
	w := newWorld(t)
	w.reconnect = true
	r := w.start(t)
	stop := w.through(t, r, "")
	c := w.device(t, "door 1")
	var tokens []mqtt.Token
	send := func() {
		for range 20 {
			tokens = append(tokens, c.Publish(fmt.Sprintf("sensors/hall/door 1/m%d", len(tokens)), 1, false, "1"))
		}
	}
	send()
	if err := w.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	send()
	if token := tokens[len(tokens)-1]; !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	send()
	stop()
	w.through(t, r, "")
	send()
	for i, token := range tokens {
		if !token.WaitTimeout(within) || token.Error() != nil {
			t.Fatalf("reading %d is not acknowledged: %v", i, token.Error())
		}
	}
	// When it connects again, paho.mqtt takes what it has still to send for acknowledged.
	streamtest.Eventually(t, "all that is acknowledged is stored", func() bool {
		kept := w.readings(t)
		for i := range tokens {
			if !slices.Contains(kept, fmt.Sprintf("mqtt hall/door_1/m%d 1", i)) {
				return false
			}
		}
		return true
	})
}

// TestTheFrontEndsWithWhatIsAcknowledged stops the front while messages of a client of
// MQTT 5 may not be acknowledged yet.
func TestTheFrontEndsWithWhatIsAcknowledged(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	stop := w.through(t, r, "")
	c := w.raw(t)
	c.connect5("door-1")
	const n = 50
	for i := range n {
		c.send(packet(0x32, text("sensors/hall/door-1/m"), []byte{0, byte(i + 1), 0}, fmt.Append(nil, i)))
	}
	c.expect("PUBACK", 0x40, 2, 0, 1)
	stop()
	acknowledged := 1
	for {
		p := c.next()
		if len(p) == 3 && p[0] == 0xe0 {
			if p[2] != 0x8b {
				t.Errorf("DISCONNECT %x", p)
			}
			break
		}
		if len(p) != 4 || p[0] != 0x40 {
			t.Fatalf("%x", p)
		}
		acknowledged++
	}
	kept := w.readings(t)
	for i := range acknowledged {
		if want := fmt.Sprintf("mqtt hall/door-1/m %d", i); !slices.Contains(kept, want) {
			t.Errorf("%q is acknowledged and not stored", want)
		}
	}
}

const devicePassword = "dev1ce"

// withPassword returns a file with the password of the devices.
func withPassword(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(devicePassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// problems returns what the bridges report to the dashboard.
func (w *world) problems(t *testing.T) string {
	t.Helper()
	kv, err := w.js.KeyValue(t.Context(), streams.BucketProblems)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	keys, _ := kv.Keys(t.Context()) // there may be none
	for _, key := range keys {
		if entry, err := kv.Get(t.Context(), key); err == nil {
			all.Write(entry.Value())
		}
	}
	return all.String()
}
