//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/standalone/bench/judge"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
	"headwater/services/standalone/bench/stack"
	"headwater/streams/streamtest/ports"
)

// PowerCmd cuts the power of a standalone:
//
//  1. Standalone runs under load on a disk image of its own.
//  2. At a random moment the image is copied below the running file system. The copy is
//     what a power cut would leave on the disk.
//  3. Standalone starts on the copy, and the oracle judges what was acknowledged.
//  4. More is sent than before the cut. A part that relies on sequences from before the
//     cut would mistake the new messages for old ones.
type PowerCmd struct {
	Cuts       int    `help:"Number of cuts, each with a new disk." default:"20"`
	Seed       uint64 `help:"Repeats the moments of the cuts; random by default."`
	Durability string `help:"Profile: power-safe loses nothing, fast only the last moments." enum:"power-safe,fast" default:"power-safe"`
	Prove      bool   `help:"Run nats-server with its own default, which must lose readings. It proves that the check notices a loss."`
}

// window is how long before the cut a reading must have been acknowledged to be required
// after it. The profile fast forces writes once a second, and forcing them takes time.
func (c *PowerCmd) window() time.Duration {
	if c.Durability == fast {
		return 2500 * time.Millisecond
	}
	return 0
}

// Run cuts the power again and again.
func (c *PowerCmd) Run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a disk image can only be mounted by root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("mkfs.ext4 is missing (Debian: apt-get install e2fsprogs): %w", err)
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
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
	var all oracle.Verdict
	total := 0
	for i := range c.Cuts {
		p := &powerRound{PowerCmd: c, dir: filepath.Join(dir, fmt.Sprint(i)), bin: bin, book: oracle.NewBook()}
		after := c.window() + time.Duration(1000+rng.IntN(7000))*time.Millisecond
		v, err := p.do(ctx, after)
		if err != nil {
			return fmt.Errorf("cut %d: %w (see %s)", i+1, err, p.dir)
		}
		_, acked := p.book.Totals()
		if acked == 0 {
			return fmt.Errorf("cut %d: nothing was acknowledged in %s (see %s)", i+1, after, p.dir)
		}
		fmt.Printf("cut %2d after %.1f s: %d acknowledged, %d lost, %d altered, %d twice, %d unknown\n",
			i+1, after.Seconds(), acked, v.Lost, v.Altered, v.Twice, v.Unknown)
		total += acked
		all.Add(v)
		if v.Wrong() == 0 {
			if err := os.RemoveAll(p.dir); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d cuts in %s: %d acknowledged, %d lost, %d altered, %d twice, %d unknown\n",
		c.Cuts, c.Durability, total, all.Lost, all.Altered, all.Twice, all.Unknown)
	switch {
	case c.Prove && all.Lost == 0:
		return fmt.Errorf("%w: no loss was noticed where there must be one: seed %d", errWrong, c.Seed)
	case c.Prove:
		fmt.Println("without forced writes readings are lost, and the check notices it")
	case all.Wrong() > 0:
		return fmt.Errorf("%w: %v; to repeat: --seed %d; data and logs are in %s", errWrong, all.Examples, c.Seed, dir)
	}
	return os.RemoveAll(dir)
}

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// Control-C must reach only this program, which cleans up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// powerRound is one cut.
type powerRound struct {
	*PowerCmd
	dir, bin string
	book     *oracle.Book

	mu sync.Mutex
	// acks are the readings acknowledged before the cut, with the time of the
	// acknowledgement; dark is set at the cut. Both are guarded by mu.
	acks []acknowledged
	dark bool
	// back is set when the power is back. Readings acknowledged from then on are required.
	back bool
}

type acknowledged struct {
	reading load.Reading
	at      time.Time
}

func (p *powerRound) ack(r load.Reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.back:
		p.book.Ack(r.ID)
	case !p.dark:
		p.acks = append(p.acks, acknowledged{r, time.Now()})
	}
}

// cut records in the book which readings are required after the cut.
func (p *powerRound) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dark = true
	latest := time.Now().Add(-p.window())
	for _, a := range p.acks {
		if !a.at.After(latest) {
			p.book.Ack(a.reading.ID)
		}
	}
}

