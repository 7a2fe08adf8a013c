package bridge

import (
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/decode"
	"headwater/streams"
)

// rebirths asks edge nodes of Sparkplug B for their births. It is safe for concurrent use.
type rebirths struct {
	devices *nats.Conn
	log     *slog.Logger

	mu    sync.Mutex
	asked map[string]time.Time // guarded by mu
}

const (
	// rebirthPause is how long an edge node has to answer before it is asked again.
	rebirthPause = 10 * time.Second
	// maxAsked bounds the edge nodes that are remembered.
	maxAsked = 10_000
)

func newRebirths(devices *nats.Conn, log *slog.Logger) *rebirths {
	return &rebirths{devices: devices, log: log, asked: make(map[string]time.Time)}
}

// ask asks the edge node of a topic. When the request is lost, the node is asked again
// after its next data.
func (r *rebirths) ask(topic string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.asked[topic]) < rebirthPause {
		return
	}
	if len(r.asked) >= maxAsked {
		clear(r.asked)
	}
	r.asked[topic] = now
	if err := r.devices.Publish(streams.SubjectFromTopic(topic), decode.RebirthCommand(now)); err != nil {
		r.log.Warn("an edge node is not asked for its births", "topic", topic, "err", err)
	}
}
