package passkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	secret = []byte("the key with which questions are sealed")
	noon   = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	home   = Site{ID: "headwater.example.org", Origin: "https://headwater.example.org"}
	other  = Site{ID: "other.example.org", Origin: "https://other.example.org"}
)

func TestSiteOf(t *testing.T) {
	for address, want := range map[string]Site{
		"https://headwater.example.org":      home,
		"https://headwater.example.org:8443": {ID: home.ID, Origin: home.Origin + ":8443"},
		"http://localhost:8080":              {ID: "localhost", Origin: "http://localhost:8080"},
		"http://headwater.example.org":       {},
		"https://192.0.2.7":                  {},
		"https://[2001:db8::1]:8443":         {},
		"http://127.0.0.1:8080":              {},
		"https://":                           {},
		"":                                   {},
		"://":                                {},
	} {
		got, err := SiteOf(address)
		if got != want || (err == nil) != (want != Site{}) || err != nil && !errors.Is(err, ErrSite) {
			t.Errorf("%q: %+v %v, want %+v", address, got, err, want)
		}
	}
}

// authenticator holds the one key of a person.
type authenticator struct {
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32
}

func newAuthenticator(t *testing.T) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &authenticator{key: key, id: []byte("the id of a passkey")}
}

// Flags of what an authenticator says.
const (
	present  = 1 << 0
	verified = 1 << 2
	attested = 1 << 6
)

// data is what the authenticator says about itself at a site.
func (a *authenticator) data(site Site, flags byte) []byte {
	sum := sha256.Sum256([]byte(site.ID))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), a.count)
}

// client is what the browser says about the page.
func client(t *testing.T, kind string, site Site, options []byte) []byte {
	t.Helper()
	var asked struct {
		Challenge string `json:"challenge"`
	}
	if err := json.Unmarshal(options, &asked); err != nil || asked.Challenge == "" {
		t.Fatalf("options %s: %v", options, err)
	}
	text, err := json.Marshal(map[string]any{"type": kind, "challenge": asked.Challenge, "origin": site.Origin, "crossOrigin": false})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func answerOf(t *testing.T, id []byte, response map[string][]byte) string {
	t.Helper()
	said := make(map[string]string)
	for name, b := range response {
		said[name] = base64.RawURLEncoding.EncodeToString(b)
	}
	name := base64.RawURLEncoding.EncodeToString(id)
	text, err := json.Marshal(map[string]any{"id": name, "rawId": name, "type": "public-key", "response": said, "clientExtensionResults": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// add makes the key, and answers with it as a browser at a site does.
func (a *authenticator) add(t *testing.T, site Site, options []byte, flags byte) string {
	t.Helper()
	var asked struct {
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if err := json.Unmarshal(options, &asked); err != nil {
		t.Fatal(err)
	}
	handle, err := base64.RawURLEncoding.DecodeString(asked.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	a.handle = handle
	data := append(a.data(site, flags|attested), make([]byte, 16)...) // of no known make
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(a.id))), a.id...)
	// The public key in COSE: type EC2, algorithm ES256, curve P-256, x, y.
	data = append(data, 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32)
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, point[1:33]...)
	data = append(append(data, 0x22, 0x58, 32), point[33:]...)
	// The map {"fmt": "none", "attStmt": {}, "authData": data} in CBOR.
	object := slices.Concat([]byte{0xa3, 0x63}, []byte("fmt"), []byte{0x64}, []byte("none"), []byte{0x67}, []byte("attStmt"), []byte{0xa0},
		[]byte{0x68}, []byte("authData"), []byte{0x59}, binary.BigEndian.AppendUint16(nil, uint16(len(data))), data)
	return answerOf(t, a.id, map[string][]byte{"clientDataJSON": client(t, "webauthn.create", site, options), "attestationObject": object})
}

// answer proves that it has the key, as a browser at a site does.
func (a *authenticator) answer(t *testing.T, site Site, options []byte, flags byte) string {
	t.Helper()
	a.count++
	data, said := a.data(site, flags), client(t, "webauthn.get", site, options)
	page := sha256.Sum256(said)
	sum := sha256.Sum256(append(slices.Clone(data), page[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return answerOf(t, a.id, map[string][]byte{"clientDataJSON": said, "authenticatorData": data, "signature": signature, "userHandle": a.handle})
}

// enrolled returns a person with the key of an authenticator.
func enrolled(t *testing.T) (Owner, *authenticator) {
	t.Helper()
	a, anna := newAuthenticator(t), Owner{Handle: []byte("a handle that says nothing"), Name: "anna"}
	options, sealed, err := home.Register(secret, anna, noon)
	if err != nil {
		t.Fatal(err)
	}
	key, err := home.Registered(secret, anna, sealed, a.add(t, home, options, present|verified), noon.Add(Valid))
	if err != nil {
		t.Fatal(err)
	}
	if key.ID() != base64.RawURLEncoding.EncodeToString(a.id) {
		t.Errorf("the key is %s", key.ID())
	}
	anna.Keys = []Key{key}
	return anna, a
}

// TestAKeyIsAdded adds keys that must be refused, each wrong in one way.
func TestAKeyIsAdded(t *testing.T) {
	anna, _ := enrolled(t)
	ben := Owner{Handle: []byte("another handle"), Name: "ben"}
	for _, test := range []struct {
		name  string
		wrong func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error)
	}{
		{"too late", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, a.add(t, home, options, present|verified), noon.Add(Valid+time.Second))
		}},
		{"for another person", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, anna, sealed, a.add(t, home, options, present|verified), noon)
		}},
		{"made at another site", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, a.add(t, other, options, present|verified), noon)
		}},
		{"a page of another site", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, a.add(t, Site{home.ID, other.Origin}, options, present|verified), noon)
		}},
		{"nobody was there", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, a.add(t, home, options, present), noon)
		}},
		{"a question that was changed", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, "x"+sealed, a.add(t, home, options, present|verified), noon)
		}},
		{"a question of another installation", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered([]byte("another key"), ben, sealed, a.add(t, home, options, present|verified), noon)
		}},
		{"no question", func(t *testing.T, a *authenticator, options []byte, _ string) (Key, error) {
			return home.Registered(secret, ben, "", a.add(t, home, options, present|verified), noon)
		}},
		{"another question", func(t *testing.T, a *authenticator, _ []byte, sealed string) (Key, error) {
			options, _, err := home.Register(secret, ben, noon)
			if err != nil {
				t.Fatal(err)
			}
			return home.Registered(secret, ben, sealed, a.add(t, home, options, present|verified), noon)
		}},
		{"no answer", func(_ *testing.T, _ *authenticator, _ []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, "", noon)
		}},
		{"a large answer", func(t *testing.T, a *authenticator, options []byte, sealed string) (Key, error) {
			return home.Registered(secret, ben, sealed, a.add(t, home, options, present|verified)+strings.Repeat(" ", maxAnswer), noon)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options, sealed, err := home.Register(secret, ben, noon)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := test.wrong(t, newAuthenticator(t), options, sealed); !errors.Is(err, ErrAnswer) {
				t.Errorf("it is added: %v", err)
			}
		})
	}
	options, _, err := home.Register(secret, anna, noon)
	if err != nil || !strings.Contains(string(options), anna.Keys[0].ID()) || !strings.Contains(string(options), `"userVerification":"required"`) {
		t.Errorf("the options do not leave out the key that anna has, or do not ask who it is: %s %v", options, err)
	}
}

