// Package configstore keeps the configuration that is in force, and earlier
// versions, in the bucket of the configuration. Package configfile puts a file
// there, the page and the API single rules. Each change is a whole new version with
// its author and time, made by compare-and-set.
//
// Nothing gets there that config.Parse refuses: every service may rely on that.
// A version that an earlier Headwater stored is read as it is; the first change, or
// the next start of package configfile, stores it in the form of today.
// The store has no state of its own. Several goroutines and processes may use it
// at once.
package configstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/streams"
)

// Who made a version: one of these, or one of these and a name.
const (
	// AuthorDefault is Headwater itself.
	AuthorDefault = "default"
	// AuthorFile and a name is a file, AuthorPage and a user or address a person at
	// the page.
	AuthorFile = "file:"
	AuthorPage = "page:"
	// AuthorAPI, alone or with a colon and a name, is a program.
	AuthorAPI = "api"
)

// maxAuthor bounds an author in bytes.
const maxAuthor = 200

// Errors of the store, worded for people.
var (
	// ErrNone is returned while no configuration is in force.
	ErrNone = errors.New("no configuration is in force yet")
	// ErrConflict is returned when another version is in force than the one that
	// the change started from. The caller reads again and decides again.
	ErrConflict = errors.New("the configuration was changed meanwhile")
	// ErrFile is returned for a change of a rule that a file declares.
	ErrFile = errors.New("the rule is declared in a file and is changed there")
	// ErrBuiltIn is returned for the removal of the built-in rule.
	ErrBuiltIn = errors.New("the rule is built in: make it a draft, or write `auto: off` into the file")
	// ErrNoRule is returned for a rule that does not exist.
	ErrNoRule = errors.New("there is no rule of that name")
	// ErrChannelFile is returned for a change of a channel that a file declares.
	ErrChannelFile = errors.New("the channel is declared in a file and is changed there")
	// ErrOnCallFile is returned for a change of who is on call while a file declares that.
	ErrOnCallFile = errors.New("who is on call is declared in a file and is changed there")
	// ErrNoChannel is returned for a channel that does not exist.
	ErrNoChannel = errors.New("there is no channel of that name")
	// ErrNoVersion is returned for a version that is not kept, or never was.
	ErrNoVersion = errors.New("that version is not kept")
)

// Store is the configuration in a bucket.
type Store struct{ kv jetstream.KeyValue }

// Open returns the store. The bucket must be there.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	kv, err := js.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	return &Store{kv: kv}, nil
}

// Version is one version of the configuration.
type Version struct {
	// Revision grows with each version. It is what rules' versions are counted in.
	Revision uint64
	// At is when it came into force.
	At time.Time
	// Parts are what it consists of.
	Parts config.Parts
	// Changes are what the version made different. Only a change returns them.
	Changes config.Changes

	// old reports whether it is stored as earlier versions of Headwater did.
	old bool
}

// Config returns what the version says.
func (v Version) Config() (*config.Config, error) {
	return v.Parts.Parse(fmt.Sprintf("configuration %d", v.Revision))
}

// Rule is one rule as people see it.
type Rule struct {
	rule.Rule
	// Text is the rule in YAML, with its comments.
	Text string
	// ReadOnly reports whether a file is in charge of it.
	ReadOnly bool
}

// Rules returns the rules of the version, those of the file first, the built-in
// one last.
func (v Version) Rules() ([]Rule, error) {
	c, err := v.Config()
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string, len(c.Rules))
	for _, p := range slices.Concat(v.Parts.Pieces(), v.Parts.Rules) {
		texts[p.Name] = p.Text
	}
	all := make([]Rule, len(c.Rules))
	for i, r := range c.Rules {
		all[i] = Rule{Rule: r, Text: texts[r.Name], ReadOnly: v.readOnly(r)}
		if all[i].Text == "" {
			all[i].Text = config.Format(r)
		}
	}
	return all, nil
}

// readOnly reports whether a file is in charge of a rule.
func (v Version) readOnly(r rule.Rule) bool {
	return r.Origin == rule.FromFile && v.Parts.FileName != ""
}

// Read returns the version of an entry of the bucket.
func Read(entry jetstream.KeyValueEntry) (Version, error) {
	parts, err := config.Decode(entry.Value())
	if err != nil {
		return Version{}, fmt.Errorf("version %d of the configuration: %w", entry.Revision(), err)
	}
	if parts.At.IsZero() {
		parts.At = entry.Created()
	}
	return Version{Revision: entry.Revision(), At: parts.At, Parts: parts, old: !config.Encoded(entry.Value())}, nil
}

