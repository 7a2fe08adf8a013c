package bridge_test

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/bridge"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const readerUser, readerPassword = "listener", "r3ad-it"

// withReader runs a bridge that admits an application beside the devices.
func withReader(t *testing.T) func(*bridge.Config, *bridge.Deps) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "reader-password")
	if err := os.WriteFile(file, []byte(readerPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(cfg *bridge.Config, _ *bridge.Deps) { cfg.Reader, cfg.ReaderPasswordFile = readerUser, file }
}

// listener is an application that subscribes with paho.mqtt.
type listener struct {
	mqtt.Client
	heard chan string
}

func (w *world) listener(t *testing.T, id string) *listener {
	t.Helper()
	l := &listener{heard: make(chan string, 1000)}
	l.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + w.MQTT()).SetClientID(id).
		SetUsername(readerUser).SetPassword(readerPassword).SetAutoReconnect(false).SetOrderMatters(true))
	if token := l.Connect(); !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("the application cannot connect: %v", token.Error())
	}
	t.Cleanup(func() { l.Disconnect(0) })
	return l
}

// subscribe returns the code that nats-server answers: the granted QoS, or 0x80 for a
// refusal.
func (l *listener) subscribe(t *testing.T, filter string, qos byte) byte {
	t.Helper()
	token := l.Subscribe(filter, qos, func(_ mqtt.Client, m mqtt.Message) {
		l.heard <- fmt.Sprintf("%s %s retained=%t", m.Topic(), m.Payload(), m.Retained())
	}).(*mqtt.SubscribeToken)
	if !token.WaitTimeout(within) {
		t.Fatalf("no answer to the subscription to %s", filter)
	}
	codes := slices.Collect(maps.Values(token.Result())) // paho.mqtt may change the key
	if len(codes) != 1 {
		t.Fatalf("%d answers to the subscription to %s", len(codes), filter)
	}
	return codes[0]
}

// next returns the next message that it hears.
func (l *listener) next(t *testing.T) string {
	t.Helper()
	select {
	case m := <-l.heard:
		return m
	case <-time.After(within):
		t.Fatal("the application hears nothing")
		return ""
	}
}

// TestReaderHearsReadingsLive subscribes as an application does: it gets the retained
// message first, then every reading once, whatever QoS its device uses, and no command.
func TestReaderHearsReadingsLive(t *testing.T) {
	w := newWorld(t)
	w.start(t, withReader(t))
	c := w.device(t, "door-1")
	if token := c.Publish("sensors/hall/door-1/m", 1, true, "0"); !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	for _, filter := range []string{"sensors/#", "sensors/+/+/m", "#"} {
		t.Run(filter, func(t *testing.T) {
			l := w.listener(t, "app-"+strings.Trim(filter, "/#+"))
			if code := l.subscribe(t, filter, 0); code != 0 {
				t.Fatalf("the subscription is answered with %#x, want 0", code)
			}
			want := []string{"sensors/hall/door-1/m 0 retained=true"}
			for qos := range byte(3) {
				publish(t, c, qos, "sensors/hall/door-1/m", fmt.Sprint(qos+1))
				want = append(want, fmt.Sprintf("sensors/hall/door-1/m %d retained=false", qos+1))
			}
			nc := w.Conn(t, natsd.UserDevices)
			if err := nc.Publish("commands.door-1.set", []byte("open")); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			publish(t, c, 1, "sensors/hall/door-1/m", "4")
			want = append(want, "sensors/hall/door-1/m 4 retained=false")
			for _, m := range want {
				if got := l.next(t); got != m {
					t.Errorf("heard %q, want %q", got, m)
				}
			}
		})
	}
}

