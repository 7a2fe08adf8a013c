package influx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
	apihttp "github.com/influxdata/influxdb-client-go/v2/api/http"

	"headwater/proto/figure"
	"headwater/services/internal/process"
)

// maxErrorBody bounds how much of an error response is read.
const maxErrorBody = 64 << 10

// Client talks to one InfluxDB. It is safe for concurrent use.
type Client struct {
	cfg    Config
	http   *http.Client
	client influxdb2.Client

	maxAnswer int64 // bounds the bytes of a response

	ensuring sync.Mutex // held while a bucket is created

	mu      sync.Mutex
	writers map[string]api.WriteAPIBlocking // by bucket; guarded by mu
}

// New returns a client; it does no I/O. Close it when it is no longer needed.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.URL == "" {
		return nil, errors.New("influx-url: set the address of InfluxDB, for example http://127.0.0.1:8086")
	}
	pool := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
	}
	c := &Client{
		cfg:       cfg,
		http:      &http.Client{Transport: &transport{next: pool, cfg: cfg}, Timeout: cfg.Timeout},
		maxAnswer: maxAnswer,
		writers:   make(map[string]api.WriteAPIBlocking),
	}
	c.client = influxdb2.NewClientWithOptions(strings.TrimSuffix(cfg.URL, "/"), "",
		influxdb2.DefaultOptions().SetHTTPClient(c.http).SetLogLevel(0))
	return c, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// URL returns the address of InfluxDB for people: without user and password.
func (c *Client) URL() string {
	u, err := url.Parse(c.cfg.URL)
	if err != nil {
		return c.cfg.URL
	}
	return u.Redacted()
}

// Database returns the configured first part of the names of all buckets.
func (c *Client) Database() string { return c.cfg.Database }

// Write stores lines of line protocol, with times in nanoseconds, in a bucket
// of the form "database/policy". It returns nil only after a 2xx, and otherwise
// an *Error. After an error any part of the lines may have been stored.
func (c *Client) Write(ctx context.Context, bucket, lines string) error {
	c.mu.Lock()
	w, ok := c.writers[bucket]
	if !ok {
		w = c.client.WriteAPIBlocking(c.cfg.Org, bucket)
		c.writers[bucket] = w
	}
	c.mu.Unlock()
	if err := w.WriteRecord(ctx, lines); err != nil {
		return c.wrap("write to bucket "+bucket, err)
	}
	return nil
}

