package channel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"headwater/services/internal/config"
	"headwater/services/rule"
)

// ntfy publishes to a topic. It implements the protocol itself instead of using
// shoutrrr, for Retry-After, bounded replies and the sequence id.
type ntfy struct {
	client *http.Client
	// server is the address of the server, without the topic: messages in JSON
	// go there, so that no text has to fit a header.
	server config.Secret
	topic  string
	// address is the URL of the channel.
	address config.Secret
}

var _ Sender = (*ntfy)(nil)

func newNtfy(address config.Secret) (*ntfy, error) {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	topic := path.Base(strings.TrimRight(u.Path, "/"))
	u.Path, u.RawPath = strings.TrimRight(path.Dir(strings.TrimRight(u.Path, "/")), "/")+"/", ""
	return &ntfy{client: newClient(), server: config.Secret(u.String()), topic: topic, address: address}, nil
}

// ntfyMessage is what ntfy's documentation calls publishing as JSON.
type ntfyMessage struct {
	Topic    string   `json:"topic"`
	Title    string   `json:"title"`
	Message  string   `json:"message"`
	Priority int      `json:"priority"`
	Tags     []string `json:"tags,omitempty"`
	// Click is opened when the notification is pressed.
	Click string `json:"click,omitempty"`
	// SequenceID makes a repeat replace the notification that is already on the phone,
	// without another sound. Servers before 2.16 ignore it.
	SequenceID string `json:"sequence_id"`
	// Actions are buttons.
	Actions []ntfyAction `json:"actions,omitempty"`
}

// ntfyAction is a button that sends a request, and then clears the notification.
type ntfyAction struct {
	Action string `json:"action"`
	Label  string `json:"label"`
	URL    string `json:"url"`
	Method string `json:"method"`
	Clear  bool   `json:"clear"`
}

// Send publishes the message.
func (n *ntfy) Send(ctx context.Context, m Message) error {
	out := ntfyMessage{Topic: n.topic, Title: m.Title, Message: m.Body, Click: m.URL, SequenceID: sequenceID(m)}
	out.Priority, out.Tags = look(m)
	if m.Home != "" { // the phone must know the address
		for _, a := range m.Actions {
			out.Actions = append(out.Actions, ntfyAction{Action: "http", Label: a.Title, URL: strings.TrimSuffix(m.Home, "/") + a.URL, Method: http.MethodPost, Clear: true})
		}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return permanent("encode the message: %v", err)
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("Idempotency-Key", m.Key)
	return post(ctx, n.client, n.server, n.address, header, string(body))
}

// Close closes idle connections.
func (n *ntfy) Close() { n.client.CloseIdleConnections() }

// look returns the priority, 1 to 5 with 3 the default, and the tags, which ntfy
// shows as pictures.
func look(m Message) (priority int, tags []string) {
	switch {
	case m.Resolved:
		return 3, []string{"white_check_mark"}
	case m.Severity == rule.Critical:
		return 5, []string{"rotating_light"}
	case m.Severity == rule.Info:
		return 2, []string{"information_source"}
	default:
		return 4, []string{"warning"}
	}
}

// threadID is the same in the messages about the same episode.
func threadID(m Message) string {
	h := sha256.Sum256([]byte(m.Alerts[0].ID))
	return "hw-" + hex.EncodeToString(h[:12])
}

// sequenceID identifies this message among all that a topic will ever get, also from
// another Headwater: its keys may be the same.
func sequenceID(m Message) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%t\n", m.Key, m.Resolved)
	for _, a := range m.Alerts {
		_, _ = fmt.Fprintf(h, "%s\n%d\n", a.ID, a.Started.UnixNano())
	}
	return "hw-" + hex.EncodeToString(h.Sum(nil)[:12])
}
