package channel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"headwater/services/internal/config"
)

// shoutrrr sends messages with the library of that name. Its services make their own
// connections: of the bounds of this package's HTTP client only the time applies.
type shoutrrr struct {
	url config.Secret
	// markup is how the service reads texts.
	markup markup
	// busy holds a token during a call of the library. A call cannot be cancelled, so
	// after its time is over it continues in the background, and the next call waits
	// for it: a channel never has more than one goroutine, nor two sends at once.
	busy chan struct{}
}

var _ Sender = (*shoutrrr)(nil)

func newShoutrrr(address config.Secret) *shoutrrr {
	return &shoutrrr{url: address, markup: markupOf(address), busy: make(chan struct{}, 1)}
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
		return judge(s.url, err, true)
	}
	err = s.sendWith(service, m, s.markup)
	if err != nil && s.markup.plain != nil {
		if status, words := answered(err); status == http.StatusBadRequest && strings.Contains(words, "entities") {
			// The service cannot read the markup. The texts matter more than how they look.
			err = s.sendWith(service, m, *s.markup.plain)
		}
	}
	if err != nil {
		return judge(s.url, err, false)
	}
	return nil
}

// sendWith sends the message with the texts as a markup wants them.
func (s *shoutrrr) sendWith(service types.Service, m Message, as markup) error {
	params, text := types.Params{}, neutral(m.Body)
	maps.Copy(params, as.params)
	if m.URL != "" {
		text += "\n" + m.URL
	}
	if as.titled {
		params.SetTitle(as.title(neutral(m.Title)))
	} else {
		text = neutral(m.Title) + "\n" + text
	}
	return service.Send(as.body(text), &params)
}

// refused reports whether another attempt would fail in the same way after a status.
func refused(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status >= 300 && status < 500
}

// judge decides whether an error of the library is permanent. Of its text it quotes only what
// the other side answered: the rest often quotes the URL, and the URL is the secret.
func judge(address config.Secret, err error, setup bool) *Error {
	name := scheme(address)
	status, words := answered(err)
	switch {
	case setup:
	case name == "smtp" && status != 0:
		return &Error{Permanent: status >= 500, Reason: withAnswer(fmt.Sprintf("the mail server answered %d", status), words, address)}
	case status >= 300:
		return &Error{
			Permanent: refused(status), RetryAfter: pauseOf(words),
			Reason: withAnswer(strings.TrimSpace(fmt.Sprintf("%s answered %d %s", name, status, http.StatusText(status))), words, address),
		}
	case name == "slack" && words != "":
		return &Error{Permanent: !slackRetries[words], Reason: withAnswer("slack answered", words, address)}
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
