package channel

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"headwater/services/internal/config"
	"headwater/services/internal/webpush"
	"headwater/services/rule"
	"headwater/streams/streamtest"
	"headwater/streams/streamtest/ports"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const chart = "https://headwater.example.org/devices/demo/door-07?at=2026-11-22T14%3A03%3A12.5Z"

func message() Message {
	at := time.Date(2026, 11, 22, 14, 3, 12, 500e6, time.UTC)
	value, high := 9.25, 7.9
	return Message{
		Key: "42-0", Home: "https://headwater.example.org/", Title: "Critical: A door seems to be open (door-07)", Severity: rule.Critical, URL: chart,
		Actions: []Action{{"ack", "Acknowledge", "/act/ack.token"}, {"mute", "Silence 1 h", "/act/mute.token"}},
		Body:    "Rose by 4.35 °C within 5 min.\ntemperature of door-07 at demo: 9.25 °C",
		Alerts: []Alert{{
			ID: "00112233aabbccdd-dn5mn57qoq2o", AlertID: "00112233aabbccdd", URL: chart, Rule: "door-left-open", Description: "A door seems to be open.", Status: StatusFiring,
			Severity: rule.Critical, Site: "demo", Device: "door-07", Metric: "temperature", Unit: "°C",
			Value: &value, High: &high, Score: 1.45, Sentence: "Rose by 4.35 °C within 5 min.", Started: at, Learned: at.Add(time.Second),
		}},
	}
}

func resolved() Message {
	m := message()
	ended := m.Alerts[0].Started.Add(30 * time.Minute)
	m.Key, m.Title, m.Resolved = "57-1", "Resolved: A door seems to be open (door-07)", true
	m.Actions = nil
	m.Alerts[0].Status, m.Alerts[0].Ended = StatusResolved, &ended
	return m
}

// TestBodies holds what goes over the wire to golden files: others build on it.
func TestBodies(t *testing.T) {
	for _, kind := range []struct {
		name, suffix string
		channel      config.Channel
	}{
		{"webhook", "/hook?token=hunter2", config.Channel{Type: config.Webhook}},
		{"ntfy", "/base/my-topic", config.Channel{Type: config.Ntfy}},
		{"alertmanager", "/hook?token=hunter2", config.Channel{Name: "office", Type: config.Webhook, Format: config.FormatAlertmanager}},
	} {
		for name, m := range map[string]Message{"firing": message(), "resolved": resolved()} {
			t.Run(kind.name+" "+name, func(t *testing.T) {
				var got strings.Builder
				server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					var indented any
					if err := json.Unmarshal(body, &indented); err != nil {
						t.Error(err)
					}
					fmt.Fprintf(&got, "%s %s\n", r.Method, r.RequestURI)
					for _, h := range []string{"Content-Type", "Idempotency-Key", "User-Agent"} {
						fmt.Fprintf(&got, "%s: %s\n", h, r.Header.Get(h))
					}
					e := json.NewEncoder(&got)
					e.SetIndent("", "  ")
					if err := e.Encode(indented); err != nil {
						t.Error(err)
					}
				}))
				defer server.Close()
				sender, err := Open(kind.channel, Address{URL: config.Secret(server.URL + kind.suffix)})
				if err != nil {
					t.Fatal(err)
				}
				if err := sender.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				golden := filepath.Join("testdata", kind.name+"-"+name+".txt")
				if *update {
					if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), got.String()); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// endless writes until the other side hangs up.
func endless(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	for {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}

func trickle(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		if _, err := w.Write([]byte("x")); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
	}
}

// outcome is what a sender should say.
type outcome int

const (
	taken outcome = iota
	again
	never
)

// TestReplies is the one table of what a sink may answer, for every type.
func TestReplies(t *testing.T) {
	const patience = 700 * time.Millisecond
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	for name, tc := range map[string]struct {
		reply http.HandlerFunc
		want  outcome
		after time.Duration
		// plain is for what only this package's own client sees to.
		plain bool
	}{
		"200":                     {reply: status(200), want: taken},
		"204":                     {reply: status(204), want: taken},
		"400":                     {reply: status(400), want: never},
		"401":                     {reply: status(401), want: never},
		"404":                     {reply: status(404), want: never},
		"408":                     {reply: status(408), want: again},
		"410":                     {reply: status(410), want: never},
		"429":                     {reply: status(429, "Retry-After", "7"), want: again, after: 7 * time.Second, plain: true},
		"429 without a time":      {reply: status(429), want: again},
		"429 with nonsense":       {reply: status(429, "Retry-After", "-3"), want: again},
		"500":                     {reply: status(500), want: again},
		"503 in the past":         {reply: status(503, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), want: again},
		"redirect":                {reply: status(302, "Location", "http://127.0.0.1:1/"), want: never, plain: true},
		"redirect to itself":      {reply: status(307, "Location", "/"), want: never, plain: true},
		"endless body":            {reply: func(w http.ResponseWriter, _ *http.Request) { endless(w, 200) }, want: taken, plain: true},
		"endless body with a 500": {reply: func(w http.ResponseWriter, _ *http.Request) { endless(w, 500) }, want: again, plain: true},
		"one byte at a time":      {reply: trickle, want: taken, plain: true},
		"large header": {reply: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
		}, want: again, plain: true},
		"no answer": {reply: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, want: again, plain: true},
		"connection cut": {reply: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		}, want: again},
		"not http": {reply: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write([]byte("220 mail.example.org\r\n"))
			_ = conn.Close()
		}, want: again},
	} {
		for _, kind := range config.ChannelTypes() {
			if tc.plain && kind == config.Shoutrrr {
				continue
			}
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					// Until the request is read, the server does not notice that the
					// other side has gone.
					_, _ = io.Copy(io.Discard, r.Body)
					tc.reply(w, r)
				}))
				defer server.Close()
				sender := open(t, kind, server.URL)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				start := time.Now()
				err := sender.Send(ctx, message())
				check(t, err, tc.want, tc.after)
				if took := time.Since(start); took > patience+2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

