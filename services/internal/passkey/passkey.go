// Package passkey has people log in with a key of their phone or computer in place of a
// password (WebAuthn). A browser offers a key only to the site that it was made for. The
// package is pure.
package passkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

const (
	// Valid is how long a person may take to answer.
	Valid = 5 * time.Minute
	// maxSealed and maxAnswer are in bytes.
	maxSealed = 4 << 10
	maxAnswer = 16 << 10
)

// Errors for people.
var (
	// ErrSite is returned for an address for which there can be no passkeys.
	ErrSite = errors.New("passkeys need https:// and a name, or localhost: an address of numbers has none")
	// ErrAnswer is returned for an answer that does not fit the question, or no longer.
	ErrAnswer = errors.New("the passkey was not taken: try again")
)

// Site is what a passkey is for.
type Site struct {
	// ID is its name, and Origin how a browser reaches it.
	ID, Origin string
}

// SiteOf returns the site of the address at which a browser reaches the pages.
func SiteOf(address string) (Site, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Site{}, ErrSite
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || host == "" || u.Scheme != "https" && host != "localhost" {
		return Site{}, ErrSite
	}
	return Site{ID: host, Origin: u.Scheme + "://" + u.Host}, nil
}

// Key is a passkey as it is kept. It has no secret.
type Key struct {
	webauthn.Credential
}

// ID is the name of the key in addresses.
func (k Key) ID() string { return base64.RawURLEncoding.EncodeToString(k.Credential.ID) }

// Owner is who has keys.
type Owner struct {
	// Handle finds the owner. It says nothing about the person.
	Handle []byte
	Name   string
	Keys   []Key
}

// WebAuthnID implements webauthn.User.
func (o Owner) WebAuthnID() []byte { return o.Handle }

// WebAuthnName implements webauthn.User.
func (o Owner) WebAuthnName() string { return o.Name }

// WebAuthnDisplayName implements webauthn.User.
func (o Owner) WebAuthnDisplayName() string { return o.Name }

// WebAuthnCredentials implements webauthn.User.
func (o Owner) WebAuthnCredentials() []webauthn.Credential {
	all := make([]webauthn.Credential, len(o.Keys))
	for i, k := range o.Keys {
		all[i] = k.Credential
	}
	return all
}

// party is the site for the library.
func (s Site) party() (*webauthn.WebAuthn, error) {
	w, err := webauthn.New(&webauthn.Config{RPID: s.ID, RPDisplayName: "Headwater", RPOrigins: []string{s.Origin}})
	if err != nil {
		return nil, fmt.Errorf("set up passkeys of %s: %w", s.ID, err)
	}
	return w, nil
}

// question is what a browser was asked. It comes back sealed.
type question struct {
	// For is what the answer is for: the name of the user who adds a key, or empty for
	// a log-in.
	For     string               `json:"for,omitempty"`
	Session webauthn.SessionData `json:"session"`
	Until   int64                `json:"until"`
}

// seal returns the question for the browser to keep.
func (q question) seal(key []byte) (string, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("encode a question: %w", err)
	}
	body := base64.RawURLEncoding.EncodeToString(text)
	return body + "." + base64.RawURLEncoding.EncodeToString(mac(key, body)), nil
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("passkey:" + text))
	return m.Sum(nil)
}

// open undoes seal.
func open(key []byte, sealed, purpose string, now time.Time) (q question, err error) {
	body, code, _ := strings.Cut(sealed, ".")
	sum, err := base64.RawURLEncoding.DecodeString(code)
	if err != nil || len(sealed) > maxSealed || len(key) == 0 || !hmac.Equal(sum, mac(key, body)) {
		return question{}, ErrAnswer
	}
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(text, &q) != nil || q.For != purpose || now.Unix() > q.Until {
		return question{}, ErrAnswer
	}
	return q, nil
}

// ask returns the options for a browser, and the question that it keeps.
func ask(key []byte, purpose string, options any, session *webauthn.SessionData, now time.Time) ([]byte, string, error) {
	text, err := json.Marshal(options)
	if err != nil {
		return nil, "", fmt.Errorf("encode the options of a passkey: %w", err)
	}
	sealed, err := question{purpose, *session, now.Add(Valid).Unix()}.seal(key)
	return text, sealed, err
}

// Register asks for a new key of an owner, with options in JSON for the browser, which also
// keeps sealed.
func (s Site) Register(key []byte, owner Owner, now time.Time) (options []byte, sealed string, err error) {
	w, err := s.party()
	if err != nil {
		return nil, "", err
	}
	creation, session, err := w.BeginRegistration(owner,
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired,
		}),
		webauthn.WithExclusions(webauthn.Credentials(owner.WebAuthnCredentials()).CredentialDescriptors()),
		webauthn.WithConveyancePreference(protocol.PreferNoAttestation))
	if err != nil {
		return nil, "", fmt.Errorf("ask for a passkey: %w", err)
	}
	return ask(key, owner.Name, creation.Response, session, now)
}

// Registered returns the new key of an owner.
func (s Site) Registered(key []byte, owner Owner, sealed, answer string, now time.Time) (Key, error) {
	q, err := open(key, sealed, owner.Name, now)
	if err != nil {
		return Key{}, err
	}
	w, err := s.party()
	if err != nil {
		return Key{}, err
	}
	if len(answer) > maxAnswer {
		return Key{}, ErrAnswer
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return Key{}, ErrAnswer
	}
	c, err := w.CreateCredential(owner, q.Session, parsed)
	if err != nil {
		return Key{}, ErrAnswer
	}
	c.Attestation = webauthn.CredentialAttestation{} // nobody looks at it
	return Key{*c}, nil
}

// Ask asks a person who has a key to log in.
func (s Site) Ask(key []byte, now time.Time) (options []byte, sealed string, err error) {
	w, err := s.party()
	if err != nil {
		return nil, "", err
	}
	assertion, session, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, "", fmt.Errorf("ask for a passkey: %w", err)
	}
	return ask(key, "", assertion.Response, session, now)
}

// Answered returns the owner of the key with which a person logs in, and the key with its
// new count. Find returns the owner of a handle. Challenge must not have been answered
// before.
func (s Site) Answered(key []byte, sealed, answer string, now time.Time, find func(handle []byte) (Owner, bool)) (of Owner, with Key, challenge string, err error) {
	q, err := open(key, sealed, "", now)
	if err != nil {
		return Owner{}, Key{}, "", err
	}
	w, err := s.party()
	if err != nil {
		return Owner{}, Key{}, "", err
	}
	if len(answer) > maxAnswer {
		return Owner{}, Key{}, "", ErrAnswer
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return Owner{}, Key{}, "", ErrAnswer
	}
	c, err := w.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) {
		owner, known := find(handle)
		if !known {
			return nil, ErrAnswer
		}
		of = owner
		return owner, nil
	}, q.Session, parsed)
	if err != nil || c.Authenticator.CloneWarning {
		return Owner{}, Key{}, "", ErrAnswer
	}
	return of, Key{*c}, q.Session.Challenge, nil
}
