// Command composeverify runs deploy/compose/compose.yaml for real, on a Docker
// engine, and checks what it promises: every container gets healthy, a reading
// over MQTT arrives in InfluxDB and in the dashboard, services scale out and back,
// each container comes back after it was killed and readings flow again, and
// nothing is left when it is down.
//
// Images that can't be pulled are replaced by stand-ins, built from Go modules
// under the same names.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// projectName keeps what is verified apart from what people run.
const projectName = "headwater-verify"

type cli struct {
	Keep   bool          `help:"Leave the containers running at the end."`
	Within time.Duration `help:"How long containers may take to get healthy." default:"3m"`
}

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

func (c *cli) verify(ctx context.Context) (err error) {
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
	p := &project{engine: e, name: projectName, files: []string{filepath.Join(root, "deploy", "compose", "compose.yaml")}}
	if left, err := p.leftovers(ctx); err != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("an earlier run has left %v: run %v", left, p.command("down", "--volumes")), err)
	}
	s := &scenario{project: p, within: c.Within, begin: time.Now()}
	defer func() {
		if !c.Keep {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()
	return s.run(ctx)
}
