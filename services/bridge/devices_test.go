package bridge_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/bridge"
	"headwater/services/bridge/login"
	"headwater/services/internal/certs"
	"headwater/services/internal/credentials"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// credential stores a credential, waits until the bridge knows it, and returns its token.
func (w *world) credential(t *testing.T, name string, devices ...credentials.Pattern) string {
	t.Helper()
	return w.credentialOf(t, credentials.Credential{Name: name, Devices: devices})
}

// credentialOf is credential with more than a name and devices.
func (w *world) credentialOf(t *testing.T, c credentials.Credential) string {
	t.Helper()
	token, stored := credentials.NewToken()
	name, devices := c.Name, c.Devices
	c.Kind, c.Tokens, c.State, c.Created = credentials.KindGateway, []credentials.Token{stored}, credentials.StateAllowed, time.Now()
	if len(devices) == 1 && devices[0].Exact() {
		c.Kind = credentials.KindDevice
	}
	if err := credentials.Create(t.Context(), w.js, c); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the bridge knows "+name, func() bool {
		c, err := try(t, w.options(name, "", "").SetConnectTimeout(within))
		if err == nil {
			c.Disconnect(0)
		}
		return err != nil
	})
	return token
}

// change changes the credential door-1.
func (w *world) change(t *testing.T, change func(*credentials.Credential)) {
	t.Helper()
	if _, err := credentials.Change(t.Context(), w.js, "door-1", func(c *credentials.Credential) error { change(c); return nil }); err != nil {
		t.Fatal(err)
	}
}

func revoke(c *credentials.Credential) { c.State = credentials.StateRevoked }

// options are those of a device with a credential.
func (w *world) options(id, user, token string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker("tcp://" + w.MQTT()).SetClientID(id).SetUsername(user).SetPassword(token).
		SetAutoReconnect(false).SetOrderMatters(true)
}

// try connects once.
func try(t *testing.T, o *mqtt.ClientOptions) (mqtt.Client, error) {
	t.Helper()
	c := mqtt.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(within) {
		return nil, errors.New("no answer to CONNECT")
	}
	if token.Error() == nil {
		t.Cleanup(func() { c.Disconnect(0) })
	}
	return c, token.Error()
}

// admitted connects as soon as it is let in.
func admitted(t *testing.T, o *mqtt.ClientOptions) mqtt.Client {
	t.Helper()
	var c mqtt.Client
	streamtest.Eventually(t, "the device is let in", func() (ok bool) {
		var err error
		c, err = try(t, o)
		return err == nil
	})
	return c
}

func at(site, device string) credentials.Pattern {
	return credentials.Pattern{Site: site, Device: device}
}