// browser is a browser at a push service that the test runs.
type browser struct{ endpoint string }

func (b browser) Send(ctx context.Context, m Message) error {
	keys, err := webpush.NewKeys()
	if err != nil {
		return err
	}
	return Pusher{Client: newClient(), Keys: keys}.Push(ctx, webpush.Subscription{
		Endpoint: b.endpoint, Auth: "BTBZMqHH6r4Tts7J_aSIgg",
		P256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
	}, m)
}

func (browser) Close() {}

func open(t *testing.T, kind config.ChannelType, server string) Sender {
	t.Helper()
	address := server + "/hunter2"
	if kind == config.WebPush {
		return browser{address}
	}
	if kind == config.Shoutrrr {
		address = "generic+" + address
	}
	sender, err := Open(config.Channel{Type: kind}, Address{URL: config.Secret(address)})
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

func check(t *testing.T, err error, want outcome, after time.Duration) {
	t.Helper()
	if want == taken {
		if err != nil {
			t.Fatalf("got %v, want it taken", err)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	if e.Permanent != (want == never) || e.RetryAfter != after {
		t.Errorf("got %+v, want permanent %v and %v", e, want == never, after)
	}
	if e.Reason == "" || strings.Contains(e.Reason, "hunter2") {
		t.Errorf("reason %q", e.Reason)
	}
}

func TestUnreachableTarget(t *testing.T) {
	addresses, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + addresses[0]
	for _, kind := range config.ChannelTypes() {
		check(t, open(t, kind, address).Send(t.Context(), message()), again, 0)
		check(t, open(t, kind, "http://host.invalid").Send(t.Context(), message()), again, 0)
	}
}

// TestSlowLibrary shows that a call of the library that does not end is waited
// for by the next, and that neither holds the caller for longer than its time.
func TestSlowLibrary(t *testing.T) {
	var calls atomic.Int32
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if calls.Add(1) == 1 {
			<-hold
		}
	}))
	defer server.Close()
	sender := open(t, config.Shoutrrr, server.URL)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		check(t, sender.Send(ctx, message()), again, 0)
		cancel()
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls at once", n)
	}
	close(hold)
	streamtest.Eventually(t, "the next message is taken", func() bool { return sender.Send(t.Context(), message()) == nil })
}

