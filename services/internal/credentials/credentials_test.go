package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"headwater/services/internal/credentials"
	"headwater/streams/streamtest"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pattern(t *testing.T, text string) credentials.Pattern {
	t.Helper()
	p, err := credentials.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// device is a valid credential of one device, with its token.
func device(t *testing.T, name, of string) (c credentials.Credential, token string) {
	t.Helper()
	token, stored := credentials.NewToken()
	return credentials.Credential{
		Name: name, Kind: credentials.KindDevice, Devices: []credentials.Pattern{pattern(t, of)},
		Tokens: []credentials.Token{stored}, State: credentials.StateAllowed, Created: midnight, Changed: midnight,
	}, token
}

func TestTokenIsLongAndNotKept(t *testing.T) {
	c, token := device(t, "door-1", "hall/door-1")
	// 26 characters of base 32 hold 130 bits.
	if len(token) < 26 {
		t.Errorf("a token has %d characters", len(token))
	}
	body, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), token) {
		t.Error("the token itself is kept")
	}
	back, err := credentials.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := back.Accepts(token, midnight); !ok {
		t.Error("the token is not accepted any more")
	}
	for _, wrong := range []string{"", token + " ", strings.ToLower(token), token[:25]} {
		if _, ok := back.Accepts(wrong, midnight); ok {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

func TestRotationOverlaps(t *testing.T) {
	c, first := device(t, "door-1", "hall/door-1")
	second, stored := credentials.NewToken()
	c.Rotate(stored, midnight, midnight.Add(time.Hour))
	if until, ok := c.Accepts(first, midnight.Add(59*time.Minute)); !ok || !until.Equal(midnight.Add(time.Hour)) {
		t.Errorf("within the overlap the old token is accepted: %t, until %s", ok, until)
	}
	if _, ok := c.Accepts(first, midnight.Add(time.Hour)); ok {
		t.Error("the old token is accepted after the overlap")
	}
	if until, ok := c.Accepts(second, midnight.Add(24*time.Hour)); !ok || !until.IsZero() {
		t.Errorf("the new token is accepted: %t, until %s", ok, until)
	}
	// A further rotation ends the oldest one, which had time left.
	third, stored := credentials.NewToken()
	c.Rotate(stored, midnight.Add(time.Minute), midnight.Add(2*time.Hour))
	for name, test := range map[string]struct {
		token string
		want  bool
	}{"first": {first, false}, "second": {second, true}, "third": {third, true}} {
		if _, ok := c.Accepts(test.token, midnight.Add(2*time.Minute)); ok != test.want {
			t.Errorf("the %s token is accepted: %t", name, ok)
		}
	}
	// Without an overlap only the new one is left.
	fourth, stored := credentials.NewToken()
	c.Rotate(stored, midnight, midnight)
	if _, ok := c.Accepts(fourth, midnight); !ok || len(c.Tokens) != 1 {
		t.Errorf("%d tokens are left, the new one accepted: %t", len(c.Tokens), ok)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*credentials.Credential)
		want   string
	}{
		"valid":             {func(*credentials.Credential) {}, ""},
		"name of a service": {func(c *credentials.Credential) { c.Name = "headwater-bridge" }, "for services"},
		"wildcard as name":  {func(c *credentials.Credential) { c.Name = "*" }, "name:"},
		"all as a device":   {func(c *credentials.Credential) { c.Devices = []credentials.Pattern{{Site: "hall", Device: "*"}} }, "a device is one"},
		"two as a device":   {func(c *credentials.Credential) { c.Devices = append(c.Devices, c.Devices[0]) }, "a device is one"},
		"gateway of all": {func(c *credentials.Credential) {
			c.Kind, c.Devices = credentials.KindGateway, []credentials.Pattern{{Site: "*", Device: "*"}}
		}, ""},
		"gateway of none": {func(c *credentials.Credential) { c.Kind, c.Devices = credentials.KindGateway, nil }, "must be 1 to"},
		"gateway of many": {func(c *credentials.Credential) {
			c.Kind, c.Devices = credentials.KindGateway, make([]credentials.Pattern, credentials.MaxDevices+1)
		}, "must be 1 to"},
		"odd kind":        {func(c *credentials.Credential) { c.Kind = "robot" }, "kind:"},
		"odd state":       {func(c *credentials.Credential) { c.State = "" }, "state:"},
		"plain token":     {func(c *credentials.Credential) { c.Tokens[0].Hash = "secret" }, "tokens:"},
		"long client id":  {func(c *credentials.Credential) { c.ClientIDs = []string{strings.Repeat("x", 129)} }, "client_ids:"},
		"many client ids": {func(c *credentials.Credential) { c.ClientIDs = strings.Split("a b c d e f g h i", " ") }, "client_ids:"},
		"URI":             {func(c *credentials.Credential) { c.Identity.URI = "urn:device:door-1" }, ""},
		"no URI":          {func(c *credentials.Credential) { c.Identity.URI = "door-1" }, "uri:"},
		"no fingerprint":  {func(c *credentials.Credential) { c.Identity.Fingerprint = "ABCD" }, "fingerprint:"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := device(t, "door-1", "hall/door-1")
			test.change(&c)
			err := c.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if _, encodeErr := c.Encode(); (err == nil) != (encodeErr == nil) {
				t.Errorf("encoded: %v", encodeErr)
			}
		})
	}
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"hall/door-1", "*/*", "hall", "/", "hall/>", "hall/door 1", "a/b/c", "hall/d*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := credentials.ParsePattern(text)
		if err == nil && (p.String() != text || strings.ContainsAny(strings.ReplaceAll(text, "*", ""), ">+#. ") || strings.Count(text, "/") != 1) {
			t.Errorf("%q was taken", text)
		}
	})
}

