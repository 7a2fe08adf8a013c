//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/standalone/bench/judge"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
	"headwater/services/standalone/bench/stack"
	"headwater/streams"
	"headwater/streams/natsd"
)

// run is one stack under load and faults, with its verdict.
type run struct {
	cfg        RunCmd
	durability string
	rate       int
	length     time.Duration
	bin, dir   string
	out        io.Writer

	begin  time.Time // of the load
	stack  *stack.Stack
	links  *links
	book   *oracle.Book
	load   *load.Load
	judge  *judge.Judge
	calls  judge.Calls
	owners *owners

	mu     sync.Mutex
	faults map[string]map[kind]int // by node; guarded by mu
	failed []error                 // faults that could not be caused; guarded by mu
	// again is the number of repeated messages; guarded by mu.
	again int
}

const (
	// quiet is how long the load continues without faults at the end.
	quiet = 10 * time.Second
	// startTimeout is how long all programs may take to be ready, at the start and after
	// the last fault.
	startTimeout = 90 * time.Second
	// drainTimeout is how long it may take until everything that was acknowledged is
	// stored and summarised, and people are notified.
	drainTimeout  = 4 * time.Minute
	progressPause = 10 * time.Second
	closeGrace    = 30 * time.Second
)

// do runs everything and returns the violations.
func (r *run) do(ctx context.Context) (wrong []string, err error) {
	r.book, r.faults = oracle.NewBook(), make(map[string]map[kind]int)
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	hook := &http.Server{Handler: &r.calls, ReadHeaderTimeout: load.Patience}
	served := make(chan struct{})
	go func() { defer close(served); _ = hook.Serve(sink) }()
	defer func() { _ = hook.Close(); <-served }()

	sync := natsd.SyncAlways
	if r.durability == fast {
		sync = natsd.SyncSecond
	}
	r.stack, err = stack.New(stack.Config{
		Bin: r.bin, Dir: r.dir, Sync: sync, Fronts: true, Rules: load.Rules("http://" + sink.Addr().String() + "/"),
		Nodes: map[string]int{
			stack.Writer: r.cfg.Writers, stack.Processor: r.cfg.Processors, stack.Bridge: 2, stack.Notifier: 2,
		},
		Flags: map[string][]string{
			stack.Writer: {"--influx-timeout", "10s"},
		},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stack.Close(closeGrace)) }()
	r.links, err = newLinks(r.stack.NATSAddress, r.stack.InfluxAddress)
	if err != nil {
		return nil, err
	}
	defer r.links.close()
	r.stack.BridgeNATS, r.stack.WriterInflux = r.links.nats.Listen, r.links.influx.Listen
	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := r.stack.Start(startCtx); err != nil {
		return nil, err
	}
	nc, err := r.stack.Connect(natsd.UserCore)
	if err != nil {
		return nil, fmt.Errorf("connect to nats-server: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	store, err := r.store()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	r.begin = time.Now()
	r.load = load.New(load.Config{
		Book: r.book, MQTT: r.stack.MQTT(), Gateway: r.stack.GatewayAddress, Rate: r.rate,
		Delay: max(min(time.Minute, r.length/4), time.Second), Seed: r.cfg.Seed, Plant: 20_000, Pause: 400 * time.Millisecond,
	})
	r.judge = &judge.Judge{
		Book: r.book, Load: r.load, Influx: store, JS: js, Dashboard: r.stack.DashboardAddress, Begin: r.begin,
	}
	return r.judged(ctx)
}

// judged runs load and faults on a stack that is ready, and judges the result.
func (r *run) judged(ctx context.Context) ([]string, error) {
	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	stop, loaded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(loaded)
		r.load.Run(loadCtx, stop)
	}()
	defer func() { stopLoad(); <-loaded }()
	r.owners = newOwners(r.stack)
	watchCtx, stopWatch := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); r.watch(watchCtx, r.begin) }()
	defer func() { stopWatch(); <-watched }()

	r.happen(ctx, r.begin)
	if err := r.calm(ctx); err != nil {
		return nil, err
	}
	readyAfter := time.Since(r.begin)
	fresh := r.fresh(ctx)
	process.Sleep(ctx, quiet)
	close(stop)
	ended := time.Now()
	patience := time.AfterFunc(drainTimeout, stopLoad)
	<-loaded
	patience.Stop()
	sent := time.Since(ended)
	stopWatch()
	<-watched
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	wrong := r.verdict(ctx)
	wrong = append(fresh, wrong...)
	r.mu.Lock()
	for _, err := range r.failed {
		wrong = append(wrong, "a fault could not be done: "+err.Error())
	}
	r.mu.Unlock()
	r.say("all ready %.1f s after the start, all sent %.1f s after the end of the load", readyAfter.Seconds(), sent.Seconds())
	r.report(wrong)
	return wrong, nil
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

