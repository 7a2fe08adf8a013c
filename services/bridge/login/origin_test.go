package login

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOriginIsTakenFromTheFrontOnly(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	seal := NewSeal([]byte("the seed of the bridges"))
	origin := Origin{
		Host: "192.0.2.7", User: "device", Sent: now.Unix(),
		Certificate: Certificate{URIs: []string{"urn:headwater:device:a"}, Fingerprint: strings.Repeat("0f", 32)},
	}
	name, err := seal.Close(origin, "host%2Ehw")
	if err != nil {
		t.Fatal(err)
	}
	r := &Responder{seal: seal}
	client := Device{Protocol: ProtocolMQTT, Host: "127.0.0.1", ClientID: "host%2Ehw", User: name, Password: "p"}
	got := client
	if refusal := r.originate(&got, now); refusal != "" {
		t.Fatalf("refused: %s", refusal)
	}
	want := Device{
		Protocol: ProtocolMQTT, Host: "192.0.2.7", ClientID: "host.hw", User: "device", Password: "p", Certificate: origin.Certificate,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if UserOf(name) != "device" || UserOf("device") != "device" || UserOf(sealed+"x") != "" {
		t.Errorf("the users are %q, %q and %q", UserOf(name), UserOf("device"), UserOf(sealed+"x"))
	}
	other, err := NewSeal([]byte("another seed")).Close(origin, client.ClientID)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		user, client string
		late         time.Duration
	}{
		"another seed":       {user: other, client: client.ClientID},
		"another client":     {user: name, client: "other"},
		"an old one":         {user: name, client: client.ClientID, late: sealedFor + time.Second},
		"one of the future":  {user: name, client: client.ClientID, late: -sealedFor - time.Second},
		"a changed one":      {user: strings.Replace(name, ":", ":e", 1), client: client.ClientID},
		"no seal":            {user: sealed, client: client.ClientID},
		"a seal of nothing":  {user: sealed + ".", client: client.ClientID},
		"one that is longer": {user: name + strings.Repeat("A", maxSealed), client: client.ClientID},
	} {
		d := client
		d.User, d.ClientID = c.user, c.client
		if refusal := r.originate(&d, now.Add(c.late)); refusal != RefusalForged || d.Host != client.Host || d.User != "" {
			t.Errorf("%s: refusal %q, %+v", what, refusal, d)
		}
	}
	plain := Device{Protocol: ProtocolMQTT, Host: "192.0.2.9", ClientID: "a%2Eb", User: "device"}
	got = plain
	if refusal := r.originate(&got, now); refusal != "" || !cmp.Equal(got, plain) {
		t.Errorf("a client without a front: refusal %q, %+v", refusal, got)
	}
	if _, err := seal.Close(Origin{User: strings.Repeat("u", maxSealed)}, "a"); err == nil {
		t.Error("an origin of any size is sealed")
	}
}