// TestDeviceSpeaksForItselfOnly has devices and a gateway publish as each other. Nats-server
// acknowledges what it drops, so only what is stored counts.
func TestDeviceSpeaksForItselfOnly(t *testing.T) {
	w := newWorld(t)
	w.start(t, anonymous)
	door := w.credential(t, "door-1", at("hall", "door-1"))
	gateway := w.credential(t, "gw", at("yard", credentials.Any), at("hall", "lamp"))
	a := admitted(t, w.options("door-1", "door-1", door))
	g := admitted(t, w.options("gw:1", "gw", gateway))
	plain := admitted(t, w.options("plain", "", ""))
	var want []string
	for _, test := range []struct {
		from   mqtt.Client
		topic  string
		stored string
	}{
		{a, "sensors/hall/door-1/t", "hall/door-1/t"},
		{a, "sensors/hall/door-2/t", ""},
		{a, "sensors/yard/door-1/t", ""},
		{a, "sensors/yard/lamp", ""},
		{a, "elsewhere", ""},
		{g, "sensors/yard/pump/t", "yard/pump/t"},
		{g, "sensors/hall/lamp/t", "hall/lamp/t"},
		{g, "sensors/hall/door-1/t", ""},
		{g, "sensors/hall/other/t", ""},
		{plain, "sensors/hall/window/t", "hall/window/t"},
		{plain, "sensors/hall/door-1/t", ""},
		{plain, "sensors/hall/lamp/t", ""},
	} {
		for qos := byte(1); qos < 3; qos++ {
			publish(t, test.from, qos, test.topic, "7")
			if test.stored != "" {
				want = append(want, map[byte]string{1: "mqtt ", 2: "mqtt2 "}[qos]+test.stored+" 7")
			}
		}
	}
	if got := w.readings(t); !equalSets(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if dead := w.deadLetters(t); len(dead) != 0 {
		t.Errorf("dead letters: %+v", dead)
	}
	for filter, want := range map[string]bool{
		"commands/door-1/#": true, "commands/door-1": true, "commands/gw/#": false, "commands/door-2/#": false, "sensors/hall/door-1/#": false, "#": false,
	} {
		token := a.Subscribe(filter, 1, nil).(*mqtt.SubscribeToken)
		if !token.WaitTimeout(within) {
			t.Fatalf("no answer to %s", filter)
		}
		if codes := slices.Collect(maps.Values(token.Result())); len(codes) != 1 || (codes[0] != 0x80) != want {
			t.Errorf("a subscription to %s is answered %v, want granted %t", filter, codes, want)
		}
	}
}

// anonymous lets any device in that has no credential.
func anonymous(cfg *bridge.Config, _ *bridge.Deps) { cfg.Anonymous = login.AnonymousAny }

// TestNobodyTakesAClientID connects with the client id of another device: it is refused, and
// that one stays.
func TestNobodyTakesAClientID(t *testing.T) {
	w := newWorld(t)
	r := w.start(t, anonymous)
	first := w.credential(t, "door-1", at("hall", "door-1"))
	second := w.credential(t, "door-2", at("hall", "door-2"))
	w.change(t, func(c *credentials.Credential) { c.ClientIDs = []string{"shelly-77"} })
	lost := make(chan error, 1)
	victim := admitted(t, w.options("shelly-77", "door-1", first).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }))
	admitted(t, w.options("door-2", "door-2", second))
	// The bridge may have refused the victim until it knew of the listed client id.
	before := r.value(t, "headwater_bridge_refused_logins_total", string(login.RefusalClientID))
	for _, o := range []*mqtt.ClientOptions{
		w.options("shelly-77", "door-2", second), w.options("shelly-77", "", ""), w.options("door-1", "door-2", second),
		w.options("door-1:a", "", ""), w.options("of-nobody", "door-2", second),
		w.options("door-2", "door-2", first), w.options("door-2", "door-2", ""), w.options("", "door-2", "x"),
	} {
		if _, err := try(t, o); err == nil {
			t.Errorf("client id %q was taken by %q", o.ClientID, o.Username)
		}
	}
	// Nats-server makes a client id for a client that sends none.
	if _, err := try(t, w.options("", "door-2", second)); err != nil {
		t.Errorf("without a client id: %v", err)
	}
	publish(t, victim, 1, "sensors/hall/door-1/t", "1")
	if got := w.readings(t); !slices.Equal(got, []string{"mqtt hall/door-1/t 1"}) {
		t.Errorf("readings: %q", got)
	}
	select {
	case err := <-lost:
		t.Errorf("the victim was thrown out: %v", err)
	default:
	}
	if n := r.value(t, "headwater_bridge_refused_logins_total", string(login.RefusalClientID)) - before; n != 5 {
		t.Errorf("%v refusals because of the client id were counted, want 5", n)
	}
}

// TestRevokedDeviceIsOff revokes a device with an open connection, a will, a session and a
// retained message, and one that sent no client id.
func TestRevokedDeviceIsOff(t *testing.T) { revokedDeviceIsOff(t, false) }

// TestRevokedDeviceIsOffTheFront does the same through the front, where nats-server knows
// neither the address of the device nor its user.
func TestRevokedDeviceIsOffTheFront(t *testing.T) { revokedDeviceIsOff(t, true) }