// world is a set that follows a bucket.
type world struct {
	*credentials.Set
	js jetstream.JetStream
}

func follow(t *testing.T) *world {
	t.Helper()
	s := streamtest.Run(t)
	s.Ensure(t, 1)
	w := &world{js: s.JS(t)}
	w.Set = credentials.NewSet(w.js, slog.New(slog.DiscardHandler), nil)
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	done.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	<-w.Known()
	return w
}

// create stores a credential and waits until the set has it.
func (w *world) create(t *testing.T, c credentials.Credential) {
	t.Helper()
	if err := credentials.Create(t.Context(), w.js, c); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, c.Name+" is known", func() bool { _, ok := w.Named(c.Name); return ok })
}

func TestSet(t *testing.T) {
	w := follow(t)
	door, token := device(t, "door-1", "hall/door-1")
	door.ClientIDs = []string{"shelly-77"}
	w.create(t, door)
	if err := credentials.Create(t.Context(), w.js, door); !errors.Is(err, credentials.ErrExists) {
		t.Errorf("the name was given twice: %v", err)
	}
	gateway, _ := device(t, "gw", "yard/lamp")
	gateway.Kind, gateway.Devices = credentials.KindGateway, []credentials.Pattern{pattern(t, "hall/*"), pattern(t, "yard/lamp")}
	gateway.Identity = credentials.Identity{URI: "urn:gw", Fingerprint: strings.Repeat("ab", 32)}
	w.create(t, gateway)

	for id, want := range map[string]string{
		"door-1": "door-1", "door-1:a": "door-1", "door-1/a": "door-1", "door-1a": "", "door-1-a": "", "door": "",
		"shelly-77": "door-1", "shelly-77:a": "", "gw": "gw", "": "", ":": "",
	} {
		if got := w.Owner(id); got != want {
			t.Errorf("%q is of %q, want %q", id, got, want)
		}
	}
	if c, ok := w.ByToken(token); !ok || c.Name != "door-1" {
		t.Errorf("the token is of %q", c.Name)
	}
	for name, test := range map[string]struct {
		uris        []string
		fingerprint string
		want        string
	}{
		"none":        {nil, "", ""},
		"URI":         {[]string{"urn:other", "urn:gw"}, "", "gw"},
		"fingerprint": {nil, strings.Repeat("ab", 32), "gw"},
		"unknown":     {[]string{"urn:g"}, strings.Repeat("cd", 32), ""},
	} {
		if c, _ := w.ByCertificate(test.uris, test.fingerprint); c.Name != test.want {
			t.Errorf("%s: the certificate is of %q, want %q", name, c.Name, test.want)
		}
	}
	standing := func(device string, want credentials.Standing) {
		t.Helper()
		streamtest.Eventually(t, device+" is "+string(want), func() bool {
			p := pattern(t, device)
			return w.Standing(p.Site, p.Device) == want
		})
	}
	if !w.Owned("hall", "door-1") || w.Owned("hall", "door-2") || !w.Owned("yard", "lamp") {
		t.Error("a device has an owner if a credential names it")
	}
	standing("attic/fan", credentials.StandingAllowed)
	if err := credentials.SetUnknown(t.Context(), w.js, credentials.Unknown{
		{Devices: pattern(t, "attic/*"), Standing: credentials.StandingQuarantined},
		{Devices: pattern(t, "*/*"), Standing: credentials.StandingRefused},
	}); err != nil {
		t.Fatal(err)
	}
	standing("attic/fan", credentials.StandingQuarantined)
	standing("yard/fan", credentials.StandingRefused)
	standing("hall/door-1", credentials.StandingAllowed)
	standing("hall/door-9", credentials.StandingAllowed)
	// An approved device is known without a credential of its own.
	approved, _ := device(t, "fan", "attic/fan")
	approved.Tokens = nil
	w.create(t, approved)
	standing("attic/fan", credentials.StandingAllowed)
	if w.Owned("attic", "fan") || w.Owner("fan") != "" {
		t.Error("an approved device has an owner")
	}
	if _, err := credentials.Change(t.Context(), w.js, "door-1", func(c *credentials.Credential) error {
		c.State = credentials.StateRevoked
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	standing("hall/door-1", credentials.StandingRefused)
	if _, err := credentials.Change(t.Context(), w.js, "nobody", func(*credentials.Credential) error { return nil }); !errors.Is(err, credentials.ErrNone) {
		t.Errorf("a credential that does not exist was changed: %v", err)
	}
	if all := w.All(); len(all) != 3 || all[0].Name != "door-1" || w.Len() != 3 {
		t.Errorf("%d credentials: %+v", len(all), all)
	}
}

// TestProtectedIsBounded has more devices than fit.
func TestProtectedIsBounded(t *testing.T) {
	w := follow(t)
	for i := range 3 {
		c, _ := device(t, fmt.Sprint("d", i), fmt.Sprint("hall/d", i))
		w.create(t, c)
	}
	if got := w.Protected(3); len(got) != 3 {
		t.Errorf("%d of 3 devices are protected", len(got))
	}
	if got := w.Protected(2); got != nil {
		t.Errorf("%v are protected, though there is no room for all", got)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
