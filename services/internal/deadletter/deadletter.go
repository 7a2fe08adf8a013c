// Package deadletter stores what a service cannot process. It guards the
// stream of dead letters against a device that sends nothing else: beyond a
// quota an hour its dead letters are only counted.
package deadletter

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/streams"
)

const (
	// quota is how many dead letters of one device are kept an hour.
	quota  = 1000
	period = time.Hour
	// maxDevices bounds the devices that have a quota of their own, and so the
	// memory, as whoever may publish may also invent devices. All others share
	// one quota, as do dead letters without a device.
	maxDevices = 10_000
)

// Publisher stores dead letters. Any number of goroutines may use it.
type Publisher struct {
	js        jetstream.JetStream
	log       *slog.Logger
	published *prometheus.CounterVec
	dropped   *prometheus.CounterVec

	mu    sync.Mutex
	since time.Time
	// used counts the dead letters of each device since then.
	used map[device]int
}

type device struct{ site, device string }

// New returns a Publisher to the stream of dead letters in the account of the
// services.
func New(js jetstream.JetStream, log *slog.Logger, metrics prometheus.Registerer) *Publisher {
	factory := promauto.With(metrics)
	return &Publisher{
		js: js, log: log, used: make(map[device]int),
		published: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_deadletters_published_total", Help: "Dead letters stored, by reason.",
		}, []string{"reason"}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_deadletters_dropped_total", Help: "Dead letters of devices over their quota, counted and not stored, by reason.",
		}, []string{"reason"}),
	}
}

// Publish stores the dead letter and returns when it is stored. A device over
// its quota is no error: the dead letter is counted and dropped. An error means
// that it may not be stored; the caller repeats the call before it acknowledges
// what the dead letter came from.
func (p *Publisher) Publish(ctx context.Context, d streams.DeadLetter) error {
	of, first, ok := p.take(d, time.Now())
	if !ok {
		p.dropped.WithLabelValues(d.Reason).Inc()
		if first {
			p.log.Warn("a device is over its quota of dead letters; the rest of this hour is only counted",
				"service", d.Service, "device", of.site+"/"+of.device, "quota", quota)
		}
		return nil
	}
	if _, err := p.js.PublishMsg(ctx, d.Msg()); err != nil {
		p.giveBack(of)
		return fmt.Errorf("store dead letter of %s: %w", d.Origin, err)
	}
	p.published.WithLabelValues(d.Reason).Inc()
	return nil
}

// take takes one from the quota of the device, if there is one left. First
// says that the quota has just been used up.
func (p *Publisher) take(d streams.DeadLetter, now time.Time) (of device, first, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= period {
		p.since = now
		clear(p.used)
	}
	of = device{d.Site, d.Device}
	if _, known := p.used[of]; !known && len(p.used) >= maxDevices {
		of = device{}
	}
	p.used[of]++
	return of, p.used[of] == quota+1, p.used[of] <= quota
}

func (p *Publisher) giveBack(of device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[of] > 0 {
		p.used[of]--
	}
}
