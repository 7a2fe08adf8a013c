package channel

import (
	"encoding/json"
	"errors"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/util/jsonclient"

	"headwater/proto/figure"
	"headwater/services/internal/config"
)

const (
	// maxAnswer bounds what an error quotes of an answer, in bytes.
	maxAnswer = 300
	// leastSecret is the least length of a part of a URL that is taken out of an answer.
	leastSecret = 5
	// replaced stands for such a part.
	replaced = "…"
)

// links finds URLs. The library's own contain tokens that a channel's URL has in another
// form.
var links = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)

// quoted returns what an error may quote of an answer: one line, bounded, and without any
// part of the URL of the channel, in case the other side repeats it.
func quoted(answer string, address config.Secret) string {
	if len(answer) > 4*maxAnswer {
		answer = answer[:4*maxAnswer]
	}
	answer = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(answer, ""), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	answer = links.ReplaceAllString(answer, replaced)
	for _, part := range parts(address) {
		answer = strings.ReplaceAll(answer, part, replaced)
	}
	return figure.Clip(answer, maxAnswer)
}

// parts returns the parts of a URL that may be secret: all but the scheme and the host.
func parts(address config.Secret) []string {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return []string{address.Reveal()}
	}
	password, _ := u.User.Password()
	texts := append(strings.Split(u.Path, "/"), password, u.User.Username(), u.Fragment, u.Opaque)
	for name, values := range u.Query() {
		_ = name
		texts = append(texts, values...)
	}
	// Services of the library join tokens with these.
	for _, t := range append(texts, u.Host) {
		if t != u.Host || u.Scheme != "http" && u.Scheme != "https" {
			texts = append(texts, strings.FieldsFunc(t, func(r rune) bool { return strings.ContainsRune("-:.,", r) })...)
		}
	}
	var secret []string
	for _, t := range texts {
		if len(t) >= leastSecret {
			secret = append(secret, t)
		}
	}
	return secret
}

// withAnswer adds what the other side answered to the reason of an error.
func withAnswer(reason, answer string, address config.Secret) string {
	if q := quoted(answer, address); q != "" {
		return reason + ": " + q
	}
	return reason
}

// statuses finds the status that an error of the library names.
var statuses = regexp.MustCompile(`(?i)\b(?:status|code|http|failed)\w*\W{0,12}([1-5]\d\d)\b`)

// retryWords finds how long Telegram wants to be left alone, in seconds.
var retryWords = regexp.MustCompile(`(?i)\bretry after (\d{1,6})\b`)

// answered returns what the other side answered according to an error of the library: its
// status, 0 if it is not known, and its words, which may quote the URL.
func answered(err error) (status int, words string) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		// The error of Telegram is its answer, of a type that is not exported.
		var telegram struct {
			Code        int    `json:"error_code"`
			Description string `json:"description"`
		}
		if body, err := json.Marshal(e); err == nil && json.Unmarshal(body, &telegram) == nil && telegram.Code != 0 {
			return telegram.Code, telegram.Description
		}
	}
	if mail, ok := errors.AsType[*textproto.Error](err); ok {
		return mail.Code, mail.Msg
	}
	if answer, ok := errors.AsType[jsonclient.Error](err); ok && answer.StatusCode != 0 {
		return answer.StatusCode, answer.Body
	}
	for _, known := range []error{slack.ErrAPIResponseFailure, slack.ErrWebhookResponseFailure} {
		if errors.Is(err, known) {
			_, words, _ := strings.Cut(err.Error(), known.Error()+": ")
			return 0, words
		}
	}
	if found := statuses.FindStringSubmatch(err.Error()); found != nil {
		status, _ = strconv.Atoi(found[1])
	}
	return status, ""
}

// pauseOf returns the pause that an answer asks for in words.
func pauseOf(words string) time.Duration {
	found := retryWords.FindStringSubmatch(words)
	if found == nil {
		return 0
	}
	seconds, _ := strconv.Atoi(found[1])
	return time.Duration(seconds) * time.Second
}

// slackRetries are the errors of Slack after which another attempt is worthwhile.
var slackRetries = map[string]bool{
	"fatal_error": true, "internal_error": true, "ratelimited": true, "request_timeout": true, "rollup_error": true, "service_unavailable": true,
}
