package channel

import (
	"context"
	"errors"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"headwater/services/internal/config"
)

// shoutrrr sends messages with the library of that name. Its services make their own
// connections: of the bounds of this package's HTTP client only the time applies.
type shoutrrr struct {
	url config.Secret
	// title is set if the service has a place for a title.
	title bool
	// busy holds a token during a call of the library. A call cannot be cancelled, so
	// after its time is over it continues in the background, and the next call waits
	// for it: a channel never has more than one goroutine, nor two sends at once.
	busy chan struct{}
}

var _ Sender = (*shoutrrr)(nil)

func newShoutrrr(address config.Secret) *shoutrrr {
	return &shoutrrr{url: address, title: !slices.Contains(untitled(), scheme(address)), busy: make(chan struct{}, 1)}
}

// untitled lists the services that have no title, do not show it or require a short
// one; their messages begin with the title.
func untitled() []string {
	return []string{
		"googlechat", "hangouts", "mattermost", "notifiarr", "pagerduty", "rocketchat", "signal", "wecom", "zulip",
	}
}

// scheme returns the service that a URL is for.
func scheme(address config.Secret) string {
	s, _, _ := strings.Cut(address.Reveal(), ":")
	s, _, _ = strings.Cut(s, "+")
	return strings.ToLower(s)
}

// Send sends the message with the library.
func (s *shoutrrr) Send(ctx context.Context, m Message) error {
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return &Error{Reason: "the previous attempt has not ended yet"}
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-s.busy }()
		done <- s.send(m)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &Error{Reason: "no answer in time"}
	}
}

// Close does nothing: the library does not expose its connections.
func (s *shoutrrr) Close() {}

func (s *shoutrrr) send(m Message) error {
	r, err := router.New(nil)
	if err != nil {
		return &Error{Reason: "the library can't be used"}
	}
	service, err := r.Locate(s.url.Reveal())
	if err != nil {
		return s.judge(err, true)
	}
	body, params := neutral(m.Body), types.Params{}
	if m.URL != "" {
		body += "\n" + m.URL
	}
	if s.title {
		params.SetTitle(neutral(m.Title))
	} else {
		body = neutral(m.Title) + "\n" + body
	}
	if err := service.Send(body, &params); err != nil {
		return s.judge(err, false)
	}
	return nil
}

// refused finds the statuses after which another attempt would fail in the same way.
// Any other error is retried.
var refused = regexp.MustCompile(`(?i)\b(?:status|code|http)\w*\W{0,12}(40[0134]|410|413|422)\b`)

// judge decides whether an error of the library is permanent. It drops the text of the
// error, which often quotes the URL, and the URL is the secret.
func (s *shoutrrr) judge(err error, setup bool) *Error {
	name := scheme(s.url)
	if smtp, ok := errors.AsType[*textproto.Error](err); ok {
		e := &Error{Permanent: smtp.Code >= 500, Reason: name + " answered with an error of the mail server"}
		return e
	}
	if found := refused.FindStringSubmatch(err.Error()); found != nil {
		return permanent("%s answered %s", name, found[1])
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return &Error{Reason: name + ": " + op.Op + ": " + op.Err.Error()}
	}
	if failed, ok := errors.AsType[*url.Error](err); ok && failed.Op == "parse" {
		return permanent("%s: the URL can't be used", name)
	}
	if _, network := errors.AsType[net.Error](err); network {
		return &Error{Reason: name + " can't be reached"}
	}
	if setup {
		return permanent("%s: the URL can't be used", name)
	}
	return &Error{Reason: name + " did not take the message"}
}

// neutral disarms what chat services read as a call to everybody: a device may have
// written it.
func neutral(s string) string {
	const zeroWidthSpace = "\u200b"
	return strings.NewReplacer("@", "@"+zeroWidthSpace, "<!", "<"+zeroWidthSpace+"!").Replace(s)
}
