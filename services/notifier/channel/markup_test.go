package channel

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/config"
)

// standIn takes the place of the internet for the services of the library, whose addresses
// are fixed. It must not run beside other tests.
func standIn(t *testing.T, handle http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("X-Was", r.URL.Host)
		r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		return before.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hostile has a device and texts that mean something in every markup.
func hostile() Message {
	m := message()
	m.Title, m.Body = "Critical: door_01 *is* <b>open</b>", "door_01 [x](https://evil.example) `a` _b <!channel> @everyone & more!"
	return m
}

// TestTelegram holds texts to the documented forms of Telegram's markup, and has one that it
// refuses nevertheless.
func TestTelegram(t *testing.T) {
	type payload struct {
		Text      string `json:"text"`
		ChatID    string `json:"chat_id"`
		ParseMode string `json:"parse_mode"`
	}
	var got []payload
	var answer func(n int) (int, string)
	standIn(t, func(w http.ResponseWriter, r *http.Request) {
		var p payload
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Header.Get("X-Was") != "api.telegram.org" || r.URL.Path != "/bot123456:hunter2-hunter2/sendMessage" {
			t.Errorf("%s%s: %v", r.Header.Get("X-Was"), r.URL.Path, err)
		}
		got = append(got, p)
		status, body := answer(len(got))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	send := func(mode string) error {
		got = nil
		return open0(t, "telegram://123456:hunter2-hunter2@telegram?chats=42"+mode).Send(t.Context(), hostile())
	}
	const ok, cannotParse = `{"ok":true,"result":{}}`, `{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities: Can't find end of the entity at hunter2-hunter2"}`
	answer = func(int) (int, string) { return 200, ok }
	for mode, want := range map[string]payload{
		"":                      {ParseMode: "HTML", Text: "<b>Critical: door_01 *is* &lt;b&gt;open&lt;/b&gt;</b>\ndoor_01 [x]("},
		"&parsemode=HTML":       {ParseMode: "HTML", Text: "<b>Critical: door_01 *is* &lt;b&gt;open&lt;/b&gt;</b>\ndoor_01 [x]("},
		"&parsemode=Markdown":   {ParseMode: "Markdown", Text: `Critical: door\_01 \*is\* <b>open</b>` + "\n" + `door\_01 \[x](`},
		"&ParseMode=MarkdownV2": {ParseMode: "MarkdownV2", Text: `Critical: door\_01 \*is\* <b\>open</b\>` + "\n" + `door\_01 \[x\]\(`},
	} {
		if err := send(mode); err != nil || len(got) != 1 || got[0].ParseMode != want.ParseMode || !strings.HasPrefix(got[0].Text, want.Text) || got[0].ChatID != "42" {
			t.Errorf("%s: %v, sent %+v", mode, err, got)
		}
		if strings.Contains(got[0].Text, "@everyone") || want.ParseMode == "HTML" && strings.Contains(got[0].Text, "<!") {
			t.Errorf("%s: a call to everybody in %q", mode, got[0].Text)
		}
	}
	answer = func(n int) (int, string) {
		if n == 1 {
			return 400, cannotParse
		}
		return 200, ok
	}
	if err := send("&parsemode=MarkdownV2"); err != nil || len(got) != 2 || got[1].ParseMode != "" || !strings.HasPrefix(got[1].Text, "Critical: door_01 *is* <b>open</b>\ndoor_01 [x](https") {
		t.Errorf("refused for its markup: %v, sent %+v", err, got)
	}
	for body, want := range map[string]struct {
		outcome outcome
		after   time.Duration
		reason  string
	}{
		cannotParse: {never, 0, "telegram answered 400 Bad Request: Bad Request: can't parse entities: Can't find end of the entity at …"},
		`{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}`:                            {never, 0, "telegram answered 403 Forbidden: Forbidden: bot was blocked by the user"},
		`{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`: {again, 35 * time.Second, "telegram answered 429 Too Many Requests: Too Many Requests: retry after 35"},
		`{"ok":false,"error_code":502,"description":"Bad Gateway"}`:                                                       {again, 0, "telegram answered 502 Bad Gateway: Bad Gateway"},
	} {
		var code struct {
			Status int `json:"error_code"`
		}
		if err := json.Unmarshal([]byte(body), &code); err != nil {
			t.Fatal(err)
		}
		answer = func(int) (int, string) { return code.Status, body }
		err := send("")
		check(t, err, want.outcome, want.after)
		if err.Error() != want.reason {
			t.Errorf("reason %q, want %q", err, want.reason)
		}
	}
}

func open0(t *testing.T, address string) Sender {
	t.Helper()
	sender, err := Open(config.Channel{Type: config.Shoutrrr}, Address{URL: config.Secret(address)})
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

// TestSlack escapes as Slack documents it, and quotes its errors.
func TestSlack(t *testing.T) {
	var got []byte
	answer := "ok"
	standIn(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, answer)
	})
	sender := open0(t, "slack://hook:T00000000-B00000000-hunter2hunter2hunter2huA@webhook")
	if err := sender.Send(t.Context(), hostile()); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		Text        string              `json:"text"`
		Attachments []map[string]string `json:"attachments"`
	}
	if err := json.Unmarshal(got, &sent); err != nil {
		t.Fatal(err)
	}
	if sent.Text != "Critical: door_01 *is* &lt;b&gt;open&lt;/b&gt;" || len(sent.Attachments) == 0 || strings.Contains(sent.Attachments[0]["text"], "<") ||
		!strings.Contains(sent.Attachments[0]["text"], "&amp; more!") {
		t.Errorf("sent %s", got)
	}
	for words, want := range map[string]outcome{"channel_is_archived": never, "rollup_error": again} {
		answer = words
		err := sender.Send(t.Context(), hostile())
		check(t, err, want, 0)
		if err.Error() != "slack answered: "+words {
			t.Errorf("reason %q", err)
		}
	}
}

func TestDiscord(t *testing.T) {
	var got []byte
	standIn(t, func(_ http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) })
	if err := open0(t, "discord://hunter2hunter2@1234567890").Send(t.Context(), hostile()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte(`door\\_01 \\*is\\*`)) || !bytes.Contains(got, []byte(`door\\_01 \\[x\\](https`)) || bytes.Contains(got, []byte("@everyone")) {
		t.Errorf("sent %s", got)
	}
}

