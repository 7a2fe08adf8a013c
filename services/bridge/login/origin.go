package login

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Origin is where a client comes from, as the front sees it. Nats-server sees the
// address of the front. It travels in place of the user's name, sealed with a key that
// the bridges share.
type Origin struct {
	// Host is the address of the client.
	Host string `json:"host"`
	// User is the user that it sent.
	User string `json:"user,omitempty"`
	// Certificate is what it proved by TLS; the zero Certificate if it has none.
	Certificate Certificate `json:"certificate,omitzero"`
	// Sent is when the front sealed it, in seconds since the Unix epoch.
	Sent int64 `json:"sent"`
}

const (
	// sealed begins the name of a user that holds an Origin. No user of devices may
	// begin like that.
	sealed = "headwater-front/1:"
	// maxSealed bounds such a name, in bytes.
	maxSealed = 8 << 10
	// sealedFor is how long a sealed origin is taken. It bounds the difference between
	// the clocks of two bridges.
	sealedFor = 5 * time.Minute
)

// errSealed is returned for a name that no front has sealed for this client.
var errSealed = errors.New("not sealed by a front for this client")

// Seal seals origins, and opens them.
type Seal struct{ key []byte }

// NewSeal returns the seal of the bridges that have this seed.
func NewSeal(issuerSeed []byte) Seal {
	mac := hmac.New(sha256.New, issuerSeed)
	mac.Write([]byte(sealed))
	return Seal{mac.Sum(nil)}
}

// Sealed reports whether a name looks like a sealed origin.
func Sealed(user string) bool { return strings.HasPrefix(user, sealed) }

// Close returns the name of a user that holds the origin, for the client with the id that
// nats-server sees. It fails if the origin is too large.
func (s Seal) Close(o Origin, clientID string) (string, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("seal the address of a device: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	name := sealed + text + "." + base64.RawURLEncoding.EncodeToString(s.mac(text, clientID))
	if len(name) > maxSealed {
		return "", fmt.Errorf("seal the address of a device: %d bytes, at most %d", len(name), maxSealed)
	}
	return name, nil
}

// Open returns the origin in the name of a user. It fails for what was not closed with
// the same key for the same client.
func (s Seal) Open(user, clientID string) (o Origin, err error) {
	rest, isSealed := strings.CutPrefix(user, sealed)
	text, code, found := strings.Cut(rest, ".")
	if !isSealed || !found || len(user) > maxSealed {
		return Origin{}, errSealed
	}
	mac, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil || !hmac.Equal(mac, s.mac(text, clientID)) {
		return Origin{}, errSealed
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(body, &o)
	}
	if err != nil {
		return Origin{}, fmt.Errorf("%w: %w", errSealed, err)
	}
	return o, nil
}

// UserOf returns the user that a client sent, from the name that nats-server knows after it
// has admitted the client: a front may have sealed it.
func UserOf(name string) string {
	rest, isSealed := strings.CutPrefix(name, sealed)
	if !isSealed {
		return name
	}
	text, _, _ := strings.Cut(rest, ".")
	var o Origin
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(body, &o) != nil {
		return ""
	}
	return o.User
}

func (s Seal) mac(text, clientID string) []byte {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%d:%s%s", len(text), text, clientID)
	return mac.Sum(nil)
}

// fresh reports whether the origin was sealed recently.
func (o Origin) fresh(now time.Time) bool {
	age := now.Sub(time.Unix(o.Sent, 0))
	return age.Abs() <= sealedFor
}
