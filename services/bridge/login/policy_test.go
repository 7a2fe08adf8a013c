package login

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/streams"
	"headwater/streams/natsd"
)

func TestJudge(t *testing.T) {
	shared := Policy{Anonymous: AnonymousLoopback, Device: Credential{"devices", "s3cret"}}
	listen := Policy{Anonymous: AnonymousLoopback, Reader: Credential{"reader", "r3ad"}}
	both := Policy{Anonymous: AnonymousNone, Device: Credential{"devices", "s3cret"}, Reader: Credential{"reader", "r3ad"}}
	tests := []struct {
		name   string
		policy Policy
		device Device
		role   Role
		want   Refusal
	}{
		{name: "anonymous on loopback", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "127.0.0.1"}},
		{name: "anonymous on another loopback", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "127.9.9.9"}},
		{name: "anonymous on loopback of IPv6", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "::1"}},
		{name: "mapped loopback", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "::ffff:127.0.0.1"}},
		{name: "anonymous elsewhere", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "192.168.1.7"}, want: RefusalAnonymous},
		{name: "name of loopback", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "localhost.example.org"}, want: RefusalAnonymous},
		{name: "no address", policy: Policy{Anonymous: AnonymousLoopback}, want: RefusalAnonymous},
		{name: "any", policy: Policy{Anonymous: AnonymousAny}, device: Device{Host: "192.168.1.7"}},
		{name: "none", policy: Policy{Anonymous: AnonymousNone}, device: Device{Host: "127.0.0.1"}, want: RefusalAnonymous},
		{name: "zero policy", device: Device{Host: "127.0.0.1"}, want: RefusalAnonymous},
		{name: "password that nobody set", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "127.0.0.1", User: "admin", Password: "admin"}},
		{name: "password that nobody set, elsewhere", policy: Policy{Anonymous: AnonymousLoopback}, device: Device{Host: "10.0.0.9", User: "admin", Password: "admin"}, want: RefusalAnonymous},
		{name: "right password", policy: shared, device: Device{Host: "10.0.0.9", User: "devices", Password: "s3cret"}},
		{name: "wrong password", policy: shared, device: Device{Host: "10.0.0.9", User: "devices", Password: "s3cret "}, want: RefusalPassword},
		{name: "wrong user", policy: shared, device: Device{Host: "10.0.0.9", User: "device", Password: "s3cret"}, want: RefusalPassword},
		{name: "no password", policy: shared, device: Device{Host: "10.0.0.9", User: "devices"}, want: RefusalPassword},
		{name: "wrong password on loopback", policy: shared, device: Device{Host: "127.0.0.1", User: "devices", Password: "x"}, want: RefusalPassword},
		{name: "anonymous on loopback beside a password", policy: shared, device: Device{Host: "127.0.0.1"}},
		{name: "reader", policy: both, device: Device{Host: "10.0.0.9", User: "reader", Password: "r3ad"}, role: RoleReader},
		{name: "device beside a reader", policy: both, device: Device{Host: "10.0.0.9", User: "devices", Password: "s3cret"}},
		{name: "reader with the password of devices", policy: both, device: Device{Host: "10.0.0.9", User: "reader", Password: "s3cret"}, want: RefusalPassword},
		{name: "reader without a password", policy: both, device: Device{Host: "10.0.0.9", User: "reader"}, want: RefusalPassword},
		{name: "device with the password of the reader", policy: both, device: Device{Host: "10.0.0.9", User: "devices", Password: "r3ad"}, want: RefusalPassword},
		{name: "reader without a credential of devices", policy: listen, device: Device{Host: "10.0.0.9", User: "reader", Password: "r3ad"}, role: RoleReader},
		{name: "reader on loopback with a wrong password", policy: listen, device: Device{Host: "127.0.0.1", User: "reader", Password: "x"}, want: RefusalPassword},
		{name: "password of the reader alone", policy: listen, device: Device{Host: "10.0.0.9", Password: "r3ad"}, want: RefusalAnonymous},
		{name: "any user on loopback beside a reader", policy: listen, device: Device{Host: "127.0.0.1", User: "admin", Password: "admin"}},
		{name: "NATS client", policy: Policy{Anonymous: AnonymousAny}, device: Device{Protocol: "nats", Host: "127.0.0.1"}, want: RefusalProtocol},
		{name: "NATS client by WebSocket", policy: Policy{Anonymous: AnonymousAny}, device: Device{Protocol: "websocket", Host: "127.0.0.1"}, want: RefusalProtocol},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.device.Protocol == "" {
				test.device.Protocol = ProtocolMQTT
			}
			if role, got := test.policy.Judge(test.device); got != test.want || role != test.role {
				t.Errorf("got role %d, %q, want role %d, %q", role, got, test.role, test.want)
			}
		})
	}
}

func TestPolicyValidate(t *testing.T) {
	err := Policy{Anonymous: "maybe", Device: Credential{User: "same"}, Reader: Credential{User: "same"}}.Validate()
	for _, want := range []string{`"maybe" is none of`, "of the devices belong together", "of the reader belong together", "different users"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
	if err := (Policy{Anonymous: AnonymousNone, Device: Credential{"a", "b"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryInternalSubjectIsWithheld(t *testing.T) {
	for _, subject := range natsd.InternalSubjects() {
		if !slices.Contains(withheld(), subject) {
			t.Errorf("devices may publish on %s", subject)
		}
	}
}

// FuzzCommands checks that no client id gives a device a wildcard in place of
// its own name, or the commands of another device.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{"door-1", "", "*", ">", "a.b", "a/b", "+", "#", "a b", "A4:CF:12", "$SYS", strings.Repeat("x", 65)} {
		f.Add(seed)
	}
	key, err := nkeys.CreateAccount()
	if err != nil {
		f.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		f.Fatal(err)
	}
	r, err := New(Deps{IssuerSeed: seed, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, clientID string) {
		c := r.claims("UCLIENT", admission{role: RoleDevice}, clientID)
		shared := append(streams.SparkplugCommands(), streams.SparkplugStates()...)
		own := c.Sub.Allow[min(len(shared), len(c.Sub.Allow)):]
		if !slices.Equal(c.Sub.Allow[:len(c.Sub.Allow)-len(own)], jwt.StringList(shared)) {
			t.Errorf("%q: sub %+v", clientID, c.Sub)
		}
		want := jwt.StringList{"commands." + clientID, "commands." + clientID + ".>"}
		if len(own) > 0 && (!slices.Equal(own, want) || strings.ContainsAny(clientID, "*>.+#/ $")) {
			t.Errorf("%q: %q", clientID, own)
		}
	})
}