// Current returns what is in force, or ErrNone.
func (s *Store) Current(ctx context.Context) (Version, error) {
	entry, err := s.kv.Get(ctx, streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Version{}, ErrNone
	}
	if err != nil {
		return Version{}, fmt.Errorf("read key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	return Read(entry)
}

// History returns the versions that are kept, the newest first: the one in force
// and 63 earlier ones. Versions that can't be read any more are left out.
func (s *Store) History(ctx context.Context) ([]Version, error) {
	entries, err := s.kv.History(ctx, streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	all := make([]Version, 0, len(entries))
	for _, entry := range slices.Backward(entries) {
		if entry.Operation() != jetstream.KeyValuePut {
			continue
		}
		if v, err := Read(entry); err == nil {
			all = append(all, v)
		}
	}
	return all, nil
}

// Version returns one version that is kept, or ErrNoVersion.
func (s *Store) Version(ctx context.Context, revision uint64) (Version, error) {
	entry, err := s.kv.GetRevision(ctx, streams.ConfigKey, revision)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidOption) {
		return Version{}, fmt.Errorf("%w: %d", ErrNoVersion, revision)
	}
	if err != nil {
		return Version{}, fmt.Errorf("read version %d of the configuration: %w", revision, err)
	}
	return Read(entry)
}

// Change is one version of one rule.
type Change struct {
	Version
	// Rule is nil in the version that removed it.
	Rule *Rule
}

// RuleHistory returns the versions that changed a rule, or a comment in its text,
// or removed it, the newest first, as far as the history reaches.
func (s *Store) RuleHistory(ctx context.Context, name string) ([]Change, error) {
	versions, err := s.History(ctx)
	if err != nil {
		return nil, err
	}
	var changes []Change
	var last *Rule
	for _, v := range slices.Backward(versions) {
		rules, err := v.Rules()
		if err != nil {
			// A version that cannot be read any more was never in force for long.
			continue
		}
		var now *Rule
		if i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name }); i >= 0 {
			now = &rules[i]
		}
		if (now == nil) != (last == nil) || now != nil && (!now.Equal(last.Rule) || now.Text != last.Text) {
			changes = append(changes, Change{Version: v, Rule: now})
		}
		last = now
	}
	slices.Reverse(changes)
	return changes, nil
}

// PutDefault puts a text in force unless there is one already. No file is in charge
// then: the rules of the last one may be changed on the page. It returns what is in
// force afterwards.
func (s *Store) PutDefault(ctx context.Context, text []byte) (v Version, changed bool, err error) {
	return s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		switch {
		case v == nil:
			return config.Parts{File: text, Author: AuthorDefault}, nil
		case v.Parts.FileName == "":
			return v.Parts, errUnchanged
		default:
			p := v.Parts
			p.FileName, p.Author = "", AuthorDefault
			return p, nil
		}
	})
}

// PutFile puts the text of a file in force, beside the rules made on the page and
// what was in force before and the file does not mention, unless it is already.
// The problems of the text are those of config.ParseFile, or of Parts.Parse when the
// file does not go with the rules made on the page. It returns what is in force
// afterwards.
func (s *Store) PutFile(ctx context.Context, name string, text []byte) (v Version, changed bool, err error) {
	if _, err := config.ParseFile(name, text); err != nil {
		return Version{}, false, err
	}
	return s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		if v == nil {
			return config.Parts{File: text, FileName: name}.By(AuthorFile + name), nil
		}
		if v.Parts.FileName == name && bytes.Equal(bytes.TrimRight(v.Parts.File, "\n"), bytes.TrimRight(text, "\n")) {
			return v.Parts, errUnchanged
		}
		return v.Parts.ForFile(name, text).By(AuthorFile + name), nil
	})
}

// AddDemo puts the rules of the demo in force beside what is there. A file that
// mentions rules stays alone with them, and a rule whose name is taken stays.
func (s *Store) AddDemo(ctx context.Context) error {
	_, _, err := s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		demo := config.Parts{File: config.Demo()}.Pieces()
		if v == nil {
			return config.Parts{File: config.Default()}.WithKept(demo...).By(AuthorDefault), nil
		}
		p := v.Parts.WithKept(demo...)
		if slices.Equal(p.Kept, v.Parts.Kept) {
			return p, errUnchanged
		}
		return p.By(AuthorDefault), nil
	})
	return err
}

