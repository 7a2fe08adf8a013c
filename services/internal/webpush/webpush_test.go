package webpush

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

func decoded(t *testing.T, s string) []byte {
	t.Helper()
	data, err := encoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The example of RFC 8291, appendix A.
const (
	exampleText    = "When I grow up, I want to be a watermelon"
	exampleSender  = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
	exampleBrowser = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	exampleAuth    = "BTBZMqHH6r4Tts7J_aSIgg"
	exampleSalt    = "DGv6ra1nlYgDCS1FRnbzlw"
	exampleBody    = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

func TestEncryptsLikeTheStandard(t *testing.T) {
	ephemeral, err := ecdh.P256().NewPrivateKey(decoded(t, exampleSender))
	if err != nil {
		t.Fatal(err)
	}
	s := Subscription{P256dh: exampleBrowser, Auth: exampleAuth}
	got, err := s.encrypt([]byte(exampleText), ephemeral, decoded(t, exampleSalt))
	if err != nil || !bytes.Equal(got, decoded(t, exampleBody)) {
		t.Errorf("%v\n%s, want\n%s", err, encoding.EncodeToString(got), exampleBody)
	}
	one, err := s.Encrypt(bytes.Repeat([]byte("x"), MaxMessage))
	if err != nil || len(one) != recordSize {
		t.Errorf("the largest message has %d bytes: %v", len(one), err)
	}
	if two, _ := s.Encrypt(bytes.Repeat([]byte("x"), MaxMessage)); bytes.Equal(one, two) {
		t.Error("a key was used twice")
	}
	if _, err := s.Encrypt(make([]byte, MaxMessage+1)); err == nil {
		t.Error("a message that is too long was encrypted")
	}
}

func TestAuthorization(t *testing.T) {
	k, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	k, err = ParseKeys(stored)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	header, err := k.Authorization("https://push.example.org:8443/send/abc?x=1", "mailto:a@example.org", now)
	if err != nil {
		t.Fatal(err)
	}
	token, public, ok := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		t.Fatal(header)
	}
	var claims struct {
		Aud, Sub string
		Exp      int64
	}
	if err := json.Unmarshal(decoded(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Aud != "https://push.example.org:8443" || claims.Sub != "mailto:a@example.org" || claims.Exp <= now.Unix() || claims.Exp > now.Unix()+86400 {
		t.Errorf("claims %+v", claims)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), decoded(t, public))
	if err != nil {
		t.Fatal(err)
	}
	signature := decoded(t, parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature does not fit")
	}
}

func TestCheck(t *testing.T) {
	good := Device{Subscription: Subscription{Endpoint: "https://push.example.org/send/abc", P256dh: exampleBrowser, Auth: exampleAuth}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Device){
		"no endpoint":       func(d *Device) { d.Endpoint = "" },
		"http":              func(d *Device) { d.Endpoint = "http://push.example.org/" },
		"a file":            func(d *Device) { d.Endpoint = "file:///etc/passwd" },
		"user info":         func(d *Device) { d.Endpoint = "https://a:b@push.example.org/" },
		"a line feed":       func(d *Device) { d.Endpoint += "\nHost: x" },
		"a long endpoint":   func(d *Device) { d.Endpoint += strings.Repeat("x", MaxEndpoint) },
		"no key":            func(d *Device) { d.P256dh = "" },
		"a point off curve": func(d *Device) { d.P256dh = encoding.EncodeToString(append([]byte{4}, make([]byte, 64)...)) },
		"a short secret":    func(d *Device) { d.Auth = "AAAA" },
		"a long name":       func(d *Device) { d.Name = strings.Repeat("x", maxName+1) },
	} {
		d := good
		spoil(&d)
		if d.Check() == nil {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
}
