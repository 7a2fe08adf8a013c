//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is the kind of a fault.
type kind string

const (
	// kill kills a process with SIGKILL. It is started again after the length.
	kill kind = "kill"
	// pause stops a process (SIGSTOP) for the length.
	pause kind = "pause"
	// leave stops a worker gracefully (SIGTERM). It is started again after the length.
	leave kind = "leave"
	// influxSlow delays every response of InfluxDB.
	influxSlow kind = "influx-slow"
	// influxRefuse refuses connections to InfluxDB.
	influxRefuse kind = "influx-refuse"
	// influxReset resets every connection to InfluxDB after it has been used.
	influxReset kind = "influx-reset"
	// bridgeCut cuts the connections of the bridges to nats-server, several times.
	bridgeCut kind = "bridge-cut"
)

func kinds() []kind {
	return []kind{kill, pause, leave, influxSlow, influxRefuse, influxReset, bridgeCut}
}

// fault is one fault, at a time after the start.
type fault struct {
	at, length time.Duration
	kind       kind
	// node is the name of the process, or of the link.
	node string
}

func (f fault) String() string {
	return fmt.Sprintf("%6.1fs %-13s %-14s %.1fs", f.at.Seconds(), f.kind, f.node, f.length.Seconds())
}

// target is a process that faults may hit.
type target struct {
	name string
	// weight is how often it is hit, relative to others.
	weight int
	// worker reports whether it may leave.
	worker bool
}

// Times between two events, and bounds of the length of each kind.
const (
	minGap, maxGap     = 2 * time.Second, 8 * time.Second
	maxAway            = 5 * time.Second
	minPause, maxPause = time.Second, 20 * time.Second
	minLink, maxLink   = 2 * time.Second, 12 * time.Second
	// recovery is how long a process is left alone after a fault.
	recovery = time.Second
	// maxTogether is how many processes are killed at the same time.
	maxTogether = 3
)

// schedule returns the faults of a span of time, in order. The same arguments give the
// same faults. Faults of one process or link never overlap; those of different ones do.
func schedule(seed uint64, length time.Duration, targets []target, allowed []kind) []fault {
	p := &planner{rng: rand.New(rand.NewPCG(seed, 1)), end: length, targets: targets, busy: make(map[string]time.Duration)}
	var weighted []kind
	for k, weight := range map[kind]int{kill: 12, pause: 4, leave: 3, influxSlow: 1, influxRefuse: 1, influxReset: 1, bridgeCut: 3} {
		if slices.Contains(allowed, k) {
			weighted = append(weighted, repeat(k, weight)...)
		}
	}
	slices.Sort(weighted)
	if len(weighted) == 0 {
		return nil
	}
	for at := p.between(minGap, maxGap); at < length; at += p.between(minGap, maxGap) {
		p.add(at, weighted[p.rng.IntN(len(weighted))])
	}
	return p.faults
}

type planner struct {
	rng     *rand.Rand
	end     time.Duration
	targets []target
	// busy is until when a process or link may not be hit again.
	busy   map[string]time.Duration
	faults []fault
}

func (p *planner) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.rng.Int64N(int64(high-low)))
}

func (p *planner) add(at time.Duration, kind kind) {
	switch kind {
	case kill:
		for range 1 + p.rng.IntN(maxTogether) {
			p.hit(at, p.between(0, maxAway), kind, p.pick(at, false))
		}
	case pause:
		p.hit(at, p.between(minPause, maxPause), kind, p.pick(at, false))
	case leave:
		p.hit(at, p.between(minLink, maxLink), kind, p.pick(at, true))
	case bridgeCut:
		p.hit(at, p.between(time.Second, 4*time.Second), kind, "link-nats")
	default:
		p.hit(at, p.between(minLink, maxLink), kind, "link-influx")
	}
}

// hit adds the fault unless its process or link is busy, or no time is left.
func (p *planner) hit(at, length time.Duration, kind kind, node string) {
	if node == "" || p.busy[node] > at || at+length > p.end {
		return
	}
	p.busy[node] = at + length + recovery
	p.faults = append(p.faults, fault{at, length, kind, node})
}

// pick chooses a process without a fault, by weight. It returns "" if there is none.
func (p *planner) pick(at time.Duration, workers bool) string {
	var names []string
	for _, t := range p.targets {
		if p.busy[t.name] <= at && (t.worker || !workers) {
			names = append(names, slices.Repeat([]string{t.name}, t.weight)...)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[p.rng.IntN(len(names))]
}

func repeat(k kind, n int) []kind { return slices.Repeat([]kind{k}, n) }