func (p *powerRound) do(ctx context.Context, after time.Duration) (v oracle.Verdict, err error) {
	image, copied, mnt := filepath.Join(p.dir, "disk"), filepath.Join(p.dir, "copy"), filepath.Join(p.dir, "mnt")
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		return v, err
	}
	for _, c := range [][]string{{"truncate", "-s", "4G", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop,commit=60", image, mnt}} {
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
	process.Sleep(ctx, after)
	// Nothing may be written while the copy is made. Otherwise it would contain blocks of
	// the file system's journal from different moments.
	if err := stack.Freeze(s.cmd.Process); err != nil {
		return v, err
	}
	p.cut()
	err = command(ctx, "cp", "--sparse=always", image, copied)
	s.kill()
	stop()
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
	if err != nil && p.Prove {
		// If standalone does not start, everything is lost.
		_, v.Lost = p.book.Totals()
		return v, nil
	}
	if err != nil {
		return v, err
	}
	defer again.kill()
	v, err = p.settle(ctx, again)
	if err != nil || v.Wrong() > 0 {
		return v, err
	}
	if err := p.more(ctx, again); err != nil {
		return v, err
	}
	return p.settle(ctx, again)
}

// more sends until more readings are acknowledged than were sent before the cut.
func (p *powerRound) more(ctx context.Context, s *powered) error {
	issued, before := p.book.Totals()
	p.mu.Lock()
	p.back = true
	p.mu.Unlock()
	defer p.load(ctx, s)()
	for limit := time.Now().Add(moreWithin); ; process.Sleep(ctx, 100*time.Millisecond) {
		_, acked := p.book.Totals()
		switch {
		case acked-before > issued:
			return nil
		case time.Now().After(limit) || ctx.Err() != nil:
			return fmt.Errorf("%d readings were sent before the cut, and only %d were acknowledged in %s after it", issued, acked-before, moreWithin)
		}
	}
}

// moreWithin bounds how long more may take.
const moreWithin = 3 * time.Minute

// settle judges until nothing is wrong, or patience is over.
func (p *powerRound) settle(ctx context.Context, again *powered) (v oracle.Verdict, err error) {
	for limit := time.Now().Add(p.patience()); ; process.Sleep(ctx, time.Second) {
		v, err = p.judge(ctx, again.influx)
		if (err == nil && v.Wrong() == 0) || time.Now().After(limit) || ctx.Err() != nil {
			return v, err
		}
	}
}

// patience is how long readings that survived may take to be in InfluxDB.
func (p *powerRound) patience() time.Duration {
	if p.Prove {
		return 15 * time.Second
	}
	return time.Minute
}

// load starts the senders. The returned function stops them and waits.
func (p *powerRound) load(ctx context.Context, s *powered) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range 8 {
		in := make(chan load.Reading)
		series := oracle.Series{Device: fmt.Sprintf("power-%d", i), Metric: "n"}
		if i < 6 {
			d := &load.Device{Addresses: []string{s.mqtt}, ID: series.Device, In: in, Window: 50, Acked: p.ack}
			wg.Go(func() { d.Run(ctx) })
		} else {
			h := &load.Poster{URL: "http://" + s.http + "/api/v1/telemetry", In: in, Acked: p.ack, Refused: func(string) {}, Client: &http.Client{Timeout: load.Patience}}
			wg.Go(func() { h.Run(ctx) })
		}
		wg.Go(func() {
			defer close(in)
			for n := 0; ctx.Err() == nil; n++ {
				id, at := p.book.Issue(series, time.Now(), float64(n))
				select {
				case in <- load.Reading{ID: id, Series: series, Time: at, Value: float64(n)}:
				case <-ctx.Done():
				}
				process.Sleep(ctx, 5*time.Millisecond)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func (p *powerRound) judge(ctx context.Context, url string) (oracle.Verdict, error) {
	cfg := process.Defaults[influx.Config]()
	cfg.URL = url
	client, err := influx.New(cfg)
	if err != nil {
		return oracle.Verdict{}, err
	}
	defer client.Close()
	j := &judge.Judge{Book: p.book, Influx: client}
	_, err = j.Readings(ctx)
	return j.Verdict, err
}

// powered is a running standalone.
type powered struct {
	http, mqtt, influx string
	cmd                *exec.Cmd
	// ended is closed when the process has exited.
	ended chan struct{}
}

var influxAt = regexp.MustCompile(`influxdb"?[=:]\s*"?(http://[0-9.:]+)`)

// start starts standalone on the disk and waits until it is ready.
func (p *powerRound) start(ctx context.Context, mnt, log string) (*powered, error) {
	s := &powered{ended: make(chan struct{})}
	addresses, err := ports.Reserve(2)
	if err != nil {
		return nil, err
	}
	s.http, s.mqtt = addresses[0], addresses[1]
	out, err := os.Create(filepath.Join(p.dir, log))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd = exec.Command(p.bin, "--data", filepath.Join(mnt, "data"), "--http", s.http, "--mqtt", s.mqtt, "--durability", p.Durability)
	if p.Prove {
		s.cmd.Args = append(s.cmd.Args, "--lose-readings-at-a-power-cut")
	}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { defer close(s.ended); _ = s.cmd.Wait() }() // The error is that it was killed.
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	for ctx.Err() == nil && !s.hasEnded() {
		process.Sleep(ctx, 100*time.Millisecond)
		resp, err := client.Get("http://" + s.http + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		text, err := os.ReadFile(out.Name())
		if err != nil {
			break
		}
		if at := influxAt.FindSubmatch(text); resp.StatusCode == http.StatusOK && at != nil {
			token, err := process.ReadSecret(filepath.Join(mnt, "data", "influxdb-token"))
			if err != nil {
				break
			}
			s.influx = strings.Replace(string(at[1]), "://", "://headwater:"+token+"@", 1)
			return s, nil
		}
	}
	s.kill()
	return nil, fmt.Errorf("standalone is not ready: see %s", out.Name())
}

func (s *powered) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *powered) kill() {
	_ = s.cmd.Process.Kill() // An error means that it has exited.
	<-s.ended
}
