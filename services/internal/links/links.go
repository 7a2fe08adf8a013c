// Package links signs the links in messages with which people act on an alert without a
// log-in, such as from the lock screen of a phone. A link names one action on one episode,
// and expires. The package is pure; that a link works once is up to the caller.
package links

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Path begins the addresses of links.
const Path = "/act/"

// Age is how long a link is valid, and MuteFor how long it mutes.
const (
	Age     = 24 * time.Hour
	MuteFor = time.Hour
)

// Action is what a link does.
type Action string

// The actions.
const (
	Acknowledge Action = "ack"
	Mute        Action = "mute"
)

// Errors of Parse, for people.
var (
	ErrInvalid = errors.New("this link is not valid")
	ErrExpired = errors.New("this link has expired")
)

// maxToken bounds a token, in bytes.
const maxToken = 256

// macSize is how much of the HMAC a token has, in bytes.
const macSize = 16

// Link is what a token stands for.
type Link struct {
	Action Action
	// Episode is the name of the episode, Channel that of the channel it was sent through.
	Episode, Channel string
	// Expires counts in seconds.
	Expires time.Time
}

// Sign returns the token of a link. No part may have a dot.
func Sign(key []byte, l Link) string {
	text := strings.Join([]string{string(l.Action), l.Episode, l.Channel, strconv.FormatInt(l.Expires.Unix(), 36)}, ".")
	return text + "." + mac(key, text)
}

func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte("headwater link\x00" + text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:macSize])
}

// Parse returns the link of a token. Errors: ErrInvalid, ErrExpired.
func Parse(key []byte, token string, now time.Time) (Link, error) {
	cut := strings.LastIndexByte(token, '.')
	if len(token) > maxToken || cut < 0 || !hmac.Equal([]byte(token[cut+1:]), []byte(mac(key, token[:cut]))) {
		return Link{}, ErrInvalid
	}
	parts := strings.Split(token[:cut], ".")
	if len(parts) != 4 {
		return Link{}, ErrInvalid
	}
	expires, err := strconv.ParseInt(parts[3], 36, 64)
	l := Link{Action: Action(parts[0]), Episode: parts[1], Channel: parts[2], Expires: time.Unix(expires, 0)}
	switch {
	case err != nil || l.Action != Acknowledge && l.Action != Mute:
		return Link{}, ErrInvalid
	case !now.Before(l.Expires):
		return l, ErrExpired
	}
	return l, nil
}

// ID returns a name of a token that does not give it away.
func ID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:16])
}
