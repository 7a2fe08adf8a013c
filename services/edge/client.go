package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"headwater/services/internal/uplink"
)

const (
	// requestWithin bounds one request, so that a link that has gone silent is noticed.
	requestWithin = 30 * time.Second
	// dialWithin bounds the set-up of a connection.
	dialWithin = 10 * time.Second
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 256 << 10
)

// errRefused is returned when the centre does not let this edge in. It is tried again, for
// the centre may change its mind.
var errRefused = errors.New("the centre does not let this edge in")

// client sends requests to the centre. Any number of goroutines may use it.
type client struct {
	link *Link
	http *http.Client
}

// open returns a client, and first fetches the certificate of the centre's own authority if
// it has one that is not known yet.
func open(ctx context.Context, l *Link) (*client, error) {
	if l.Authority != "" && l.Certificate == "" {
		text, err := fetchAuthority(ctx, l)
		if err != nil {
			return nil, err
		}
		l.Certificate = text
		if err := l.save(); err != nil {
			return nil, err
		}
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.Certificate != "" {
		secure.RootCAs = x509.NewCertPool()
		secure.RootCAs.AppendCertsFromPEM([]byte(l.Certificate))
	}
	return newClient(l, secure), nil
}

func newClient(l *Link, secure *tls.Config) *client {
	return &client{link: l, http: &http.Client{
		Timeout: requestWithin,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, TLSHandshakeTimeout: dialWithin,
			DialContext:         (&net.Dialer{Timeout: dialWithin, KeepAlive: 15 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// fetchAuthority fetches the certificate of the authority. The connection is not trusted:
// the fingerprint of the invitation proves that it is the right certificate.
func fetchAuthority(ctx context.Context, l *Link) (string, error) {
	c := newClient(l, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	defer c.http.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(l.Address, "/")+uplink.PathAuthority, nil)
	if err != nil {
		return "", fmt.Errorf("ask for the certificate of the centre: %w", err)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return "", fmt.Errorf("ask for the certificate of the centre: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("ask for the certificate of the centre: %w", err)
	}
	der := text
	if block, _ := pem.Decode(text); block != nil {
		der = block.Bytes
	}
	sum := sha256.Sum256(der)
	if hex.EncodeToString(sum[:]) != strings.ToLower(l.Authority) {
		return "", errors.New("the certificate of the centre is not that of the invitation: somebody else answers at its address, or the centre has a new authority, which needs a new invitation")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// join exchanges the secret of the invitation for the token, if that has not been done.
func (c *client) join(ctx context.Context) error {
	if c.link.Secret == "" {
		return nil
	}
	body, err := json.Marshal(uplink.Join{Token: c.link.Token})
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	if err := c.post(ctx, uplink.PathJoin, c.link.Secret, body, nil); err != nil {
		return err
	}
	c.link.Secret = ""
	return c.link.save()
}

// contact reports to the centre and returns its answer, and how many bytes were sent.
func (c *client) contact(ctx context.Context, report uplink.Contact) (answer uplink.Answer, sent int, err error) {
	body, err := json.Marshal(report)
	if err != nil {
		return answer, 0, fmt.Errorf("encode a request: %w", err)
	}
	err = c.post(ctx, uplink.PathContact, c.link.Token, body, &answer)
	if err == nil {
		err = answer.Policy.Validate()
	}
	return answer, len(body), err
}

// upload sends a body that the centre stores before it answers.
func (c *client) upload(ctx context.Context, path string, body []byte) error {
	return c.post(ctx, path, c.link.Token, body, nil)
}

func (c *client) post(ctx context.Context, path, token string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.link.Address, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request to the centre: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set(uplink.HeaderEdge, c.link.Name)
	r.Header.Set("Content-Type", "application/octet-stream")
	res, err := c.http.Do(r)
	if err != nil {
		// Connections of a link that was cut lead nowhere.
		c.http.CloseIdleConnections()
		return fmt.Errorf("the centre does not answer: %w", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of the centre: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var f uplink.Fault
		_ = json.Unmarshal(answer, &f) // a proxy on the way answers as it likes
		err := fmt.Errorf("the centre answers %s: %s", res.Status, f.Error)
		if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		return err
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the answer of the centre: %w", err)
	}
	return nil
}
