package configstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	fileText = `# ours
rules:
  # told to the phone
  - name: one
    detector: limit
    above: 1
  - {name: two, detector: limit, above: 2}
channels:
  - {name: phone, type: ntfy, url: "https://ntfy.sh/topic"}
`
	pageRule = "name: page-made # here\ndetector: limit\nabove: 5\nnotify: [phone]\n"
)

func setup(t *testing.T) *configstore.Store {
	t.Helper()
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	js := server.JS(t)
	store, err := configstore.Open(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func putFile(t *testing.T, s *configstore.Store, text string) configstore.Version {
	t.Helper()
	v, _, err := s.PutFile(t.Context(), "rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// named returns the rule of the version in force, or nil.
func named(t *testing.T, s *configstore.Store, name string) *configstore.Rule {
	t.Helper()
	v, err := s.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rules, err := v.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Name == name {
			return &r
		}
	}
	return nil
}

func TestFileAndPageKeepEachOthersRules(t *testing.T) {
	s := setup(t)
	first := putFile(t, s, fileText)
	v, err := s.SaveRule(t.Context(), pageRule, configstore.AuthorPage+"jo", first.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if v.Parts.Author != "page:jo" || v.Revision <= first.Revision || v.At.IsZero() {
		t.Errorf("version %+v", v)
	}
	r := named(t, s, "page-made")
	if r == nil || r.Text != pageRule || r.ReadOnly || r.Origin != rule.FromPage {
		t.Fatalf("the page's rule is %+v", r)
	}
	putFile(t, s, strings.Replace(fileText, "above: 1", "above: 10", 1))
	if r := named(t, s, "page-made"); r == nil || r.Text != pageRule {
		t.Errorf("after the file changed the page's rule is %+v", r)
	}
	one := named(t, s, "one")
	if one == nil || *one.Above != 10 || !one.ReadOnly || !strings.HasPrefix(one.Text, "# told to the phone\nname: one\n") {
		t.Errorf("the file's rule is %+v", one)
	}
	now, err := s.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, changed, err := s.PutFile(t.Context(), "rules.yaml", now.Parts.File); err != nil || changed || got.Revision != now.Revision {
		t.Errorf("the same file again: %v, %v", changed, err)
	}
}

func TestRefused(t *testing.T) {
	s := setup(t)
	if _, err := s.Current(t.Context()); !errors.Is(err, configstore.ErrNone) {
		t.Errorf("an empty bucket: %v", err)
	}
	if _, err := s.SaveRule(t.Context(), pageRule, "api", 0); !errors.Is(err, configstore.ErrNone) {
		t.Errorf("a rule without a configuration: %v", err)
	}
	v := putFile(t, s, fileText)
	if _, err := s.SaveRule(t.Context(), pageRule, "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, tc := range map[string]struct {
		do   func() error
		want string
		is   error
	}{
		"a rule of the file is changed": {func() error {
			_, err := s.SaveRule(ctx, "name: one\ndetector: limit\nabove: 5\n", "api", 0)
			return err
		}, "one in rules.yaml", configstore.ErrFile},
		"a rule of the file is removed": {func() error { _, err := s.DeleteRule(ctx, "two", "api", 0); return err }, "two in rules.yaml", configstore.ErrFile},
		"a rule of the file is muted":   {func() error { _, err := s.SetState(ctx, "two", rule.Muted, "api", 0); return err }, "", configstore.ErrFile},
		"the built-in rule is removed":  {func() error { _, err := s.DeleteRule(ctx, "unusual", "api", 0); return err }, "auto: off", configstore.ErrBuiltIn},
		"an absent rule is removed":     {func() error { _, err := s.DeleteRule(ctx, "three", "api", 0); return err }, "three", configstore.ErrNoRule},
		"an absent rule is muted":       {func() error { _, err := s.SetState(ctx, "three", rule.Muted, "api", 0); return err }, "three", configstore.ErrNoRule},
		"a state that there is not":     {func() error { _, err := s.SetState(ctx, "page-made", "off", "api", 0); return err }, `"off" is not a state`, nil},
		"an old revision": {func() error {
			_, err := s.SaveRule(ctx, pageRule, "api", v.Revision)
			return err
		}, "is in force, not", configstore.ErrConflict},
		"a bad rule": {func() error {
			_, err := s.SaveRule(ctx, "name: x\ndetector: limit\nabov: 5\n", "api", 0)
			return err
		}, "rule:3: abov: is not a field here", nil},
		"two documents": {func() error {
			_, err := s.SaveRule(ctx, pageRule+"---\nname: y\n", "api", 0)
			return err
		}, "more than one document", nil},
		"a channel that there is not": {func() error {
			_, err := s.SaveRule(ctx, "name: x\ndetector: limit\nabove: 5\nnotify: [fax]\n", "api", 0)
			return err
		}, `rule:4: notify[0]: "fax" is not a channel`, nil},
		"a file with a name of the page's": {func() error {
			_, _, err := s.PutFile(ctx, "rules.yaml", []byte(strings.Replace(fileText, "name: two", "name: page-made", 1)))
			return err
		}, `"page-made" is the name of a rule made on the page and of one in the file, in line 7`, nil},
		"a file without a channel of the page's": {func() error {
			_, _, err := s.PutFile(ctx, "rules.yaml", []byte("channels: []\n"))
			return err
		}, `"phone" is not a channel; there are none (in a rule made on the page)`, nil},
		"a version that never was": {func() error { _, err := s.Restore(ctx, 99, "api", 0); return err }, "99", configstore.ErrNoVersion},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := s.Current(ctx)
			if err != nil {
				t.Fatal(err)
			}
			err = tc.do()
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if after, err := s.Current(ctx); err != nil || after.Revision != before.Revision {
				t.Errorf("there is another version now: %v", err)
			}
		})
	}
}

// TestWithoutAFile changes rules of the default, which no file is in charge of.
func TestWithoutAFile(t *testing.T) {
	s := setup(t)
	ctx := t.Context()
	if _, changed, err := s.PutDefault(ctx, config.Demo()); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if _, changed, err := s.PutDefault(ctx, config.Default()); err != nil || changed {
		t.Fatalf("again: %v, %v", changed, err)
	}
	if _, err := s.SetState(ctx, "too-warm", rule.Muted, "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	warm := named(t, s, "too-warm")
	if warm == nil || warm.State != rule.Muted || warm.Origin != rule.FromPage || !strings.Contains(warm.Text, "# resolved at 29") {
		t.Errorf("the muted rule is %+v", warm)
	}
	v, err := s.SaveRule(ctx, "name: door-left-open\ndetector: limit\nabove: 5\n", "page:"+strings.Repeat("é", 200), 0)
	if err != nil || v.Parts.Author != "page:"+strings.Repeat("é", 97) {
		t.Fatalf("an author of 405 bytes became %q, %v", v.Parts.Author, err)
	}
	if r := named(t, s, "door-left-open"); r == nil || r.Detector != rule.Limit {
		t.Errorf("the changed rule is %+v", r)
	}
	if _, err := s.DeleteRule(ctx, "too-warm", "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	if r := named(t, s, "too-warm"); r != nil {
		t.Errorf("the removed rule is %+v", r)
	}
	if _, err := s.SetState(ctx, rule.UnusualName, rule.Draft, "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	if r := named(t, s, rule.UnusualName); r == nil || r.State != rule.Draft || r.Origin != rule.FromPage || r.Notify == nil {
		t.Errorf("the built-in rule that was turned off is %+v", r)
	}
	if _, err := s.DeleteRule(ctx, rule.UnusualName, "page:jo", 0); err != nil {
		t.Error(err)
	}
	if r := named(t, s, rule.UnusualName); r == nil || r.Origin != rule.BuiltIn {
		t.Errorf("the built-in rule is %+v", r)
	}
	// A file that was in effect and no longer exists.
	putFile(t, s, "rules:\n  - {name: filed, detector: limit, above: 1}\n")
	if _, changed, err := s.PutDefault(ctx, config.Default()); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if r := named(t, s, "filed"); r == nil || r.ReadOnly {
		t.Errorf("the rule of the file that is gone is %+v", r)
	}
	if _, err := s.DeleteRule(ctx, "filed", "page:jo", 0); err != nil {
		t.Error(err)
	}
}

// TestAFileOfChannelsLeavesRulesAlone has every kind of rule in force when a file
// comes that holds channels only.
func TestAFileOfChannelsLeavesRulesAlone(t *testing.T) {
	const channels = "channels:\n  - {name: phone, type: ntfy, url: \"https://ntfy.sh/topic\"}\n"
	s := setup(t)
	ctx := t.Context()
	// What an installation from before comes with: rules in the default.
	if _, _, err := s.PutDefault(ctx, config.Demo()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SaveRule(ctx, "name: mine\ndetector: limit\nabove: 5\n", "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	v := putFile(t, s, channels)
	if got := v.Changes.String(); got != "added channel phone" {
		t.Errorf("the file of channels has %s", got)
	}
	for _, name := range []string{"door-left-open", "too-warm", "mine", rule.UnusualName} {
		if r := named(t, s, name); r == nil || r.ReadOnly {
			t.Errorf("%s is now %+v", name, r)
		}
	}
	if r := named(t, s, "too-warm"); r.Origin != rule.Kept || !strings.Contains(r.Text, "# resolved at 29") {
		t.Errorf("the shipped rule is now %+v", r)
	}
	// What the file doesn't mention is changed on the page, and stays so.
	if _, err := s.SetState(ctx, "too-warm", rule.Muted, "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SaveRule(ctx, "name: door-left-open\ndetector: limit\nabove: 5\n", "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	v = putFile(t, s, channels+"lateness: 1m\n")
	if got := v.Changes.String(); got != "changed windows, lateness" {
		t.Errorf("the file with a lateness has %s", got)
	}
	if r := named(t, s, "too-warm"); r == nil || r.State != rule.Muted || r.Origin != rule.FromPage {
		t.Errorf("the muted rule is now %+v", r)
	}
	// Rules of a file, which then mentions none any more; the lateness goes the same way.
	v = putFile(t, s, "rules:\n  - {name: filed, detector: limit, above: 1}\n")
	if got := v.Changes.String(); got != "added rule filed" {
		t.Errorf("the file with a rule has %s", got)
	}
	v = putFile(t, s, channels)
	if got := v.Changes.String(); got != "nothing changed" {
		t.Errorf("the file without the rule has %s", got)
	}
	if _, err := s.DeleteRule(ctx, "filed", "page:jo", 0); err != nil {
		t.Errorf("a rule that no file mentions any more: %v", err)
	}
	v = putFile(t, s, channels+"rules: []\n")
	if got := v.Changes.String(); got != "nothing changed" || named(t, s, "mine") == nil {
		t.Errorf("an empty list of rules has %s", got)
	}
}

// TestDemo puts the rules of the demo in force and takes them away again.
func TestDemo(t *testing.T) {
	ctx := t.Context()
	door := "name: door-left-open\ndetector: limit\nabove: 5\n"
	for name, tc := range map[string]struct {
		before, after func(*testing.T, *configstore.Store)
		with, without []string
	}{
		"nothing else": {with: []string{"door-left-open", "too-warm"}},
		"a changed one": {
			after: func(t *testing.T, s *configstore.Store) {
				if _, err := s.SetState(ctx, "too-warm", rule.Muted, "page:jo", 0); err != nil {
					t.Fatal(err)
				}
			},
			with: []string{"door-left-open", "too-warm"}, without: []string{"too-warm"},
		},
		"one that is there": {
			before: func(t *testing.T, s *configstore.Store) {
				if _, err := s.SaveRule(ctx, door, "page:jo", 0); err != nil {
					t.Fatal(err)
				}
			},
			with: []string{"too-warm", "door-left-open"}, without: []string{"door-left-open"},
		},
		"a file with rules": {
			before: func(t *testing.T, s *configstore.Store) {
				putFile(t, s, "rules:\n  - {name: too-warm, detector: limit, above: 1}\n")
			},
			with: []string{"too-warm"}, without: []string{"too-warm"},
		},
		"a file with rules later": {
			after: func(t *testing.T, s *configstore.Store) { putFile(t, s, "rules: []\n") },
		},
		"an installation from before": {
			before: func(t *testing.T, s *configstore.Store) {
				if _, _, err := s.PutFile(ctx, "rules.yaml", config.Demo()); err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.PutDefault(ctx, config.Default()); err != nil {
					t.Fatal(err)
				}
			},
			with: []string{"door-left-open", "too-warm"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			if err := s.RemoveDemo(ctx); err != nil {
				t.Errorf("remove it from nothing: %v", err)
			}
			if _, _, err := s.PutDefault(ctx, config.Default()); err != nil {
				t.Fatal(err)
			}
			if tc.before != nil {
				tc.before(t, s)
			}
			names := func() (names []string) {
				v, err := s.Current(ctx)
				if err != nil {
					t.Fatal(err)
				}
				rules, err := v.Rules()
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rules[:len(rules)-1] {
					names = append(names, r.Name)
				}
				return names
			}
			for range 2 { // once more changes nothing
				if err := s.AddDemo(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if tc.after != nil {
				tc.after(t, s)
			}
			if got := names(); !slices.Equal(got, tc.with) {
				t.Errorf("with the demo there are %v", got)
			}
			for range 2 {
				if err := s.RemoveDemo(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if got := names(); !slices.Equal(got, tc.without) {
				t.Errorf("without the demo there are %v", got)
			}
		})
	}
}

// TestOldVersionsAreStoredAgain begins with a version that an earlier Headwater stored:
// it is read at once, and the next start of package configfile stores it in the form
// of today, with its author and time.
func TestOldVersionsAreStoredAgain(t *testing.T) {
	ctx := t.Context()
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	kv, err := server.JS(t).KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	s, err := configstore.Open(ctx, server.JS(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "config", "testdata", "stored-text.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, streams.ConfigKey, text); err != nil {
		t.Fatal(err)
	}
	old, err := s.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, origin := range map[string]rule.Origin{"door": rule.Kept, "heat": rule.Kept, "mine": rule.FromPage, "wet": rule.FromPage} {
		if r := named(t, s, name); r == nil || r.Origin != origin || r.ReadOnly {
			t.Errorf("%s is read as %+v", name, r)
		}
	}
	for range 2 { // once more changes nothing
		v, changed, err := s.PutFile(ctx, old.Parts.FileName, old.Parts.File)
		if err != nil || changed || v.Revision != old.Revision+1 || v.Parts.Author != "page:o'neill" || !v.At.Equal(old.At) {
			t.Fatalf("stored again as %+v, %v, %v; it was %+v", v, changed, err, old)
		}
	}
	entry, err := kv.Get(ctx, streams.ConfigKey)
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.Current(ctx)
	if err != nil || !config.Encoded(entry.Value()) {
		t.Fatalf("%v: %s", err, entry.Value())
	}
	before, err1 := old.Config()
	after, err2 := now.Config()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if got := config.Compare(before, after).String(); got != "nothing changed" {
		t.Error(got)
	}
	if all, err := s.History(ctx); err != nil || len(all) != 2 || all[1].Parts.Author != "page:o'neill" {
		t.Errorf("%d versions, %v", len(all), err)
	}
}

func TestHistory(t *testing.T) {
	s := setup(t)
	ctx := t.Context()
	putFile(t, s, fileText)
	const changes = 70
	for i := range changes {
		text := fmt.Sprintf("name: a\ndetector: limit\nabove: %d\n", i/2)
		if _, err := s.SaveRule(ctx, text, fmt.Sprintf("page:%d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.History(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 64 || all[0].Parts.Author != "page:69" || all[63].Parts.Author != "page:6" {
		t.Fatalf("%d versions, of %s to %s", len(all), all[0].Parts.Author, all[len(all)-1].Parts.Author)
	}
	of, err := s.RuleHistory(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	// Every other version repeats the previous one.
	if len(of) != 32 || *of[0].Rule.Above != 34 || of[0].Parts.Author != "page:68" {
		t.Errorf("%d versions of the rule, the newest by %s", len(of), of[0].Parts.Author)
	}
	old := all[40]
	v, err := s.Restore(ctx, old.Revision, "page:jo", all[0].Revision)
	if err != nil {
		t.Fatal(err)
	}
	if v.Parts.Author != "page:jo" || v.Parts.FileName != "rules.yaml" || v.Parts.Rules[0].Text != old.Parts.Rules[0].Text {
		t.Errorf("restored: %+v", v.Parts)
	}
	if _, err := s.DeleteRule(ctx, "a", "api", v.Revision); err != nil {
		t.Fatal(err)
	}
	of, err = s.RuleHistory(ctx, "a")
	if err != nil || of[0].Rule != nil || of[0].Parts.Author != "api" {
		t.Errorf("after it was removed: %+v, %v", of[0], err)
	}
}

// TestConcurrentChangesAreAllKept has several save rules at once.
func TestConcurrentChangesAreAllKept(t *testing.T) {
	s := setup(t)
	putFile(t, s, fileText)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := fmt.Sprintf("rule-%d", i)
			for {
				_, err := s.SaveRule(t.Context(), "name: "+name+"\ndetector: limit\nabove: 1\n", "api", 0)
				if err == nil {
					return
				}
				if !errors.Is(err, configstore.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		if named(t, s, fmt.Sprintf("rule-%d", i)) == nil {
			t.Errorf("rule %d is gone", i)
		}
	}
}

// TestTheDashboardMayChangeRules uses the store with no more permissions than
// the dashboard has.
func TestTheDashboardMayChangeRules(t *testing.T) {
	server, err := natsd.Start(t.Context(), natsd.Config{Dir: t.TempDir(), Sync: natsd.SyncSecond, MQTT: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	open := func(service string) jetstream.JetStream {
		nc, err := server.Connect(natsd.UserOf(service))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	provision := open(streams.ServiceProvision)
	if _, err := streams.Ensure(t.Context(), provision, streams.Options{Lanes: 2, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	theirs, err := configstore.Open(t.Context(), provision)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, theirs, fileText)
	s, err := configstore.Open(t.Context(), open(streams.ServiceDashboard))
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.SaveRule(t.Context(), pageRule, "page:jo", 0)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.History(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%d versions, %v", len(all), err)
	}
	if _, err := s.Version(t.Context(), v.Revision); err != nil {
		t.Error(err)
	}
}
