package dashboard

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	"headwater/services/dashboard/fleet"
	"headwater/services/dashboard/rulebook"
	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/process"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/web/rules"
	"headwater/web/view"
)

const (
	// countEvery is how often the series that each rule matches are counted again.
	countEvery = 5 * time.Second
	// seriesShown is how many of the series that a draft matches are shown.
	seriesShown = 8
	// changesShown is how many of the latest changes are shown.
	changesShown = 5
	// deletedShown is how many deleted rules are kept.
	deletedShown = 100
	// saveAttempts is how often a change is tried while others change other rules.
	saveAttempts = 5
)

// ruleSource holds the rules in force and their versions. It follows the configuration
// and keeps when each rule was last changed.
type ruleSource struct {
	js    jetstream.JetStream
	log   *slog.Logger
	fleet *fleet.Fleet
	book  *fleet.Book
	now   func() time.Time
	// made takes the changes that people make here.
	made recorder
	// stats returns the statistics of a rule over the last days.
	stats func(rule string, now time.Time, days int) view.RuleStats
	// coach proposes quieter settings.
	coach *noiseCoach
	// silences returns the silences that can mute alerts of a rule.
	silences func(rule string) []view.Silence
	// took, if not nil, is called with each configuration that comes into force.
	took func(c *config.Config, revision uint64)

	// tags returns those of a device.
	tags func(site, device string) map[string]string

	mu      sync.Mutex // guards what follows
	version configstore.Version
	config  *config.Config
	known   map[string]knownRule
	// problem is why the newest version is not shown; nil if it is.
	problem error
	err     error
	// counted are the series that each rule matched at countedAt.
	counted   map[string]rulebook.Matched
	countedAt time.Time
	// changes are the latest changes of the configuration, the newest first.
	changes []rules.Change
	// deleted are the rules that are no longer in force and whose versions are kept, the
	// most recently deleted first.
	deleted []deletedRule
	// failures are the rules that lanes cannot evaluate, by rule and lane.
	failures map[string]map[int]ruleFailure
}

// ruleFailure is why a lane cannot evaluate a rule.
type ruleFailure struct {
	version            uint64 // of the configuration that the rule is from
	text, site, device string
	at                 time.Time
}

// knownRule is a rule with its last change.
type knownRule struct {
	configstore.Rule
	revision uint64
	at       time.Time
	author   string
	// judges is the version since which the rule judges as it does now.
	judges uint64
}

// deletedRule is a rule that the version after last removed.
type deletedRule struct {
	rules.Deleted
	last uint64
}

func newRules(js jetstream.JetStream, log *slog.Logger, f *fleet.Fleet, b *fleet.Book, made recorder) *ruleSource {
	return &ruleSource{js: js, log: log, fleet: f, book: b, now: time.Now, made: made, err: errors.New("they have not been read yet"), failures: make(map[string]map[int]ruleFailure)}
}

// run follows the configuration until ctx ends.
func (r *ruleSource) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		r.mu.Lock()
		if r.err == nil {
			r.log.Warn("configuration cannot be followed, retrying", "stream", streams.BucketConfig, "err", err)
		}
		if r.config == nil {
			r.err = err
		}
		r.mu.Unlock()
		process.Sleep(ctx, retryEvery)
	}
}

// follow reads the versions that are kept and then each new one. It returns nil
// when it is time to call it again.
func (r *ruleSource) follow(ctx context.Context) error {
	return configstore.Follow(ctx, r.js, true, func(entry jetstream.KeyValueEntry) {
		if entry != nil {
			r.entry(entry)
		}
	})
}

// SilencesOfRule implements rules.Source.
func (r *ruleSource) SilencesOfRule(name string) []view.Silence { return r.silences(name) }

// statsDays are the periods of the statistics of a rule.
var statsDays = []int{7, 30}

// Stats implements rules.Source.
func (r *ruleSource) Stats(name string) []view.RuleStats {
	var out []view.RuleStats
	for _, days := range statsDays {
		out = append(out, r.stats(name, r.now(), days))
	}
	return out
}

// place returns the time zone of a site.
func (r *ruleSource) place(site string) *time.Location {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.config == nil {
		return time.UTC
	}
	place, err := time.LoadLocation(r.config.Zone(site))
	if err != nil {
		return time.UTC // cannot be: the configuration was read with it
	}
	return place
}

// entry applies a version of the bucket.
func (r *ruleSource) entry(entry jetstream.KeyValueEntry) {
	v, err := configstore.Read(entry)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.problem = err
		return
	}
	r.take(v)
}

