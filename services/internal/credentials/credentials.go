// Package credentials holds who may connect as which devices: a credential for each device,
// and for each gateway that speaks for several. They are kept in a bucket, and every process
// that lets devices in has a copy of them in memory.
package credentials

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"headwater/streams"
)

// Bounds of one credential.
const (
	// MaxDevices bounds the devices, or patterns of devices, of a gateway.
	MaxDevices = 256
	// MaxClientIDs bounds the client ids of MQTT beside the name.
	MaxClientIDs = 8
	// maxTokens is what a rotation needs: the new token and the previous one.
	maxTokens = 2
	// maxClientID and maxURI are in bytes.
	maxClientID = 128
	maxURI      = 512
)

// Kind is how many devices a credential speaks for.
type Kind string

const (
	// KindDevice is for one device.
	KindDevice Kind = "device"
	// KindGateway is for several devices, or all of a site.
	KindGateway Kind = "gateway"
)

// State is whether a credential is good.
type State string

const (
	// StateAllowed lets its owner in.
	StateAllowed State = "allowed"
	// StateRevoked lets nobody in, and refuses what is sent in the name of its device.
	StateRevoked State = "revoked"
)

// Credential is who may connect as which devices.
type Credential struct {
	// Name is a token that no other credential has. It is the user over MQTT.
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Devices is one device without a wildcard for KindDevice, else 1 to MaxDevices.
	Devices []Pattern `json:"devices"`
	// ClientIDs are the client ids that it may use besides those that begin with its name.
	ClientIDs []string `json:"client_ids,omitempty"`
	// Tokens are its passwords, the newest first. A device without tokens and identity is
	// approved and has no credential of its own: it connects as it did before.
	Tokens []Token `json:"tokens,omitempty"`
	// Claim lets the person who sets the device up fetch a token of it, once.
	Claim Claim `json:"claim,omitzero"`
	// Identity is its certificate of TLS.
	Identity Identity  `json:"identity,omitzero"`
	State    State     `json:"state"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`

	// revision is that of its key in the bucket.
	revision uint64
}

// Token is a password of 128 bits or more, of which only the hash is kept. Guessing it is
// hopeless, so a fast hash is enough.
type Token struct {
	// Hash is the SHA-256 of the token, in hexadecimal digits.
	Hash string `json:"sha256"`
	// Until is when it ends; zero for the newest one.
	Until time.Time `json:"until,omitzero"`
}

// Claim is a code of which only the hash is kept, as of a token.
type Claim struct {
	// Hash is the SHA-256 of the code, in hexadecimal digits.
	Hash string `json:"sha256"`
	// Until is when it ends.
	Until time.Time `json:"until"`
}

// NewClaim makes a code that is good until a time. The text is shown to people once.
func NewClaim(until time.Time) (code string, c Claim) {
	code = rand.Text()
	return code, Claim{Hash: hash(code), Until: until}
}

// Accepts reports whether a code is that of the claim at a time.
func (c Claim) Accepts(code string, now time.Time) bool {
	return c.Hash != "" && subtle.ConstantTimeCompare([]byte(hash(code)), []byte(c.Hash)) == 1 && now.Before(c.Until)
}

