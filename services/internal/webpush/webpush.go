// Package webpush sends messages to browsers through the push service of their maker: it
// encrypts them for the browser alone (RFC 8291, in the coding of RFC 8188) and says who
// sends them (RFC 8292). It also keeps, in a bucket that only notifier and dashboard may
// read, the keys of this Headwater and the browsers that are to be notified.
package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Bounds of a subscription and of a message, in bytes.
const (
	// MaxEndpoint bounds the address of a browser at its push service.
	MaxEndpoint = 2048
	// MaxMessage bounds the text of a message: push services take bodies of 4096.
	MaxMessage = recordSize - 16 - 1 - headerSize

	recordSize = 4096
	saltSize   = 16
	keySize    = 65
	authSize   = 16
	headerSize = saltSize + 4 + 1 + keySize
)

// tokenAge is how long a token says that a message is ours; push services allow a day.
const tokenAge = 12 * time.Hour

var encoding = base64.RawURLEncoding

// Keys are the pair of keys that this Headwater proves with that it sends a message.
type Keys struct{ private *ecdsa.PrivateKey }

// NewKeys returns new keys.
func NewKeys() (*Keys, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	return &Keys{private}, nil
}

// ParseKeys undoes Marshal.
func ParseKeys(data []byte) (*Keys, error) {
	private, err := x509.ParseECPrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("parse keys: %w", err)
	}
	if private.Curve != elliptic.P256() {
		return nil, errors.New("parse keys: they are of another curve")
	}
	return &Keys{private}, nil
}

// Marshal returns the keys as they are stored. They are secret.
func (k *Keys) Marshal() ([]byte, error) { return x509.MarshalECPrivateKey(k.private) }

// Public returns the public key as browsers take it.
func (k *Keys) Public() (string, error) {
	public, err := k.private.PublicKey.ECDH()
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	return encoding.EncodeToString(public.Bytes()), nil
}

// Authorization returns the header with which a push service knows the sender. Subject is a
// mailto or https address of the sender.
func (k *Keys) Authorization(endpoint, subject string, now time.Time) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("the endpoint is not a URL")
	}
	public, err := k.Public()
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{"aud": u.Scheme + "://" + u.Host, "exp": now.Add(tokenAge).Unix(), "sub": subject})
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	signed := encoding.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + encoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return "vapid t=" + signed + "." + encoding.EncodeToString(signature) + ", k=" + public, nil
}

// Subscription is a browser, as it describes itself.
type Subscription struct {
	// Endpoint is its address at its push service. Who knows it can send to it only with
	// the keys of the Headwater that it belongs to.
	Endpoint string `json:"endpoint"`
	// P256dh is its public key, Auth a secret that it shares with the sender, both in
	// base64url.
	P256dh string `json:"p256dh"`
	Auth   string `json:"auth"`
}

// Check returns what is wrong with the subscription.
func (s Subscription) Check() error {
	u, err := url.Parse(s.Endpoint)
	switch {
	case len(s.Endpoint) > MaxEndpoint:
		return fmt.Errorf("the endpoint has %d bytes, at most %d", len(s.Endpoint), MaxEndpoint)
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(s.Endpoint, " \r\n"):
		return errors.New("the endpoint must be an https URL")
	}
	_, _, err = s.keys()
	return err
}

func (s Subscription) keys() (public *ecdh.PublicKey, auth []byte, err error) {
	point, err := encoding.DecodeString(strings.TrimRight(s.P256dh, "="))
	if err == nil {
		public, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return nil, nil, errors.New("p256dh must be a key of curve P-256 in base64url")
	}
	auth, err = encoding.DecodeString(strings.TrimRight(s.Auth, "="))
	if err != nil || len(auth) != authSize {
		return nil, nil, fmt.Errorf("auth must be %d bytes in base64url", authSize)
	}
	return public, auth, nil
}

// Encrypt returns the body of a request to the push service: the message, of at most
// MaxMessage bytes, which only the browser can read.
func (s Subscription) Encrypt(message []byte) ([]byte, error) {
	ephemeral, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // it never fails
	return s.encrypt(message, ephemeral, salt)
}

func (s Subscription) encrypt(message []byte, ephemeral *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	if len(message) > MaxMessage {
		return nil, fmt.Errorf("the message has %d bytes, at most %d", len(message), MaxMessage)
	}
	browser, auth, err := s.keys()
	if err != nil {
		return nil, err
	}
	shared, err := ephemeral.ECDH(browser)
	if err != nil {
		return nil, fmt.Errorf("agree on a key: %w", err)
	}
	own := ephemeral.PublicKey().Bytes()
	content, nonce, err := contentKeys(shared, auth, salt, browser.Bytes(), own)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(content)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	out := make([]byte, 0, headerSize+len(message)+1+seal.Overhead())
	out = append(out, salt...)
	out = binary.BigEndian.AppendUint32(out, recordSize)
	out = append(out, keySize)
	out = append(out, own...)
	const last = 2 // ends the last record
	return seal.Seal(out, nonce, append(append([]byte{}, message...), last), nil), nil
}

// contentKeys derives the key and the nonce of the only record.
func contentKeys(shared, auth, salt, browser, own []byte) (key, nonce []byte, err error) {
	input, err := hkdf.Key(sha256.New, shared, auth, "WebPush: info\x00"+string(browser)+string(own), sha256.Size)
	if err == nil {
		key, err = hkdf.Key(sha256.New, input, salt, "Content-Encoding: aes128gcm\x00", 16)
	}
	if err == nil {
		nonce, err = hkdf.Key(sha256.New, input, salt, "Content-Encoding: nonce\x00", 12)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("derive a key: %w", err)
	}
	return key, nonce, nil
}
