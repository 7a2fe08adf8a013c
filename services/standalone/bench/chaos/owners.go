//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/services/standalone/bench/stack"
	"headwater/streams"
)

// owners watches how many lanes of each service have an owner, and measures how long it
// takes after a fault until all have one again.
type owners struct {
	stack  *stack.Stack
	client *http.Client

	mu sync.Mutex
	// hit is when a fault hit the service while all lanes had owners; else zero.
	hit map[string]time.Time
	// spoilt reports whether nats-server or the link failed meanwhile. The measured time
	// is then not that of a takeover.
	spoilt map[string]bool
	// unsettled is until when a fault of nats-server may have an effect.
	unsettled time.Time
	took      map[string][]time.Duration
}

// look is the pause between two checks.
const look = 200 * time.Millisecond

// settle is how long the services may take to recover from a fault of nats-server.
const settle = 10 * time.Second

// ownedBy is the number of lanes of each service.
var ownedBy = map[string]int{stack.Processor: streams.DefaultLanes, stack.Bridge: 1, stack.Notifier: 1}

func newOwners(s *stack.Stack) *owners {
	return &owners{
		stack: s, client: &http.Client{Timeout: look},
		hit: make(map[string]time.Time), spoilt: make(map[string]bool), took: make(map[string][]time.Duration),
	}
}

// fault must be called before each fault.
func (o *owners) fault(n *stack.Node) {
	held, known := 0, false
	if _, leases := ownedBy[n.Program]; leases {
		held, known = o.leases(context.Background(), n)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n.Program == stack.NATS {
		for service := range ownedBy {
			o.spoilt[service] = true
		}
		o.unsettled = time.Now().Add(maxPause + settle)
		return
	}
	if known && held > 0 && o.hit[n.Program].IsZero() {
		o.hit[n.Program], o.spoilt[n.Program] = time.Now(), time.Now().Before(o.unsettled)
	}
}

// run checks until ctx ends.
func (o *owners) run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for service, lanes := range ownedBy {
			o.mu.Lock()
			since := o.hit[service]
			o.mu.Unlock()
			if since.IsZero() || o.held(ctx, service) < lanes {
				continue
			}
			o.mu.Lock()
			// At the first check the fault may not have happened yet.
			if took := time.Since(since); took > look && !o.spoilt[service] {
				o.took[service] = append(o.took[service], took)
			}
			if time.Since(since) > look {
				o.hit[service] = time.Time{}
			}
			o.mu.Unlock()
		}
	}
}

// held returns how many lanes the running processes of a service hold.
func (o *owners) held(ctx context.Context, service string) (sum int) {
	for _, n := range o.stack.Nodes(service) {
		held, _ := o.leases(ctx, n)
		sum += held
	}
	return sum
}

// leases returns how many lanes a process holds, from its metrics.
func (o *owners) leases(ctx context.Context, n *stack.Node) (held int, known bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Admin()+"/metrics", nil)
	if err != nil {
		return 0, false
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), fmt.Sprintf("headwater_%s_leases ", n.Program)); found {
			held, err := strconv.Atoi(text)
			return held, err == nil
		}
	}
	return 0, false
}

// takeovers returns the median and the maximum duration of takeovers, and their number.
func (o *owners) takeovers(service string) (p50, longest time.Duration, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.Sorted(slices.Values(o.took[service]))
	if len(all) == 0 {
		return 0, 0, 0
	}
	return all[len(all)/2], all[len(all)-1], len(all)
}