// take applies a version unless a newer one is known.
func (r *ruleSource) take(v configstore.Version) {
	if c := r.accept(v); c != nil && r.took != nil {
		r.took(c, v.Revision)
	}
}

// accept applies a version and returns its configuration; nil if it does not come into force.
func (r *ruleSource) accept(v configstore.Version) *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.Revision <= r.version.Revision {
		return nil
	}
	c, err := v.Config()
	var all []configstore.Rule
	if err == nil {
		all, err = v.Rules()
	}
	if err != nil {
		// The services keep the previous version, and so does the page.
		r.problem = err
		return nil
	}
	known := make(map[string]knownRule, len(all))
	for _, one := range all {
		k := knownRule{Rule: one, revision: v.Revision, at: v.At, author: v.Parts.Author, judges: v.Revision}
		before, ok := r.known[one.Name]
		switch {
		case r.config == nil: // what the first kept version changed is not known
			k.judges = 0
		case ok && before.SameDetection(one.Rule):
			k.judges = before.judges
		}
		if ok && before.Equal(one.Rule) && before.Text == one.Text && before.ReadOnly == one.ReadOnly {
			k.revision, k.at, k.author = before.revision, before.at, before.author
		}
		known[one.Name] = k
	}
	if r.config != nil {
		// A comment in the file, for example, changes nothing.
		if made := config.Compare(r.config, c); made.Added()+made.Changed()+made.Removed() != "" {
			change := rules.Change{At: v.At, Author: authorWords(v.Parts.Author), What: made.String()}
			r.changes = append([]rules.Change{change}, r.changes[:min(len(r.changes), changesShown-1)]...)
		}
	}
	r.remember(v, known)
	r.version, r.config, r.known, r.problem, r.err = v, c, known, nil, nil
	r.counted = nil
	return c
}

// remember notes which rules a version removes, and forgets those that are back or
// whose text is no longer kept. The caller holds the lock.
func (r *ruleSource) remember(v configstore.Version, known map[string]knownRule) {
	kept := slices.DeleteFunc(r.deleted, func(d deletedRule) bool {
		_, back := known[d.Name]
		return back || v.Revision-d.last >= streams.ConfigVersions
	})
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(r.known))) {
		one := r.known[name]
		if _, there := known[name]; there || one.Origin == rule.BuiltIn {
			continue
		}
		kept = slices.Insert(kept, 0, deletedRule{last: r.version.Revision, Deleted: rules.Deleted{
			Name: name, Sentence: rulebook.Sentence(one.Rule.Rule, ""), At: v.At, Author: authorWords(v.Parts.Author),
		}})
	}
	r.deleted = kept[:min(len(kept), deletedShown)]
}

// maxFailures bounds the rules whose failures are kept.
const maxFailures = config.MaxRules

// failed notes whether a lane can evaluate a rule.
func (r *ruleSource) failed(lane int, st *derivedv1.RuleStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.Failing == 0 {
		if delete(r.failures[st.Rule], lane); len(r.failures[st.Rule]) == 0 {
			delete(r.failures, st.Rule)
		}
		return
	}
	if r.failures[st.Rule] == nil {
		if len(r.failures) >= maxFailures {
			return
		}
		r.failures[st.Rule] = make(map[int]ruleFailure)
	}
	r.failures[st.Rule][lane] = ruleFailure{
		version: st.RuleVersion, text: clip(st.Error), site: st.Site, device: st.Device, at: at(st.Learned),
	}
}

// failure returns why a rule cannot be evaluated, and since when; nothing if it can,
// or if it has been changed since.
func (r *ruleSource) failure(k knownRule) (text string, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first ruleFailure
	for _, lane := range slices.Sorted(maps.Keys(r.failures[k.Name])) {
		f := r.failures[k.Name][lane]
		if f.version < k.judges {
			continue
		}
		if first.text == "" || f.at.Before(first.at) {
			first = f
		}
	}
	if first.text == "" {
		return "", time.Time{}
	}
	return "It cannot be evaluated for " + first.site + "/" + first.device + " and maybe others: " + strings.TrimSuffix(first.text, ".") + ".", first.at
}

// ready returns the rules and the configuration, or why they are not known.
func (r *ruleSource) ready() (map[string]knownRule, *config.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(r.err))
	}
	return r.known, r.config, nil
}

// current returns the configuration in force, or nil before it is known.
func (r *ruleSource) current() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config
}

// inForce returns the rule of that name, or an empty one.
func (r *ruleSource) inForce(name string) knownRule {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[name]
}