// Identity names a certificate of TLS: by its URI among the subject's alternative names, or
// by the SHA-256 of the certificate in hexadecimal digits.
type Identity struct {
	URI         string `json:"uri,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Pattern names a device, or with Any in place of a name all of them.
type Pattern struct{ Site, Device string }

// Any stands for every site or every device.
const Any = "*"

// ParsePattern reads site/device.
func ParsePattern(text string) (Pattern, error) {
	site, device, found := strings.Cut(text, "/")
	p := Pattern{site, device}
	for _, name := range []string{site, device} {
		if !found || name != Any && !streams.ValidToken(name) {
			return Pattern{}, fmt.Errorf("%q is not site/device, each 1 to 64 letters, digits, hyphens or underscores, or %s for all", clip(text), Any)
		}
	}
	return p, nil
}

// String returns site/device.
func (p Pattern) String() string { return p.Site + "/" + p.Device }

// MarshalText implements encoding.TextMarshaler.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pattern) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePattern(string(text))
	return err
}

// Exact reports whether it names one device.
func (p Pattern) Exact() bool { return p.Site != Any && p.Device != Any }

func (p Pattern) matches(site, device string) bool {
	return (p.Site == Any || p.Site == site) && (p.Device == Any || p.Device == device)
}

// NewToken makes a token. The text is shown to people once and kept nowhere.
func NewToken() (text string, t Token) {
	text = rand.Text()
	return text, TokenOf(text)
}

// TokenOf is the token of a text that somebody else has made.
func TokenOf(text string) Token { return Token{Hash: hash(text)} }

// Is reports whether the token has that text. It takes as long for any text.
func (t Token) Is(text string) bool {
	return t.Hash != "" && subtle.ConstantTimeCompare([]byte(hash(text)), []byte(t.Hash)) == 1
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Accepts reports whether the token is one of the credential's at a time, and until when;
// zero means without end. The comparison takes as long for any token.
func (c Credential) Accepts(token string, now time.Time) (until time.Time, ok bool) {
	hashed := hash(token)
	for _, t := range c.Tokens {
		if subtle.ConstantTimeCompare([]byte(hashed), []byte(t.Hash)) == 1 && (t.Until.IsZero() || now.Before(t.Until)) {
			until, ok = t.Until, true
		}
	}
	return until, ok
}

// SameRights reports whether both let the same clients in as the same devices.
func (c Credential) SameRights(o Credential) bool {
	c.Claim, c.Created, c.Changed, c.revision = o.Claim, o.Created, o.Changed, o.revision
	return reflect.DeepEqual(c, o)
}

// Proves reports whether the credential has a token or a certificate, which only its
// owner has.
func (c Credential) Proves() bool { return len(c.Tokens) > 0 || c.Identity != Identity{} }

// Uses reports whether a client id of MQTT is one of the credential's: one that it lists, its
// name, or its name with ":" or "/" and more.
func (c Credential) Uses(clientID string) bool {
	return slices.Contains(c.ClientIDs, clientID) || c.Proves() && c.Name == owner(clientID)
}

// owner is the name of the only credential that may use a client id that none lists.
func owner(clientID string) string {
	if i := strings.IndexAny(clientID, ":/"); i >= 0 {
		return clientID[:i]
	}
	return clientID
}

// Covers reports whether the credential may send the readings of a device.
func (c Credential) Covers(site, device string) bool {
	return slices.ContainsFunc(c.Devices, func(p Pattern) bool { return p.matches(site, device) })
}

// Rotate adds a new token. Earlier ones end at until, or at once if that is not after now.
func (c *Credential) Rotate(t Token, now, until time.Time) {
	tokens := []Token{t}
	for _, old := range c.Tokens {
		if old.Until.IsZero() || old.Until.After(until) {
			old.Until = until
		}
		if old.Until.After(now) && len(tokens) < maxTokens {
			tokens = append(tokens, old)
		}
	}
	c.Tokens = tokens
}

// Validate reports every problem of the credential.
func (c Credential) Validate() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !streams.ValidToken(c.Name) {
		add("name: %q is not 1 to 64 letters, digits, hyphens or underscores", clip(c.Name))
	}
	if strings.HasPrefix(c.Name, streams.UserPrefix) {
		add("name: names that begin with %s are for services", streams.UserPrefix)
	}
	switch {
	case c.Kind == KindDevice && (len(c.Devices) != 1 || !c.Devices[0].Exact()):
		add("devices: a device is one site/device without %s; a gateway may have more", Any)
	case c.Kind == KindGateway && (len(c.Devices) == 0 || len(c.Devices) > MaxDevices):
		add("devices: %d, must be 1 to %d", len(c.Devices), MaxDevices)
	case c.Kind != KindDevice && c.Kind != KindGateway:
		add("kind: %q is neither %s nor %s", clip(string(c.Kind)), KindDevice, KindGateway)
	}
	if len(c.ClientIDs) > MaxClientIDs {
		add("client_ids: %d, at most %d", len(c.ClientIDs), MaxClientIDs)
	}
	for _, id := range c.ClientIDs {
		if id == "" || len(id) > maxClientID {
			add("client_ids: %q must have 1 to %d bytes", clip(id), maxClientID)
		}
	}
	if len(c.Tokens) > maxTokens {
		add("tokens: %d, at most %d", len(c.Tokens), maxTokens)
	}
	for _, t := range c.Tokens {
		if !isHash(t.Hash) {
			add("tokens: a hash is not 64 hexadecimal digits")
		}
	}
	if c.Claim != (Claim{}) && !isHash(c.Claim.Hash) {
		add("claim: the hash is not 64 hexadecimal digits")
	}
	if u, err := url.Parse(c.Identity.URI); c.Identity.URI != "" && (err != nil || u.Scheme == "" || len(c.Identity.URI) > maxURI) {
		add("uri: %q is not a URI with a scheme, of at most %d bytes", clip(c.Identity.URI), maxURI)
	}
	if c.Identity.Fingerprint != "" && !isHash(c.Identity.Fingerprint) {
		add("fingerprint: %q is not the SHA-256 of a certificate, 64 hexadecimal digits", clip(c.Identity.Fingerprint))
	}
	if c.State != StateAllowed && c.State != StateRevoked {
		add("state: %q is neither %s nor %s", clip(string(c.State)), StateAllowed, StateRevoked)
	}
	return errors.Join(problems...)
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}

// Encode encodes a valid credential for the bucket.
func (c Credential) Encode() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(c)
	if err == nil && len(body) > streams.MaxCredential {
		err = fmt.Errorf("it has %d bytes, at most %d", len(body), streams.MaxCredential)
	}
	return body, err
}

// Decode undoes Encode.
func Decode(body []byte) (c Credential, err error) {
	if err = json.Unmarshal(body, &c); err == nil {
		err = c.Validate()
	}
	if err != nil {
		return Credential{}, fmt.Errorf("decode credential: %w", err)
	}
	return c, nil
}

// Standing is what becomes of the readings of a device.
type Standing string

const (
	// StandingAllowed stores them.
	StandingAllowed Standing = "allowed"
	// StandingQuarantined makes them dead letters, which can be redriven when the device is
	// approved.
	StandingQuarantined Standing = "quarantined"
	// StandingRefused makes them dead letters too; nobody is expected to approve the device.
	StandingRefused Standing = "refused"
)

// Unknown says what becomes of devices that no credential covers: the first rule that
// matches counts. Without one they are allowed.
type Unknown []UnknownRule

// UnknownRule is for the devices of a pattern.
type UnknownRule struct {
	Devices  Pattern  `json:"devices"`
	Standing Standing `json:"standing"`
}

// maxUnknown bounds the rules for unknown devices.
const maxUnknown = 64

// Validate reports every problem.
func (u Unknown) Validate() error {
	if len(u) > maxUnknown {
		return fmt.Errorf("%d rules for unknown devices, at most %d", len(u), maxUnknown)
	}
	for _, r := range u {
		switch r.Standing {
		case StandingAllowed, StandingQuarantined, StandingRefused:
		default:
			return fmt.Errorf("%s: %q is none of %s, %s and %s", r.Devices, clip(string(r.Standing)), StandingAllowed, StandingQuarantined, StandingRefused)
		}
	}
	return nil
}

func (u Unknown) of(site, device string) Standing {
	for _, r := range u {
		if r.Devices.matches(site, device) {
			return r.Standing
		}
	}
	return StandingAllowed
}

// refusesAll reports whether no unknown device can be anything but refused.
func (u Unknown) refusesAll() bool {
	for _, r := range u {
		if r.Standing != StandingRefused {
			return false
		}
		if r.Devices == (Pattern{Any, Any}) {
			return true
		}
	}
	return false
}

// clip bounds what a message repeats.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