func revokedDeviceIsOff(t *testing.T, front bool) {
	t.Helper()
	w := newWorld(t)
	if r := w.start(t, anonymous); front {
		w.through(t, r, "")
	}
	token := w.credentialOf(t, credentials.Credential{Name: "door-1", Devices: []credentials.Pattern{at("hall", "door-1")}, ClientIDs: []string{"shelly", "hall.door 1"}})
	// Nobody is connected under its other client ids when it is revoked.
	ids := []string{"shelly", "door-1:away", "door-1/away"}
	if front { // nats-server itself takes no such client id
		ids = append(ids, "hall.door 1")
	}
	for _, id := range ids {
		away := admitted(t, w.options(id, "door-1", token).SetCleanSession(false))
		if away.Subscribe("commands/"+id+"/#", 1, func(mqtt.Client, mqtt.Message) {}).WaitTimeout(within); !away.IsConnectionOpen() {
			t.Fatalf("%q was not admitted", id)
		}
		away.Disconnect(250)
	}
	lost := make(chan time.Time, 2)
	options := func(id string) *mqtt.ClientOptions {
		return w.options(id, "door-1", token).SetCleanSession(false).SetWill("sensors/hall/door-1/online", "false", 1, false).
			SetConnectionLostHandler(func(mqtt.Client, error) { lost <- time.Now() })
	}
	c := admitted(t, options("door-1"))
	admitted(t, options("").SetCleanSession(true))
	publish(t, c, 1, "sensors/hall/door-1/t", "1")
	if token := c.Publish("sensors/hall/door-1/state", 1, true, "on"); !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	if token := c.Subscribe("commands/door-1/#", 1, func(mqtt.Client, mqtt.Message) {}); !token.WaitTimeout(within) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	begun := time.Now()
	w.change(t, revoke)
	for range 2 {
		select {
		case off := <-lost:
			t.Logf("off after %s", off.Sub(begun))
		case <-time.After(within):
			t.Fatal("the device is still connected")
		}
	}
	for _, id := range []string{"door-1", ""} {
		if _, err := try(t, options(id).SetCleanSession(true)); err == nil {
			t.Errorf("the revoked device was let in with client id %q", id)
		}
	}
	sessions := func() (n int) {
		s, err := w.devices.Stream(t.Context(), streams.StreamSessions)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		return len(info.State.Subjects)
	}
	commands, err := w.devices.Stream(t.Context(), streams.StreamMQTT)
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the session is cleared", func() bool {
		info, err := commands.Info(t.Context())
		return err == nil && info.State.Consumers == 0 && sessions() == 0
	})
	// Who may listen to readings gets nothing of it that was retained.
	streamtest.Eventually(t, "the retained message is cleared", func() bool { return len(w.retained(t)) == 0 })
	// Neither connection left a will, and what others send in its name is a dead letter.
	publish(t, admitted(t, w.options("other", "", "")), 1, "sensors/hall/other/t", "2")
	if got := w.readings(t); !equalSets(got, []string{"mqtt hall/door-1/t 1", `mqtt hall/door-1/state true`, "mqtt hall/other/t 2"}) {
		t.Errorf("readings: %q", got)
	}
	// It may be let in again, and nothing of the old session is left.
	w.change(t, func(c *credentials.Credential) { c.State = credentials.StateAllowed })
	again := mqtt.NewClient(w.options("door-1", "door-1", token).SetCleanSession(false))
	streamtest.Eventually(t, "the device is let in again", func() bool {
		token := again.Connect().(*mqtt.ConnectToken)
		if !token.WaitTimeout(within) || token.Error() != nil {
			return false
		}
		if token.SessionPresent() {
			t.Error("the old session is still there")
		}
		return true
	})
	again.Disconnect(0)
}

// retained returns the topics on which a retained message is delivered.
func (w *world) retained(t *testing.T) []string {
	t.Helper()
	s, err := w.devices.Stream(t.Context(), streams.StreamRetained)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(streams.RetainedSubject(">")))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for subject := range info.State.Subjects {
		if m, err := s.GetLastMsgForSubject(t.Context(), subject); err == nil && len(m.Data) > 0 {
			all = append(all, subject)
		}
	}
	return all
}

// TestWillOfOthersIsNotStored has a device die with a will in the name of another one.
func TestWillOfOthersIsNotStored(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	token := w.credential(t, "door-1", at("hall", "door-1"))
	die := func(topic string) {
		t.Helper()
		var line net.Conn
		admitted(t, w.options("door-1", "door-1", token).SetWill(topic, "99", 1, true).
			SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (_ net.Conn, err error) {
				line, err = net.Dial("tcp", w.MQTT())
				return line, err
			}))
		_ = line.Close() // without a word, so that the will is sent
	}
	before := w.Denied()
	die("sensors/hall/door-2/t")
	streamtest.Eventually(t, "the will is denied", func() bool { return w.Denied() > before })
	die("sensors/hall/door-1/t")
	streamtest.Eventually(t, "its own will is stored", func() bool { return len(w.readings(t)) > 0 })
	if got := w.readings(t); !slices.Equal(got, []string{"mqtt hall/door-1/t 99"}) {
		t.Errorf("readings: %q", got)
	}
}

