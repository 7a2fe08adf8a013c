package channel

import (
	"context"
	"encoding/json"
	"net/http"

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

// webhook posts JSON.
type webhook struct {
	client *http.Client
	url    config.Secret
}

var _ Sender = (*webhook)(nil)

func newWebhook(url config.Secret) *webhook {
	return &webhook{client: newClient(), url: url}
}

// Send posts the message.
func (w *webhook) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(Payload{
		Version: 1, Key: m.Key, Status: status(m), Title: m.Title, Text: m.Body, URL: m.URL, Alerts: m.Alerts,
	})
	if err != nil {
		return permanent("encode the message: %v", err)
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Idempotency-Key", m.Key)
	return post(ctx, w.client, w.url.Reveal(), header, string(body))
}

// Close closes idle connections.
func (w *webhook) Close() { w.client.CloseIdleConnections() }

func status(m Message) string {
	if m.Resolved {
		return StatusResolved
	}
	return StatusFiring
}
