package simulator

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Counts is what a fleet has done since its start.
type Counts struct {
	// Published are readings handed to a connection for the first time.
	Published int64
	// Acknowledged are readings that the server acknowledged, or at QoS 0 readings that
	// were written to the connection.
	Acknowledged int64
	// Resent counts readings that were sent again on a new connection.
	Resent int64
	// Lost are readings that were published and given up: at QoS 0 because their
	// connection broke, at QoS 1 because the fleet stopped before their acknowledgement.
	Lost int64
	// Skipped are readings that had no connection in time.
	Skipped int64
	// Connects counts connections that were opened, Errors connections that failed or
	// broke.
	Connects, Errors int64
}

// InFlight is how many readings wait for their acknowledgement.
func (c Counts) InFlight() int64 { return c.Published - c.Acknowledged - c.Lost }

// counters are the live Counts. Every link adds to them.
type counters struct {
	published, acknowledged, resent, lost, skipped, connects, errors atomic.Int64
}

// counts reads the counters. It reads published last, so that no reading counts as
// acknowledged before it counts as published.
func (c *counters) counts() Counts {
	n := Counts{
		Acknowledged: c.acknowledged.Load(), Resent: c.resent.Load(), Lost: c.lost.Load(),
		Skipped: c.skipped.Load(), Connects: c.connects.Load(), Errors: c.errors.Load(),
	}
	n.Published = c.published.Load()
	return n
}

// register registers the counters as metrics.
func (c *counters) register(metrics prometheus.Registerer) {
	factory := promauto.With(metrics)
	for _, m := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"published_readings_total", "Readings handed to a connection for the first time.", &c.published},
		{"acknowledged_readings_total", "Readings acknowledged; at QoS 0 written to the connection.", &c.acknowledged},
		{"resent_readings_total", "Readings sent once more on a new connection.", &c.resent},
		{"connects_total", "MQTT connections made.", &c.connects},
		{"connection_errors_total", "MQTT connections that failed or broke.", &c.errors},
	} {
		factory.NewCounterFunc(prometheus.CounterOpts{Name: "headwater_simulator_" + m.name, Help: m.help},
			func() float64 { return float64(m.value.Load()) })
	}
	for reason, value := range map[string]*atomic.Int64{"lost": &c.lost, "skipped": &c.skipped} {
		factory.NewCounterFunc(prometheus.CounterOpts{
			Name: "headwater_simulator_dropped_total", Help: "Readings given up, by reason.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}, func() float64 { return float64(value.Load()) })
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "headwater_simulator_in_flight_readings", Help: "Readings that wait for their acknowledgement.",
	}, func() float64 { return float64(c.counts().InFlight()) })
}

// writeProgress writes one line with the changes since the previous counts and the time
// that has passed.
func writeProgress(w io.Writer, elapsed time.Duration, now, before Counts, passed time.Duration) {
	rate := func(n, m int64) float64 { return float64(n-m) / passed.Seconds() }
	fmt.Fprintf(w, "%6s  published %d (%.0f/s)  acknowledged %d (%.0f/s)  in flight %d  resent %d  skipped %d  errors %d\n",
		elapsed.Round(time.Second), now.Published, rate(now.Published, before.Published),
		now.Acknowledged, rate(now.Acknowledged, before.Acknowledged),
		now.InFlight(), now.Resent, now.Skipped, now.Errors)
}

// writeSummary writes the totals of the run.
func writeSummary(w io.Writer, elapsed time.Duration, c Counts) {
	fmt.Fprintf(w, "%d readings published, %d acknowledged in %s (%.0f/s); lost %d, resent %d, skipped %d; connections made %d, failed or broken %d\n",
		c.Published, c.Acknowledged, elapsed.Round(time.Millisecond), float64(c.Acknowledged)/elapsed.Seconds(),
		c.Lost, c.Resent, c.Skipped, c.Connects, c.Errors)
}