func TestAnswered(t *testing.T) {
	for text, want := range map[string]int{
		"got unexpected HTTP status: 404 Not Found": 404, "notification failed: 403 hunter2": 403,
		"unexpected response status code: 500 Internal": 500, "dial tcp 10.0.0.400: refused": 0, "port 8400": 0,
	} {
		if status, words := answered(errors.New(text)); status != want || words != "" {
			t.Errorf("%q: %d, %q", text, status, words)
		}
	}
	if status, words := answered(&textproto.Error{Code: 550, Msg: "no such user"}); status != 550 || words != "no such user" {
		t.Errorf("mail: %d %q", status, words)
	}
}

func TestQuoted(t *testing.T) {
	const address = "https://anna:password1@example.org/hooks/T000-hunter2?token=s3cret-token#fragment"
	for answer, want := range map[string]string{
		"":                                   "",
		"  bad\r\n\trequest\x00\u202e now  ": "bad request now",
		"no hook T000-hunter2 for anna with password1 and s3cret-token": "no hook … for anna with … and …",
		"hunter2 alone, see https://example.org/hooks/T000-hunter2":     "… alone, see …",
		strings.Repeat("x", 5000):                                       strings.Repeat("x", 299) + "…",
	} {
		got := quoted(answer, address)
		if len(got) > maxAnswer+3 || answer != strings.Repeat("x", 5000) && got != want {
			t.Errorf("%q: %q", answer, got)
		}
	}
}

// TestAnswerIsQuoted has the receiver's words in the error, and nothing of the URL.
func TestAnswerIsQuoted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no topic at "+r.URL.String()+", hunter2", http.StatusForbidden)
	}))
	defer server.Close()
	for _, kind := range []config.ChannelType{config.Webhook, config.Ntfy} {
		err := open(t, kind, server.URL).Send(t.Context(), message())
		check(t, err, never, 0)
		if !strings.HasPrefix(err.Error(), "answered 403 Forbidden: no topic at /") {
			t.Errorf("%s: %q", kind, err)
		}
	}
}

// signatureSample is what Python's hmac computes.
const signatureSample = "v1=523450b9e5ae3fa0b7e9fd63509a57a27db5bdee1a29fc558e2e819262acc1c1"

// TestSignature verifies a webhook as its receiver does.
func TestSignature(t *testing.T) {
	const secret = config.Secret("a secret of a webhook")
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	for _, format := range config.Formats() {
		sender, err := Open(config.Channel{Type: config.Webhook, Format: format}, Address{URL: config.Secret(server.URL), Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		if err := sender.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
		at := header.Get(HeaderTimestamp)
		seconds, err := strconv.ParseInt(at, 10, 64)
		if age := time.Since(time.Unix(seconds, 0)); err != nil || age < 0 || age > time.Minute {
			t.Errorf("timestamp %q", at)
		}
		if header.Get(HeaderSignature) != Sign(secret, at, string(body)) {
			t.Errorf("%s: signature %q", format, header.Get(HeaderSignature))
		}
		for _, other := range []string{Sign("another secret of it", at, string(body)), Sign(secret, at+"0", string(body)), Sign(secret, at, string(body)+" ")} {
			if header.Get(HeaderSignature) == other {
				t.Error("the signature fits something else")
			}
		}
	}
	// The sample of the documentation: a value computed with another program.
	if got := Sign("0123456789abcdef", "1764000000", `{"version":1}`); got != signatureSample {
		t.Errorf("signature %s, want %s", got, signatureSample)
	}
}