// RemoveDemo removes the rules of the demo that are unchanged and that no file is in
// charge of.
func (s *Store) RemoveDemo(ctx context.Context) error {
	demo, err := config.Parse("demo", config.Demo())
	if err != nil {
		return err
	}
	_, _, err = s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		if v == nil {
			return config.Parts{}, errUnchanged
		}
		c, err := v.Config()
		if err != nil {
			return config.Parts{}, err
		}
		p, removed := v.Parts, false
		for _, r := range demo.Rules {
			have, there := c.Rule(r.Name)
			if r.Origin == rule.BuiltIn || !there || v.readOnly(have) || !have.Equal(r) {
				continue
			}
			p, _, err = p.Without(r.Name)
			if err != nil {
				return config.Parts{}, err
			}
			removed = true
		}
		if !removed {
			return p, errUnchanged
		}
		return p.By(AuthorDefault), nil
	})
	return err
}

// SaveRule makes a rule, or changes the one of that name, by its text: one
// mapping of YAML. Expected is the revision that the change starts from; 0 takes
// what is in force. Errors: the problems of config.ParseRule, ErrFile,
// ErrConflict.
func (s *Store) SaveRule(ctx context.Context, text, author string, expected uint64) (Version, error) {
	v, _, err := s.change(ctx, expected, func(v *Version) (config.Parts, error) {
		if v == nil {
			return config.Parts{}, ErrNone
		}
		c, err := v.Config()
		if err != nil {
			return config.Parts{}, err
		}
		r, err := config.ParseRule("rule", []byte(text), c.Targets())
		if err != nil {
			return config.Parts{}, err
		}
		if old, known := c.Rule(r.Name); known && (old.Origin == rule.FromFile || old.Origin == rule.Kept) {
			if v.readOnly(old) {
				return config.Parts{}, fmt.Errorf("%w: %s in %s", ErrFile, r.Name, v.Parts.FileName)
			}
			p, _, err := v.Parts.Without(r.Name)
			if err != nil {
				return config.Parts{}, err
			}
			return p.With(config.Piece{Name: r.Name, Text: text}).By(author), nil
		}
		return v.Parts.With(config.Piece{Name: r.Name, Text: text}).By(author), nil
	})
	return v, err
}

// DeleteRule removes a rule. Expected is as for SaveRule. Errors: ErrNoRule,
// ErrFile, ErrBuiltIn, ErrConflict.
func (s *Store) DeleteRule(ctx context.Context, name, author string, expected uint64) (Version, error) {
	v, _, err := s.change(ctx, expected, func(v *Version) (config.Parts, error) {
		r, err := v.editable(name)
		if err != nil {
			return config.Parts{}, err
		}
		if r.Origin == rule.BuiltIn {
			return config.Parts{}, ErrBuiltIn
		}
		p, _, err := v.Parts.Without(name)
		return p.By(author), err
	})
	return v, err
}

// SaveChannel makes a channel, or changes the one of that name. Edit gets the channel as it
// is, or nil, and returns it as it should be, or an error, which SaveChannel returns. Errors
// of its own: the problems of config.Parts.Parse, ErrChannelFile, ErrConflict.
func (s *Store) SaveChannel(ctx context.Context, name, author string, edit func(*config.Channel) (config.Channel, error)) (Version, error) {
	v, _, err := s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		p, was, err := v.channel(name)
		if err != nil && !errors.Is(err, ErrNoChannel) {
			return config.Parts{}, err
		}
		now, err := edit(was)
		if err != nil {
			return config.Parts{}, err
		}
		if was != nil {
			was.FromPage = now.FromPage
			if *was == now {
				return p, errUnchanged
			}
		}
		return p.WithChannel(now).By(author), nil
	})
	return v, err
}

// DeleteChannel removes a channel. Errors: ErrNoChannel, ErrChannelFile, ErrConflict, and the
// problems of config.Parts.Parse while something names it.
func (s *Store) DeleteChannel(ctx context.Context, name, author string) (Version, error) {
	v, _, err := s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		p, _, err := v.channel(name)
		return p.WithoutChannel(name).By(author), err
	})
	return v, err
}

