package login_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/login"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const within = streamtest.Patience

// respond answers log-ins of the server's devices until the test ends.
func respond(t *testing.T, s *streamtest.Server, policy login.Policy) *prometheus.Registry {
	t.Helper()
	seed, err := s.IssuerSeed()
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	r, err := login.New(login.Deps{IssuerSeed: seed, Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t, natsd.UserAuth)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.Run(ctx, nc, policy); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	streamtest.Eventually(t, "somebody answers log-ins", func() bool { return nc.NumSubscriptions() > 0 && nc.Flush() == nil })
	return metrics
}

func client(s *streamtest.Server, id, user, password string) mqtt.Client {
	return mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + s.MQTT()).SetClientID(id).
		SetUsername(user).SetPassword(password).SetAutoReconnect(false).SetConnectRetry(false))
}

func connect(t *testing.T, c mqtt.Client) error {
	t.Helper()
	token := c.Connect()
	if !token.WaitTimeout(within) {
		return errors.New("no answer to CONNECT")
	}
	if token.Error() == nil {
		t.Cleanup(func() { c.Disconnect(0) })
	}
	return token.Error()
}

func device(t *testing.T, s *streamtest.Server, id string) mqtt.Client {
	t.Helper()
	c := client(s, id, "", "")
	if err := connect(t, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func publish(t *testing.T, c mqtt.Client, topic, payload string) {
	t.Helper()
	token := c.Publish(topic, 1, false, payload)
	if !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatalf("publish on %s: %v", topic, token.Error())
	}
}

// granted subscribes and returns whether the server granted it.
func granted(t *testing.T, c mqtt.Client, filter string, messages func(mqtt.Client, mqtt.Message)) bool {
	t.Helper()
	token := c.Subscribe(filter, 0, messages).(*mqtt.SubscribeToken)
	if !token.WaitTimeout(within) {
		t.Fatalf("no answer to the subscription to %s", filter)
	}
	codes := slices.Collect(maps.Values(token.Result())) // The key is not always the filter as given.
	if len(codes) != 1 {
		t.Fatalf("%d answers to the subscription to %s", len(codes), filter)
	}
	return codes[0] != 0x80
}

func TestNoAnswerNoDevice(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	if err := connect(t, client(s, "door-1", "", "")); err == nil {
		t.Error("a device connected while nobody answers log-ins")
	}
}

func TestPolicies(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	metrics := respond(t, s, login.Policy{Anonymous: login.AnonymousNone, Device: login.Credential{User: "devices", Password: "s3cret"}})
	if err := connect(t, client(s, "door-1", "devices", "s3cret")); err != nil {
		t.Errorf("the right password: %v", err)
	}
	if err := connect(t, client(s, "door-2", "", "")); err == nil {
		t.Error("an anonymous device connected")
	}
	if err := connect(t, client(s, "door-3", "devices", "wrong")); err == nil {
		t.Error("a device with a wrong password connected")
	}
	if nc, err := nats.Connect(s.NATS("devices")); err == nil {
		nc.Close()
		t.Error("a NATS client connected as a device")
	}
	for reason, want := range map[login.Refusal]int{login.RefusalAnonymous: 1, login.RefusalPassword: 1, login.RefusalProtocol: 1} {
		if got := counter(t, metrics, "headwater_bridge_refused_logins_total", string(reason)); got < want {
			t.Errorf("%d refusals counted for %s, want %d", got, reason, want)
		}
	}
}

// TestGuesserIsSlowed guesses passwords as fast as it can. A device from the same
// address that was there before comes back meanwhile.
func TestGuesserIsSlowed(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	metrics := respond(t, s, login.Policy{Anonymous: login.AnonymousNone, Device: login.Credential{User: "devices", Password: "s3cret"}})
	door := client(s, "door-1", "devices", "s3cret")
	if err := connect(t, door); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	const tries = 200
	for i := range tries {
		if err := connect(t, client(s, "guesser", "devices", fmt.Sprint(i))); err == nil {
			t.Fatal("a wrong password was taken")
		}
	}
	seen := counter(t, metrics, "headwater_bridge_refused_logins_total", string(login.RefusalPassword))
	// Ten at once, then one a second.
	if most := 10 + int(time.Since(begun).Seconds()) + 1; seen < 10 || seen > most {
		t.Errorf("%d of %d guesses were looked at within %s, want 10 to %d", seen, tries, time.Since(begun), most)
	}
	if throttled := counter(t, metrics, "headwater_bridge_refused_logins_total", string(login.RefusalThrottled)); throttled != tries-seen {
		t.Errorf("%d refusals without a look were counted, want %d", throttled, tries-seen)
	}
	door.Disconnect(0)
	if err := connect(t, client(s, "door-1", "devices", "s3cret")); err != nil {
		t.Errorf("a device that was there before can't come back: %v", err)
	}
}

// counter reads a counter, of a reason if that is not empty.
func counter(t *testing.T, metrics *prometheus.Registry, name, reason string) int {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if reason == "" || m.GetLabel()[0].GetValue() == reason {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func TestDeviceCannotReachBeyondItsAccount(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	core, devices := s.JS(t), s.DevicesJS(t)
	// What reaches the one who answers devices.
	var mu sync.Mutex
	heard := make(map[string]int)
	nc := devices.Conn()
	if _, err := nc.Subscribe(streams.MQTTAll, func(m *nats.Msg) {
		mu.Lock()
		heard[m.Subject]++
		mu.Unlock()
		if err := m.Respond(streams.MQTTStored()); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := device(t, s, "intruder")
	for _, stream := range []string{streams.StreamTelemetry, streams.StreamDeadLetters, streams.StreamMQTT} {
		publish(t, c, "$JS/API/STREAM/DELETE/"+stream, "")
		publish(t, c, "$JS/API/STREAM/PURGE/"+stream, "")
	}
	publish(t, c, "$MQTT/msgs/sensors/hall/door-1/temperature", "99")
	publish(t, c, "$KV/config/config", "rules: []")
	publish(t, c, "telemetry/0/mqtt", "forged")
	publish(t, c, "$SYS/REQ/SERVER/PING", "")
	publish(t, c, "sensors/hall/door-1/temperature", "21")

	// Messages of one connection are answered in their order, so all has come.
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{"$MQTT.msgs.sensors.hall.door-1.temperature": 1, "$MQTT.msgs.telemetry.0.mqtt": 1}
	if len(heard) != len(want) {
		t.Errorf("heard: %v, want %v", heard, want)
	}
	for subject := range want {
		if heard[subject] != 1 {
			t.Errorf("heard: %v, want %v", heard, want)
		}
	}
	streamOf(t, devices, streams.StreamMQTT)
	for _, name := range []string{streams.StreamTelemetry, streams.StreamDeadLetters} {
		if n := streamOf(t, core, name).CachedInfo().State.LastSeq; n != 0 {
			t.Errorf("%d messages came into %s", n, name)
		}
	}
	if _, err := streams.Check(t.Context(), core); err != nil {
		t.Error(err)
	}
}

func streamOf(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestDeviceHearsItsCommandsOnly(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	c := device(t, s, "door-1")
	for _, filter := range []string{
		"sensors/#", "#", "+/+", "commands/#", "commands/+", "commands/door-2", "commands/+/set", "$SYS/#", "$JS/#", "$MQTT/#", "telemetry/#",
		"$share/group/sensors/#",
	} {
		if granted(t, c, filter, nil) {
			t.Errorf("a device may subscribe to %s", filter)
		}
	}
	heard := make(chan string, 10)
	if !granted(t, c, "commands/door-1/#", func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() }) {
		t.Fatal("a device may not subscribe to its commands")
	}
	if err := s.Conn(t, natsd.UserDevices).Publish("commands.door-1.set", []byte("open")); err != nil {
		t.Fatal(err)
	}
	select {
	case topic := <-heard:
		if topic != "commands/door-1/set" {
			t.Errorf("heard %s", topic)
		}
	case <-time.After(within):
		t.Error("the command did not come")
	}
}

// TestNoDeviceCommandsAnother has a device try all ways to reach another one's
// commands, which hears none of it; what a service sends, it hears.
func TestNoDeviceCommandsAnother(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	heard := make(chan string, 100)
	listen := func(id string) {
		t.Helper()
		if !granted(t, device(t, s, id), "commands/door-2/#", func(_ mqtt.Client, m mqtt.Message) {
			heard <- m.Topic() + " " + string(m.Payload())
		}) {
			t.Fatal("a device may not subscribe to its commands")
		}
	}
	listen("door-2")
	intruder := device(t, s, "intruder")
	denied := uint64(0)
	for _, topic := range []string{"commands/door-2", "commands/door-2/set"} {
		for qos := range byte(3) {
			for _, retained := range []bool{false, true} {
				denied++
				if token := intruder.Publish(topic, qos, retained, "forged"); !token.WaitTimeout(within) || token.Error() != nil {
					t.Fatalf("publish on %s: %v", topic, token.Error())
				}
			}
		}
	}
	for _, retained := range []bool{false, true} {
		denied++
		var line net.Conn
		willing := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://"+s.MQTT()).SetClientID("willing").SetAutoReconnect(false).
			SetWill("commands/door-2/set", "forged", 1, retained).
			SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (_ net.Conn, err error) {
				line, err = net.Dial("tcp", s.MQTT())
				return line, err
			}))
		if err := connect(t, willing); err != nil {
			t.Fatal(err)
		}
		_ = line.Close() // without a word, so that the will is sent
		streamtest.Eventually(t, "the will is denied, or heard", func() bool { return s.Denied() >= denied || len(heard) > 0 })
	}
	if got := s.Denied(); got != denied {
		t.Errorf("%d messages were counted as denied, want %d", got, denied)
	}
	// A device that subscribes gets what is retained before anything new.
	listen("door-2")
	if err := s.Conn(t, natsd.UserDevices).Publish("commands.door-2.set", []byte("by a service")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-heard:
		if got != "commands/door-2/set by a service" {
			t.Errorf("a device heard %s", got)
		}
	case <-time.After(within):
		t.Error("the command of a service did not come")
	}
	stream := streamOf(t, s.DevicesJS(t), streams.StreamMQTT)
	if info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("$MQTT.msgs.commands.>")); err != nil || len(info.State.Subjects) > 0 {
		t.Errorf("%v of the commands are stored (%v)", info.State.Subjects, err)
	}
}

func TestOddClientIDHasNoCommands(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	for _, id := range []string{"hall/door-1", "A4:CF:12:00", "+", "#", "$SYS", "door\u202e1"} {
		c := client(s, id, "", "")
		if err := connect(t, c); err != nil {
			t.Errorf("%q cannot connect: %v", id, err)
			continue
		}
		for _, filter := range []string{"commands/#", "commands/" + id, "commands/hall/door-1", "#"} {
			if id == "+" || id == "#" || filter != "commands/"+id {
				if granted(t, c, filter, nil) {
					t.Errorf("%q may subscribe to %s", id, filter)
				}
			}
		}
	}
}

func TestReplicasShareAndSeedIsChecked(t *testing.T) {
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	first := respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	second := respond(t, s, login.Policy{Anonymous: login.AnonymousLoopback})
	const devices = 20
	for i := range devices {
		device(t, s, "door-"+string(rune('a'+i)))
	}
	total := counter(t, first, "headwater_bridge_logins_total", "") + counter(t, second, "headwater_bridge_logins_total", "")
	if total != devices {
		t.Errorf("%d log-ins were answered, want %d: each by one replica", total, devices)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login.New(login.Deps{IssuerSeed: seed, Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("the key of a user was taken for the key of an account")
	}
}

func TestSubjectIsTheServers(t *testing.T) {
	if server.AuthCalloutSubject != login.Subject {
		t.Errorf("nats-server asks on %s", server.AuthCalloutSubject)
	}
}
