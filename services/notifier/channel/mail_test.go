package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/services/notifier/channel/mailtest"
)

// part is a part of a mail without parts of its own.
type part struct {
	kind, id string
	body     []byte
}

// read returns the header of a mail, and its parts. The encodings are undone.
func read(t *testing.T, body string) (netmail.Header, []part) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var parts []part
	var walk func(contentType string, body io.Reader)
	walk = func(contentType string, body io.Reader) {
		kind, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatal(err)
		}
		all := multipart.NewReader(body, params["boundary"])
		for {
			p, err := all.NextPart() // it undoes quoted-printable
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if inner := p.Header.Get("Content-Type"); strings.HasPrefix(inner, "multipart/") {
				walk(inner, p)
				continue
			}
			content, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";")
			parts = append(parts, part{kind, p.Header.Get("Content-Id"), content})
		}
	}
	walk(m.Header.Get("Content-Type"), m.Body)
	return m.Header, parts
}

// TestMail sends to a real server: the same as text and as HTML, and the chart in it.
func TestMail(t *testing.T) {
	server := mailtest.Run(t)
	server.Password = "hunter2hunter2"
	url := "smtp://headwater:hunter2hunter2@" + server.Addr + "/?from=headwater@example.org&fromname=Head%20W%C3%A4ter&to=anna@example.org,ben%2Bme@example.org"
	m := message()
	m.Title, m.Body = "Critical: door_01 *is* <b>öffen</b> "+strings.Repeat("x", 90), "door_01 <img src=x> & more\n.\n"+m.Body
	picture := bytes.Repeat([]byte("picture "), 100)
	for range 2 { // the second is a repeat
		if err := open0(t, url).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	m.Chart = func(context.Context) ([]byte, string) { return picture, `from "4.9" to 9.25 °C` }
	m.Key = "43-0"
	if err := open0(t, url).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := server.Mails()
	if len(got) != 3 || got[0].From != "headwater@example.org" || !slices.Equal(got[0].To, []string{"anna@example.org", "ben+me@example.org"}) {
		t.Fatalf("the server got %+v", got)
	}
	var ids, threads []string
	for i, one := range got {
		header, parts := read(t, one.Body)
		ids, threads = append(ids, header.Get("Message-ID")), append(threads, header.Get("References"))
		subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
		if err != nil || subject != m.Title {
			t.Errorf("subject %q, %v", subject, err)
		}
		if from, err := header.AddressList("From"); err != nil || from[0].Name != "Head Wäter" {
			t.Errorf("from %v, %v", from, err)
		}
		for line := range strings.SplitSeq(one.Body, "\r\n") {
			if len(line) > 998 || strings.Contains(line, "\n") {
				t.Errorf("a line that mail does not allow: %.100q", line)
			}
		}
		kinds := make([]string, len(parts))
		for k, p := range parts {
			kinds[k] = p.kind
		}
		if want := []string{"text/plain", "text/html", "image/png"}[:2+i/2]; !slices.Equal(kinds, want) {
			t.Fatalf("mail %d has %v, want %v", i, kinds, want)
		}
		text, rich := string(parts[0].body), string(parts[1].body)
		for _, want := range []string{"door_01 <img src=x> & more\r\n.\r\n", chart, "Acknowledge: https://headwater.example.org/act/ack.token\r\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("the text has no %q: %s", want, text)
			}
		}
		for _, want := range []string{"&lt;b&gt;öffen&lt;/b&gt;", "&lt;img src=x&gt; &amp; more", `href="https://headwater.example.org/act/mute.token"`, chart} {
			if !strings.Contains(rich, want) {
				t.Errorf("the HTML has no %q: %s", want, rich)
			}
		}
		if pictured := strings.Contains(rich, `src="cid:chart@headwater"`) && strings.Contains(rich, `alt="from &#34;4.9&#34; to 9.25 °C"`); pictured != (i == 2) {
			t.Errorf("mail %d shows the chart: %v", i, pictured)
		}
		if i == 2 && (parts[2].id != "<chart@headwater>" || !strings.Contains(one.Body, "Content-Transfer-Encoding: base64")) {
			t.Errorf("the picture is %q", parts[2].id)
		}
	}
	if ids[0] != ids[1] || ids[0] == ids[2] || threads[0] != threads[2] {
		t.Errorf("ids %q, threads %q", ids, threads)
	}
}

// TestMailAnswers has a real server refuse in every way.
func TestMailAnswers(t *testing.T) {
	const anna, ben = "anna@example.org", "ben@example.org"
	for name, c := range map[string]struct {
		password string
		judge    func(to string) error
		want     outcome
		reached  []string
		says     string
	}{
		"taken":                       {reached: []string{anna, ben}},
		"one is unknown":              {judge: only(anna, 550), want: never, reached: []string{ben}, says: "the mail server answered 550: 5.0.0 no"},
		"one is deferred":             {judge: only(anna, 450), want: again, says: "the mail server answered 450: 4.0.0 no"},
		"all are unknown":             {judge: func(string) error { return mailtest.Refuse(550, "no hunter2hunter2") }, want: never, says: "550: 5.0.0 no …"},
		"the content is deferred":     {judge: only("", 451), want: again, says: "451"},
		"the content is refused":      {judge: only("", 554), want: never, says: "554"},
		"the password is a wrong one": {password: "another", want: never, says: "535"},
	} {
		t.Run(name, func(t *testing.T) {
			server := mailtest.Run(t)
			server.Judge, server.Password = c.judge, "hunter2hunter2"
			if c.password != "" {
				server.Password = c.password
			}
			err := open0(t, "smtp://headwater:hunter2hunter2@"+server.Addr+"/?from=h@example.org&to="+anna+","+ben).Send(t.Context(), message())
			check(t, err, c.want, 0)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %q, want %q", err, c.says)
			}
			var reached []string
			for _, m := range server.Mails() {
				reached = append(reached, m.To...)
			}
			if !slices.Equal(reached, c.reached) {
				t.Errorf("reached %v, want %v", reached, c.reached)
			}
		})
	}
}

// only refuses one recipient; an empty one is the content.
func only(whom string, status int) func(string) error {
	return func(to string) error {
		if to == whom {
			return mailtest.Refuse(status, "no")
		}
		return nil
	}
}

// TestMailWithoutAServer is about what is no mail server, and what may not be sent in the
// clear.
func TestMailWithoutAServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	check(t, open0(t, "smtp://"+silent.Addr().String()+"/?from=a@example.org&to=b@example.org").Send(ctx, message()), again, 0)
	for url, want := range map[string]outcome{
		"smtp://127.0.0.1:1/?from=a@example.org&to=b@example.org":                        again,
		"smtp://169.254.169.254:25/?from=a@example.org&to=b@example.org":                 never,
		"smtp://hunter2@127.0.0.1:1/?from=a@example.org":                                 never,
		"smtp://127.0.0.1:1/?from=a@example.org%0d%0aBcc:c@example.org&to=b@example.org": never,
	} {
		check(t, open0(t, url).Send(t.Context(), message()), want, 0)
	}
	server := mailtest.Run(t)
	sender := open0(t, "smtp://"+server.Addr+"/?from=a@example.org&to=b@example.org&requirestarttls=yes")
	check(t, sender.Send(t.Context(), message()), never, 0)
}