// channel returns the parts to change, and the channel of that name in them, or ErrNoChannel.
func (v *Version) channel(name string) (config.Parts, *config.Channel, error) {
	if v == nil {
		return config.Parts{}, nil, ErrNone
	}
	c, err := v.Config()
	if err != nil {
		return config.Parts{}, nil, err
	}
	p := v.Parts
	i := slices.IndexFunc(c.Channels, func(ch config.Channel) bool { return ch.Name == name })
	switch {
	case i < 0:
		return p, nil, fmt.Errorf("%w: %s", ErrNoChannel, name)
	case c.Channels[i].FromPage:
		return p, &c.Channels[i], nil
	case p.FileName != "":
		return p, nil, fmt.Errorf("%w: %s in %s", ErrChannelFile, name, p.FileName)
	}
	p, err = p.AdoptChannels()
	return p, &c.Channels[i], err
}

// SaveOnCall puts another text of the sections in force that say who is on call. Expected is
// as for SaveRule. Errors: the problems of config.Parts.Parse, ErrOnCallFile, ErrConflict.
func (s *Store) SaveOnCall(ctx context.Context, text, author string, expected uint64) (Version, error) {
	v, _, err := s.change(ctx, expected, func(v *Version) (config.Parts, error) {
		if v == nil {
			return config.Parts{}, ErrNone
		}
		was, inFile := v.Parts.OnCallText()
		if inFile {
			return config.Parts{}, fmt.Errorf("%w: %s", ErrOnCallFile, v.Parts.FileName)
		}
		if was == text {
			return v.Parts, errUnchanged
		}
		p, err := v.Parts.WithOnCall(text)
		return p.By(author), err
	})
	return v, err
}

// SetTags puts the tags of the registry in force that rules match, unless they are already.
// Errors: ErrNone, ErrConflict.
func (s *Store) SetTags(ctx context.Context, tags config.Tags) (v Version, changed bool, err error) {
	return s.change(ctx, 0, func(v *Version) (config.Parts, error) {
		if v == nil {
			return config.Parts{}, ErrNone
		}
		if v.Parts.Tags.Equal(tags) {
			return v.Parts, errUnchanged
		}
		p := v.Parts
		p.Tags = tags
		return p.By(AuthorPage + "registry"), nil
	})
}

// SetState enables or mutes a rule or makes it a draft. Expected is as for
// SaveRule. Errors: ErrNoRule, ErrFile, ErrConflict.
func (s *Store) SetState(ctx context.Context, name string, state rule.State, author string, expected uint64) (Version, error) {
	if !slices.Contains(rule.States(), state) {
		return Version{}, fmt.Errorf("%q is not a state of a rule", state)
	}
	v, _, err := s.change(ctx, expected, func(v *Version) (config.Parts, error) {
		r, err := v.editable(name)
		if err != nil {
			return config.Parts{}, err
		}
		if r.State == state {
			return v.Parts, errUnchanged
		}
		text, err := config.SetState(r.Text, state)
		if err != nil {
			return config.Parts{}, err
		}
		p := v.Parts
		if r.Origin == rule.FromFile || r.Origin == rule.Kept {
			p, _, err = p.Without(name)
			if err != nil {
				return config.Parts{}, err
			}
		}
		return p.With(config.Piece{Name: name, Text: text}).By(author), nil
	})
	return v, err
}

// Restore puts an earlier version in force again: all of it, or, while a file is
// in charge, its rules made on the page. Expected is as for SaveRule. Errors:
// ErrNoVersion, ErrConflict, the problems of config.Parse when the old rules do
// not go with the file in charge.
func (s *Store) Restore(ctx context.Context, revision uint64, author string, expected uint64) (Version, error) {
	old, err := s.Version(ctx, revision)
	if err != nil {
		return Version{}, err
	}
	v, _, err := s.change(ctx, expected, func(v *Version) (config.Parts, error) {
		p := old.Parts
		p.FileName = ""
		if v != nil { // channels and tags are no rules, and the secret of a channel may have changed
			p.Channels, p.Tags = v.Parts.Channels, v.Parts.Tags
		}
		if v != nil && v.Parts.FileName != "" {
			p.File, p.Base, p.Kept, p.FileName = v.Parts.File, v.Parts.Base, v.Parts.Kept, v.Parts.FileName
		}
		return p.By(author), nil
	})
	return v, err
}

