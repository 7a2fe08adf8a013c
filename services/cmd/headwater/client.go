package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"headwater/web/deadletters"
)

const (
	// requestTimeout bounds one request; a redrive of many letters is the longest.
	requestTimeout = time.Minute
	// maxAnswer bounds how much of an answer is read: a letter has at most 8 MiB, and a
	// third more as base64.
	maxAnswer = 16 << 20
)

// errNoToken is returned when the dashboard does not know who asks.
var errNoToken = errors.New("people have to log in to this dashboard: send a valid token with --token-file or " + tokenVariable +
	" (an administrator makes one on the page People and tokens)")

// client calls the API of a dashboard.
type client struct {
	base *url.URL
	http *http.Client
	// token is what the client logs in with; empty for nothing.
	token string
}

// newClient returns a client of the dashboard at the address. It trusts the authorities in
// the file too, if one is named.
func newClient(address, authorities, token string) (*client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, usage(fmt.Sprintf("--server %q is not a URL such as http://127.0.0.1:8080", address))
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if authorities != "" {
		text, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, usage(fmt.Sprintf("--ca: %s holds no certificate in PEM", authorities))
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &client{base: base, token: token, http: &http.Client{
		Timeout: requestTimeout, Transport: transport,
		// A dashboard does not redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// ask requests a value of type T.
func ask[T any](ctx context.Context, c *client, method string, path []string, query url.Values) (T, error) {
	var out T
	err := c.call(ctx, method, path, query, &out)
	return out, err
}

// call sends a request about dead letters and decodes the answer.
func (c *client) call(ctx context.Context, method string, path []string, query url.Values, into any) error {
	at := c.base.JoinPath(append([]string{"api", "v1", "deadletters"}, path...)...)
	at.RawQuery = query.Encode()
	return c.send(ctx, method, at, nil, into)
}

// send sends a request, with a JSON body if there is one, and decodes the answer unless
// its target is nil.
func (c *client) send(ctx context.Context, method string, at *url.URL, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request to %s: %w", c.base.Redacted(), err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return fmt.Errorf("the dashboard at %s does not answer: %w (--server names another)", c.base.Redacted(), err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base.Redacted(), err)
	}
	if res.StatusCode == http.StatusUnauthorized {
		return errNoToken
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		var problem struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(answer, &problem) == nil && problem.Detail != "" {
			return errors.New(safe(strings.TrimSuffix(problem.Detail, ".")))
		}
		if to, err := res.Location(); err == nil && to.Scheme == "https" && c.base.Scheme == "http" {
			return fmt.Errorf("the dashboard speaks HTTPS: use --server https://%s, with --ca for an authority of its own", c.base.Host)
		}
		return fmt.Errorf("%s answered %s: is that a dashboard of Headwater?", c.base.Redacted(), res.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read the answer of %s, is that a dashboard of Headwater? %w", c.base.Redacted(), err)
	}
	return nil
}

func (c *client) list(ctx context.Context, f filter, before uint64, size int) (deadletters.Letters, error) {
	query := f.query()
	query.Set("size", strconv.Itoa(size))
	if before > 0 {
		query.Set("before", strconv.FormatUint(before, 10))
	}
	return ask[deadletters.Letters](ctx, c, http.MethodGet, nil, query)
}

func (c *client) get(ctx context.Context, sequence uint64) (deadletters.Letter, error) {
	return ask[deadletters.Letter](ctx, c, http.MethodGet, []string{strconv.FormatUint(sequence, 10)}, nil)
}

func (c *client) redriveOne(ctx context.Context, sequence uint64) (deadletters.Redrive, error) {
	return ask[deadletters.Redrive](ctx, c, http.MethodPost, []string{strconv.FormatUint(sequence, 10), "redrive"}, nil)
}

// redriveMany redrives some of the letters. Next of the answer is where to continue.
func (c *client) redriveMany(ctx context.Context, f filter, from, through uint64) (deadletters.Redrive, error) {
	query := f.query()
	query.Set("through", strconv.FormatUint(through, 10))
	if from > 0 {
		query.Set("from", strconv.FormatUint(from, 10))
	}
	return ask[deadletters.Redrive](ctx, c, http.MethodPost, []string{"redrive"}, query)
}

// purged is the answer to a purge.
type purged struct {
	Purged uint64 `json:"purged"`
}

func (c *client) purgeOne(ctx context.Context, sequence uint64) (purged, error) {
	return ask[purged](ctx, c, http.MethodDelete, []string{strconv.FormatUint(sequence, 10)}, nil)
}

func (c *client) purgeMany(ctx context.Context, f filter, through uint64) (purged, error) {
	query := f.query()
	query.Set("through", strconv.FormatUint(through, 10))
	return ask[purged](ctx, c, http.MethodDelete, nil, query)
}
