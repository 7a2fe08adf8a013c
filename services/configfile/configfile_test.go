package configfile_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"headwater/services/configfile"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/streams/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logs is a log that may be read while it is written.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type fixture struct {
	js  jetstream.JetStream
	kv  jetstream.KeyValue
	log *logs
}

func setup(t *testing.T) *fixture {
	t.Helper()
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	f := &fixture{js: server.JS(t), log: &logs{}}
	kv, err := f.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	f.kv = kv
	return f
}

// start runs the service until stop is called.
func (f *fixture) start(t *testing.T, path string) (svc *configfile.Service, stop func() error) {
	t.Helper()
	cfg := configfile.DefaultConfig()
	cfg.Path = path
	svc, err := configfile.New(cfg, configfile.Deps{
		JS: f.js, Log: slog.New(slog.NewTextHandler(f.log, nil)), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, configfile.ErrInvalid) {
			t.Errorf("Run: %v", err)
		}
	})
	return svc, stop
}

func (f *fixture) inForce(t *testing.T) string {
	t.Helper()
	entry, err := f.kv.Get(t.Context(), streams.ConfigKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	parts, err := config.Decode(entry.Value())
	if err != nil {
		t.Fatal(err)
	}
	return string(parts.File)
}

func (f *fixture) await(t *testing.T, text string) {
	t.Helper()
	streamtest.Eventually(t, "configuration "+text, func() bool { return f.inForce(t) == text })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	one = "rules:\n  - {name: one, detector: limit, above: 1}\n"
	two = "rules:\n  - {name: two, detector: limit, above: 2}\n"
	bad = "rules:\n  - {name: bad, detector: limit, abov: 2}\n"
)

func TestDefault(t *testing.T) {
	f := setup(t)
	svc, stop := f.start(t, "")
	f.await(t, string(config.Default()))
	streamtest.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// What people changed since is not undone by the next start.
	if _, err := f.kv.Put(t.Context(), streams.ConfigKey, []byte(one)); err != nil {
		t.Fatal(err)
	}
	svc, _ = f.start(t, "")
	streamtest.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
	if got := f.inForce(t); got != one {
		t.Errorf("the default has replaced what was in force: %s", got)
	}
}

// TestReload changes the file in the ways in which files are changed.
func TestReload(t *testing.T) {
	for name, tc := range map[string]struct {
		// prepare makes the file with the text one and returns its path;
		// change makes it two.
		prepare func(t *testing.T, dir string) string
		change  func(t *testing.T, dir, path string)
	}{
		"written in place": {
			prepare: plain,
			change:  func(t *testing.T, _, path string) { write(t, path, two) },
		},
		"replaced by renaming, as editors do": {
			prepare: plain,
			change: func(t *testing.T, dir, path string) {
				write(t, filepath.Join(dir, ".rules.swp"), two)
				must(t, os.Rename(filepath.Join(dir, ".rules.swp"), path))
			},
		},
		"removed and made again": {
			prepare: plain,
			change: func(t *testing.T, _, path string) {
				must(t, os.Remove(path))
				write(t, path, two)
			},
		},
		"symbolic link swapped, as Kubernetes does": {
			prepare: func(t *testing.T, dir string) string {
				must(t, os.Mkdir(filepath.Join(dir, "..1"), 0o700))
				must(t, os.Mkdir(filepath.Join(dir, "..2"), 0o700))
				write(t, filepath.Join(dir, "..1", "rules.yaml"), one)
				write(t, filepath.Join(dir, "..2", "rules.yaml"), two)
				must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
				must(t, os.Symlink(filepath.Join("..data", "rules.yaml"), filepath.Join(dir, "rules.yaml")))
				return filepath.Join(dir, "rules.yaml")
			},
			change: func(t *testing.T, dir, _ string) {
				must(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
				must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			},
		},
		"target of a link changed in another folder": {
			prepare: func(t *testing.T, dir string) string {
				must(t, os.Mkdir(filepath.Join(dir, "elsewhere"), 0o700))
				must(t, os.Mkdir(filepath.Join(dir, "here"), 0o700))
				write(t, filepath.Join(dir, "elsewhere", "real.yaml"), one)
				must(t, os.Symlink(filepath.Join(dir, "elsewhere", "real.yaml"), filepath.Join(dir, "here", "rules.yaml")))
				return filepath.Join(dir, "here", "rules.yaml")
			},
			change: func(t *testing.T, dir, _ string) { write(t, filepath.Join(dir, "elsewhere", "real.yaml"), two) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			dir := t.TempDir()
			path := tc.prepare(t, dir)
			svc, _ := f.start(t, path)
			f.await(t, one)
			streamtest.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
			tc.change(t, dir, path)
			f.await(t, two)
		})
	}
}

func plain(t *testing.T, dir string) string {
	path := filepath.Join(dir, "rules.yaml")
	write(t, path, one)
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadEdit(t *testing.T) {
	f := setup(t)
	path := plain(t, t.TempDir())
	svc, _ := f.start(t, path)
	f.await(t, one)
	write(t, path, bad)
	streamtest.Eventually(t, "a line in the log", func() bool {
		l := f.log.String()
		return strings.Contains(l, "line=2 field=rules[0].abov") && strings.Contains(l, `did you mean`) && strings.Contains(l, "stays in force")
	})
	if got := f.inForce(t); got != one {
		t.Errorf("the bad edit is in force: %s", got)
	}
	if err := svc.Ready(); err != nil {
		t.Errorf("with a configuration in force the service is ready, got %v", err)
	}
	if n := strings.Count(f.log.String(), "stays in force"); n != 1 {
		t.Errorf("told %d times", n)
	}
	f.reported(t, "The configuration file is not in force: "+path+`:2: rules[0].abov: is not a field here`)
	must(t, os.Remove(path))
	f.reported(t, "The configuration file "+path+" cannot be read")
	streamtest.Eventually(t, "a line in the log", func() bool { return strings.Contains(f.log.String(), "no such file") })
	write(t, path, two)
	f.await(t, two)
	f.reported(t, "")
}

// reported waits until what is reported to the dashboard holds a text; an empty
// one stands for nothing.
func (f *fixture) reported(t *testing.T, want string) {
	t.Helper()
	kv, err := f.js.KeyValue(t.Context(), streams.BucketProblems)
	must(t, err)
	streamtest.Eventually(t, "reported "+want, func() bool {
		var all strings.Builder
		keys, _ := kv.Keys(t.Context())
		for _, key := range keys {
			if entry, err := kv.Get(t.Context(), key); err == nil {
				all.Write(entry.Value())
			}
		}
		return want == "" && all.Len() == 0 || want != "" && strings.Contains(all.String(), want)
	})
}

func TestBadAtStart(t *testing.T) {
	for name, tc := range map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"with an error": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "rules.yaml")
			write(t, path, bad)
			return path
		}, "rules.yaml:2: rules[0].abov: is not a field here"},
		"missing":  {func(t *testing.T) string { return filepath.Join(t.TempDir(), "rules.yaml") }, "no such file"},
		"a folder": {func(t *testing.T) string { return t.TempDir() }, "is not a file"},
		"a pipe": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "rules.yaml")
			must(t, syscall.Mkfifo(path, 0o600))
			return path
		}, "is not a file"},
		"too large": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "rules.yaml")
			write(t, path, strings.Repeat("#", config.MaxBytes+10))
			return path
		}, "bytes long"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			path := tc.path(t)
			svc, err := configfile.New(configfile.Config{Path: path}, configfile.Deps{
				JS: f.js, Log: slog.New(slog.NewTextHandler(f.log, nil)), Metrics: prometheus.NewRegistry(),
			})
			must(t, err)
			err = svc.Run(t.Context())
			if !errors.Is(err, configfile.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if svc.Ready() == nil {
				t.Error("ready without a configuration")
			}
			// With something to go by, the same file is no reason to stop.
			if _, err := f.kv.Put(t.Context(), streams.ConfigKey, []byte(one)); err != nil {
				t.Fatal(err)
			}
			svc, _ = f.start(t, path)
			streamtest.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
			if got := f.inForce(t); got != one {
				t.Errorf("in force: %s", got)
			}
			if strings.HasSuffix(t.Name(), "folder") || strings.HasSuffix(t.Name(), "pipe") {
				return
			}
			write(t, path, two)
			f.await(t, two)
		})
	}
}

