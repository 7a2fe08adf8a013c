package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost of a password, as the OWASP Password Storage Cheat Sheet recommends for
// argon2id: a guess takes 19 MiB and some tens of milliseconds.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	saltBytes    = 16
	keyBytes     = 32
)

// Bounds of a password, in bytes. A longer one would only cost the server time.
const (
	minPassword = 10
	maxPassword = 256
)

// hasher hashes passwords, a few at a time: many log-ins at once must exhaust neither the
// memory nor the processors.
type hasher struct {
	// memory is what a hash takes, in KiB.
	memory uint32
	// queue is who waits or computes, slots who computes.
	queue, slots chan struct{}
	// dummy is the hash of a password that nobody has.
	dummy string
}

// hashesAtOnce bounds the hashes that are computed at the same time, hashesWaiting those
// that wait for their turn, hashWait how long one waits.
const (
	hashesAtOnce  = 2
	hashesWaiting = 64
	hashWait      = 10 * time.Second
)

func newHasher(memory uint32) *hasher {
	h := &hasher{memory: memory, queue: make(chan struct{}, hashesWaiting), slots: make(chan struct{}, hashesAtOnce)}
	h.dummy = h.encode(make([]byte, saltBytes), make([]byte, keyBytes))
	return h
}

// key derives the key of a password. It returns ErrBusy when too many others wait.
func (h *hasher) key(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	defer func() { <-h.queue }()
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ErrBusy
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(password), salt, argonTime, h.memory, argonThreads, keyBytes), nil
}

// hash returns what is stored of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // it never fails
	key, err := h.key(ctx, password, salt)
	if err != nil {
		return "", err
	}
	return h.encode(salt, key), nil
}

// matches reports whether a password has a stored hash. An empty hash matches nothing,
// and takes as long.
func (h *hasher) matches(ctx context.Context, password, stored string) (bool, error) {
	known := stored != ""
	if !known {
		stored = h.dummy
	}
	salt, want, err := h.decode(stored)
	if err != nil {
		return false, err
	}
	key, err := h.key(ctx, password, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want) == 1 && known, nil
}

// prefix begins every stored hash, in the form that argon2's own tool writes.
func (h *hasher) prefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, h.memory, argonTime, argonThreads)
}

func (h *hasher) encode(salt, key []byte) string {
	return h.prefix() + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(key)
}

// errHash is returned for a stored hash that this version did not write.
var errHash = errors.New("the stored password cannot be read: reset it")

func (h *hasher) decode(stored string) (salt, key []byte, err error) {
	rest, ok := strings.CutPrefix(stored, h.prefix())
	saltText, keyText, both := strings.Cut(rest, "$")
	if !ok || !both {
		return nil, nil, errHash
	}
	salt, err = base64.RawStdEncoding.DecodeString(saltText)
	if err == nil {
		key, err = base64.RawStdEncoding.DecodeString(keyText)
	}
	if err != nil || len(salt) != saltBytes || len(key) != keyBytes {
		return nil, nil, errHash
	}
	return salt, key, nil
}

// checkPassword returns what is wrong with a new password, worded for people.
func checkPassword(name, password string) error {
	switch {
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return invalid("the password holds characters that cannot be typed")
	case utf8.RuneCountInString(password) < minPassword:
		return invalid(fmt.Sprintf("the password must have at least %d characters", minPassword))
	case len(password) > maxPassword:
		return invalid(fmt.Sprintf("the password must have at most %d bytes", maxPassword))
	case strings.EqualFold(password, name), strings.Count(password, password[:1]) == len(password):
		return invalid("the password is too easy to guess")
	}
	return nil
}
