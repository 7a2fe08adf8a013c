package channel

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"headwater/services/internal/config"
)

// Payload is the body that a webhook gets, as JSON. Fields may be added, and none is
// removed.
type Payload struct {
	// Version is the version of this format: 1.
	Version int `json:"version"`
	// Key is the idempotency key, also in the header Idempotency-Key: a receiver
	// that has seen it may drop the message.
	Key string `json:"key"`
	// Status is "firing" or "resolved".
	Status string `json:"status"`
	// Title and Text are the message in words for people.
	Title string `json:"title"`
	Text  string `json:"text"`
	// URL is where people see it; empty when it is not known.
	URL string `json:"url,omitempty"`
	// Alerts are the alerts that the message is about; at least one.
	Alerts []Alert `json:"alerts"`
}

// Headers with which a receiver checks who sent a message and when. The signature is
// "v1=" and HMAC-SHA256, in hexadecimal digits, over the timestamp, a dot and the body, with
// the secret of the channel as the key. The timestamp is in seconds since the Unix epoch; a
// receiver refuses one that is more than a few minutes old.
const (
	HeaderTimestamp = "Headwater-Timestamp"
	HeaderSignature = "Headwater-Signature"
)

// Sign returns the signature of a body that is sent at a time.
func Sign(secret config.Secret, timestamp, body string) string {
	h := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = io.WriteString(h, timestamp+"."+body)
	return "v1=" + hex.EncodeToString(h.Sum(nil))
}

// webhook posts JSON.
type webhook struct {
	client *http.Client
	url    config.Secret
	// secret signs; empty for none.
	secret config.Secret
	// encode returns the body.
	encode func(Message) any
}

var _ Sender = (*webhook)(nil)

func newWebhook(ch config.Channel, address Address) *webhook {
	w := &webhook{client: newClient(), url: address.URL, secret: address.Secret, encode: payload}
	if ch.Format == config.FormatAlertmanager {
		w.encode = func(m Message) any { return alertmanager(ch.Name, m) }
	}
	return w
}

func payload(m Message) any {
	return Payload{Version: 1, Key: m.Key, Status: status(m), Title: m.Title, Text: m.Body, URL: m.URL, Alerts: m.Alerts}
}

// Send posts the message.
func (w *webhook) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(w.encode(m))
	if err != nil {
		return permanent("encode the message: %v", err)
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Idempotency-Key", m.Key)
	if w.secret != "" {
		timestamp := strconv.FormatInt(time.Now().Unix(), 10)
		header.Set(HeaderTimestamp, timestamp)
		header.Set(HeaderSignature, Sign(w.secret, timestamp, string(body)))
	}
	return post(ctx, w.client, w.url, w.url, header, string(body))
}

// Close closes idle connections.
func (w *webhook) Close() { w.client.CloseIdleConnections() }

func status(m Message) string {
	if m.Resolved {
		return StatusResolved
	}
	return StatusFiring
}
