package channel

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	library "github.com/nicholas-fedor/shoutrrr/pkg/services/email/smtp"

	"headwater/services/internal/config"
)

// mail sends messages as mail, as text and as HTML with the chart of the alert. The library
// reads the URL, and sends no HTML with a picture, so the rest is done here. Unlike the
// library it ends with its context, and a mail that the server has taken is sent whatever
// the server answers afterwards.
type mail struct{ url config.Secret }

var _ Sender = (*mail)(nil)

// Close does nothing: no connection is kept.
func (s *mail) Close() {}

// Send sends the message to all recipients. One that the server refuses for good does not
// keep it from the others; one that it refuses for now does, so that nobody gets it twice.
func (s *mail) Send(ctx context.Context, m Message) error {
	cfg, err := s.config()
	if err != nil {
		return judge(s.url, err, true)
	}
	body, err := compose(ctx, cfg, m)
	if err != nil {
		return permanent("compose the mail: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	err = transmit(ctx, cfg, body)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{Reason: "no answer in time"}
	}
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused
	}
	return judge(s.url, err, false)
}

// config reads the URL.
func (s *mail) config() (*library.Config, error) {
	u, err := url.Parse(s.url.Reveal())
	if err != nil {
		return nil, err
	}
	service := &library.Service{}
	if err := service.Initialize(u, nil); err != nil {
		return nil, err
	}
	service.Config.FixEmailTags()
	return service.Config, nil
}

// transmit sends a mail over one connection.
func transmit(ctx context.Context, cfg *library.Config, body []byte) error {
	client, err := dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	// net/smtp knows no context.
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	if err := greet(client, cfg); err != nil {
		return err
	}
	if err := client.Mail(cfg.FromAddress); err != nil {
		return err
	}
	var refused error
	taken := 0
	for _, to := range cfg.ToAddresses {
		switch err := client.Rcpt(to); {
		case err == nil:
			taken++
		case isPermanent(err):
			refused = err
		default:
			return err
		}
	}
	if taken == 0 {
		return refused
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = client.Quit()
	return refused
}

// isPermanent reports whether a mail server refuses for good.
func isPermanent(err error) bool {
	answer, ok := errors.AsType[*textproto.Error](err)
	return ok && answer.Code >= 500
}

func dial(ctx context.Context, cfg *library.Config) (*smtp.Client, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: allowed}
	address := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	var conn net.Conn
	var err error
	if cfg.Encryption == library.EncMethods.ImplicitTLS || cfg.Encryption == library.EncMethods.Auto && cfg.Port == library.ImplicitTLSPort {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: secured(cfg)}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, transport(err)
	}
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	client, err := smtp.NewClient(conn, cfg.Host)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return client, nil
}

func secured(cfg *library.Config) *tls.Config {
	return &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.SkipTLSVerify} //nolint:gosec // the URL of the channel asks for it
}

// greet says hello, encrypts the connection and logs in, as far as the URL asks for it.
func greet(client *smtp.Client, cfg *library.Config) error {
	if cfg.ClientHost != "auto" {
		if err := client.Hello(cfg.ClientHost); err != nil {
			return err
		}
	}
	_, encrypted := client.TLSConnectionState()
	if cfg.UseStartTLS && !encrypted {
		switch offered, _ := client.Extension("STARTTLS"); {
		case offered:
			if err := client.StartTLS(secured(cfg)); err != nil {
				return err
			}
			encrypted = true
		case cfg.RequireStartTLS:
			return permanent("the mail server offers no encryption, and the URL asks for it")
		}
	}
	var auth smtp.Auth
	switch cfg.Auth {
	case library.AuthTypes.Plain:
		if !encrypted && !loopback(cfg.Host) {
			return permanent("the mail server offers no encryption, so no password is sent to it")
		}
		auth = smtp.PlainAuth("", cfg.Username, cfg.Password, cfg.Host)
	case library.AuthTypes.CRAMMD5:
		auth = smtp.CRAMMD5Auth(cfg.Username, cfg.Password)
	case library.AuthTypes.OAuth2:
		auth = library.OAuth2Auth(cfg.Username, cfg.Password)
	default:
		return nil
	}
	return client.Auth(auth)
}

// loopback reports whether a host is this machine, as net/smtp sees it.
func loopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// mailScheme is the scheme of URLs of mail.
const mailScheme = "smtp"

// pictureID names the chart within a mail.
const pictureID = "chart@headwater"

// compose returns the mail: a text, and the same as HTML with the chart.
func compose(ctx context.Context, cfg *library.Config, m Message) ([]byte, error) {
	var picture []byte
	var words string
	if m.Chart != nil {
		picture, words = m.Chart(ctx)
	}
	var out bytes.Buffer
	both := multipart.NewWriter(&out)
	from := netmail.Address{Name: cfg.FromName, Address: cfg.FromAddress}
	to := make([]string, len(cfg.ToAddresses))
	for i, address := range cfg.ToAddresses {
		to[i] = (&netmail.Address{Address: address}).String()
	}
	_, domain, _ := strings.Cut(cfg.FromAddress, "@")
	header := [][2]string{
		{"From", from.String()},
		{"To", strings.Join(to, ", ")},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Title)},
		{"Date", time.Now().Format(time.RFC1123Z)},
		// A repeat has the same id, and the mails about one episode stand together.
		{"Message-ID", "<" + sequenceID(m) + "@" + domain + ">"},
		{"References", "<" + threadID(m) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "multipart/alternative; boundary=" + both.Boundary()},
	}
	for _, h := range header {
		if strings.ContainsAny(h[1], "\r\n") {
			return nil, fmt.Errorf("%s has more than one line", h[0])
		}
		_, _ = out.WriteString(h[0] + ": " + strings.ReplaceAll(h[1], "?= =?", "?=\r\n =?") + "\r\n")
	}
	_, _ = out.WriteString("\r\n")
	err := errors.Join(
		writeText(both, "text/plain", plainMail(m)),
		writeRich(both, richMail(m, words, picture != nil), picture),
		both.Close(),
	)
	return out.Bytes(), err
}

