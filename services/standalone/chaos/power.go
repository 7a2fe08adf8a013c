//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/standalone/internal/oracle"
)

// PowerCmd cuts the power of a standalone that runs by itself: what its disk
// holds at one moment, as a copy of the image under a running file system, is
// all that the next start gets.
type PowerCmd struct {
	Cuts  int    `help:"Number of cuts, each with a new disk." default:"20"`
	Seed  uint64 `help:"Repeats the moments of the cuts." default:"1"`
	Prove bool   `help:"Run nats-server with its own default, which must lose readings: that this is seen is the proof."`
}

// Run does it.
func (c *PowerCmd) Run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("a disk image can only be mounted by root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("mkfs.ext4 is missing (Debian: apt-get install e2fsprogs): %w", err)
	}
	dir, err := os.MkdirTemp("", "headwater-power-")
	if err != nil {
		return fmt.Errorf("folder of the run: %w", err)
	}
	fmt.Printf("seed %d, in %s\n", c.Seed, dir)
	bin := filepath.Join(dir, "standalone")
	if err := command(ctx, "go", "build", "-o", bin, "headwater/services/standalone"); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(c.Seed, 0))
	wrong, lost := 0, 0
	for i := range c.Cuts {
		after := time.Duration(1000+rng.IntN(7000)) * time.Millisecond
		p := &powerRound{dir: filepath.Join(dir, fmt.Sprint(i)), bin: bin, book: oracle.NewBook(), prove: c.Prove}
		v, err := p.do(ctx, after)
		if err != nil {
			return fmt.Errorf("cut %d: %w (see %s)", i+1, err, p.dir)
		}
		_, acked := p.book.Totals()
		fmt.Printf("cut %d after %s: %d acknowledged, %d stored, %d lost, %d altered, %d twice, %d unknown\n",
			i+1, after, acked, v.Stored, v.Lost, v.Altered, v.Twice, v.Unknown)
		lost += v.Lost
		if v.Wrong() > 0 || acked == 0 {
			wrong++
			for _, e := range v.Examples {
				fmt.Println("WRONG:", e)
			}
		}
	}
	if c.Prove {
		if lost == 0 {
			return fmt.Errorf("%w: no loss was seen where there must be one: seed %d, see %s", errWrong, c.Seed, dir)
		}
		fmt.Println("the loss was seen, as it must be")
		return os.RemoveAll(dir)
	}
	if wrong > 0 {
		return fmt.Errorf("%w in %d cuts: seed %d, see %s", errWrong, wrong, c.Seed, dir)
	}
	return os.RemoveAll(dir)
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// powerRound is one cut.
type powerRound struct {
	dir, bin string
	book     *oracle.Book
	// dark is set at the cut: later acknowledgements do not count.
	dark atomic.Bool
	// prove leaves the streams off the disk.
	prove bool
}

func (p *powerRound) do(ctx context.Context, after time.Duration) (v oracle.Verdict, err error) {
	image, copied, mnt := filepath.Join(p.dir, "disk"), filepath.Join(p.dir, "copy"), filepath.Join(p.dir, "mnt")
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		return v, err
	}
	for _, c := range [][]string{{"truncate", "-s", "4G", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, mnt}} {
		if err := command(ctx, c[0], c[1:]...); err != nil {
			return v, err
		}
	}
	lit := true
	defer func() {
		if lit {
			err = errors.Join(err, command(context.WithoutCancel(ctx), "umount", mnt))
		}
	}()
	s, err := p.start(ctx, mnt, "before.log")
	if err != nil {
		return v, err
	}
	defer s.kill()
	stop := p.load(ctx, s)
	sleep(ctx, after)
	p.dark.Store(true)
	err = command(ctx, "cp", "--sparse=always", image, copied)
	stop()
	s.kill()
	if err != nil {
		return v, err
	}
	if err := command(ctx, "umount", mnt); err != nil {
		return v, err
	}
	lit = false
	if err := command(ctx, "mount", "-o", "loop", copied, mnt); err != nil {
		return v, err
	}
	lit = true
	again, err := p.start(ctx, mnt, "after.log")
	if err != nil {
		return v, err
	}
	defer again.kill()
	for limit := time.Now().Add(p.patience()); ; sleep(ctx, time.Second) {
		if v, err = p.judge(ctx, again.influx); (err == nil && v.Wrong() == 0) || time.Now().After(limit) || ctx.Err() != nil {
			return v, err
		}
	}
}