func TestShoutrrrTexts(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- string(body)
	}))
	defer server.Close()
	address := strings.Replace(server.URL, "http://", "generic+http://", 1) + "/?template=json"
	sender, err := Open(config.Channel{Type: config.Shoutrrr}, Address{URL: config.Secret(address)})
	if err != nil {
		t.Fatal(err)
	}
	m := message()
	m.Body = "hello @everyone and <!channel>"
	if err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(<-got), &fields); err != nil {
		t.Fatal(err)
	}
	if fields["title"] != m.Title || strings.Contains(fields["message"], "@everyone") || strings.Contains(fields["message"], "<!channel") ||
		!strings.HasPrefix(fields["message"], "hello ") || !strings.HasSuffix(fields["message"], "\n"+chart) {
		t.Errorf("got %q", fields)
	}
}

// TestServices holds the lists of the library's services to the library itself.
func TestServices(t *testing.T) {
	r, err := router.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	known := slices.DeleteFunc(r.ListServices(), func(s string) bool { return s == "logger" })
	slices.Sort(known)
	if d := cmp.Diff(known, config.ShoutrrrSchemes()); d != "" {
		t.Errorf("config.ShoutrrrSchemes is not what the library knows: %s", d)
	}
	for _, s := range untitled() {
		if !slices.Contains(known, s) {
			t.Errorf("%q is no service", s)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		kind config.ChannelType
		url  config.Secret
	}{
		{config.Webhook, "ftp://hunter2"},
		{config.Webhook, ""},
		{config.Ntfy, "https://ntfy.sh/"},
		{config.Shoutrrr, "hunter2"},
		{config.Shoutrrr, "logger://hunter2"},
		{"pigeon", "http://hunter2"},
	} {
		if _, err := Open(config.Channel{Type: tc.kind}, Address{URL: tc.url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%s, %s) = %v", tc.kind, tc.url.Reveal(), err)
		}
	}
	// What the library finds out only when it is used.
	for _, address := range []string{"telegram://hunter2", "slack://hunter2", "ntfy://", "discord://hunter2"} {
		sender, err := Open(config.Channel{Type: config.Shoutrrr}, Address{URL: config.Secret(address)})
		if err != nil {
			t.Fatal(err)
		}
		check(t, sender.Send(t.Context(), message()), never, 0)
	}
}

func TestAllowed(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "10.1.2.3:443": true, "192.168.1.5:80": true, "[::1]:80": true, "[fd12::1]:443": true, "8.8.8.8:443": true,
		"169.254.169.254:80": false, "[::ffff:169.254.169.254]:80": false, "[fe80::1%eth0]:80": false, "[fd00:ec2::254]:80": false,
		"100.100.100.200:80": false, "224.0.0.1:80": false, "nonsense": false,
	} {
		if got := allowed("tcp", address, nil) == nil; got != want {
			t.Errorf("allowed(%s) = %v", address, got)
		}
	}
	for _, address := range []string{"http://169.254.169.254/hunter2", "http://[::ffff:a9fe:a9fe]/hunter2"} {
		sender, err := Open(config.Channel{Type: config.Webhook}, Address{URL: config.Secret(address)})
		if err != nil {
			t.Fatal(err)
		}
		check(t, sender.Send(t.Context(), message()), never, 0)
	}
}

func TestLook(t *testing.T) {
	for _, tc := range []struct {
		severity rule.Severity
		resolved bool
		priority int
	}{{rule.Critical, false, 5}, {rule.Warning, false, 4}, {rule.Info, false, 2}, {rule.Critical, true, 3}} {
		priority, tags := look(Message{Severity: tc.severity, Resolved: tc.resolved})
		if priority != tc.priority || len(tags) != 1 {
			t.Errorf("look(%s, %v) = %d, %v", tc.severity, tc.resolved, priority, tags)
		}
	}
}

func TestSequenceID(t *testing.T) {
	m := message()
	if sequenceID(m) != sequenceID(message()) {
		t.Error("a repeat should have the same id")
	}
	other := message()
	other.Alerts[0].Started = other.Alerts[0].Started.Add(time.Second)
	if sequenceID(m) == sequenceID(other) {
		t.Error("another episode should have another id")
	}
	if sequenceID(m) == sequenceID(resolved()) {
		t.Error("the end should have another id than the beginning")
	}
}