// TestReaderIsRefusedWhatWouldStaySilent asks for what nats-server cannot deliver: a
// subscription with QoS 1 or 2 reads a stream that has no readings. The application
// must see a failure, and other subscriptions of its connection must keep working.
func TestReaderIsRefusedWhatWouldStaySilent(t *testing.T) {
	w := newWorld(t)
	w.start(t, withReader(t))
	l := w.listener(t, "app")
	if code := l.subscribe(t, "sensors/hall/+/m", 0); code != 0 {
		t.Fatalf("the subscription is answered with %#x, want 0", code)
	}
	for _, filter := range []string{"sensors/#", "#", "sensors/hall/door-1/m"} {
		for _, qos := range []byte{1, 2} {
			if code := l.subscribe(t, filter, qos); code != 0x80 {
				t.Errorf("a subscription to %s with QoS %d is answered with %#x, want 0x80", filter, qos, code)
			}
		}
	}
	for _, filter := range []string{"commands/#", "commands/door-1", "commands/app/set", "$SYS/#", "$JS/#", "$MQTT/#", "$share/group/sensors/#"} {
		if code := l.subscribe(t, filter, 0); code != 0x80 {
			t.Errorf("a subscription to %s is answered with %#x, want 0x80", filter, code)
		}
	}
	publish(t, w.device(t, "door-1"), 1, "sensors/hall/door-1/m", "1")
	if got, want := l.next(t), "sensors/hall/door-1/m 1 retained=false"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	// A device may not listen at all, and its commands still come with QoS 1.
	device := &listener{Client: w.device(t, "door-2"), heard: make(chan string, 10)}
	if code := device.subscribe(t, "commands/door-2/#", 1); code != 1 {
		t.Errorf("a device's subscription to its commands is answered with %#x, want 1", code)
	}
	if code := device.subscribe(t, "sensors/#", 0); code != 0x80 {
		t.Errorf("a device's subscription to readings is answered with %#x, want 0x80", code)
	}
}

// TestReaderPublishesNothing has an application publish in every way that MQTT has.
func TestReaderPublishesNothing(t *testing.T) {
	w := newWorld(t)
	w.start(t, withReader(t))
	l := w.listener(t, "app")
	if code := l.subscribe(t, "#", 0); code != 0 {
		t.Fatalf("the subscription is answered with %#x, want 0", code)
	}
	denied := w.Denied()
	sent := uint64(0)
	for _, topic := range []string{"sensors/hall/app/m", "commands/door-1/set", "anything"} {
		for qos := range byte(3) {
			for _, retained := range []bool{false, true} {
				if token := l.Publish(topic, qos, retained, "1"); !token.WaitTimeout(within) || token.Error() != nil {
					t.Fatal(token.Error())
				}
				sent++
			}
		}
	}
	streamtest.Eventually(t, "each message is denied", func() bool { return w.Denied()-denied >= sent })
	publish(t, w.device(t, "door-1"), 1, "sensors/hall/door-1/m", "2")
	if got, want := l.next(t), "sensors/hall/door-1/m 2 retained=false"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	if got, want := w.readings(t), []string{"mqtt hall/door-1/m 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if dead := w.deadLetters(t); len(dead) != 0 {
		t.Errorf("%d dead letters", len(dead))
	}
	if code := w.listener(t, "later").subscribe(t, "anything", 0); code != 0 {
		t.Errorf("the subscription is answered with %#x, want 0", code)
	}
}

// mosquitto is mosquitto_sub as an application runs it.
func (w *world) mosquitto(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("mosquitto_sub")
	if err != nil {
		t.Skip("mosquitto_sub is not installed (Debian: apt-get install mosquitto-clients)")
	}
	host, port, err := net.SplitHostPort(w.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), path, append([]string{
		"-h", host, "-p", port, "-V", "mqttv311", "-u", readerUser, "-P", readerPassword, "-v",
	}, arguments...)...)
}

// TestMosquittoListens runs another client than paho.mqtt.
func TestMosquittoListens(t *testing.T) {
	w := newWorld(t)
	w.start(t, withReader(t))
	c := w.device(t, "door-1")
	heard := w.mosquitto(t, "-q", "0", "-t", "sensors/#", "-C", "3")
	var out strings.Builder
	heard.Stdout = &out
	if err := heard.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- heard.Wait() }()
	for n := 0; ; n++ {
		publish(t, c, 1, "sensors/hall/door-1/m", fmt.Sprint(n))
		select {
		case err := <-ended:
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if err != nil || len(lines) != 3 {
				t.Fatalf("it ended with %v after %q", err, lines)
			}
			first := 0
			if _, err := fmt.Sscanf(lines[0], "sensors/hall/door-1/m %d", &first); err != nil {
				t.Fatalf("%q: %v", lines[0], err)
			}
			for i, line := range lines {
				if want := fmt.Sprintf("sensors/hall/door-1/m %d", first+i); line != want {
					t.Errorf("heard %q, want %q", line, want)
				}
			}
			return
		default:
		}
	}
}

func TestMosquittoSeesTheRefusal(t *testing.T) {
	w := newWorld(t)
	w.start(t, withReader(t))
	for _, qos := range []string{"1", "2"} {
		out, err := w.mosquitto(t, "-q", qos, "-t", "sensors/#", "-C", "1").CombinedOutput()
		if !strings.Contains(string(out), "denied") {
			t.Errorf("QoS %s: it ended with %v and says %q", qos, err, out)
		}
	}
}