// patience is how long what survived may take to be in InfluxDB.
func (p *powerRound) patience() time.Duration {
	if p.prove {
		return 15 * time.Second
	}
	return time.Minute
}

// load sends until the function it returns is called, which waits for all senders.
func (p *powerRound) load(ctx context.Context, s *powered) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var connects atomic.Int64
	acked := func(r reading) {
		if !p.dark.Load() {
			p.book.Ack(r.id)
		}
	}
	for i := range 8 {
		in := make(chan reading)
		series := oracle.Series{Device: fmt.Sprintf("power-%d", i), Metric: "n"}
		if i < 6 {
			d := &device{address: s.mqtt, id: series.Device, in: in, window: 50, acked: acked, connects: &connects}
			wg.Go(func() { d.run(ctx) })
		} else {
			h := &poster{url: "http://" + s.http + "/api/v1/telemetry", in: in, acked: acked, refused: func(string) {}, client: &http.Client{Timeout: patience}}
			wg.Go(func() { h.run(ctx) })
		}
		wg.Go(func() {
			defer close(in)
			for n := 0; ctx.Err() == nil; n++ {
				id, at := p.book.Issue(series, time.Now(), float64(n))
				select {
				case in <- reading{id: id, series: series, time: at, value: float64(n)}:
				case <-ctx.Done():
				}
				sleep(ctx, 5*time.Millisecond)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func (p *powerRound) judge(ctx context.Context, url string) (all oracle.Verdict, err error) {
	cfg := process.Defaults[influx.Config]()
	cfg.URL = url
	client, err := influx.New(cfg)
	if err != nil {
		return all, err
	}
	defer client.Close()
	for _, s := range p.book.Series() {
		rows, err := client.Query(ctx, client.Database(), "raw", `SELECT "value" FROM $metric WHERE "site"=$site AND "device"=$device`,
			influx.Params{"metric": influx.Ident(s.Metric), "site": site, "device": s.Device})
		if err != nil {
			return all, err
		}
		var points []oracle.Point
		for _, row := range rows {
			for i, value := range row.Floats("value") {
				points = append(points, oracle.Point{Time: row.Times[i], Value: value})
			}
		}
		all.Add(p.book.Judge(s, points))
	}
	return all, nil
}

// powered is a running standalone.
type powered struct {
	http, mqtt, influx string
	cmd                *exec.Cmd
	once               sync.Once
}

func (s *powered) kill() {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait() // It was killed: that is the error.
	})
}

var influxAt = regexp.MustCompile(`influxdb"?[=:]\s*"?(http://[0-9.:]+)`)

func (p *powerRound) start(ctx context.Context, mnt, log string) (*powered, error) {
	s := &powered{}
	for _, at := range []*string{&s.http, &s.mqtt} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*at = l.Addr().String()
		defer l.Close()
		_ = l.Close()
	}
	out, err := os.Create(filepath.Join(p.dir, log))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd = exec.Command(p.bin, "--data", filepath.Join(mnt, "data"), "--http", s.http, "--mqtt", s.mqtt, "--durability", powerSafe)
	if p.prove {
		s.cmd.Args = append(s.cmd.Args, "--lose-readings-at-a-power-cut")
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit) && ctx.Err() == nil; sleep(ctx, 100*time.Millisecond) {
		resp, err := http.Get("http://" + s.http + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		text, _ := os.ReadFile(out.Name())
		if at := influxAt.FindSubmatch(text); resp.StatusCode == http.StatusOK && at != nil {
			s.influx = string(at[1])
			return s, nil
		}
	}
	s.kill()
	return nil, fmt.Errorf("standalone is not ready: see %s", out.Name())
}
