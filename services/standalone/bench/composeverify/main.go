// Command composeverify runs deploy/compose for real, on a Docker engine, and checks it
// while devices report:
//
//   - Every container becomes healthy, and a reading over MQTT arrives in InfluxDB and on
//     the dashboard.
//   - Services scale out and back.
//   - Each container comes back after it was killed or replaced, and readings flow again.
//   - A cluster continues without any one of its servers, restores a server that has lost
//     its disk, and survives failing links between its servers.
//
// At the end an oracle compares every acknowledged reading with what is stored and
// summarised. Nothing is left after the removal.
//
// Images that can't be pulled are replaced by stand-ins, built from Go modules under the
// same names.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// projectName separates the verified project from projects that people run.
const projectName = "headwater-verify"

// Setups that can be run.
const (
	single  = "single"
	cluster = "cluster"
	both    = "both"
)

// Steps that are done to a setup under load.
const (
	scaling   = "scale"
	killing   = "kill"
	replacing = "replace"
	emptying  = "disk"
	parting   = "partition"
	watching  = "metrics"
)

// Help returns what --help says beside the flags.
func (cli) Help() string {
	return "Steps under load: metrics (Prometheus, where it can be had), scale, kill, replace (as an upgrade does), " +
		"disk (a server of a cluster loses its own), partition (of a cluster)."
}

type cli struct {
	Setup  string        `help:"What to run: one server (single), a cluster, or both." enum:"single,cluster,both" default:"both"`
	Steps  []string      `help:"Any of ${enum}." enum:"metrics,scale,kill,replace,disk,partition" default:"metrics,scale,kill,replace,disk"`
	From   string        `help:"Git revision from which the step replace upgrades; else the working copy." placeholder:"REV"`
	Rate   int           `help:"Readings a second." default:"200"`
	Cut    time.Duration `help:"How long each fault of a link lasts." default:"60s"`
	Logs   string        `help:"Folder for the logs of all containers." type:"path" placeholder:"DIR"`
	Keep   bool          `help:"Leave the containers running at the end."`
	Within time.Duration `help:"How long containers may take to become healthy." default:"3m"`
}

// errWrong is returned when a guarantee is broken, for instance when something that was
// acknowledged is lost.
var errWrong = errors.New("something is wrong")

func main() {
	var c cli
	kong.Parse(&c, kong.Name("composeverify"), kong.Description("Runs deploy/compose for real and checks what it promises."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := c.verify(ctx)
	stop()
	switch {
	case errors.Is(err, errNoEngine):
		fmt.Fprintln(os.Stderr, "composeverify:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "composeverify:", err)
		os.Exit(1)
	}
}

// Validate reports every problem of the flags.
func (c *cli) Validate() error {
	var errs []error
	if c.Rate < 1 || c.Within <= 0 || c.Cut <= 0 {
		errs = append(errs, errors.New("--rate must be 1 or more, --within and --cut longer than 0s"))
	}
	if c.Keep && c.Setup == both {
		errs = append(errs, errors.New("--keep goes with one --setup"))
	}
	if slices.Contains(c.Steps, parting) && c.Setup == single {
		errs = append(errs, errors.New("--steps partition goes with --setup cluster"))
	}
	return errors.Join(errs...)
}

func (c *cli) verify(ctx context.Context) error {
	e, err := newEngine(ctx, os.Stderr)
	if err != nil {
		return err
	}
	root, err := repository(ctx, e)
	if err != nil {
		return err
	}
	if _, err := standIns(ctx, e, root); err != nil {
		return err
	}
	setups := []string{c.Setup}
	if c.Setup == both {
		setups = []string{single, cluster}
	}
	for _, setup := range setups {
		if err := c.one(ctx, e, filepath.Join(root, "deploy", "compose"), setup); err != nil {
			return fmt.Errorf("%s: %w", setup, err)
		}
	}
	return nil
}

// one runs one setup, from its creation to its removal.
func (c *cli) one(ctx context.Context, e *engine, folder, setup string) (err error) {
	rules, err := os.MkdirTemp("", "headwater-rules-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(rules)) }()
	p := &project{engine: e, name: projectName, files: filesOf(folder, setup), rules: rules}
	if left, err := p.leftovers(ctx); err != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("an earlier run has left %v: run %v", left, p.command("down", "--volumes")), err)
	}
	s := newScenario(c, p, setup)
	s.say("%s", setup)
	if c.From != "" {
		old, remove, err := checkout(ctx, e, folder, c.From)
		if err != nil {
			return err
		}
		defer remove()
		s.upgrade, p.files = p.files, filesOf(filepath.Join(old, "deploy", "compose"), setup)
	}
	defer func() {
		if c.Logs != "" {
			err = errors.Join(err, p.logs(context.WithoutCancel(ctx), filepath.Join(c.Logs, setup)))
		}
		if !c.Keep {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()
	return s.run(ctx)
}

// filesOf returns the Compose files of a setup.
func filesOf(folder, setup string) []string {
	files := []string{filepath.Join(folder, "compose.yaml")}
	if setup == cluster {
		files = append(files, filepath.Join(folder, "compose.cluster.yaml"))
	}
	return files
}

// checkout creates a working copy of another revision. Remove removes it.
func checkout(ctx context.Context, e *engine, folder, revision string) (dir string, remove func(), err error) {
	temporary, err := os.MkdirTemp("", "headwater-revision-")
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(temporary, "headwater")
	git := []string{"git", "-C", folder, "worktree"}
	if _, err := e.output(ctx, append(git, "add", "--detach", dir, revision)...); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(temporary))
	}
	return dir, func() {
		_, err := e.output(context.WithoutCancel(ctx), append(git, "remove", "--force", dir)...)
		if err := errors.Join(err, os.RemoveAll(temporary)); err != nil {
			fmt.Fprintln(os.Stderr, "composeverify:", err)
		}
	}, nil
}
