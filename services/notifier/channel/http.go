package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"headwater/services/internal/config"
)

const (
	// dialTimeout bounds making a connection; a whole attempt is bounded by the
	// caller's context.
	dialTimeout = 5 * time.Second
	// maxHeader bounds the header of a reply, in bytes.
	maxHeader = 16 << 10
	// maxReply bounds how much of the body of a reply is read, in bytes, and
	// replyTime for how long. An error quotes the beginning of it, and a connection can be
	// reused only after the body was read to its end.
	maxReply  = 64 << 10
	replyTime = 250 * time.Millisecond
)

// errMetadata is returned for an address that no message may be sent to.
var errMetadata = errors.New("refused: the address is link-local or belongs to a cloud's metadata service")

// newClient returns a client with its own connections.
func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: allowed}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns:           2,
			IdleConnTimeout:        90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// allowed is called with the address that a name resolved to, so a name that
// resolves differently later cannot slip through.
func allowed(_, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return errMetadata
	}
	ip := host.Addr().Unmap().WithZone("")
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == awsIPv6 || ip == alibaba {
		return errMetadata
	}
	return nil
}

var (
	awsIPv6 = netip.AddrFrom16([16]byte{0xfd, 0, 0x0e, 0xc2, 14: 2, 15: 0x54})
	alibaba = netip.AddrFrom4([4]byte{100, 100, 100, 200})
)

// post sends the body and judges the reply. An error quotes nothing of the channel's address,
// which target is, or is made of.
func post(ctx context.Context, client *http.Client, target, address config.Secret, header http.Header, body string) error {
	req, err := http.NewRequest(http.MethodPost, target.Reveal(), strings.NewReader(body))
	if err != nil {
		return permanent("the URL can't be used")
	}
	req.Header = header
	return do(ctx, client, req, address)
}

// do sends the request and judges the reply as post does.
func do(ctx context.Context, client *http.Client, req *http.Request, address config.Secret) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req = req.WithContext(ctx)
	req.Header.Set("User-Agent", "headwater")
	resp, err := client.Do(req)
	if err != nil {
		return transport(err)
	}
	// The outcome is known now; a body that never ends does not change it.
	patience := time.AfterFunc(replyTime, cancel)
	defer patience.Stop()
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply)) // as far as it came
	err = verdict(resp, time.Now())
	if refused, ok := errors.AsType[*Error](err); ok {
		refused.Reason = withAnswer(refused.Reason, string(answer), address)
		return refused
	}
	return err
}

// transport returns what went wrong before there was a reply. An error of net/http
// quotes the whole URL; the error that it wraps names at most the host.
func transport(err error) *Error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	switch {
	case errors.Is(err, errMetadata), errors.Is(err, errPrivate):
		if inner, ok := errors.AsType[*net.OpError](err); ok {
			err = inner.Err
		}
		return permanent("%v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Reason: "no answer in time"}
	case errors.Is(err, context.Canceled):
		return &Error{Reason: "cancelled before there was an answer"}
	default:
		return &Error{Reason: err.Error()}
	}
}

// verdict is the table of statuses: accepted, worth another attempt, or refused
// permanently.
func verdict(resp *http.Response, now time.Time) error {
	code := resp.StatusCode
	e := &Error{Reason: "answered " + strconv.Itoa(code) + " " + http.StatusText(code)}
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		e.Permanent = true
		e.Reason += ": redirects are not followed, give the final address"
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	default:
		e.Permanent, e.Gone = true, code == http.StatusNotFound || code == http.StatusGone
	}
	return e
}

// retryAfter reads the header in both of its forms; 0 when it is neither.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
