//go:build linux

// Command chaos runs Headwater as separate processes under load. It kills, pauses and
// cuts off processes, one after the other and several at a time. Afterwards nothing that
// was acknowledged may be lost, and nothing may count twice. Devices connect to nats-server
// and to the fronts of the bridges, and to another one when the connection ends:
//
//	go run ./services/standalone/bench/chaos
//	go run ./services/standalone/bench/chaos --duration 5m --durability fast --seed 42
//
// It exits with 0 if nothing is wrong, 1 if something is, and 2 if it could not find out.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"headwater/services/standalone/bench/stack"
)

// Profiles of durability.
const (
	fast      = "fast"
	powerSafe = "power-safe"
)

// cli is the command line.
type cli struct {
	Run   RunCmd   `cmd:"" default:"withargs" help:"Kill, pause and cut off processes under load."`
	Power PowerCmd `cmd:"" help:"Cut the power of a standalone under load. Needs root."`
	// Bridge is about the bridge alone.
	Bridge BridgeCmd `cmd:"" help:"Replace the bridge again and again under load, by kill -9 and in good order."`
}

// RunCmd is the run with faults of processes and connections.
type RunCmd struct {
	Duration   time.Duration `help:"How long faults happen, over all profiles." default:"40m"`
	Seed       uint64        `help:"Repeats the schedule of the faults; random by default."`
	Durability string        `help:"Profile: fast, power-safe, or both, each for half of the time." enum:"both,fast,power-safe" default:"both"`
	Rate       int           `help:"Readings a second; 0 means 2000 for fast and 500 for power-safe." default:"0"`
	Writers    int           `help:"Number of writers." default:"3"`
	Processors int           `help:"Number of processors." default:"3"`
	Faults     []kind        `help:"Kinds of faults (${default})." default:"kill,pause,leave,influx-slow,influx-refuse,influx-reset,bridge-cut"`
	Bin        string        `help:"Folder for the built programs." type:"path" placeholder:"DIR"`
	Keep       string        `help:"Folder for data and logs; else they are removed if nothing is wrong." type:"path" placeholder:"DIR"`
}

// errWrong is returned when a guarantee is broken, for instance when something that was
// acknowledged is lost.
var errWrong = errors.New("something is wrong")

func main() {
	var c cli
	parser := kong.Parse(&c, kong.Name("chaos"), kong.Description("Breaks Headwater and looks what becomes of the readings."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	parser.BindTo(ctx, (*context.Context)(nil))
	err := parser.Run()
	stop()
	switch {
	case errors.Is(err, errWrong):
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
}

// Validate reports every problem of the flags.
func (c *RunCmd) Validate() error {
	var errs []error
	if c.Duration <= 0 {
		errs = append(errs, errors.New("--duration must be longer than 0s"))
	}
	if c.Rate < 0 || c.Writers < 1 || c.Processors < 1 {
		errs = append(errs, errors.New("--rate must be 0 or more, --writers and --processors 1 or more"))
	}
	for _, k := range c.Faults {
		if !slices.Contains(kinds(), k) {
			errs = append(errs, fmt.Errorf("--faults: %q is not a fault", k))
		}
	}
	return errors.Join(errs...)
}

// Run runs both profiles, or one.
func (c *RunCmd) Run(ctx context.Context) error {
	if c.Seed == 0 {
		var b [4]byte
		_, _ = rand.Read(b[:]) // rand.Read never fails.
		c.Seed = uint64(binary.LittleEndian.Uint32(b[:]))
	}
	profiles := []string{c.Durability}
	if c.Durability == "both" {
		profiles = []string{fast, powerSafe}
	}
	dir := c.Keep
	if dir == "" {
		var err error
		dir, err = os.MkdirTemp("", "headwater-chaos-")
		if err != nil {
			return fmt.Errorf("folder of the run: %w", err)
		}
	}
	bin := c.Bin
	if bin == "" {
		bin = filepath.Join(dir, "bin")
	}
	fmt.Printf("seed %d, data and logs in %s\nto repeat: go run ./services/standalone/bench/chaos %s\n", c.Seed, dir, c.flags())
	if err := stack.Build(ctx, bin); err != nil {
		return err
	}
	wrong := 0
	for _, profile := range profiles {
		r := &run{
			cfg: *c, durability: profile, rate: c.rate(profile), length: c.Duration / time.Duration(len(profiles)),
			bin: bin, dir: filepath.Join(dir, profile), out: os.Stdout,
		}
		fmt.Printf("\n== %s, %d readings a second, faults for %s\n", profile, r.rate, r.length)
		said, err := r.do(ctx)
		wrong += len(said)
		if err != nil {
			return fmt.Errorf("%s: %w (logs in %s)", profile, err, r.dir)
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%w, %d times: seed %d, logs in %s", errWrong, wrong, c.Seed, dir)
	}
	fmt.Println("\nnothing acknowledged was lost, nothing counted twice")
	if c.Keep == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

func (c *RunCmd) rate(profile string) int {
	switch {
	case c.Rate > 0:
		return c.Rate
	case profile == fast:
		return 2000
	default:
		return 500
	}
}

// flags returns the flags that repeat the run.
func (c *RunCmd) flags() string {
	names := make([]string, len(c.Faults))
	for i, k := range c.Faults {
		names[i] = string(k)
	}
	return fmt.Sprintf("--seed %d --duration %s --durability %s --rate %d --writers %d --processors %d --faults %s",
		c.Seed, c.Duration, c.Durability, c.Rate, c.Writers, c.Processors, strings.Join(names, ","))
}