func writeText(w *multipart.Writer, kind, text string) error {
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind + `; charset="utf-8"`}, "Content-Transfer-Encoding": {"quoted-printable"}})
	if err != nil {
		return err
	}
	q := quotedprintable.NewWriter(part)
	_, err = io.WriteString(q, strings.ReplaceAll(text, "\n", "\r\n"))
	return errors.Join(err, q.Close())
}

// writeRich writes the HTML, and the picture that it shows, if any.
func writeRich(w *multipart.Writer, text string, picture []byte) error {
	if picture == nil {
		return writeText(w, "text/html", text)
	}
	var within bytes.Buffer
	related := multipart.NewWriter(&within)
	err := writeText(related, "text/html", text)
	if err != nil {
		return err
	}
	part, err := related.CreatePart(textproto.MIMEHeader{
		"Content-Type": {"image/png"}, "Content-Transfer-Encoding": {"base64"}, "Content-Id": {"<" + pictureID + ">"},
		"Content-Disposition": {`inline; filename="chart.png"`},
	})
	if err != nil {
		return err
	}
	const perLine = 57 // bytes, 76 characters
	for len(picture) > 0 {
		n := min(len(picture), perLine)
		if _, err := io.WriteString(part, base64.StdEncoding.EncodeToString(picture[:n])+"\r\n"); err != nil {
			return err
		}
		picture = picture[n:]
	}
	if err := related.Close(); err != nil {
		return err
	}
	outer, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"multipart/related; type=\"text/html\"; boundary=" + related.Boundary()}})
	if err != nil {
		return err
	}
	_, err = outer.Write(within.Bytes())
	return err
}

// plainMail is the message as text.
func plainMail(m Message) string {
	lines := []string{m.Body, ""}
	if m.URL != "" {
		lines = append(lines, m.URL)
	}
	for _, a := range mailActions(m) {
		lines = append(lines, a.Title+": "+a.URL)
	}
	return strings.Join(lines, "\n") + "\n"
}

// mailActions are the actions of a message with their whole addresses.
func mailActions(m Message) []Action {
	if m.Home == "" {
		return nil
	}
	all := make([]Action, len(m.Actions))
	for i, a := range m.Actions {
		a.URL = strings.TrimSuffix(m.Home, "/") + a.URL
		all[i] = a
	}
	return all
}

// Styles of the mail. They stand at the elements: programs for mail drop style sheets. The
// colours of text and ground are left to the program, so that its dark mode works.
const (
	titleStyle  = "font:600 20px/1.35 sans-serif;margin:0 0 12px"
	textStyle   = "font:15px/1.5 sans-serif;margin:0 0 8px"
	buttonStyle = "display:inline-block;font:600 15px/1.2 sans-serif;padding:12px 18px;margin:0 8px 8px 0;border-radius:8px;text-decoration:none;color:#ffffff;background:#0b63b5"
)

// richMail is the message as HTML. Words describe the picture.
func richMail(m Message, words string, pictured bool) string {
	var b strings.Builder
	b.WriteString(`<!DOCTYPE html><html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head><body style="margin:16px;max-width:600px">`)
	fmt.Fprintf(&b, `<h1 style="%s">%s</h1>`, titleStyle, html.EscapeString(m.Title))
	for i, line := range strings.Split(m.Body, "\n") {
		style := textStyle
		if i == 0 {
			style += ";font-weight:600"
		}
		fmt.Fprintf(&b, "\r\n"+`<p style="%s">%s</p>`, style, html.EscapeString(line))
	}
	if pictured {
		fmt.Fprintf(&b, "\r\n"+`<p style="margin:16px 0"><img src="cid:%s" width="600" style="width:100%%;max-width:600px;height:auto;border-radius:8px" alt="%s"></p>`, pictureID, html.EscapeString(words))
	}
	if actions := mailActions(m); len(actions) > 0 {
		b.WriteString("\r\n<p>")
		for _, a := range actions {
			fmt.Fprintf(&b, `<a href="%s" style="%s">%s</a> `, html.EscapeString(a.URL), buttonStyle, html.EscapeString(a.Title))
		}
		b.WriteString("</p>")
	}
	if m.URL != "" {
		what := "Open the chart"
		switch {
		case len(m.Alerts) > 1:
			what = "Open the alerts"
		case m.URL == m.Home:
			what = "Open Headwater"
		}
		fmt.Fprintf(&b, "\r\n"+`<p style="%s"><a href="%s">%s</a></p>`, textStyle, html.EscapeString(m.URL), what)
	}
	b.WriteString("</body></html>\n")
	return b.String()
}
