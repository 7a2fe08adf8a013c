package channel

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/internal/webpush"
	"headwater/services/rule"
)

const (
	// pushKept is how long a push service keeps a message for a browser that is away.
	pushKept = 24 * time.Hour
	// maxPushBody bounds the text of a notification, in bytes.
	maxPushBody = 1500
	// pushContact names the sender to push services if the address of the dashboard
	// cannot: they want a mailto or https address.
	pushContact = "mailto:headwater@example.org"
)

// Notification is what the service worker of a browser gets, as JSON.
type Notification struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	// URL is what a press opens, without the host: the browser may reach this Headwater at
	// another one.
	URL string `json:"url,omitempty"`
	// Tag replaces an earlier notification with the same one.
	Tag string `json:"tag"`
	// Stay is set if the notification stays until somebody presses it.
	Stay bool `json:"stay,omitempty"`
	// Actions are its buttons.
	Actions []Action `json:"actions,omitempty"`
}

// errPrivate is returned for a push service in a private network. The person who registers a
// browser chooses the address.
var errPrivate = errors.New("refused: the push service is not in the public internet")

// public is like allowed, for addresses that not only administrators choose.
func public(_, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	ip := host.Addr().Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || shared.Contains(ip) || ip == awsIPv6 {
		return errPrivate
	}
	return nil
}

// shared is the address space that providers share among customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// pushSample is the address of a usual push service.
var pushSample = &url.URL{Scheme: "https", Host: "fcm.googleapis.com"}

// NewPushClient returns a client that reaches the public internet alone, if need be through
// the proxy of the environment.
func NewPushClient() *http.Client {
	c := newClient()
	if t, ok := c.Transport.(*http.Transport); ok {
		proxied := t.Proxy
		if p, err := proxied(&http.Request{URL: pushSample}); p == nil && err == nil {
			t.Proxy = nil
			t.DialContext = (&net.Dialer{Timeout: dialTimeout, Control: public}).DialContext
		}
	}
	return c
}

// Pusher sends messages to browsers.
type Pusher struct {
	Client *http.Client
	Keys   *webpush.Keys
}

// Push sends the message to one browser. Its error is an *Error.
func (p Pusher) Push(ctx context.Context, to webpush.Subscription, m Message) error {
	body, err := json.Marshal(notification(m))
	if err != nil {
		return permanent("encode the message: %v", err)
	}
	sealed, err := to.Encrypt(body)
	if err != nil {
		return permanent("%v", err)
	}
	contact := pushContact
	if strings.HasPrefix(m.Home, "https://") {
		contact = m.Home
	}
	authorization, err := p.Keys.Authorization(to.Endpoint, contact, time.Now())
	if err != nil {
		return permanent("%v", err)
	}
	header := http.Header{}
	header.Set("Authorization", authorization)
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Encoding", "aes128gcm")
	header.Set("TTL", strconv.Itoa(int(pushKept.Seconds())))
	header.Set("Urgency", urgency(m))
	return post(ctx, p.Client, config.Secret(to.Endpoint), config.Secret(to.Endpoint), header, string(sealed))
}

// urgency is how soon a phone that sleeps must wake up for it.
func urgency(m Message) string {
	if m.Resolved || m.Severity == rule.Info {
		return "normal"
	}
	return "high"
}

func notification(m Message) Notification {
	n := Notification{
		Title: m.Title, Body: figure.Clip(m.Body, maxPushBody), URL: strings.TrimPrefix(m.URL, strings.TrimSuffix(m.Home, "/")), Tag: m.Key,
		Actions: m.Actions, Stay: m.Severity == rule.Critical && !m.Resolved,
	}
	if len(m.Alerts) == 1 { // the end takes the place of the beginning
		n.Tag = m.Alerts[0].ID
	}
	return n
}
