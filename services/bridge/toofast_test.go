package bridge

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/services/internal/quota"
	"headwater/streams"
)

// answered is a wire that keeps what is answered.
type answered []string

func (*answered) listen(string, func(*nats.Msg)) (ear, error) { return nil, nil }

func (a *answered) answer(reply string, _ []byte) error { *a = append(*a, reply); return nil }

func (*answered) flush(context.Context) error { return nil }

// TestADeviceThatSendsTooMuchWithoutAFront is refused, so that it sends again, by the bridge
// that carries; with QoS 0 what it sends is counted as lost. A front holds it up in their place.
func TestADeviceThatSendsTooMuchWithoutAFront(t *testing.T) {
	const loud, quiet = "sensors.hall.loud.t", "sensors.hall.quiet.t"
	for _, test := range []struct {
		name              string
		carrying, fronted bool
		subject           string
		refused           int
	}{
		{"it carries", true, false, loud, 1},
		{"another device", true, false, quiet, 0},
		{"it stands by", false, false, loud, 0},
		{"a front holds the device up", true, true, loud, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, wire := DefaultConfig(), new(answered)
			cfg.DeviceRate = 10
			s := &Service{cfg: cfg, metrics: newMetrics(prometheus.NewRegistry()), kept: newQueue(1 << 20), wire: wire}
			s.deps.Refuse = func() error { return nil }
			s.lossy = &lossy{svc: s, queue: newQueue(1 << 20)}
			s.pace = newPace(cfg, nil, s.metrics)
			s.carrying.Store(test.carrying)
			s.fronted.Store(test.fronted)
			s.pace.charge("sensors/hall/loud/t", quota.Device{Site: "hall", Device: "loud"}, 100_000, time.Now())

			s.hear(&nats.Msg{Subject: streams.MQTTStoredSubject(test.subject), Reply: "reply", Data: []byte("1")})
			if len(*wire) != test.refused || s.kept.len() != 1-test.refused {
				t.Errorf("QoS 1: %d are refused and %d wait, want %d refused", len(*wire), s.kept.len(), test.refused)
			}
			if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues(refusedRate)); int(n) != test.refused {
				t.Errorf("QoS 1: %v are counted", n)
			}
			s.lossy.hear(&nats.Msg{Subject: test.subject, Header: nats.Header{qosHeader: {"0"}}, Data: []byte("1")})
			lost := 0
			if !test.fronted && test.subject == loud {
				lost = 1
			}
			if n := testutil.ToFloat64(s.metrics.dropped.WithLabelValues(dropRate)); int(n) != lost || s.lossy.queue.len() != 1-lost {
				t.Errorf("QoS 0: %v are counted as lost and %d wait, want %d lost", n, s.lossy.queue.len(), lost)
			}
		})
	}
}