// devices are the devices with their series.
func (r *ruleSource) devices() []rulebook.Device {
	var out []rulebook.Device
	r.fleet.Series(func(site, device string, metrics iter.Seq[view.Metric]) {
		d := rulebook.Device{Site: site, Device: device}
		for m := range metrics {
			d.Metrics = append(d.Metrics, rulebook.Metric{Name: m.Name, Unit: m.Unit, Value: m.Value, Kind: m.Kind})
		}
		if len(d.Metrics) > 0 {
			out = append(out, d)
		}
	})
	return out
}

// matched returns the series that each rule matched at most countEvery ago.
func (r *ruleSource) matched() map[string]rulebook.Matched {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); r.counted == nil || now.Sub(r.countedAt) >= countEvery {
		tagged := rulebook.Tag(r.tags, r.devices())
		r.counted, r.countedAt = make(map[string]rulebook.Matched, len(r.known)), now
		for name, k := range r.known {
			r.counted[name] = tagged.Match(k.Rule.Rule, nil)
		}
	}
	return r.counted
}

// firing counts the active alerts, by rule.
func (r *ruleSource) firing() map[string]int {
	out := make(map[string]int)
	for _, a := range r.book.Alerts(0).Active {
		out[a.Rule]++
	}
	return out
}

// Rules implements rules.Source.
func (r *ruleSource) Rules(text string) (rules.List, error) {
	known, c, err := r.ready()
	if err != nil {
		return rules.List{}, err
	}
	matched, firing := r.matched(), r.firing()
	out := rules.List{Total: len(known), Windows: windowWords(c), Where: r.where()}
	text = strings.ToLower(text)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		one := r.shown(known[name], matched[name], firing[name])
		if strings.Contains(searched(one), text) {
			out.Items = append(out.Items, one)
		}
	}
	for _, ch := range c.Channels {
		out.Channels = append(out.Channels, rules.Channel{Name: ch.Name, Type: string(ch.Type), Resolved: ch.Resolved})
	}
	for _, one := range c.Rotas {
		out.Channels = append(out.Channels, rules.Channel{Name: one.Name, Type: rules.TypeRota, Resolved: true})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Changes = slices.Clone(r.changes)
	for _, d := range r.deleted {
		if strings.Contains(strings.ToLower(d.Name+"\n"+d.Sentence), text) {
			out.Deleted = append(out.Deleted, d.Deleted)
		}
	}
	if r.problem != nil {
		out.Problem = "The newest version of the configuration cannot be read; the previous one stays in force: " + r.problem.Error() + "."
	}
	return out, nil
}

// searched is the text that a filter searches.
func searched(r rules.Rule) string {
	var b strings.Builder
	b.WriteString(r.Name + "\n" + r.Description + "\n" + r.Sentence + "\n" + string(r.State) + "\n" + r.Detector)
	for _, l := range r.Labels {
		b.WriteString("\n" + l.Name + ": " + l.Value)
	}
	return strings.ToLower(b.String())
}

// windowWords are the windows in force, in words.
func windowWords(c *config.Config) []string {
	out := make([]string, len(c.Windows))
	for i, w := range c.Windows {
		out[i] = w.Name + ", readings up to " + figure.Duration(w.Lateness) + " late"
	}
	return out
}

// file returns the name of the file that is in charge; empty if none is.
func (r *ruleSource) file() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version.Parts.FileName
}

// where is where channels and windows are set, in words.
func (r *ruleSource) where() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	file, kept := r.version.Parts.FileName, r.version.Parts.KeptSections()
	switch {
	case file == "":
		return "channels and windows are set in a file that is named with --config"
	case len(kept) > 0:
		return "channels and windows are set in " + file + ", which does not mention " + strings.Join(kept, ", ") + ": what was in force before stays"
	}
	return "channels and windows are set in " + file
}

// shown is a rule as the pages show it.
func (r *ruleSource) shown(k knownRule, m rulebook.Matched, firing int) rules.Rule {
	out := rules.Rule{
		Name: k.Name, Description: k.Description, State: view.RuleState(k.State), Severity: view.Severity(k.Severity), Detector: string(k.Detector),
		Sentence: rulebook.Sentence(k.Rule.Rule, m.Unit), Labels: labelsOf(k.Labels), Runbook: k.Runbook,
		Origin: rules.OriginPage, Revision: k.revision, Changed: k.at, Author: authorWords(k.author), Series: m.Series, Unjudged: m.Unjudged(), Firing: firing, YAML: k.Text,
	}
	out.Problem, out.ProblemAt = r.failure(k)
	if k.Origin == rule.BuiltIn { // the author of the first version did not declare it
		out.Origin, out.Changed, out.Author = rules.OriginBuiltIn, time.Time{}, ""
	}
	if k.ReadOnly {
		out.Origin = rules.OriginFile
		r.mu.Lock()
		out.Where = "edit " + r.version.Parts.FileName + "; a change takes effect at once"
		r.mu.Unlock()
	}
	return out
}

