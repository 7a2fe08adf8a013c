package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

const (
	// clockInterval is the pause between two probes.
	clockInterval = time.Second
	// clockMargin is how far a probe's time lies before its look at the stream:
	// readings of QoS 0 and of the gateway that arrived at that time are on
	// their way into the lanes no longer.
	clockMargin = 100 * time.Millisecond
)

// probe says that everything that arrived up to a time is stored as soon as
// the input is stored up to a sequence. So the clock says "caught up to" a time
// that has been true at some moment: it neither runs ahead of a backlog nor
// needs a moment in which nothing is on its way.
type probe struct {
	// time is in nanoseconds since the Unix epoch.
	time     int64
	sequence uint64
}

// ask makes a probe each second, as soon as the one before has been taken. It
// also notices when the stream was made anew.
func (r *reader) ask(ctx context.Context, src source, probes chan<- probe, broken chan<- error) {
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	for {
		// The time is taken first: what arrives later may be part of the answer.
		before := time.Now()
		info, err := lookAt(ctx, src.stream)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			report(broken, fmt.Errorf("look at stream %s: %w", streams.StreamMQTT, err))
			return
		case !info.Created.Equal(src.incarnation):
			report(broken, errMadeAnew)
			return
		}
		r.svc.metrics.waiting.Set(float64(info.State.Msgs))
		select {
		case probes <- newProbe(before, info):
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// newProbe is what the answer of a stream says that was asked at a time. Of
// two clocks that differ, that of the server and that of the bridge, the one
// that is behind counts.
func newProbe(asked time.Time, info *jetstream.StreamInfo) probe {
	if !info.TimeStamp.IsZero() && info.TimeStamp.Before(asked) {
		asked = info.TimeStamp
	}
	p := probe{time: asked.Add(-clockMargin).UnixNano(), sequence: info.State.LastSeq}
	if info.State.Msgs == 0 {
		// All is stored, or was purged and never comes.
		p.sequence = 0
	}
	return p
}

func lookAt(ctx context.Context, stream jetstream.Stream) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return stream.Info(ctx)
}
