package login

import (
	"slices"
	"strings"
	"testing"

	"headwater/streams/natsd"
)

func TestJudge(t *testing.T) {
	shared := Policy{Anonymous: AnonymousLoopback, User: "devices", Password: "s3cret"}
	tests := []struct {
		name   string
		policy Policy
		device Device
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
		{name: "NATS client", policy: Policy{Anonymous: AnonymousAny}, device: Device{Protocol: "nats", Host: "127.0.0.1"}, want: RefusalProtocol},
		{name: "NATS client by WebSocket", policy: Policy{Anonymous: AnonymousAny}, device: Device{Protocol: "websocket", Host: "127.0.0.1"}, want: RefusalProtocol},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.device.Protocol == "" {
				test.device.Protocol = protocolMQTT
			}
			if got := test.policy.Judge(test.device); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPolicyValidate(t *testing.T) {
	err := Policy{Anonymous: "maybe", User: "devices"}.Validate()
	for _, want := range []string{`"maybe" is none of`, "belong together"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
	if err := (Policy{Anonymous: AnonymousNone, User: "a", Password: "b"}).Validate(); err != nil {
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
	f.Fuzz(func(t *testing.T, clientID string) {
		allowed := commands(clientID)
		c := claims("UCLIENT", clientID)
		if len(allowed) == 0 {
			if len(c.Sub.Allow) != 0 || !slices.Contains(c.Sub.Deny, ">") {
				t.Errorf("%q: sub %+v", clientID, c.Sub)
			}
			return
		}
		want := []string{"commands." + clientID, "commands." + clientID + ".>"}
		if !slices.Equal(allowed, want) || strings.ContainsAny(clientID, "*>.+#/ $") {
			t.Errorf("%q: %q", clientID, allowed)
		}
	})
}