// targets returns the processes that faults may hit.
func (r *run) targets() []target {
	weights := map[string]int{
		stack.NATS: 3, stack.Influx: 2, stack.Provision: 1, stack.Dashboard: 1, stack.Gateway: 3,
		stack.Bridge: 3, stack.Notifier: 2, stack.Processor: 2, stack.Writer: 2,
	}
	var out []target
	for _, n := range r.stack.Nodes("") {
		out = append(out, target{n.Name, weights[n.Program], n.Program == stack.Writer || n.Program == stack.Processor})
	}
	return out
}

// happen causes the faults of the schedule, each at its time, and returns when the last
// one is over.
func (r *run) happen(ctx context.Context, begin time.Time) {
	log, err := os.Create(filepath.Join(r.dir, "faults.log"))
	if err != nil {
		r.fail(err)
		return
	}
	defer log.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, f := range schedule(r.cfg.Seed, r.length, r.targets(), r.cfg.Faults) {
		process.Sleep(ctx, time.Until(begin.Add(f.at)))
		if ctx.Err() != nil {
			return
		}
		fmt.Fprintln(log, time.Now().Format(time.StampMilli), f)
		r.count(f)
		wg.Go(func() {
			if err := r.hit(ctx, f); err != nil {
				r.fail(fmt.Errorf("%s: %w", f, err))
			}
		})
	}
	wg.Wait()
	process.Sleep(ctx, time.Until(begin.Add(r.length)))
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, err)
}

func (r *run) count(f fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.faults[f.node] == nil {
		r.faults[f.node] = make(map[kind]int)
	}
	r.faults[f.node][f.kind]++
}

// counted returns how many faults of the kinds hit the nodes of a program, or of all
// programs if it is empty.
func (r *run) counted(program string, kinds ...kind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, node := range r.stack.Nodes(program) {
		for _, k := range kinds {
			n += r.faults[node.Name][k]
		}
	}
	return n
}

// hit causes one fault and undoes it after its length.
func (r *run) hit(ctx context.Context, f fault) error {
	var node *stack.Node
	for _, n := range r.stack.Nodes("") {
		if n.Name == f.node {
			node = n
		}
	}
	switch f.kind {
	case kill:
		r.owners.fault(node)
		if err := node.Kill(); err != nil {
			return err
		}
		process.Sleep(ctx, f.length)
		return node.Start()
	case pause:
		r.owners.fault(node)
		if err := node.Pause(); err != nil {
			return err
		}
		process.Sleep(ctx, f.length)
		return node.Resume()
	case leave:
		if err := node.Stop(closeGrace); err != nil {
			return err
		}
		process.Sleep(ctx, f.length)
		return node.Start()
	case influxRefuse:
		r.links.influx.Stop()
		process.Sleep(ctx, f.length)
		return r.links.influx.Start()
	case influxSlow:
		return r.poisoned(ctx, f.length, "latency", map[string]int{"latency": 1500, "jitter": 1000})
	case influxReset:
		return r.poisoned(ctx, f.length, "reset_peer", map[string]int{"timeout": 20})
	case bridgeCut:
		return r.cut(ctx, f.length)
	}
	return fmt.Errorf("unknown fault %q", f.kind)
}

