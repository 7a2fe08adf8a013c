// Package deadletter stores what a service cannot process. It protects the
// stream of dead letters against a device that sends nothing else: beyond an
// hourly quota its dead letters are only counted.
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
	// quota is how many dead letters of one device are kept per hour.
	quota  = 1000
	period = time.Hour
	// maxDevices bounds the devices that have a quota of their own, and so the
	// memory: a publisher may invent devices. All others share one quota, as do
	// dead letters without a device.
	maxDevices = 10_000
)

// Publisher stores dead letters. It is safe for concurrent use.
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

// Publish returns when the dead letter is stored. If its device is over its
// quota, Publish counts and drops it, which is not an error. An error means
// that it may not be stored: the caller must repeat the call before it
// acknowledges the message behind the dead letter.
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
// means that the quota has just been exhausted.
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
