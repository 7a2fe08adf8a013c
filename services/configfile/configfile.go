// Package configfile puts the file with rules and channels in force: it reads and
// checks the file and puts its text into the bucket of the configuration, where every
// service finds it, at the start and whenever the file changes. A section that the
// file does not mention stays as it was.
//
// A file with an error changes nothing: each problem is logged with file, line and
// field, and the previous configuration stays in force. Without a file the embedded
// default is put in force, once, when there is none yet.
//
// One process runs it. It does not change rules by itself and reads no secrets.
package configfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/streams"
)

// Config says where the file is.
type Config struct {
	Path string `name:"config" type:"path" placeholder:"FILE"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Path": "File with rules and channels (YAML); changes take effect at once. A section that it does not mention " +
			"stays as it was, and so does everything without a file.",
	}
}

// DefaultConfig returns a configuration without a file.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate reports every problem of the configuration. Run finds out whether the
// file exists and is valid.
func (c Config) Validate() error { return nil }

// Folder is where relative paths in the file begin; empty without a file.
func (c Config) Folder() string {
	if c.Path == "" {
		return ""
	}
	return filepath.Dir(c.Path)
}

// Deps are what the service works with.
type Deps struct {
	// JS is JetStream in the account of the services.
	JS      jetstream.JetStream
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

const (
	// settle is how long a file must be unchanged before it is read: an editor
	// writes in several steps.
	settle = 50 * time.Millisecond
	// poll finds changes where the file system reports none, as network file
	// systems and some container mounts do.
	poll = 2 * time.Second
	// storeTimeout bounds one attempt to read or write the bucket.
	storeTimeout = 5 * time.Second
)

// Service keeps the configuration of the file in force.
type Service struct {
	cfg     Config
	js      jetstream.JetStream
	log     *slog.Logger
	reloads *prometheus.CounterVec
	valid   prometheus.Gauge
	report  *problems.Reporter
	changes *audit.Log

	mu sync.Mutex
	// reason is why the service is not ready; nil when it is. Guarded by mu.
	reason error
}

// ErrInvalid is returned by Run when the file has errors and no configuration
// is in force that could stay. It wraps the problems.
var ErrInvalid = errors.New("no configuration to begin with")

// New returns a service that has not begun. It does no I/O.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	factory := promauto.With(deps.Metrics)
	s := &Service{
		cfg: cfg, js: deps.JS, log: deps.Log,
		reason:  errors.New("no configuration is in force yet"),
		report:  problems.New(deps.JS, streams.ServiceProvision, deps.Log),
		changes: audit.New(deps.JS, streams.ServiceProvision, deps.Log, deps.Metrics),
		reloads: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_configfile_reloads_total", Help: "Changes of the configuration file by what became of them.",
		}, []string{"result"}),
		valid: factory.NewGauge(prometheus.GaugeOpts{
			Name: "headwater_configfile_valid", Help: "1 when the file as it is now is in force, 0 when it has errors.",
		}),
	}
	return s, nil
}

// Ready returns nil once a configuration is in force. A bad edit does not change
// that: the previous configuration stays in force.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

func (s *Service) setReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = nil
}

// Run brings the configuration into force and follows the file until ctx ends.
// It returns ErrInvalid at the start when the file can't be used and no other
// configuration is in force.
func (s *Service) Run(ctx context.Context) error {
	store, err := configstore.Open(ctx, s.js)
	if err != nil {
		return err
	}
	if s.cfg.Path == "" {
		if err := s.putDefault(ctx, store); err != nil {
			return err
		}
		s.setReady()
		<-ctx.Done()
		return nil
	}
	reporting, stop := context.WithCancel(ctx)
	var reports sync.WaitGroup
	reports.Go(func() { s.report.Run(reporting) })
	defer reports.Wait()
	defer stop()
	return s.follow(ctx, store)
}

func (s *Service) putDefault(ctx context.Context, store *configstore.Store) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	v, changed, err := store.PutDefault(ctx, config.Default())
	if err != nil {
		return fmt.Errorf("put the default configuration in force: %w", err)
	}
	if changed {
		s.log.Info("configuration in force, without a file", "revision", v.Revision)
	}
	return nil
}

// follow reads the file now and after every change.
func (s *Service) follow(ctx context.Context, store *configstore.Store) error {
	f := &loader{Service: s, store: store}
	var events <-chan fsnotify.Event
	var failures <-chan error
	if watcher, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = watcher.Close() }()
		f.watcher, events, failures = watcher, watcher.Events, watcher.Errors
	} else {
		s.log.Warn("the configuration file can't be watched and is polled", "err", err)
	}
	f.watch()
	if err := f.first(ctx); err != nil {
		return err
	}
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			quiet.Reset(settle)
		case err := <-failures:
			s.log.Warn("watch the configuration file", "err", err)
		case <-quiet.C:
			f.reload(ctx)
		case <-tick.C:
			f.reload(ctx)
		}
	}
}

// loader loads the file into the configuration, again after each change. One goroutine only.
type loader struct {
	*Service
	store *configstore.Store
	// watcher is nil where the system has none to give.
	watcher *fsnotify.Watcher
	// judged is the text, and failed the error, that was handled last: the same is
	// neither stored nor logged twice.
	judged []byte
	failed string
}

// first is reload at the start, when an error may leave nothing in force.
func (f *loader) first(ctx context.Context) error {
	text, err := f.read()
	if err == nil {
		_, err = config.ParseFile(f.cfg.Path, text)
	}
	if err != nil {
		if _, missing := f.store.Current(ctx); errors.Is(missing, configstore.ErrNone) {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		f.reload(ctx)
		f.setReady()
		return nil
	}
	f.reload(ctx)
	return nil
}

// reload puts the file in force if it has changed and is right.
func (f *loader) reload(ctx context.Context) {
	f.watch()
	text, err := f.read()
	if err != nil {
		f.refuse(err)
		return
	}
	if f.judged != nil && bytes.Equal(text, f.judged) {
		return
	}
	if _, err := config.ParseFile(f.cfg.Path, text); err != nil {
		f.judged = text
		f.refuse(err)
		return
	}
	v, changed, err := f.put(ctx, text)
	if len(config.Problems(err)) > 0 {
		// It does not go with the rules made on the page, which may change: the next
		// tick tries again.
		f.refuse(err)
		f.setReady()
		return
	}
	if err != nil {
		// The next tick tries again.
		f.log.Warn("put the configuration in force", "err", err)
		f.reloads.WithLabelValues("not_stored").Inc()
		return
	}
	f.judged, f.failed = text, ""
	f.valid.Set(1)
	f.report.Clear(problemFile)
	f.setReady()
	if changed {
		f.changes.Write(ctx, audit.Entry{Who: "file", Action: audit.ConfigFile, Object: v.Parts.FileName, After: v.Changes.String()})
		f.reloads.WithLabelValues("in_force").Inc()
	} else {
		f.reloads.WithLabelValues("unchanged").Inc()
	}
	f.say(v)
}

// say logs what is in force and what it changed.
func (f *loader) say(v configstore.Version) {
	facts := []any{"file", f.cfg.Path, "revision", v.Revision}
	if c, err := v.Config(); err == nil { // the store has just read it
		facts = append(facts, "rules", len(c.Rules), "channels", len(c.Channels))
	}
	for _, fact := range []struct{ name, value string }{
		{"added", v.Changes.Added()}, {"changed", v.Changes.Changed()}, {"kept", strings.Join(v.Parts.KeptSections(), ", ")},
	} {
		if fact.value != "" {
			facts = append(facts, fact.name, fact.value)
		}
	}
	f.log.Info("configuration in force", facts...)
	if removed := v.Changes.Removed(); removed != "" {
		f.log.Warn("the file removes what was in force; alerts of these rules end, and these channels are not sent to any more", "file", f.cfg.Path, "removed", removed)
	}
}

// refuse logs why the file is not taken, once for each state of it.
func (f *loader) refuse(err error) {
	f.valid.Set(0)
	if err.Error() == f.failed {
		return
	}
	f.failed = err.Error()
	// The problem may be another one by now; its id stays, because the file is the same.
	f.report.Set(problemFile, problems.Problem{Part: "Configuration", Text: f.remedy(err)})
	f.reloads.WithLabelValues("refused").Inc()
	all := config.Problems(err)
	for _, p := range all {
		f.log.Error("configuration refused", "file", p.File, "line", p.Line, "field", p.Field, "err", p.Text)
	}
	if len(all) == 0 {
		f.judged = nil
		f.log.Error("configuration refused", "file", f.cfg.Path, "err", err)
	}
	f.log.Warn("the previous configuration stays in force", "file", f.cfg.Path, "problems", max(len(all), 1))
}

// problemFile is the id of the problem that the file is.
const problemFile = "file"

// remedy says what is wrong with the file and what to do.
func (f *loader) remedy(err error) string {
	all := config.Problems(err)
	switch {
	case len(all) == 0:
		return fmt.Sprintf("The configuration file %s cannot be read (%v). The previous configuration stays in force. Put the file back; it is read again at once.", f.cfg.Path, errors.Unwrap(err))
	case len(all) == 1:
		return fmt.Sprintf("The configuration file is not in force: %v. The previous configuration stays. Fix the file; it is read again at once.", all[0])
	}
	return fmt.Sprintf("The configuration file is not in force: %v, and %d more. The previous configuration stays. Fix the file; it is read again at once, and `headwater check` lists all that is wrong.", all[0], len(all)-1)
}

// put writes the text unless it is in force already: a restart keeps the revision.
func (f *loader) put(ctx context.Context, text []byte) (v configstore.Version, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return f.store.PutFile(ctx, filepath.Base(f.cfg.Path), text)
}

// read returns the text of the file, or as much of it as Parse needs to refuse
// it as too large.
func (f *loader) read() ([]byte, error) {
	// Opening a pipe would wait for a writer.
	info, err := os.Stat(f.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read configuration: %w", fmt.Errorf("%s is not a file", f.cfg.Path))
	}
	file, err := os.Open(f.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, config.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

// watch watches the folders, not the file: an editor that saves by renaming puts
// another file in its place, and Kubernetes swaps a symbolic link beside it.
// Watching a folder again does nothing.
func (f *loader) watch() {
	if f.watcher == nil {
		return
	}
	folders := []string{filepath.Dir(f.cfg.Path)}
	if target, err := filepath.EvalSymlinks(f.cfg.Path); err == nil {
		folders = append(folders, filepath.Dir(target))
	}
	for _, folder := range folders {
		// A folder that can't be watched is polled.
		_ = f.watcher.Add(folder)
	}
}