func labelsOf(all map[string]string) []view.RuleLabel {
	var out []view.RuleLabel
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, view.RuleLabel{Name: name, Value: all[name]})
	}
	return out
}

// authorWords names who made a version.
func authorWords(author string) string {
	if author == configstore.AuthorDefault {
		return "Headwater"
	}
	if who, ok := strings.CutPrefix(author, configstore.AuthorAPI+":"); ok {
		return who + " (API)"
	}
	for _, prefix := range []string{configstore.AuthorPage, configstore.AuthorFile} {
		if who, ok := strings.CutPrefix(author, prefix); ok {
			return who
		}
	}
	return author
}

// Rule implements rules.Source.
func (r *ruleSource) Rule(name string) (rules.Rule, error) {
	known, _, err := r.ready()
	if err != nil {
		return rules.Rule{}, err
	}
	k, ok := known[name]
	if !ok {
		return rules.Rule{}, view.ErrNotFound
	}
	return r.shown(k, r.matched()[name], r.firing()[name]), nil
}

// About implements rules.Source.
func (r *ruleSource) About(name string) (view.RuleAbout, bool) {
	known, _, err := r.ready()
	k, ok := known[name]
	if err != nil || !ok {
		return view.RuleAbout{}, false
	}
	return view.RuleAbout{State: view.RuleState(k.State), Revision: k.revision, Labels: labelsOf(k.Labels), Runbook: k.Runbook, ReadOnly: k.ReadOnly}, true
}

// detector returns the detector of a rule; empty when there is no such rule.
func (r *ruleSource) detector(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.known[name].Detector)
}

// looks reports whether a rule with a detector is evaluated.
func (r *ruleSource) looks(detector string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.known {
		if string(k.Detector) == detector && k.State != rule.Draft {
			return true
		}
	}
	return false
}

// Form implements rules.Source.
func (r *ruleSource) Form() rules.Form { return rulebook.Form() }

// Check implements rules.Source.
func (r *ruleSource) Check(d rules.Draft) rules.Check {
	known, c, err := r.ready()
	var targets []string
	if err == nil {
		targets = c.Targets()
	}
	checked, parsed := rulebook.Check(d, targets)
	if parsed == nil {
		r.match(&checked, rulebook.Loosely(checked.Draft.Fields))
		return checked
	}
	_, taken := known[parsed.Name]
	if p, ok := rulebook.NameProblem(d.Was, parsed.Name, taken); ok {
		checked.Problems = append(checked.Problems, p)
	}
	unit := r.match(&checked, *parsed)
	if len(checked.Problems) == 0 {
		checked.Sentence, checked.Name = rulebook.Sentence(*parsed, unit), parsed.Name
	}
	return checked
}

// match counts the series that a draft would match. It returns the unit that they
// all have.
func (r *ruleSource) match(checked *rules.Check, as rule.Rule) (unit string) {
	for _, glob := range []string{as.Match.Site, as.Match.Device, as.Match.Metric} {
		if rule.CheckGlob(glob) != "" {
			return ""
		}
	}
	checked.Matched = true
	m := rulebook.Tag(r.tags, r.devices()).Match(as, func(d rulebook.Device, m rulebook.Metric) {
		if len(checked.Shown) < seriesShown {
			checked.Shown = append(checked.Shown, rules.Series{Site: d.Site, Device: d.Device, Metric: m.Name, Unit: m.Unit})
		}
	})
	checked.Series, checked.Unjudged = m.Series, m.Unjudged()
	for i, s := range checked.Shown {
		d, _ := r.fleet.Device(s.Site, s.Device, r.now())
		if at := slices.IndexFunc(d.Metrics, func(m view.Metric) bool { return m.Name == s.Metric }); at >= 0 {
			checked.Shown[i].Value = d.Metrics[at].Value
		}
	}
	return m.Unit
}

// author is who makes a version, as the store has it.
func authorOf(a view.Author) string {
	if a.API {
		return configstore.AuthorAPI + ":" + a.Who
	}
	return configstore.AuthorPage + a.Who
}