// TestAPersonLogsIn answers questions with a key, and in ways that must be refused.
func TestAPersonLogsIn(t *testing.T) {
	anna, a := enrolled(t)
	find := func(handle []byte) (Owner, bool) { return anna, string(handle) == string(anna.Handle) }
	ask := func(t *testing.T) ([]byte, string) {
		t.Helper()
		options, sealed, err := home.Ask(secret, noon)
		if err != nil {
			t.Fatal(err)
		}
		return options, sealed
	}
	challenges := make(map[string]bool)
	for i := range 2 {
		options, sealed := ask(t)
		of, with, challenge, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon.Add(Valid), find)
		if err != nil || of.Name != "anna" || with.ID() != anna.Keys[0].ID() || challenges[challenge] {
			t.Fatalf("log-in %d: %q %v", i, of.Name, err)
		}
		if with.Authenticator.SignCount != a.count {
			t.Errorf("log-in %d: the count is %d, want %d", i, with.Authenticator.SignCount, a.count)
		}
		challenges[challenge] = true
		anna.Keys[0] = with
	}
	stranger := newAuthenticator(t)
	stranger.handle = anna.Handle
	for _, test := range []struct {
		name  string
		wrong func(t *testing.T, options []byte, sealed string) error
	}{
		{"too late", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon.Add(Valid+time.Second), find)
			return err
		}},
		{"another key of the same name", func(t *testing.T, options []byte, sealed string) error {
			stranger.count = a.count + 100
			_, _, _, err := home.Answered(secret, sealed, stranger.answer(t, home, options, present|verified), noon, find)
			return err
		}},
		{"nobody has the key", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon, func([]byte) (Owner, bool) { return Owner{}, false })
			return err
		}},
		{"a key that was removed", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon, func([]byte) (Owner, bool) {
				return Owner{Handle: anna.Handle, Name: anna.Name}, true
			})
			return err
		}},
		{"a page of another site", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, Site{home.ID, other.Origin}, options, present|verified), noon, find)
			return err
		}},
		{"a key of another site", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, Site{other.ID, home.Origin}, options, present|verified), noon, find)
			return err
		}},
		{"nobody was there", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present), noon, find)
			return err
		}},
		{"a copy of the key", func(t *testing.T, options []byte, sealed string) error {
			was := a.count
			a.count = 0
			answer := a.answer(t, home, options, present|verified)
			a.count = was
			_, _, _, err := home.Answered(secret, sealed, answer, noon, find)
			return err
		}},
		{"the answer to another question", func(t *testing.T, _ []byte, sealed string) error {
			options, _ := ask(t)
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon, find)
			return err
		}},
		{"a question about a new key", func(t *testing.T, _ []byte, _ string) error {
			options, sealed, err := home.Register(secret, anna, noon)
			if err != nil {
				t.Fatal(err)
			}
			_, _, _, err = home.Answered(secret, sealed, a.answer(t, home, options, present|verified), noon, find)
			return err
		}},
		{"a question that nobody sealed", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(nil, sealed, a.answer(t, home, options, present|verified), noon, find)
			return err
		}},
		{"a large question", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed+strings.Repeat("A", maxSealed), a.answer(t, home, options, present|verified), noon, find)
			return err
		}},
		{"no answer", func(_ *testing.T, _ []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, "{}", noon, find)
			return err
		}},
		{"a large answer", func(t *testing.T, options []byte, sealed string) error {
			_, _, _, err := home.Answered(secret, sealed, a.answer(t, home, options, present|verified)+strings.Repeat(" ", maxAnswer), noon, find)
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options, sealed := ask(t)
			if err := test.wrong(t, options, sealed); !errors.Is(err, ErrAnswer) {
				t.Errorf("it is taken: %v", err)
			}
		})
	}
}
