// Package process is what every service needs around its work, written once:
// flags and environment, logging, a metrics registry of its own, health,
// connections to NATS, signals and an orderly end.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/term"
)

// Base holds the flags that every process has.
type Base struct {
	LogLevel  slog.Level    `help:"Least severity to log: debug, info, warn or error." default:"info" env:"HEADWATER_LOG_LEVEL"`
	LogFormat string        `help:"Form of the log: text, json, or auto for text on a terminal." default:"auto" enum:"auto,text,json" env:"HEADWATER_LOG_FORMAT"`
	Grace     time.Duration `help:"How long work in flight may take to finish when the process is told to stop." default:"20s" env:"HEADWATER_GRACE"`
}

// Validate reports what a flag may not be.
func (b Base) Validate() error {
	if b.Grace <= 0 {
		return errors.New("--grace must be longer than 0s")
	}
	return nil
}

// Defaults returns a configuration with the defaults of its tags. It does not
// look at the environment. A tag that can't be read is a fault of the program.
func Defaults[C any]() C {
	var c C
	app, err := kong.New(&c)
	if err == nil {
		for _, flag := range app.Model.Flags {
			flag.Tag.Envs, flag.Envs = nil, nil
		}
		var trace *kong.Context
		if trace, err = kong.Trace(app, nil); err == nil {
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
	// Log takes what the process has to say.
	Log *slog.Logger
	// Metrics is the registry of this process.
	Metrics *prometheus.Registry
	// Health answers for the process.
	Health *Health
	// Grace is how long work in flight may take to finish.
	Grace time.Duration
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
	}
}

func handler(base Base, w io.Writer) slog.Handler {
	options := &slog.HandlerOptions{Level: base.LogLevel}
	file, isFile := w.(*os.File)
	if base.LogFormat == "json" || base.LogFormat == "auto" && !(isFile && term.IsTerminal(int(file.Fd()))) {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

// Version is the version that the program was built from: a release, or the
// commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = setting.Value
		}
	}
	if version == "" {
		return "devel"
	}
	return version
}

// Main runs a process and returns its exit code. The flags of Base and of C are
// read from the arguments, else from the environment; run works until ctx ends
// and its work has drained. The first signal to stop ends ctx, a second one ends
// the process at once. Options change how the flags are read.
func Main[C any](name, description string, run func(ctx context.Context, p *Process, cfg C) error, options ...kong.Option) int {
	var flags struct {
		Base   `embed:""`
		Config C                `embed:""`
		Show   kong.VersionFlag `name:"version" help:"Print the version and exit."`
	}
	parser, err := kong.New(&flags, append([]kong.Option{
		kong.Name(name), kong.Description(description),
		kong.Vars{"version": Version()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	}, options...)...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	if _, err := parser.Parse(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (--help lists the flags)\n", name, err)
		return 2
	}
	p := New(name, flags.Base, os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the default action of the second one is back.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, p, flags.Config); err != nil && !(errors.Is(err, context.Canceled) && ctx.Err() != nil) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Part is one piece of a process that runs until it is told to stop.
type Part struct {
	Name string
	// Run works until ctx ends and its work has drained.
	Run func(ctx context.Context) error
	// Ready returns nil when the part does its work, else the reason why not;
	// nil if there is nothing to say.
	Ready func() error
}

// Run runs the parts until ctx ends or one of them fails, then stops them one
// after the other from the last to the first, so that what is handed on still
// finds the one that takes it. It returns when all have ended, at the latest
// after Grace for all together, with the error of every part that failed.
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
				err = errors.New("ended by itself")
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
