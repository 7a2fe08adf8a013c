// Package webpushtest is a push service and its browsers, for tests. It checks what the
// standards ask of a sender, and decrypts by itself.
package webpushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/services/internal/webpush"
)

var encoding = base64.RawURLEncoding

// Service is a push service (RFC 8030).
type Service struct {
	*httptest.Server

	mu       sync.Mutex // guards what follows
	browsers []*Browser
}

// Browser is a browser that has subscribed.
type Browser struct {
	// Subscription is how it describes itself.
	Subscription webpush.Subscription

	service *Service
	private *ecdh.PrivateKey
	auth    []byte
	status  int
	got     []string
	tried   int
}

// New returns a service.
func New(tb testing.TB) *Service {
	tb.Helper()
	s := &Service{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := s.take(r)
		if err != nil {
			tb.Error(err)
		}
		w.WriteHeader(status)
	}))
	tb.Cleanup(s.Close)
	return s
}

// Browser returns a new browser.
func (s *Service) Browser(tb testing.TB) *Browser {
	tb.Helper()
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	b := &Browser{service: s, private: private, auth: make([]byte, 16), status: http.StatusCreated}
	_, _ = rand.Read(b.auth)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Subscription = webpush.Subscription{
		Endpoint: fmt.Sprintf("%s/send/%d", s.URL, len(s.browsers)), P256dh: encoding.EncodeToString(private.PublicKey().Bytes()), Auth: encoding.EncodeToString(b.auth),
	}
	s.browsers = append(s.browsers, b)
	return b
}

// Answer sets the status of the answers for the browser; 201 takes messages.
func (b *Browser) Answer(status int) {
	b.service.mu.Lock()
	defer b.service.mu.Unlock()
	b.status = status
}

// Got returns the messages that the browser was sent, decrypted.
func (b *Browser) Got() []string {
	b.service.mu.Lock()
	defer b.service.mu.Unlock()
	return append([]string(nil), b.got...)
}

// Tried returns how often somebody tried to send to the browser.
func (b *Browser) Tried() int {
	b.service.mu.Lock()
	defer b.service.mu.Unlock()
	return b.tried
}

func (s *Service) take(r *http.Request) (status int, err error) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/send/"))
	if err != nil {
		return http.StatusNotFound, fmt.Errorf("push to %s", r.URL)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	if ttl, err := strconv.Atoi(r.Header.Get("TTL")); r.Method != http.MethodPost || err != nil || ttl <= 0 || r.Header.Get("Content-Encoding") != "aes128gcm" || len(body) > 4096 {
		return http.StatusBadRequest, fmt.Errorf("push with header %v and %d bytes", r.Header, len(body))
	}
	if err := s.authorized(r.Header.Get("Authorization")); err != nil {
		return http.StatusForbidden, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.browsers[n]
	b.tried++
	if b.status >= 300 {
		return b.status, nil
	}
	text, err := b.open(body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	b.got = append(b.got, string(text))
	return b.status, nil
}

// authorized checks the header of RFC 8292.
func (s *Service) authorized(header string) error {
	token, key, ok := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		return fmt.Errorf("authorization %q", header)
	}
	var raw [4][]byte
	for i, text := range []string{parts[0], parts[1], parts[2], key} {
		var err error
		raw[i], err = encoding.DecodeString(text)
		if err != nil {
			return err
		}
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw[3])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(raw[2]) != 64 || !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])) {
		return errors.New("the signature of the token does not fit")
	}
	var claims struct {
		Aud, Sub string
		Exp      int64
	}
	if err := json.Unmarshal(raw[1], &claims); err != nil {
		return err
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); claims.Aud != s.URL || left <= 0 || left > 24*time.Hour || !strings.HasPrefix(claims.Sub, "mailto:") && !strings.HasPrefix(claims.Sub, "https://") {
		return fmt.Errorf("claims %+v", claims)
	}
	return nil
}

// open decrypts a body (RFC 8188, 8291).
func (b *Browser) open(body []byte) ([]byte, error) {
	if len(body) < 86 {
		return nil, fmt.Errorf("a body of %d bytes", len(body))
	}
	salt, size, length := body[:16], binary.BigEndian.Uint32(body[16:20]), int(body[20])
	if size < 18 || length != 65 {
		return nil, fmt.Errorf("records of %d bytes, a key of %d", size, length)
	}
	sender, err := ecdh.P256().NewPublicKey(body[21:86])
	if err != nil {
		return nil, err
	}
	shared, err := b.private.ECDH(sender)
	if err != nil {
		return nil, err
	}
	extract := func(secret, salt []byte) []byte {
		key, _ := hkdf.Extract(sha256.New, secret, salt) // fails for no hash that there is
		return key
	}
	expand := func(key []byte, info string, n int) []byte {
		out, _ := hkdf.Expand(sha256.New, key, info, n)
		return out
	}
	input := expand(extract(shared, b.auth), "WebPush: info\x00"+string(b.private.PublicKey().Bytes())+string(sender.Bytes()), 32)
	key := extract(input, salt)
	block, err := aes.NewCipher(expand(key, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	text, err := gcm.Open(nil, expand(key, "Content-Encoding: nonce\x00", 12), body[86:], nil)
	if err != nil {
		return nil, err
	}
	for len(text) > 0 && text[len(text)-1] == 0 {
		text = text[:len(text)-1]
	}
	if len(text) == 0 || text[len(text)-1] != 2 {
		return nil, errors.New("the last record does not end with its mark")
	}
	return text[:len(text)-1], nil
}
