package bridge

import (
	"context"
	"fmt"
	"sync"
	"time"

	"headwater/services/internal/problems"
	"headwater/services/internal/process"
	"headwater/services/internal/quota"
)

// Reasons why a device is limited.
const (
	limitedRate   = "device-rate"
	limitedSeries = "new-series"
)

const (
	// maxLate bounds the topics on which devices that send too much are held up.
	maxLate = 10_000
	// leastWait is how long a device must have to wait until a bridge without a front
	// refuses what it sends: each refusal closes a connection.
	leastWait = time.Second
)

// pace bounds what each device sends, and how many metrics it begins. What a device sent is
// known when it is decoded, so it pays afterwards: what it sends next on the same topics has
// to wait. Any number of goroutines may use it.
type pace struct {
	devices *quota.Rate[quota.Device]
	series  *quota.Series
	report  *problems.Fading
	metrics *metrics

	mu sync.Mutex
	// late are the devices that send too much, by the topics on which they do.
	late map[string]quota.Device // guarded by mu
}

func newPace(cfg Config, report *problems.Reporter, m *metrics) *pace {
	return &pace{
		devices: quota.NewRate[quota.Device](cfg.DeviceRate), series: quota.NewSeries(cfg.NewSeries),
		report: problems.NewFading(report), metrics: m, late: make(map[string]quota.Device),
	}
}

// charge counts readings that a device sent on a topic.
func (p *pace) charge(topic string, of quota.Device, readings int, now time.Time) {
	p.devices.Charge(of, readings, now)
	if p.devices.Wait(of, now) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.late) < maxLate {
		p.late[topic] = of
	}
}

// wait returns how long a message on a topic has to wait because its device has sent too
// much, 0 if it need not. From least on it counts and reports that.
func (p *pace) wait(topic string, least time.Duration, now time.Time) time.Duration {
	p.mu.Lock()
	of, late := p.late[topic]
	p.mu.Unlock()
	if !late {
		return 0
	}
	wait := p.devices.Wait(of, now)
	if wait == 0 {
		p.mu.Lock()
		delete(p.late, topic)
		p.mu.Unlock()
		return 0
	}
	if wait < least {
		return 0
	}
	p.metrics.limited.WithLabelValues(limitedRate).Inc()
	p.report.Set(limitedRate+" "+of.Site+"/"+of.Device, problems.Problem{
		Part: "Device " + of.Site + "/" + of.Device, Site: of.Site, Device: of.Device,
		Text: fmt.Sprintf("It sends more than %.0f readings a second over MQTT, so it has to wait: what it sends arrives late. "+
			"Let it send less, or raise --mqtt-device-rate.", p.devices.PerSecond()),
	}, now)
	return wait
}

// someLate reports whether any message may have to wait.
func (p *pace) someLate() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.late) > 0
}

// begin reports whether a metric of a device may be stored.
func (p *pace) begin(of quota.Device, metric string, now time.Time) error {
	if p.series.Begin(of, metric, now) {
		return nil
	}
	p.metrics.limited.WithLabelValues(limitedSeries).Inc()
	p.report.Set(limitedSeries+" "+of.Site+"/"+of.Device, problems.Problem{
		Part: "Device " + of.Site + "/" + of.Device, Site: of.Site, Device: of.Device,
		Text: fmt.Sprintf("It has begun %d metrics within a day, and may begin no more: readings of further ones are dead letters of "+
			"reason new-series. Let it send fewer, or raise --mqtt-new-series and redrive them.", p.series.Most()),
	}, now)
	return fmt.Errorf("%s: this device has begun %d metrics within a day, and may begin no more", metric, p.series.Most())
}

// charge has the devices pay for a message that was just added to a step. One that waits again
// because it could not be stored is paid for.
func (s *Service) charge(m *message, in *step) {
	if m.charged {
		return
	}
	m.charged = true
	for _, sent := range in.sent {
		s.pace.charge(topicOf(m.subject), sent.of, sent.readings, time.Unix(0, m.arrival))
	}
}

// run forgets the devices that are not limited any more until ctx ends.
func (p *pace) run(ctx context.Context) {
	for process.Sleep(ctx, problems.FadeAfter/10) {
		now := time.Now()
		p.report.Forget(now)
		p.mu.Lock()
		for topic, of := range p.late {
			if p.devices.Wait(of, now) == 0 {
				delete(p.late, topic)
			}
		}
		p.mu.Unlock()
	}
}
