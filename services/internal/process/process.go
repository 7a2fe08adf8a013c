// Package process has what every service needs around its work: flags and environment,
// logging, its own metrics registry, health, connections to NATS, signals and an orderly
// stop.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/term"

	"headwater/services/internal/meter"
	"headwater/streams"
)

// Base holds the flags that every process has.
type Base struct {
	LogLevel  slog.Level    `help:"Least severity to log: debug, info, warn or error." default:"info"`
	LogFormat string        `help:"Form of the log: text, json, or auto for text on a terminal." default:"auto" enum:"auto,text,json"`
	Grace     time.Duration `help:"How long work in flight may take to finish when the process is asked to stop." default:"20s"`
}

// Validate returns an error for flags that are out of range.
func (b Base) Validate() error {
	if b.Grace <= 0 {
		return errors.New("--grace must be longer than 0s")
	}
	return nil
}

// Defaults returns a configuration with the defaults of its tags. It ignores the
// environment. It panics if a tag cannot be read.
func Defaults[C any]() C {
	var c C
	app, err := kong.New(&c)
	if err == nil {
		for _, flag := range app.Model.Flags {
			flag.Tag.Envs, flag.Envs = nil, nil
		}
		var trace *kong.Context
		trace, err = kong.Trace(app, nil)
		if err == nil {
			err = trace.ApplyDefaults()
		}
	}
	if err != nil {
		panic(fmt.Sprintf("defaults of %T: %v", c, err))
	}
	return c
}

// Process is the surroundings of one running process.
type Process struct {
	// Name is the name of the process, for people.
	Name string
	// Log is the log of the process.
	Log *slog.Logger
	// Metrics is the registry of this process.
	Metrics *prometheus.Registry
	// Health is the health of the process.
	Health *Health
	// Grace is how long work in flight may take to finish.
	Grace time.Duration

	// crowded counts the connections that were closed because their address has too many.
	crowded prometheus.Counter
}

// New returns surroundings that log to w.
func New(name string, base Base, w io.Writer) *Process {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "headwater_build_info", Help: "1, with the version of the program.",
			ConstLabels: prometheus.Labels{"version": Version()},
		}, func() float64 { return 1 }),
	)
	return &Process{
		Name: name, Log: slog.New(handler(base, w)), Metrics: metrics,
		Health: NewHealth(Version()), Grace: base.Grace,
		crowded: meter.New(metrics, "http").Counter("refused_connections_total", "Connections for HTTP that were closed because their address has too many."),
	}
}

func handler(base Base, w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: base.LogLevel}
	if base.LogFormat == "json" || base.LogFormat == "auto" && !IsTerminal(w) {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// IsTerminal reports whether a person reads what is written.
func IsTerminal(w io.Writer) bool {
	file, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// settingsLevel is the level at which the configuration is logged. On a terminal it
// would be in the way of the person who has just typed it.
func settingsLevel(w io.Writer) slog.Level {
	if IsTerminal(w) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// version and commit are set by the linker when an image is built, where the
// history is not at hand: -X headwater/services/internal/process.version=v1.2.3.
var version, commit string

// Version is the version that the program was built from: a release, or the
// commit.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	if c := Commit(); c != "" {
		return c
	}
	return "devel"
}

// Commit is the commit that the program was built from, empty when it is not
// known.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if commit != "" || !ok {
		return commit
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return ""
}

// Describe returns what --version prints: the version, the commit unless the version
// contains it, and the version of Go.
func Describe() string {
	text := Version()
	if c := Commit(); len(c) > 12 && !strings.Contains(text, c[:12]) {
		text += ", commit " + c[:12]
	}
	return text + ", " + runtime.Version()
}

// Main runs a process and returns its exit code. The flags of Base and of C are read
// from the arguments, else from the environment. Run works until ctx ends and its work
// has drained. The first signal to stop ends ctx, a second one ends the process at
// once. Options change how the flags are read.
func Main[C any](name, description string, run func(ctx context.Context, p *Process, cfg C) error, options ...kong.Option) int {
	var flags struct {
		Base   `embed:""`
		Config C                `embed:""`
		Show   kong.VersionFlag `name:"version" help:"Print the version and exit." env:"-"`
		Check  bool             `name:"healthcheck" help:"Ask the process with the same flags whether it is ready; exit with 0 or 1." env:"-"`
	}
	parser, err := kong.New(&flags, append([]kong.Option{
		kong.Name(name), kong.Description(description),
		// A service logs in to nats-server by its own name.
		kong.Vars{"version": Describe(), "nats_user": streams.ServiceUser(name)},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), completeFlags(),
	}, options...)...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		if all := problems(parser, os.Args[1:]); all != nil {
			err = all
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n(--help lists the flags)\n", name, strings.ReplaceAll(err.Error(), "\n", "\n  and "))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if flags.Check {
		if err := checkHealth(ctx, flags.Config); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			return 1
		}
		return 0
	}
	p := New(name, flags.Base, os.Stderr)
	p.Log.Log(ctx, settingsLevel(os.Stderr), "configuration", settings(parser.Model.Flags)...)
	for _, name := range onCommandLine(os.Args[1:]) {
		p.Log.Warn("a secret on the command line can be seen by every user of the machine: put it into a file, or into the environment", "flag", name)
	}
	// After the first signal, the second one has its default action again.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, p, flags.Config); err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Part is one part of a process. It runs until it is stopped.
type Part struct {
	Name string
	// Run works until ctx ends and its work has drained.
	Run func(ctx context.Context) error
	// Ready returns nil while the part is ready, else the reason why not. It may be nil.
	Ready func() error
}

// Run runs the parts until ctx ends or one of them fails, then stops them one after the
// other from the last to the first, so that each part can still hand its work to the
// parts before it. It returns when all have ended, or when Grace has passed for all
// together, with the error of every part that failed.
func (p *Process) Run(ctx context.Context, parts ...Part) error {
	type running struct {
		Part
		cancel context.CancelFunc
		done   chan struct{}
	}
	failed := make(chan struct{})
	var (
		once  sync.Once
		mu    sync.Mutex
		errs  []error
		start []running
	)
	for _, part := range parts {
		partCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := running{part, cancel, make(chan struct{})}
		start = append(start, r)
		if part.Ready != nil {
			p.Health.Add(part.Name, part.Ready)
		}
		go func() {
			defer close(r.done)
			err := part.Run(partCtx)
			if partCtx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
				return
			}
			if err == nil {
				err = errors.New("ended unexpectedly")
			}
			mu.Lock()
			errs = append(errs, fmt.Errorf("%s: %w", part.Name, err))
			mu.Unlock()
			once.Do(func() { close(failed) })
		}()
	}
	select {
	case <-ctx.Done():
	case <-failed:
	}
	p.Health.Stopping()
	deadline := time.NewTimer(p.Grace)
	defer deadline.Stop()
	for i := len(start) - 1; i >= 0; i-- {
		start[i].cancel()
		select {
		case <-start[i].done:
		case <-deadline.C:
			for _, r := range start[:i+1] {
				r.cancel()
			}
			mu.Lock()
			defer mu.Unlock()
			return errors.Join(append(errs, fmt.Errorf("%s did not stop within %s: repeats of its last work are possible", start[i].Name, p.Grace))...)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(errs...)
}