// TestRotation gives a device a new token while it is connected: it has to log in again,
// with either token, until the old one ends.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	old := w.credential(t, "door-1", at("hall", "door-1"))
	lost := make(chan struct{}, 1)
	admitted(t, w.options("door-1", "door-1", old).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
	text, stored := credentials.NewToken()
	w.change(t, func(c *credentials.Credential) { c.Rotate(stored, time.Now(), time.Now().Add(time.Hour)) })
	select {
	case <-lost:
	case <-time.After(within):
		t.Fatal("the device is still connected with the token that was replaced")
	}
	admitted(t, w.options("door-1", "door-1", old)).Disconnect(0)
	admitted(t, w.options("door-1", "door-1", text)).Disconnect(0)
	again, stored := credentials.NewToken()
	w.change(t, func(c *credentials.Credential) { c.Rotate(stored, time.Now(), time.Time{}) })
	admitted(t, w.options("door-1", "door-1", again))
	for _, ended := range []string{old, text} {
		if _, err := try(t, w.options("door-1:b", "door-1", ended)); err == nil {
			t.Error("a token that ended was taken")
		}
	}
}

// TestOldTokenEndsItsConnection has a connection end with the token that it was made with.
func TestOldTokenEndsItsConnection(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	old := w.credential(t, "door-1", at("hall", "door-1"))
	streamtest.Eventually(t, "a connection ends because its token does", func() bool {
		end := time.Now().Add(2 * time.Second)
		w.change(t, func(c *credentials.Credential) { c.Tokens[0].Until = end })
		for time.Now().Before(end) {
			lost := make(chan struct{})
			_, err := try(t, w.options("door-1", "door-1", old).SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
			if err != nil {
				continue
			}
			select {
			case <-lost:
			case <-time.After(within):
				t.Fatal("the connection outlives its token")
			}
		}
		// A change of the credential closes connections too, for another reason.
		return r.value(t, "headwater_bridge_connections_closed_total", "log-in") > 0
	})
}

// TestQuarantine has an unknown device send, then approves it and redrives what it sent.
func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	r := w.start(t)
	if err := credentials.SetUnknown(t.Context(), w.js, credentials.Unknown{
		{Devices: at("hall", credentials.Any), Standing: credentials.StandingQuarantined},
		{Devices: at("attic", credentials.Any), Standing: credentials.StandingRefused},
	}); err != nil {
		t.Fatal(err)
	}
	c := w.device(t, "new")
	streamtest.Eventually(t, "unknown devices are in quarantine", func() bool {
		publish(t, c, 1, "sensors/hall/probe/t", "0")
		return len(w.deadLetters(t)) > 0
	})
	publish(t, c, 1, "sensors/hall/new/t", "21")
	publish(t, c, 2, "sensors/attic/new/t", "22")
	publish(t, c, 1, "sensors/yard/new/t", "23")
	var quarantined, unwanted []uint64
	for _, m := range stored(t, w.js, streams.StreamDeadLetters) {
		d, err := streams.ParseDeadLetterMsg(m.Subject, m.Header, m.Data)
		switch {
		case err != nil:
			t.Fatal(err)
		case d.Reason == streams.ReasonQuarantined && d.Device == "new" && d.Site == "hall":
			quarantined = append(quarantined, m.Sequence)
		case d.Reason == streams.ReasonUnwanted && d.Site == "attic":
			unwanted = append(unwanted, m.Sequence)
		}
	}
	if len(quarantined) != 1 || len(unwanted) != 1 {
		t.Fatalf("dead letters: %+v", w.deadLetters(t))
	}
	if n := r.value(t, "headwater_bridge_dead_letters_total", streams.ReasonUnwanted); n != 1 {
		t.Errorf("%v unwanted ones counted", n)
	}
	if got := w.redrive(t, quarantined...); got.Results[0].Outcome != streams.OutcomeRefused || got.Results[0].Reason != streams.ReasonQuarantined {
		t.Errorf("redriven before the approval: %+v", got)
	}
	quarantined[0] = func() uint64 {
		all := stored(t, w.js, streams.StreamDeadLetters)
		return all[len(all)-1].Sequence
	}()
	if err := credentials.Create(t.Context(), w.js, credentials.Credential{
		Name: "new", Kind: credentials.KindDevice, Devices: []credentials.Pattern{at("hall", "new")}, State: credentials.StateAllowed,
	}); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the letter is redriven after the approval", func() bool {
		all := stored(t, w.js, streams.StreamDeadLetters)
		quarantined[0] = all[len(all)-1].Sequence
		return w.redrive(t, quarantined...).Results[0].Outcome == streams.OutcomeRedriven
	})
	publish(t, c, 1, "sensors/hall/new/t", "24")
	want := []string{"mqtt yard/new/t 23", "redrive hall/new/t 21", "mqtt hall/new/t 24"}
	got := slices.DeleteFunc(w.readings(t), func(s string) bool { return strings.Contains(s, "probe") })
	if !equalSets(got, want) {
		t.Errorf("readings %q, want %q", got, want)
	}
}