func (r *run) poisoned(ctx context.Context, length time.Duration, toxic string, attributes map[string]int) error {
	cure, err := r.links.poison(toxic, attributes)
	if err != nil {
		return err
	}
	process.Sleep(ctx, length)
	cure()
	return nil
}

// cutPause is the time between two cuts. A bridge is back at work within it.
const cutPause = 900 * time.Millisecond

// cut cuts the connections of the bridges repeatedly for a time.
func (r *run) cut(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; process.Sleep(ctx, cutPause) {
		r.links.nats.Stop()
		if err := r.links.nats.Start(); err != nil {
			return err
		}
	}
	return nil
}

// calm waits until every process reports that it is ready.
func (r *run) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return r.stack.Await(ctx)
}

// watch prints the progress now and then, and watches the owners.
func (r *run) watch(ctx context.Context, begin time.Time) {
	var wg sync.WaitGroup
	wg.Go(func() { r.owners.run(ctx) })
	defer wg.Wait()
	tick := time.NewTicker(progressPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			issued, acked := r.book.Totals()
			r.say("%6.0fs  issued %d, acknowledged %d, kills %d, pauses %d, batches to write %s", time.Since(begin).Seconds(),
				issued, acked, r.counted("", kill), r.counted("", pause), r.lag(ctx))
		}
	}
}

// lag returns how many batches of TELEMETRY no writer has stored yet.
func (r *run) lag(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n, err := streams.Unprocessed(ctx, r.judge.JS, streams.StreamTelemetry, streams.ConsumerWriter)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprint(n)
}

// freshTimeout is how soon a reading must be in InfluxDB when every process is ready.
const freshTimeout = 10 * time.Second

// fresh sends one reading over MQTT and waits until it is in InfluxDB.
func (r *run) fresh(ctx context.Context) []string {
	in := make(chan load.Reading, 1)
	series := oracle.Series{Device: "fresh", Metric: "n"}
	id, at := r.book.Issue(series, time.Now(), 1)
	in <- load.Reading{ID: id, Series: series, Time: at, Value: 1}
	close(in)
	begin := time.Now()
	limited, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	d := &load.Device{
		Addresses: []string{r.stack.MQTTAddress}, ID: "fresh", In: in, Window: 1, Acked: func(load.Reading) { r.book.Ack(id) },
	}
	d.Run(limited)
	for limited.Err() == nil {
		points, err := r.judge.Points(limited, series)
		if err == nil && slices.Contains(points, oracle.Point{Time: at, Value: 1}) {
			r.say("a fresh reading is in InfluxDB after %.2f s", time.Since(begin).Seconds())
			return nil
		}
		process.Sleep(limited, 50*time.Millisecond)
	}
	if ctx.Err() != nil {
		return nil
	}
	return []string{fmt.Sprintf("a fresh reading was not in InfluxDB within %s of the end of the faults", freshTimeout)}
}

// verdict judges until nothing is wrong, or drainTimeout is over.
func (r *run) verdict(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	checks := append(r.judge.Checks(), judge.Check{Name: "messages", Check: r.judgeCalls})
	return append(r.judge.Sending(), judge.All(ctx, checks, r.say)...)
}

func (r *run) judgeCalls(context.Context) ([]string, error) {
	// Only faults that stop the sender between sending and recording may repeat a message.
	repeats := r.counted(stack.Notifier, kill, pause) + r.counted(stack.NATS, kill, pause)
	wrong, again := oracle.JudgeCalls(r.load.Episodes(), r.calls.List(), repeats)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.again = again
	return wrong, nil
}

// store returns a client of the stack's InfluxDB.
func (r *run) store() (*influx.Client, error) {
	cfg := process.Defaults[influx.Config]()
	cfg.URL = "http://" + r.stack.InfluxAddress
	return influx.New(cfg)
}