func TestUnchangedFileKeepsItsRevision(t *testing.T) {
	f := setup(t)
	path := plain(t, t.TempDir())
	_, stop := f.start(t, path)
	f.await(t, one)
	must(t, stop())
	before, err := f.kv.Get(t.Context(), streams.ConfigKey)
	must(t, err)
	svc, _ := f.start(t, path)
	streamtest.Eventually(t, "ready", func() bool { return svc.Ready() == nil })
	after, err := f.kv.Get(t.Context(), streams.ConfigKey)
	must(t, err)
	if before.Revision() != after.Revision() {
		t.Errorf("revision went from %d to %d", before.Revision(), after.Revision())
	}
}

func TestFolder(t *testing.T) {
	if got := (configfile.Config{Path: "/etc/headwater/rules.yaml"}).Folder(); got != "/etc/headwater" {
		t.Errorf("Folder = %q", got)
	}
	if got := (configfile.Config{}).Folder(); got != "" {
		t.Errorf("Folder = %q", got)
	}
}

// TestFileThatClashesWithThePage has the file declare a rule that was made on the
// page: it waits until the page's is gone, and the rule of the page is kept.
func TestFileThatClashesWithThePage(t *testing.T) {
	f := setup(t)
	path := plain(t, t.TempDir())
	svc, _ := f.start(t, path)
	f.await(t, one)
	store, err := configstore.Open(t.Context(), f.js)
	must(t, err)
	_, err = store.SaveRule(t.Context(), "name: two\ndetector: limit\nabove: 7\n", "page:jo", 0)
	must(t, err)
	write(t, path, two)
	streamtest.Eventually(t, "a line in the log", func() bool {
		return strings.Contains(f.log.String(), "is the name of a rule made on the page and of one in the file, in line 2")
	})
	if got := f.inForce(t); got != one {
		t.Errorf("in force: %s", got)
	}
	if err := svc.Ready(); err != nil {
		t.Error(err)
	}
	_, err = store.DeleteRule(t.Context(), "two", "page:jo", 0)
	must(t, err)
	f.await(t, two)
}

// TestTheLogSaysWhatChanges puts files in force that mention some sections only.
func TestTheLogSaysWhatChanges(t *testing.T) {
	const channels = "channels:\n  - {name: phone, type: ntfy, url: \"https://ntfy.sh/topic\"}\n"
	f := setup(t)
	store, err := configstore.Open(t.Context(), f.js)
	must(t, err)
	must(t, store.AddDemo(t.Context()))
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, channels)
	f.start(t, path)
	says := func(text string) {
		t.Helper()
		streamtest.Eventually(t, text, func() bool { return strings.Contains(f.log.String(), text) })
	}
	says("rules=3 channels=1 added=\"channel phone\" kept=rules")
	if strings.Contains(f.log.String(), "removes") {
		t.Errorf("a file of channels removes something: %s", f.log)
	}
	write(t, path, channels+one)
	says(`rules=2 channels=1 added="rule one"`)
	says(`level=WARN msg="the file removes what was in force`)
	says(`removed="2 rules (door-left-open, too-warm)"`)
	f.await(t, channels+one)
}
