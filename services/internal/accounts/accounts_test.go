package accounts

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

const (
	phrase = "correct horse battery"
	other  = "staple a second phrase"
	here   = "192.0.2.7"
)

// world is a nats-server and a clock that the test moves.
type world struct {
	t    *testing.T
	nats *streamtest.Server
	now  atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := bareWorld(t)
	for _, cfg := range []jetstream.KeyValueConfig{
		{Bucket: streams.BucketAccounts}, {Bucket: streams.BucketSessions, LimitMarkerTTL: streams.SessionMarkerTTL},
	} {
		_, err := w.nats.JS(t).CreateKeyValue(t.Context(), cfg)
		w.must(err)
	}
	return w
}

// bareWorld is a world without buckets.
func bareWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, nats: streamtest.Run(t)}
	w.now.Store(time.Now().UnixNano())
	return w
}

func (w *world) clock() time.Time        { return time.Unix(0, w.now.Load()) }
func (w *world) later(d time.Duration)   { w.now.Add(int64(d)) }
func (w *world) js() jetstream.JetStream { return w.jsOf(natsd.UserOf(streams.ServiceDashboard)) }

func (w *world) jsOf(user natsd.User) jetstream.JetStream {
	w.t.Helper()
	js, err := jetstream.New(w.nats.Conn(w.t, user))
	w.must(err)
	return js
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// store returns another dashboard's accounts, with the permissions of a dashboard.
// Its passwords are cheap, to save time.
func (w *world) store() *Store {
	s := New(w.js(), w.clock)
	s.hash = newHasher(64)
	return s
}

// founded returns accounts with the administrator anna, and her session.
func (w *world) founded() (*Store, string) {
	w.t.Helper()
	s := w.store()
	session, err := s.First(w.t.Context(), "Anna", phrase)
	w.must(err)
	return s, session
}

// add creates a user with a password and returns a session.
func (w *world) add(s *Store, name string, role Role) string {
	w.t.Helper()
	code, err := s.AddUser(w.t.Context(), User{Name: name, Role: role, By: "anna"})
	w.must(err)
	session, err := s.SetUp(w.t.Context(), code, "ignored", phrase)
	w.must(err)
	return session
}

// is checks whose session it is; nobody's if the name is empty.
func (w *world) is(s *Store, session, name string) {
	w.t.Helper()
	u, err := s.Session(w.t.Context(), session, true)
	if name == "" && errors.Is(err, ErrNobody) || name != "" && err == nil && u.Name == name {
		return
	}
	w.t.Errorf("the session is of %q (%v), want %q", u.Name, err, name)
}

func (w *world) want(what string, err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestFirstAdministrator(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	closed, err := s.Closed(t.Context())
	has, err2 := HasAdministrator(t.Context(), w.js())
	if closed || has || err != nil || err2 != nil {
		t.Errorf("at first: closed %t, administrator %t (%v, %v)", closed, has, err, err2)
	}
	_, err = s.AddUser(t.Context(), User{Name: "vera", Role: Viewer})
	w.want("a viewer before there is an administrator", err, ErrFirst)
	_, err = s.AddToken(t.Context(), Token{Name: "script", Role: Viewer})
	w.want("a token before there is an administrator", err, ErrFirst)
	session, err := s.First(t.Context(), " Anna ", phrase)
	w.must(err)
	w.is(s, session, "anna")
	_, err = s.First(t.Context(), "mallory", phrase)
	w.want("a second first administrator", err, ErrClosed)
	if has, err := HasAdministrator(t.Context(), w.js()); err != nil || !has {
		t.Errorf("there is no administrator (%v)", err)
	}
	w.later(fresh)
	if closed, err := w.store().Closed(t.Context()); err != nil || !closed {
		t.Errorf("another dashboard is open (%v)", err)
	}
}

func TestLinkWorksOnceWithinAnHour(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	code, err := s.NewSetUp(t.Context(), false)
	w.must(err)
	_, err = s.SetUp(t.Context(), "wrong", "anna", phrase)
	w.want("a wrong code", err, ErrLink)
	_, err = s.SetUp(t.Context(), code, "anna", "short")
	if !IsInvalid(err) {
		t.Errorf("a short password: %v", err)
	}
	w.later(LinkValid - time.Second)
	// Two people with the same link: one becomes an administrator.
	var made atomic.Int32
	var both sync.WaitGroup
	for _, name := range []string{"anna", "berta"} {
		both.Go(func() {
			if _, err := w.store().SetUp(context.WithoutCancel(t.Context()), code, name, phrase); err == nil {
				made.Add(1)
			} else if !errors.Is(err, ErrLink) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	both.Wait()
	if made.Load() != 1 {
		t.Errorf("%d administrators were created with one link", made.Load())
	}
	_, err = s.NewSetUp(t.Context(), false)
	w.want("a link although there is an administrator", err, ErrClosed)
	late, err := s.NewSetUp(t.Context(), true)
	w.must(err)
	w.later(LinkValid)
	_, err = s.SetUp(t.Context(), late, "clara", phrase)
	w.want("a link after an hour", err, ErrLink)
	// A newer link replaces the previous one.
	first, err := s.NewSetUp(t.Context(), true)
	w.must(err)
	second, err := s.NewSetUp(t.Context(), true)
	w.must(err)
	_, err = s.SetUp(t.Context(), first, "clara", phrase)
	w.want("a link that was replaced", err, ErrLink)
	_, err = s.SetUp(t.Context(), second, "clara", phrase)
	w.must(err)
}

func TestSessionsEnd(t *testing.T) {
	w := bareWorld(t)
	w.nats.Ensure(t, 1) // the buckets as they are
	s, session := w.founded()
	elsewhere := w.store()
	w.is(elsewhere, session, "anna")
	for _, forged := range []string{"", "anna", "anna.", session + "x", "anna." + strings.Repeat("A", 26), "vera" + session[4:], "an*a" + session[4:], ">" + session[4:]} {
		w.is(s, forged, "")
	}

	second, err := s.LogIn(t.Context(), here, "ANNA", phrase)
	w.must(err)
	if second == session {
		t.Error("a log-in did not get a new session")
	}
	w.must(s.LogOut(t.Context(), session))
	w.is(s, session, "")
	w.later(fresh)
	w.is(elsewhere, session, "")
	w.is(elsewhere, second, "anna")

	changed, err := elsewhere.ChangePassword(t.Context(), here, "anna", phrase, other)
	w.must(err)
	w.is(elsewhere, second, "")
	w.later(fresh)
	w.is(s, second, "")
	w.is(s, changed, "anna")
	_, err = s.LogIn(t.Context(), here, "anna", phrase)
	w.want("the old password", err, ErrWrong)

	w.must(s.LogOutEverywhere(t.Context(), "anna"))
	w.is(s, changed, "")

	idle, err := s.LogIn(t.Context(), here, "anna", other)
	w.must(err)
	w.later(idleFor - time.Second)
	w.is(s, idle, "anna") // which counts as use
	w.later(idleFor - time.Second)
	if _, err := elsewhere.Session(t.Context(), idle, false); err != nil {
		t.Errorf("a session in use has ended: %v", err)
	}
	w.later(time.Second)
	w.is(elsewhere, idle, "")

	used, err := s.LogIn(t.Context(), here, "anna", other)
	w.must(err)
	for range int(streams.SessionAge/(24*time.Hour)) - 1 {
		w.later(24 * time.Hour)
		w.is(s, used, "anna")
	}
	w.later(24 * time.Hour)
	w.is(s, used, "")
}

func TestOldestSessionsMakeRoom(t *testing.T) {
	w := newWorld(t)
	s, first := w.founded()
	var last string
	for range userSessions {
		w.later(time.Minute)
		var err error
		last, err = s.LogIn(t.Context(), here, "anna", phrase)
		w.must(err)
	}
	w.is(s, first, "")
	w.is(s, last, "anna")
}

// TestSessionsAreNotInherited removes a user and creates another one of that name.
func TestSessionsAreNotInherited(t *testing.T) {
	w := newWorld(t)
	s, _ := w.founded()
	removed := w.add(s, "vera", Administrator)
	w.must(s.RemoveUser(t.Context(), "vera"))
	w.is(s, removed, "")
	session := w.add(s, "vera", Viewer)
	w.is(s, removed, "")
	w.is(s, session, "vera")
}

func TestRightsChangeAtOnce(t *testing.T) {
	w := newWorld(t)
	s, _ := w.founded()
	session := w.add(s, "otto", Operator)
	w.must(s.ChangeUser(t.Context(), "otto", Viewer, nil))
	if u, err := s.Session(t.Context(), session, true); err != nil || u.Role != Viewer {
		t.Errorf("otto is %q (%v)", u.Role, err)
	}
	w.want("the last administrator becomes a viewer", s.ChangeUser(t.Context(), "anna", Viewer, nil), ErrLast)
	w.want("the last administrator is removed", s.RemoveUser(t.Context(), "anna"), ErrLast)
	_, err := s.ResetUser(t.Context(), "anna")
	w.want("the last administrator is reset", err, ErrLast)
	w.want("a user that does not exist", s.RemoveUser(t.Context(), "nobody"), ErrUnknown)
	_, err = s.AddUser(t.Context(), User{Name: "OTTO", Role: Viewer})
	w.want("a name twice", err, ErrExists)

	code, err := s.ResetUser(t.Context(), "otto")
	w.must(err)
	w.is(s, session, "")
	_, err = s.LogIn(t.Context(), here, "otto", phrase)
	w.want("a password that was reset", err, ErrWrong)
	again, err := s.SetUp(t.Context(), code, "anna", other)
	w.must(err)
	w.is(s, again, "otto")
	w.must(s.RemoveUser(t.Context(), "otto"))
	w.is(s, again, "")
	// A new user of the same name does not get the sessions of the old one.
	w.add(s, "otto", Administrator)
	w.is(s, again, "")
}

func TestNamesAndRights(t *testing.T) {
	w := newWorld(t)
	s, _ := w.founded()
	for _, u := range []User{
		{Name: "", Role: Viewer},
		{Name: "a.b", Role: Viewer},
		{Name: "*", Role: Viewer},
		{Name: ">", Role: Viewer},
		{Name: "a b", Role: Viewer},
		{Name: "-a", Role: Viewer},
		{Name: "a\nb", Role: Viewer},
		{Name: strings.Repeat("a", 65), Role: Viewer},
		{Name: "ä", Role: Viewer},
		{Name: "vera"},
		{Name: "vera", Role: "root"},
		{Name: "vera", Role: Viewer, Sites: []string{"a b"}},
		{Name: "vera", Role: Administrator, Sites: []string{"hall"}},
	} {
		if _, err := s.AddUser(t.Context(), u); !IsInvalid(err) {
			t.Errorf("%+v: %v", u, err)
		}
	}
}

func TestGuessing(t *testing.T) {
	w := newWorld(t)
	s, _ := w.founded()
	guess := func(host, name, password string) error {
		_, err := s.LogIn(t.Context(), host, name, password)
		return err
	}
	w.must(guess(here, "anna", phrase)) // she is known here now
	// Many at once from one address: as many are compared as one after the other.
	var compared atomic.Int32
	var all sync.WaitGroup
	for range 3 * guesses {
		all.Go(func() {
			if err := guess("198.51.100.1", "anna", "guess"); !errors.Is(err, ErrThrottled) {
				compared.Add(1)
			}
		})
	}
	all.Wait()
	if compared.Load() != guesses {
		t.Errorf("%d guesses were compared, want %d", compared.Load(), guesses)
	}
	w.want("the right password from the address of a guesser", guess("198.51.100.1", "anna", phrase), ErrThrottled)
	w.want("a guess from another address", guess("198.51.100.2", "anna", "guess"), ErrThrottled)
	w.want("another name from another address", guess("198.51.100.2", "nobody", "guess"), ErrWrong)
	w.must(guess(here, "anna", phrase))
	w.later(guessPause)
	w.want("one guess after the pause", guess("198.51.100.2", "anna", "guess"), ErrWrong)
	w.want("and no second one", guess("198.51.100.2", "anna", "guess"), ErrThrottled)
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	s, _ := w.founded()
	text, err := s.AddToken(t.Context(), Token{Name: "script", Role: Operator, Expires: w.clock().Add(time.Hour), By: "anna"})
	w.must(err)
	elsewhere := w.store()
	if token, err := elsewhere.Token(t.Context(), text); err != nil || token.Name != "script" || token.Role != Operator {
		t.Errorf("%+v, %v", token, err)
	}
	for _, forged := range []string{"", "hw_", text + "x", text[:len(text)-1], strings.TrimPrefix(text, "hw_"), strings.ToLower(text)} {
		_, err := s.Token(t.Context(), forged)
		w.want("a forged token", err, ErrNobody)
	}
	_, err = s.AddToken(t.Context(), Token{Name: "script", Role: Viewer})
	w.want("a name twice", err, ErrExists)
	w.later(time.Hour)
	_, err = s.Token(t.Context(), text)
	w.want("an expired token", err, ErrNobody)

	forever, err := s.AddToken(t.Context(), Token{Name: "forever", Role: Viewer})
	w.must(err)
	w.later(24 * time.Hour)
	_, err = s.Token(t.Context(), forever)
	w.must(err)
	w.must(s.RemoveToken(t.Context(), "forever"))
	_, err = s.Token(t.Context(), forever)
	w.want("a removed token", err, ErrNobody)
	w.want("removed twice", s.RemoveToken(t.Context(), "forever"), ErrUnknown)
}

// TestSecretsAreNotStored looks for every secret in every bucket.
func TestSecretsAreNotStored(t *testing.T) {
	w := newWorld(t)
	s, session := w.founded()
	token, err := s.AddToken(t.Context(), Token{Name: "script", Role: Viewer})
	w.must(err)
	code, err := s.AddUser(t.Context(), User{Name: "vera", Role: Viewer})
	w.must(err)
	_, secret, _ := strings.Cut(session, ".")
	secrets := []string{phrase, token[len(token)-26:], code, secret}
	js := w.jsOf(natsd.UserCore)
	values := 0
	for _, bucket := range []string{streams.BucketAccounts, streams.BucketSessions} {
		kv, err := js.KeyValue(t.Context(), bucket)
		w.must(err)
		keys, err := kv.Keys(t.Context())
		w.must(err)
		for _, key := range keys {
			entry, err := kv.Get(t.Context(), key)
			w.must(err)
			values++
			if i := slices.IndexFunc(secrets, func(secret string) bool {
				return strings.Contains(key, secret) || strings.Contains(string(entry.Value()), secret)
			}); i >= 0 {
				t.Errorf("key %s of %s holds secret %d", key, bucket, i)
			}
		}
	}
	if values < 2 {
		t.Errorf("only %d values were looked at", values)
	}
}

// TestLoggedInWithoutNATS stops the server while somebody is logged in.
func TestLoggedInWithoutNATS(t *testing.T) {
	w := newWorld(t)
	s, session := w.founded()
	w.is(s, session, "anna")
	s.js.Conn().Close()
	w.later(time.Hour)
	w.is(s, session, "anna")
	_, err := s.LogIn(t.Context(), here, "anna", phrase)
	if err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("a log-in while NATS is away: %v", err)
	}
	fromNothing := New(s.js, w.clock)
	if _, err := fromNothing.Closed(t.Context()); err == nil {
		t.Error("a dashboard that has never read the accounts is sure of them")
	}
}

func TestNoBucketIsNoAccount(t *testing.T) {
	s := New(streamtest.Run(t).JS(t), time.Now)
	if closed, err := s.Closed(t.Context()); closed || err != nil {
		t.Errorf("closed %t, %v", closed, err)
	}
}

// TestExternal has a provider of log-ins bring people.
func TestExternal(t *testing.T) {
	w := newWorld(t)
	s := New(w.js(), w.clock)
	ctx := t.Context()
	if _, _, _, err := s.External(ctx, "id 2", "vera", Viewer); !errors.Is(err, ErrFirst) {
		t.Errorf("a viewer before there is an administrator: %v", err)
	}
	_, anna, before, err := s.External(ctx, "id 1", "anna", Administrator)
	if err != nil || anna.Name != "anna" || before != "" {
		t.Fatalf("%+v, %q, %v", anna, before, err)
	}
	if closed, err := s.Closed(ctx); !closed || err != nil {
		t.Errorf("no log-in is required: %v", err)
	}
	if _, err := s.LogIn(ctx, here, "anna", ""); !errors.Is(err, ErrWrong) {
		t.Errorf("a log-in without a password: %v", err)
	}
	session, vera, _, err := s.External(ctx, "id 2", "vera", Operator)
	w.must(err)
	if _, other, _, err := s.External(ctx, "id 3", "anna", Viewer); err != nil || other.Name != "anna-2" || other.Role != Viewer {
		t.Errorf("another one of that name is %+v, %v", other, err)
	}
	w.must(s.ChangeUser(ctx, "vera", Operator, []string{"attic"}))
	if _, again, before, err := s.External(ctx, "id 2", "veronica", Viewer); err != nil || again.Name != vera.Name || before != Operator || !slices.Equal(again.Sites, []string{"attic"}) {
		t.Errorf("with another role: %+v, was %q, %v", again, before, err)
	}
	if u, err := s.Session(ctx, session, true); err != nil || u.Role != Viewer {
		t.Errorf("the open session: %+v, %v", u, err)
	}
	if _, _, _, err := s.External(ctx, "id 1", "anna", Viewer); !errors.Is(err, ErrLast) {
		t.Errorf("the last administrator loses the role: %v", err)
	}
	w.later(externalFor - time.Minute)
	if _, err := s.Session(ctx, session, true); err != nil {
		t.Errorf("within a day: %v", err)
	}
	w.later(2 * time.Minute)
	if _, err := s.Session(ctx, session, true); !errors.Is(err, ErrNobody) {
		t.Errorf("after a day: %v", err)
	}
}