// TestMosquittoWithAToken is what a person types first.
func TestMosquittoWithAToken(t *testing.T) {
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("mosquitto_pub is not installed (Debian: apt-get install mosquitto-clients)")
	}
	w := newWorld(t)
	w.start(t)
	token := w.credential(t, "door-1", at("hall", "door-1"))
	host, port, err := net.SplitHostPort(w.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	send := func(password, payload string) error {
		return exec.CommandContext(t.Context(), program, "-h", host, "-p", port, "-u", "door-1", "-P", password, "-q", "1",
			"-t", "sensors/hall/door-1/t", "-m", payload).Run()
	}
	streamtest.Eventually(t, "the reading is taken", func() bool { return send(token, "21.5") == nil })
	if send("guess", "99") == nil {
		t.Error("a wrong token was taken")
	}
	if got := w.readings(t); !slices.Equal(got, []string{"mqtt hall/door-1/t 21.5"}) {
		t.Errorf("readings: %q", got)
	}
}

// TestCertificateIsACredential has a device log in with its certificate, and others try.
func TestCertificateIsACredential(t *testing.T) {
	listener := httptest.NewTLSServer(nil)
	defer listener.Close()
	folder := t.TempDir()
	authority, err := certs.EnsureDeviceAuthority(folder, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.Certificate())
	d, err := natsd.Start(t.Context(), natsd.Config{
		Dir: t.TempDir(), Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0",
		TLS: &tls.Config{Certificates: listener.TLS.Certificates, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Shutdown)
	s := &streamtest.Server{Server: d}
	s.Ensure(t, lanes)
	w := &world{Server: s, js: s.JS(t), devices: s.DevicesJS(t)}
	w.start(t)
	if err := credentials.Create(t.Context(), w.js, credentials.Credential{
		Name: "door-1", Kind: credentials.KindDevice, Devices: []credentials.Pattern{at("hall", "door-1")},
		Identity: credentials.Identity{URI: certs.DeviceURI("hall", "door-1")}, State: credentials.StateAllowed,
	}); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(listener.Certificate())
	options := func(id, device string) *mqtt.ClientOptions {
		cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if device != "" {
			text, key, err := authority.ForDevice("hall", device, time.Now(), 1)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.X509KeyPair(text, key)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		return mqtt.NewClientOptions().AddBroker("ssl://" + w.MQTT()).SetClientID(id).SetTLSConfig(cfg).SetAutoReconnect(false)
	}
	streamtest.Eventually(t, "the client id is that of the credential alone", func() bool {
		c, err := try(t, options("door-1", ""))
		if err == nil {
			c.Disconnect(0)
		}
		return err != nil
	})
	if _, err := try(t, options("door-1", "door-2")); err == nil {
		t.Error("the certificate of another device was taken")
	}
	c, err := try(t, options("door-1", "door-1"))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, c, 1, "sensors/hall/door-2/t", "1")
	publish(t, c, 1, "sensors/hall/door-1/t", "2")
	if got := w.readings(t); !slices.Equal(got, []string{"mqtt hall/door-1/t 2"}) {
		t.Errorf("readings: %q", got)
	}
	program, err := exec.LookPath("mosquitto_pub")
	if err != nil {
		t.Skip("the rest needs mosquitto_pub, which is not installed (Debian: apt-get install mosquitto-clients)")
	}
	text, key, err := authority.ForDevice("hall", "door-1", time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cert": text, "key": key, "ca": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listener.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(w.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-h", host, "-p", port, "-i", "door-1:m", "-q", "1", "-t", "sensors/hall/door-1/t", "-m", "3",
		"--cafile", filepath.Join(folder, "ca"), "--cert", filepath.Join(folder, "cert"), "--key", filepath.Join(folder, "key")).CombinedOutput()
	if err != nil {
		t.Errorf("mosquitto_pub: %v: %s", err, out)
	}
	if got := w.readings(t); !slices.Equal(got, []string{"mqtt hall/door-1/t 2", "mqtt hall/door-1/t 3"}) {
		t.Errorf("readings: %q", got)
	}
}
