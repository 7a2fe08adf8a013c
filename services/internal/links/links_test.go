package links

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLinks(t *testing.T) {
	key, now := []byte("a key of thirty-two bytes or more"), time.Unix(1_800_000_000, 0)
	want := Link{Action: Mute, Episode: "00112233aabbccdd-dn5mn57qoq2o", Channel: "phones", Expires: now.Add(Age)}
	token := Sign(key, want)
	if got, err := Parse(key, token, now); err != nil || got != want {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
	if _, err := Parse(key, token, want.Expires.Add(-time.Second)); err != nil {
		t.Errorf("before its end: %v", err)
	}
	if _, err := Parse(key, token, want.Expires); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
	signature := token[strings.LastIndexByte(token, '.'):]
	other := Sign(key, Link{Action: "delete", Episode: "x", Channel: "phones", Expires: want.Expires})
	for name, bad := range map[string]string{
		"empty": "", "no signature": strings.TrimSuffix(token, signature), "another action": strings.Replace(token, "mute", "ack", 1),
		"another episode": strings.Replace(token, "aabb", "aabc", 1), "a later end": strings.Replace(token, signature, "z"+signature, 1),
		"another signature": strings.TrimSuffix(token, signature) + ".AAAAAAAAAAAAAAAAAAAAAA", "an unknown action": other,
		"long": token + strings.Repeat("x", maxToken), "more parts": "x." + token,
	} {
		if _, err := Parse(key, bad, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse([]byte("another key of this or that Headwater"), token, now); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another Headwater: %v", err)
	}
	if id := ID(token); len(id) != 32 || id == ID(token+"x") {
		t.Errorf("id %s", id)
	}
}