// Ping asks InfluxDB for its version, such as "1.8.10" or "2.7.11".
func (c *Client) Ping(ctx context.Context) (version string, err error) {
	resp, err := c.do(ctx, http.MethodGet, "ping", nil, nil)
	if err != nil {
		return "", c.wrap("ask for the version", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
	version = resp.Header.Get("X-Influxdb-Version")
	if version == "" {
		return "", fmt.Errorf("the server at %s does not say that it is InfluxDB; check --influx-url", c.URL())
	}
	return strings.TrimPrefix(version, "v"), nil
}

// do sends one request; any status other than 2xx becomes an *apihttp.Error.
func (c *Client) do(ctx context.Context, method, path string, params url.Values, body io.Reader) (*http.Response, error) {
	u := strings.TrimSuffix(c.cfg.URL, "/") + "/" + path
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		e := apihttp.NewError(nil)
		e.StatusCode, e.Header, e.Message = resp.StatusCode, resp.Header, resp.Header.Get(headerError)
		return nil, e
	}
	return resp, nil
}

// Error is a request that InfluxDB did not carry out. Without a response Status
// is 0, and nobody knows whether it was carried out.
type Error struct {
	// Op is what was attempted, for people.
	Op string
	// Status is the status of the HTTP response, or 0.
	Status int
	// Message is the reason given by InfluxDB or the network.
	Message string
	// RetryAfter is how long InfluxDB asks to wait; 0 if it does not ask.
	RetryAfter time.Duration
	// Hint is what people can do about it; often empty.
	Hint string

	err error
}

// Error returns one line for people.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": InfluxDB answers %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the error of the network or of the context.
func (e *Error) Unwrap() error { return e.err }

// wrap turns an error of the transport or of the official client into an *Error
// with a hint.
func (c *Client) wrap(op string, err error) error {
	e := &Error{Op: op, err: err}
	var h *apihttp.Error
	if !errors.As(err, &h) || h.StatusCode == 0 {
		e.Message = err.Error()
		var failed *url.Error
		var token *tokenError
		if errors.As(err, &failed) && !errors.Is(err, context.Canceled) && !errors.As(err, &token) {
			e.Hint = "no answer from " + c.URL() + "; is InfluxDB running, and is --influx-url right?"
		}
		return e
	}
	e.Status, e.err = h.StatusCode, nil
	e.Message = h.Message
	if m := h.Header.Get(headerError); m != "" {
		e.Message = m
	}
	e.RetryAfter = retryAfter(h.Header.Get("Retry-After"), time.Now())
	switch e.Status {
	case http.StatusUnauthorized:
		e.Hint = "the token is missing, wrong or expired; set --influx-token-file"
	case http.StatusForbidden:
		e.Hint = "the token may not do this; give one with more rights by --influx-token-file"
	case http.StatusNotFound:
		e.Hint = "the bucket or the organisation does not exist, or --influx-url, --influx-org or --influx-database is wrong"
	}
	return e
}

// retryAfter reads both forms of the header: seconds and a date.
func retryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// headerError is where InfluxDB 1.x repeats the reason of an error. The
// transport sets it for the other versions.
const headerError = "X-Influxdb-Error"

// guardKey is the key of a guard in a context.
type guardKey struct{}

// Guard returns a context whose writes call check before each part of their
// points is sent. If check returns an error, the write ends there, and InfluxDB
// drops what it has received only in part.
func Guard(ctx context.Context, check func() error) context.Context {
	return context.WithValue(ctx, guardKey{}, check)
}

// guarded is a body that calls check before it returns a part of itself.
type guarded struct {
	io.ReadCloser
	check func() error
}

func (g guarded) Read(p []byte) (int, error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	return g.ReadCloser.Read(p)
}

// transport adds the token to every request. In one place it bounds and reads
// the body of an error, whose form differs between the versions.
type transport struct {
	next http.RoundTripper
	cfg  Config
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.token()
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if token != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Token "+token)
	}
	if check, ok := req.Context().Value(guardKey{}).(func() error); ok && req.Body != nil {
		req = req.Clone(req.Context())
		req.Body, req.GetBody = guarded{req.Body, check}, nil
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode/100 == 2 {
		return resp, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the answer %d: %w", resp.StatusCode, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if resp.Header.Get(headerError) == "" {
		resp.Header.Set(headerError, errorText(body))
	}
	return resp, nil
}

// token returns the current token. It reads the file each time: the file is
// small, requests are few, and a rotated token works at once.
func (t *transport) token() (string, error) {
	if t.cfg.TokenFile == "" {
		return string(t.cfg.Token), nil
	}
	token, err := process.ReadSecret(t.cfg.TokenFile)
	if err != nil {
		return "", &tokenError{err}
	}
	return token, nil
}

// tokenError is a token that cannot be read.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "--influx-token-file: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// errorText returns the reason from the body of an error: {"error"} of 1.x,
// {"code","message"} of 2.x, {"error","data":[{"error_message"}]} of 3, or
// plain text. The result has no line breaks.
func errorText(body []byte) string {
	var b struct {
		Error   string          `json:"error"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	text := string(body)
	if json.Unmarshal(body, &b) == nil && b.Error+b.Message != "" {
		text = b.Error
		if text == "" {
			text = b.Message
		}
		var lines []struct {
			Line    int    `json:"line_number"`
			Message string `json:"error_message"`
		}
		if json.Unmarshal(b.Data, &lines) == nil && len(lines) > 0 {
			text += fmt.Sprintf(": line %d: %s", lines[0].Line, lines[0].Message)
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	return figure.Clip(text, 1024)
}

// Reason returns in a few words why InfluxDB gave no answer, without its address.
func Reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return failed.Err.Error()
	}
	if answer, ok := errors.AsType[*Error](err); ok {
		return answer.Message
	}
	return err.Error()
}
