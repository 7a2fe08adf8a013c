// Package batch groups readings by lane and packs the readings of one lane into one batch.
// The bridge and the gateway use it.
package batch

import (
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/streams"
)

// Packer collects readings of any number of devices. It is for one goroutine.
type Packer struct {
	lanes   []lane
	touched []int
	out     []ForLane
	len     int
}

type lane struct {
	builder telemetryv1.Builder
	arrival int64
}

// ForLane is a batch and its lane.
type ForLane struct {
	Lane  int
	Batch *telemetryv1.Batch
}

// New returns a Packer for that number of lanes, which must be positive.
func New(lanes int) *Packer {
	return &Packer{lanes: make([]lane, lanes)}
}

// Add adds readings of one device, which arrived at arrival, in nanoseconds since the Unix
// epoch. It copies them and returns their lane.
func (p *Packer) Add(site, device string, readings []decode.Reading, arrival int64) int {
	i := streams.Lane(site, device, len(p.lanes))
	if len(readings) == 0 {
		return i
	}
	l := &p.lanes[i]
	p.touch(i, arrival)
	for j := range readings {
		r := &readings[j]
		key := telemetryv1.Key{Site: site, Device: device, Metric: r.Metric, Unit: r.Unit}
		switch r.Kind {
		case decode.Value:
			l.builder.Value(key, r.Time, r.Value)
		case decode.Flag:
			l.builder.Flag(key, r.Time, r.Flag)
		case decode.Text:
			l.builder.Text(key, r.Time, r.Text)
		}
	}
	p.len += len(readings)
	return i
}

// Reject records that a message, which arrived at arrival, became a dead letter. Site and
// device may be empty; they name a device like any other.
func (p *Packer) Reject(site, device string, arrival int64) {
	i := streams.Lane(site, device, len(p.lanes))
	p.touch(i, arrival)
	p.lanes[i].builder.Reject(site, device)
}

// touch records that something is added for the lane.
func (p *Packer) touch(i int, arrival int64) {
	l := &p.lanes[i]
	if l.builder.Empty() {
		p.touched = append(p.touched, i)
		l.arrival = arrival
	}
	l.arrival = max(l.arrival, arrival)
}

// Len returns how many readings were added since the last Take.
func (p *Packer) Len() int { return p.len }

// Take returns one batch for each lane to which something was added, and empties the
// Packer. Arrival of a batch is the time of its latest message. The slice is valid until
// the next Take; the batches belong to the caller.
func (p *Packer) Take() []ForLane {
	clear(p.out)
	p.out = p.out[:0]
	for _, i := range p.touched {
		l := &p.lanes[i]
		p.out = append(p.out, ForLane{Lane: i, Batch: l.builder.Take(l.arrival)})
	}
	p.touched, p.len = p.touched[:0], 0
	return p.out
}
