//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/process"
	"headwater/services/standalone/bench/judge"
	"headwater/services/standalone/bench/load"
	"headwater/services/standalone/bench/oracle"
	"headwater/services/standalone/bench/stack"
	"headwater/streams"
	"headwater/streams/natsd"
)

// BridgeCmd replaces the bridge again and again under load. Each part has devices of
// its own; 0 leaves it out.
type BridgeCmd struct {
	Kills        int    `help:"How often the bridge is killed while devices send the times of their readings." default:"50"`
	KillsUntimed int    `help:"How often it is killed while they don't." default:"50"`
	Handovers    int    `help:"How often it is asked to end, so that another one takes over." default:"50"`
	Rate         int    `help:"Readings a second." default:"1000"`
	Durability   string `help:"Profile: fast or power-safe." enum:"fast,power-safe" default:"power-safe"`
	Bin          string `help:"Folder that the programs are built into." type:"path" placeholder:"DIR"`
	Keep         string `help:"Folder for data and logs; else they are removed if nothing is wrong." type:"path" placeholder:"DIR"`
}

// Validate reports every problem of the flags.
func (c *BridgeCmd) Validate() error {
	if c.Kills < 0 || c.KillsUntimed < 0 || c.Handovers < 0 || c.Rate < bridgeDevices {
		return fmt.Errorf("--kills, --kills-untimed and --handovers must be 0 or more, --rate %d or more", bridgeDevices)
	}
	return nil
}

const (
	// bridges run at a time: one carries, and one stands by while a third starts again.
	bridges = 3
	// bridgeDevices publish, each with so many readings that wait for their
	// acknowledgement.
	bridgeDevices = 20
	bridgeWindow  = 20
	// bridgePause is the longest time between the end of a takeover and the next fault.
	bridgePause = 500 * time.Millisecond
)

// part is one of the ways to replace the bridge.
type part struct {
	name    string
	count   int
	untimed bool
	end     func(*stack.Node) error
}

// Run does it.
func (c *BridgeCmd) Run(ctx context.Context) (err error) {
	dir := c.Keep
	if dir == "" {
		dir, err = os.MkdirTemp("", "headwater-bridge-")
		if err != nil {
			return fmt.Errorf("folder of the run: %w", err)
		}
	}
	bin := c.Bin
	if bin == "" {
		bin = filepath.Join(dir, "bin")
	}
	if err := stack.Build(ctx, bin); err != nil {
		return err
	}
	sync := natsd.SyncAlways
	if c.Durability == fast {
		sync = natsd.SyncSecond
	}
	s, err := stack.New(stack.Config{
		Bin: bin, Dir: filepath.Join(dir, "stack"), Sync: sync, Rules: "rules: []\n",
		Nodes: map[string]int{stack.Bridge: bridges},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(closeGrace)) }()
	if err := startBridges(ctx, s); err != nil {
		return err
	}
	wrong := 0
	for _, p := range []part{
		{"kill", c.Kills, false, (*stack.Node).Kill},
		{"kill-untimed", c.KillsUntimed, true, (*stack.Node).Kill},
		{"handover", c.Handovers, true, func(n *stack.Node) error { return n.Stop(closeGrace) }},
	} {
		if p.count == 0 {
			continue
		}
		r := &replacements{part: p, stack: s, rate: c.Rate, owners: newOwners(s)}
		said, err := r.do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w (logs in %s)", p.name, err, dir)
		}
		for _, w := range said {
			fmt.Println("WRONG:", w)
		}
		wrong += len(said)
	}
	if wrong > 0 {
		return fmt.Errorf("%w, %d times: logs in %s", errWrong, wrong, dir)
	}
	if c.Keep == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

// startBridges starts what takes readings, and nothing that processes them.
func startBridges(ctx context.Context, s *stack.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var except []*stack.Node
	for _, n := range s.Nodes("") {
		if !slices.Contains([]string{stack.NATS, stack.Provision, stack.Bridge}, n.Program) {
			except = append(except, n)
		}
	}
	return s.Start(ctx, except...)
}

// replacements is one part under way.
type replacements struct {
	part
	stack  *stack.Stack
	owners *owners
	rate   int

	devices []*load.Device
	probe   chan load.Reading
	probed  chan struct{}

	mu    sync.Mutex
	acked map[sent]bool // guarded by mu
	took  []time.Duration
}

// sent names a reading: no device sends a value twice.
type sent struct {
	device string
	value  float64
}

// do replaces the bridge as often as it should be and returns what is wrong.
func (r *replacements) do(ctx context.Context) (wrong []string, err error) {
	r.acked, r.probe, r.probed = make(map[sent]bool), make(chan load.Reading), make(chan struct{}, 1)
	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var loading sync.WaitGroup
	stop := make(chan struct{})
	for i := range bridgeDevices {
		in := make(chan load.Reading)
		d := r.device(i, in, bridgeWindow, func(load.Reading) {})
		loading.Go(func() { d.Run(loadCtx) })
		loading.Go(func() { defer close(in); r.feed(loadCtx, d.ID, in, stop) })
	}
	probe := r.device(bridgeDevices, r.probe, 1, func(load.Reading) { r.probed <- struct{}{} })
	loading.Go(func() { probe.Run(loadCtx) })

	err = r.replaceAll(ctx)
	close(stop)
	close(r.probe)
	// What waits is acknowledged, or the run is over.
	patience := time.AfterFunc(drainTimeout, stopLoad)
	loading.Wait()
	patience.Stop()
	if err != nil {
		return nil, err
	}
	return r.judge(ctx)
}