// change changes the configuration in force if the rule still has the revision that
// was seen; 0 means that there must be no such rule. Changes of other rules in between
// do not matter.
func (r *ruleSource) change(ctx context.Context, name string, revision uint64, do func(*configstore.Store, configstore.Version) (configstore.Version, error)) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := r.store(ctx)
	if err != nil {
		return err
	}
	for range saveAttempts {
		current, err := store.Current(ctx)
		if err != nil {
			return storeError(err)
		}
		r.take(current)
		known, _, err := r.ready()
		if err != nil {
			return err
		}
		k, there := known[name]
		switch {
		case !there && revision != 0:
			return view.ErrNotFound
		case there && k.ReadOnly:
			return fmt.Errorf("%w: edit %s, which takes effect at once", view.ErrReadOnly, current.Parts.FileName)
		case there && k.revision != revision:
			return view.ErrConflict
		}
		v, err := do(store, current)
		if errors.Is(err, configstore.ErrConflict) {
			continue // another rule was changed, or the next attempt fails
		}
		if err != nil {
			return storeError(err)
		}
		r.take(v)
		return nil
	}
	return fmt.Errorf("%w: others change the configuration all the time; try again", view.ErrUnavailable)
}

// store opens the store of the configuration.
func (r *ruleSource) store(ctx context.Context) (*configstore.Store, error) {
	if r.js.Conn().Status() != nats.CONNECTED {
		return nil, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	store, err := configstore.Open(ctx, r.js)
	if err != nil {
		return nil, storeError(err)
	}
	return store, nil
}

// storeError translates an error of the store for the pages.
func storeError(err error) error {
	if problems := rulebook.Problems(err); problems != nil {
		return view.RuleProblems(problems)
	}
	switch {
	case errors.Is(err, configstore.ErrBuiltIn):
		return view.RuleProblems{{Text: err.Error()}}
	case errors.Is(err, configstore.ErrNoRule):
		return view.ErrNotFound
	case errors.Is(err, configstore.ErrFile), errors.Is(err, config.ErrInPlace):
		return fmt.Errorf("%w: %w", view.ErrReadOnly, err)
	}
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// Save implements rules.Source.
func (r *ruleSource) Save(ctx context.Context, d rules.Draft, author view.Author) (rules.Rule, error) {
	checked := r.Check(d)
	name := checked.Name
	if len(checked.Problems) > 0 {
		// A conflict with a rule of the same name, or a deleted rule, matters more than a
		// problem of the draft.
		return rules.Rule{}, view.RuleProblems(checked.Problems)
	}
	before := r.inForce(name)
	err := r.change(ctx, name, d.Revision, func(store *configstore.Store, current configstore.Version) (configstore.Version, error) {
		return store.SaveRule(ctx, checked.Draft.YAML, authorOf(author), current.Revision)
	})
	r.made.record(ctx, audit.Entry{Who: author.Who, Action: audit.RuleSave, Object: name, Before: before.Text, After: checked.Draft.YAML}, err)
	if err != nil {
		return rules.Rule{}, err
	}
	return r.Rule(name)
}

// Delete implements rules.Source.
func (r *ruleSource) Delete(ctx context.Context, name string, revision uint64, author view.Author) error {
	before := r.inForce(name)
	err := r.change(ctx, name, max(1, revision), func(store *configstore.Store, current configstore.Version) (configstore.Version, error) {
		return store.DeleteRule(ctx, name, authorOf(author), current.Revision)
	})
	r.made.record(ctx, audit.Entry{Who: author.Who, Action: audit.RuleDelete, Object: name, Before: before.Text}, err)
	return err
}

// SetState implements rules.Source.
func (r *ruleSource) SetState(ctx context.Context, name string, revision uint64, state view.RuleState, author view.Author) (rules.Rule, error) {
	before := r.inForce(name)
	err := r.change(ctx, name, max(1, revision), func(store *configstore.Store, current configstore.Version) (configstore.Version, error) {
		return store.SetState(ctx, name, rule.State(state), authorOf(author), current.Revision)
	})
	r.made.record(ctx, audit.Entry{Who: author.Who, Action: audit.RuleState, Object: name, Before: string(before.State), After: string(state)}, err)
	if err != nil {
		return rules.Rule{}, err
	}
	return r.Rule(name)
}

// Versions implements rules.Source.
func (r *ruleSource) Versions(ctx context.Context, name string) ([]rules.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := r.store(ctx)
	if err != nil {
		return nil, err
	}
	changes, err := store.RuleHistory(ctx, name)
	if err != nil {
		return nil, storeError(err)
	}
	if len(changes) == 0 {
		return nil, view.ErrNotFound
	}
	out := make([]rules.Version, len(changes))
	for i, c := range changes {
		out[i] = rules.Version{Version: c.Revision, Changed: c.At, Author: authorWords(c.Parts.Author), Deleted: c.Rule == nil}
		if c.Rule != nil {
			out[i].State, out[i].YAML, out[i].Current = view.RuleState(c.Rule.State), c.Rule.Text, i == 0
		}
	}
	return out, nil
}
