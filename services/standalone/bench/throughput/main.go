//go:build linux

// Command throughput measures how many readings of a backlog one, two and four writers
// store a second, and how many one, two and four processors process. Each service,
// nats-server and InfluxDB is a process of its own on this machine. The table that it
// prints shows which process used how much processor time, and so what limits each step.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headwater/services/standalone/bench/stack"
)

type cli struct {
	Counts     []int         `help:"Numbers of replicas to measure, separated by commas." default:"1,2,4"`
	Writers    int           `help:"Readings in the backlog of each run of writers." default:"1000000"`
	Processors int           `help:"Readings in the backlog of each run of processors." default:"2000000"`
	Latency    time.Duration `help:"How much later InfluxDB answers in the runs with a distant InfluxDB." default:"200ms"`
	Within     time.Duration `help:"How long one run may take." default:"5m"`
}

func main() {
	var c cli
	kong.Parse(&c, kong.Name("throughput"), kong.Description("Measures how far writers and processors scale on this machine."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := c.measure(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

// Validate reports every problem of the flags.
func (c *cli) Validate() error {
	var errs []error
	for _, n := range c.Counts {
		if n < 1 {
			errs = append(errs, fmt.Errorf("--counts must be 1 or more, not %d", n))
		}
	}
	if c.Writers < minBacklog || c.Processors < minBacklog {
		errs = append(errs, fmt.Errorf("--writers and --processors must be %d or more", minBacklog))
	}
	if c.Latency < 0 || c.Within <= 0 {
		errs = append(errs, errors.New("--latency must not be negative, --within longer than 0s"))
	}
	return errors.Join(errs...)
}

// row is one kind of measurement.
type row struct {
	// title is for people; program is the service that has replicas.
	title, program string
	backlog        int
	latency        time.Duration
}

func (c *cli) measure(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "headwater-throughput-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin := filepath.Join(dir, "bin")
	if err := stack.Build(ctx, bin); err != nil {
		return err
	}
	rows := []row{
		{"writers, InfluxDB here", stack.Writer, c.Writers, 0},
		{fmt.Sprintf("writers, InfluxDB %s away", c.Latency), stack.Writer, c.Writers, c.Latency},
		{"processors", stack.Processor, c.Processors, 0},
	}
	fmt.Printf("%-28s %5s %10s %6s   %s\n", "", "n", "readings/s", "x one", "processors of this machine: used by whom, and what limits")
	run := 0
	for _, r := range rows {
		one := 0.0
		for _, n := range c.Counts {
			run++
			m, err := measure(ctx, r, n, bin, filepath.Join(dir, fmt.Sprint(run)), c.Within)
			if err != nil {
				return fmt.Errorf("%d %s: %w", n, r.title, err)
			}
			times := ""
			if one == 0 && n == 1 {
				one = m.rate
			}
			if one > 0 {
				times = fmt.Sprintf("%.2f", m.rate/one)
			}
			fmt.Printf("%-28s %5d %10.0f %6s   %s\n", r.title, n, m.rate, times, m.usage)
		}
	}
	return nil
}

// usage is how much processor time each program used, relative to that of all of the
// machine's processors.
type usage struct {
	names []string
	parts []float64
	// all is what every process of the machine used.
	all float64
}

// busy is the usage above which the processors are the limit; foreign is the usage by
// other processes above which those are to blame.
const busy, foreign = 0.9, 0.25

func (u usage) String() string {
	var out []string
	ours, most := 0.0, 0
	for i, name := range u.names {
		out = append(out, fmt.Sprintf("%s %.0f %%", name, 100*u.parts[i]))
		ours += u.parts[i]
		if u.parts[i] > u.parts[most] {
			most = i
		}
	}
	others := max(0, u.all-ours)
	out = append(out, fmt.Sprintf("others %.0f %%", 100*others))
	limit := "waiting for answers"
	switch {
	case u.all < busy:
	case others > foreign:
		limit = "other work on this machine; measure on a quiet one"
	default:
		limit = "the processors, most of them used by " + u.names[most]
	}
	return strings.Join(out, ", ") + "; limit: " + limit
}
