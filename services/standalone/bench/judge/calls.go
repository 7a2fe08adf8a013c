package judge

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"

	"headwater/services/notifier/channel"
	"headwater/services/standalone/bench/oracle"
)

// Calls is a webhook that records its calls. Several goroutines may call its methods at
// once.
type Calls struct {
	mu    sync.Mutex
	calls []oracle.Call // guarded by mu
}

// maxCall bounds one message, in bytes.
const maxCall = 1 << 20

// ServeHTTP accepts a message of the notifier.
func (c *Calls) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var p channel.Payload
	if err := json.NewDecoder(io.LimitReader(req.Body, maxCall)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range p.Alerts {
		e := oracle.Episode{Rule: a.Rule, Device: a.Device, Start: a.Started.UnixNano()}
		if a.Ended != nil {
			e.End = a.Ended.UnixNano()
		}
		c.calls = append(c.calls, oracle.Call{Key: p.Key, Episode: e})
	}
}

// List returns the calls so far.
func (c *Calls) List() []oracle.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}