// editable returns the rule of that name if it may be changed here.
func (v *Version) editable(name string) (Rule, error) {
	if v == nil {
		return Rule{}, ErrNone
	}
	rules, err := v.Rules()
	if err != nil {
		return Rule{}, err
	}
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	switch {
	case i < 0:
		return Rule{}, fmt.Errorf("%w: %s", ErrNoRule, name)
	case rules[i].ReadOnly:
		return Rule{}, fmt.Errorf("%w: %s in %s", ErrFile, name, v.Parts.FileName)
	default:
		return rules[i], nil
	}
}

// errUnchanged is returned by an edit that finds nothing to do.
var errUnchanged = errors.New("unchanged")

// attempts bounds how often a change that starts from what is in force is retried
// while others change it, too.
const attempts = 8

// change makes a version out of the one in force, which is nil when there is
// none.
func (s *Store) change(ctx context.Context, expected uint64, edit func(*Version) (config.Parts, error)) (Version, bool, error) {
	for range attempts {
		v, changed, err := s.try(ctx, expected, edit)
		if expected != 0 || !errors.Is(err, ErrConflict) {
			return v, changed, err
		}
	}
	return Version{}, false, ErrConflict
}

func (s *Store) try(ctx context.Context, expected uint64, edit func(*Version) (config.Parts, error)) (Version, bool, error) {
	var from *Version
	var revision uint64
	switch v, err := s.Current(ctx); {
	case errors.Is(err, ErrNone):
	case err != nil:
		return Version{}, false, err
	default:
		from, revision = &v, v.Revision
	}
	if expected != 0 && expected != revision {
		return Version{}, false, fmt.Errorf("%w: version %d is in force, not %d", ErrConflict, revision, expected)
	}
	parts, err := edit(from)
	unchanged := errors.Is(err, errUnchanged)
	switch {
	case unchanged && from == nil:
		return Version{}, false, nil
	case unchanged && !from.old:
		return *from, false, nil
	case unchanged:
		// It is stored again as this version of Headwater does, if it can be read.
		parts = from.Parts
		if !readable(parts) {
			return *from, false, nil
		}
	case err != nil:
		return Version{}, false, err
	default:
		parts.At = time.Now().UTC()
	}
	parts.Author = strings.ToValidUTF8(parts.Author[:min(len(parts.Author), maxAuthor)], "")
	after, err := parts.Parse(cmp.Or(parts.FileName, "configuration"))
	if err != nil {
		return Version{}, false, err
	}
	stored, err := parts.Encode()
	if err != nil {
		return Version{}, false, err
	}
	var before *config.Config
	if from != nil {
		// A version that cannot be read any more counts as none.
		before, _ = from.Config()
	}
	// Update with revision 0 is right for a key that is not there.
	now, err := s.kv.Update(ctx, streams.ConfigKey, stored, revision)
	if streams.IsConflict(err) {
		return Version{}, false, ErrConflict
	}
	if err != nil {
		return Version{}, false, fmt.Errorf("write key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	return Version{Revision: now, At: parts.At, Parts: parts, Changes: config.Compare(before, after)}, !unchanged, nil
}

func readable(p config.Parts) bool {
	_, err := p.Parse("")
	return err == nil
}

const (
	openWithin = 10 * time.Second
	// rewatchEvery bounds how long a bucket that was deleted and created again
	// goes unnoticed.
	rewatchEvery = 10 * time.Minute
)

// Follow calls take with each version that the bucket holds, the newest only
// unless history is set, then with nil, then with each new version. It returns
// nil when ctx ends, or when it is time to call it again, and an
// error when the bucket cannot be watched. The calls come from one goroutine,
// and a version may come more than once.
func Follow(ctx context.Context, js jetstream.JetStream, history bool, take func(jetstream.KeyValueEntry)) error {
	opening, cancel := context.WithTimeout(ctx, openWithin)
	bucket, err := js.KeyValue(opening, streams.BucketConfig)
	cancel()
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	ctx, cancel = context.WithTimeout(ctx, rewatchEvery)
	defer cancel()
	var options []jetstream.WatchOpt
	if history {
		options = append(options, jetstream.IncludeHistory())
	}
	watch, err := bucket.Watch(ctx, streams.ConfigKey, options...)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", streams.BucketConfig, err)
	}
	defer func() { _ = watch.Stop() }() // it may have ended by itself
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-watch.Updates():
			switch {
			case !ok:
				return errors.New("the watch of the configuration ended")
			case entry == nil || entry.Operation() == jetstream.KeyValuePut:
				take(entry)
			}
		}
	}
}