func (r *replacements) device(i int, in <-chan load.Reading, window int, acked func(load.Reading)) *load.Device {
	d := &load.Device{
		Addresses: []string{r.stack.MQTTAddress}, ID: fmt.Sprintf("%s-%d", r.name, i), In: in, Window: window,
	}
	d.Acked = func(reading load.Reading) {
		r.mu.Lock()
		r.acked[sent{d.ID, reading.Value}] = true
		r.mu.Unlock()
		acked(reading)
	}
	r.devices = append(r.devices, d)
	return d
}

// reading is the n-th of a device.
func (r *replacements) reading(device string, n int) load.Reading {
	reading := load.Reading{Series: oracle.Series{Device: device, Metric: "n"}, Value: float64(n)}
	if !r.untimed {
		reading.Time = time.Now().UnixNano()
	}
	return reading
}

func (r *replacements) feed(ctx context.Context, device string, in chan<- load.Reading, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second * bridgeDevices / time.Duration(r.rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		select {
		case in <- r.reading(device, n):
		case <-ctx.Done():
			return
		}
	}
}

func (r *replacements) replaceAll(ctx context.Context) error {
	for n := range r.count {
		if err := r.replace(ctx, n); err != nil {
			return err
		}
		process.Sleep(ctx, rand.N(bridgePause))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// replace ends the bridge that carries, and measures until a reading that was sent
// then is acknowledged.
func (r *replacements) replace(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	carries, err := r.carries(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- r.end(carries) }()
	var failure error
	select {
	case r.probe <- r.reading(r.devices[bridgeDevices].ID, n):
		select {
		case <-r.probed:
			r.took = append(r.took, time.Since(began))
		case <-ctx.Done():
			failure = fmt.Errorf("no bridge answers after fault %d: %w", n+1, ctx.Err())
		}
	case <-ctx.Done():
		failure = ctx.Err()
	}
	if err := errors.Join(failure, <-ended); err != nil {
		return err
	}
	return carries.Start()
}

// carries waits until one bridge carries and another one stands by, and returns the
// first.
func (r *replacements) carries(ctx context.Context) (*stack.Node, error) {
	for ctx.Err() == nil {
		var carries *stack.Node
		standby := false
		for _, n := range r.stack.Nodes(stack.Bridge) {
			held, known := r.owners.leases(ctx, n)
			switch {
			case held > 0:
				carries = n
			case known:
				standby = standby || n.Ready(ctx) == nil
			}
		}
		if carries != nil && standby {
			return carries, nil
		}
		process.Sleep(ctx, look/10)
	}
	return nil, fmt.Errorf("no bridge carries while another one stands by: %w", ctx.Err())
}

// judge compares TELEMETRY with what was acknowledged.
func (r *replacements) judge(ctx context.Context) (wrong []string, err error) {
	stored, err := r.stored(ctx)
	if err != nil {
		return nil, err
	}
	lost, again, counted := 0, 0, 0
	for s := range r.acked {
		if len(stored[s]) == 0 {
			lost++
		}
	}
	for _, times := range stored {
		again += len(times) - 1
		slices.Sort(times)
		counted += len(slices.Compact(times)) - 1
	}
	closed := int64(-len(r.devices))
	for _, d := range r.devices {
		closed += d.Connects()
	}
	slices.Sort(r.took)
	fmt.Printf("%-13s %d times: %d readings acknowledged, %d lost, %d stored again, %d of them counted twice, %d connections closed; answered again after p50 %s, max %s\n",
		r.name, r.count, len(r.acked), lost, again, counted, closed,
		r.took[len(r.took)/2].Round(time.Millisecond), r.took[len(r.took)-1].Round(time.Millisecond))
	if lost > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: %d readings lost", r.name, lost))
	}
	// A round is no more than what waits.
	allowed := 0
	if r.name == "kill-untimed" {
		allowed = r.count * (bridgeDevices*bridgeWindow + 1)
	}
	if counted > allowed {
		wrong = append(wrong, fmt.Sprintf("%s: %d readings counted twice, at most %d may be", r.name, counted, allowed))
	}
	if r.name == "handover" && closed+int64(again) > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: %d connections closed, %d readings stored again", r.name, closed, again))
	}
	return wrong, nil
}

// stored returns the times of each reading of the part, as often as it is stored.
func (r *replacements) stored(ctx context.Context) (map[sent][]int64, error) {
	nc, err := r.stack.Connect(natsd.UserCore)
	if err != nil {
		return nil, fmt.Errorf("connect to nats-server: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	mine := make(map[string]bool)
	for _, d := range r.devices {
		mine[d.ID] = true
	}
	stored := make(map[sent][]int64)
	err = judge.Each(ctx, js, streams.StreamTelemetry, streams.TelemetryAll, func(m jetstream.Msg) error {
		batch, err := streams.DecodeTelemetry(m.Data())
		if err != nil {
			return err
		}
		dictionary := batch.Dictionary()
		for reading := range batch.Readings() {
			if device := dictionary[reading.Series].Device; mine[device] {
				s := sent{device, reading.Value}
				stored[s] = append(stored[s], reading.Time)
			}
		}
		return nil
	})
	return stored, err
}
