package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/decode"
	"headwater/services/internal/credentials"
	"headwater/services/internal/edges"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

const (
	// edgeReadings bounds the readings of one frame: the writer counts on it that a message
	// has fewer than its keys.
	edgeReadings = 4000
	// edgeCommit is about how large the anomalies of one message may be, in bytes.
	edgeCommit = streams.MaxMessage / 4
	// edgeTexts bounds each text of an anomaly, in bytes, and edgeSamples its samples.
	edgeTexts   = 4 << 10
	edgeSamples = 1000
	// edgePast is how old a reading of an edge may be: it may have waited for a link.
	edgePast = 366 * 24 * time.Hour
)

// edgeUplink stores what one edge sends, each frame once.
//
//  1. Readings go into the lanes of this Headwater, each message on the edge's own subject
//     of the lane, and summaries, which are another stream at the edge, on a subject beside
//     it. Its origin is the place of the last frame that it has readings of.
//  2. A message is stored only behind the last one of its subject. So of two gateways that
//     take the same upload, one is refused; it then reads the end of the lanes again.
//     The messages of a repair repeat the place of the lane: they are beside the frames.
//  3. A frame that is sent again has, in each lane, readings at or before the origin of the
//     lane's last message. These are left out, and so are frames at or before the last one
//     that was stored as a whole, which the status of the edge says.
type edgeUplink struct {
	in   *edgeIntake
	name string
	// busy is held by the request that is being handled. It guards what follows.
	busy chan struct{}

	loaded bool
	status edges.Status
	alerts edgeEnd
	// readings and summaries are what it sends of its two streams.
	readings, summaries *edgeFlow
}

// edgeFlow is what goes into the lanes from one stream of an edge.
type edgeFlow struct {
	source streams.Source
	lanes  []edgeEnd
	// builders pack the readings of each lane; pending is the place of the last frame in it.
	builders []telemetryv1.Builder
	pending  []uplink.Place
	touched  []int
}

func newEdgeFlow(source streams.Source, lanes int) *edgeFlow {
	return &edgeFlow{source: source, lanes: make([]edgeEnd, lanes), builders: make([]telemetryv1.Builder, lanes), pending: make([]uplink.Place, lanes)}
}

// edgeEnd is the end of one subject.
type edgeEnd struct {
	// last is the sequence of the last message; 0 for none.
	last uint64
	// place is that of the last frame in it.
	place uplink.Place
}

func newEdgeUplink(in *edgeIntake, name string) *edgeUplink {
	return &edgeUplink{
		in: in, name: name, busy: make(chan struct{}, 1),
		readings: newEdgeFlow(streams.EdgeSource(name), in.lanes), summaries: newEdgeFlow(streams.EdgeSummarySource(name), in.lanes),
	}
}

// load reads the end of a subject.
func (e *edgeEnd) load(ctx context.Context, stream jetstream.Stream, subject string, placeOf func([]byte) (uplink.Place, error)) error {
	*e = edgeEnd{}
	last, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the last message on %s: %w", subject, err)
	}
	e.last = last.Sequence
	if e.place, err = placeOf(last.Data); err != nil {
		return fmt.Errorf("last message on %s: %w", subject, err)
	}
	return nil
}

func placeOfBatch(data []byte) (uplink.Place, error) {
	b, err := streams.DecodeTelemetry(data)
	return originOf(b), err
}

func originOf(b *telemetryv1.Batch) uplink.Place {
	o := b.GetOrigin()
	return uplink.Place{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Stored: o.GetStored()}
}

func placeOfCommit(data []byte) (uplink.Place, error) {
	c, err := streams.DecodeDerived(data)
	return inputOf(c), err
}

func inputOf(c *derivedv1.Commit) uplink.Place {
	p := c.GetInput()
	return uplink.Place{Incarnation: p.GetIncarnation(), Sequence: p.GetSequence(), Stored: p.GetStored()}
}

// takeReadings stores the readings of the frames, and returns when all are stored.
func (u *edgeUplink) takeReadings(ctx context.Context, edge edges.Edge, frames []*telemetryv1.Batch) error {
	return u.takeNew(ctx, u.readings, edge, frames, func() *uplink.Place { return &u.status.StoredReadings })
}

// takeSummaries stores the summaries of the frames, which are readings too.
func (u *edgeUplink) takeSummaries(ctx context.Context, edge edges.Edge, frames []*telemetryv1.Batch) error {
	return u.takeNew(ctx, u.summaries, edge, frames, func() *uplink.Place { return &u.status.StoredSummaries })
}

// takeNew stores what is not stored yet. Stored returns where the place of the last frame that
// was stored as a whole is noted, once the status is loaded.
func (u *edgeUplink) takeNew(ctx context.Context, flow *edgeFlow, edge edges.Edge, frames []*telemetryv1.Batch, stored func() *uplink.Place) error {
	return u.take(ctx, flow, frames, func(f *telemetryv1.Batch) { u.add(flow, edge, f, stored()) }, func() {
		if n := len(frames); n > 0 && !stored().Covers(originOf(frames[n-1])) {
			*stored() = originOf(frames[n-1])
		}
	})
}

// takeAgain stores the readings of a repair, whether they are stored already or not: in the
// history a reading replaces itself.
func (u *edgeUplink) takeAgain(ctx context.Context, edge edges.Edge, frames []*telemetryv1.Batch) error {
	return u.take(ctx, u.readings, frames, func(f *telemetryv1.Batch) { u.add(u.readings, edge, f, nil) }, func() {})
}

// take adds frames, stores what was added, and notes what is stored.
func (u *edgeUplink) take(ctx context.Context, flow *edgeFlow, frames []*telemetryv1.Batch, add func(*telemetryv1.Batch), note func()) error {
	for _, f := range frames {
		if err := f.Check(); err != nil {
			return fmt.Errorf("%w: %w", uplink.ErrUpload, err)
		}
		if len(f.Series) > edgeReadings {
			return fmt.Errorf("%w: a frame with %d readings, at most %d", uplink.ErrUpload, len(f.Series), edgeReadings)
		}
	}
	if err := u.lock(ctx); err != nil {
		return err
	}
	defer u.unlock()
	if err := u.load(ctx); err != nil {
		return err
	}
	defer flow.drop()
	for _, f := range frames {
		if flow.fills(f) {
			if err := u.commit(ctx, flow); err != nil {
				return err
			}
		}
		add(f)
	}
	if err := u.commit(ctx, flow); err != nil {
		return err
	}
	note()
	return u.keep(ctx)
}

// fills reports whether a lane may have too many readings with the frame.
func (flow *edgeFlow) fills(f *telemetryv1.Batch) bool {
	for _, lane := range flow.touched {
		if flow.builders[lane].Len()+len(f.Series) > maxReadings {
			return true
		}
	}
	return false
}

// add adds the readings of a frame: those that are not stored yet when whole is the place of
// the last frame that was stored as a whole, or again all if that is nil.
func (u *edgeUplink) add(flow *edgeFlow, edge edges.Edge, f *telemetryv1.Batch, whole *uplink.Place) {
	place, now := originOf(f), time.Now()
	// The lanes may have lost their last messages of the edge to age.
	before := whole != nil && whole.Covers(place)
	dictionary := f.Dictionary()
	lanes := make([]int, len(dictionary))
	for i, d := range dictionary {
		lanes[i] = -1
		if reason := u.refusal(edge, d); reason != "" {
			u.in.svc.metrics.dropped.WithLabelValues(reason).Inc()
			continue
		}
		lanes[i] = streams.Lane(d.Site, d.Device, len(flow.lanes))
	}
	for r := range f.Readings() {
		lane := lanes[r.Series]
		if lane < 0 || !sound(r, now) {
			u.status.Refused++
			continue
		}
		if whole == nil {
			place = flow.lanes[lane].place
		} else if before || flow.lanes[lane].place.Covers(place) {
			continue
		}
		if flow.builders[lane].Empty() {
			flow.touched = append(flow.touched, lane)
		}
		uplink.Append(&flow.builders[lane], dictionary[r.Series].Key, r)
		flow.pending[lane] = place
	}
}

// refusal returns why an edge may not send readings of a series, or nothing.
func (u *edgeUplink) refusal(edge edges.Edge, d telemetryv1.Series) string {
	limits := decode.DefaultLimits()
	switch {
	case !streams.ValidToken(d.Site) || !streams.ValidToken(d.Device) || !streams.ValidToken(d.Metric) || len(d.Unit) > limits.Unit:
		return streams.ReasonPayload
	case !edge.Speaks(d.Site):
		return reasonForeign
	}
	if err := u.in.svc.check(credentials.Credential{}, d.Site, d.Device); err != nil {
		return err.Reason
	}
	return ""
}

// sound reports whether a reading is one that a decoder would have admitted.
func sound(r telemetryv1.Reading, now time.Time) bool {
	limits := decode.DefaultLimits()
	at := time.Unix(0, r.Time)
	return !math.IsNaN(r.Value) && !math.IsInf(r.Value, 0) && len(r.Text) <= limits.Text &&
		now.Sub(at) <= edgePast && at.Sub(now) <= limits.Future
}

// commit stores what was added, one message for each lane.
func (u *edgeUplink) commit(ctx context.Context, flow *edgeFlow) error {
	js := u.in.svc.js
	if js.Conn().Status() != nats.CONNECTED {
		return errDisconnected
	}
	type message struct {
		lane  int
		batch *telemetryv1.Batch
		ack   jetstream.PubAckFuture
	}
	var sent []message
	var failed error
	for _, lane := range flow.touched {
		b := flow.builders[lane].Take(time.Now().UnixNano())
		place := flow.pending[lane]
		b.Origin = &telemetryv1.Origin{Incarnation: place.Incarnation, Sequence: place.Sequence, Stored: place.Stored}
		m, err := streams.TelemetryMsg(lane, flow.source, b)
		if err == nil {
			var ack jetstream.PubAckFuture
			if ack, err = js.PublishMsgAsync(behind(m, flow.lanes[lane].last)); err == nil {
				sent = append(sent, message{lane, b, ack})
				continue
			}
		}
		failed = errors.Join(failed, err)
	}
	flow.touched = flow.touched[:0]
	for _, m := range sent {
		ack, err := streams.Stored(ctx, m.ack)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		flow.lanes[m.lane] = edgeEnd{ack.Sequence, originOf(m.batch)}
		u.in.svc.metrics.readings.Add(float64(len(m.batch.GetSeries())))
		u.in.svc.registry.See(m.batch)
	}
	if failed != nil {
		u.loaded = false
	}
	return failed
}

// behind lets a message be stored only as the next one of its subject.
func behind(m *nats.Msg, last uint64) *nats.Msg {
	m.Header = nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(last, 10)}}
	return m
}

// drop forgets what was added and not stored.
func (flow *edgeFlow) drop() {
	for _, lane := range flow.touched {
		flow.builders[lane].Take(0)
	}
	flow.touched = flow.touched[:0]
}

// takeAlerts stores the anomalies of the frames, and returns when all are stored.
func (u *edgeUplink) takeAlerts(ctx context.Context, edge edges.Edge, frames []*derivedv1.Commit) error {
	if err := u.lock(ctx); err != nil {
		return err
	}
	defer u.unlock()
	if err := u.load(ctx); err != nil {
		return err
	}
	for len(frames) > 0 {
		c, size := &derivedv1.Commit{}, 0
		for len(frames) > 0 && size < edgeCommit {
			f := frames[0]
			size += proto.Size(f)
			notifier := ""
			if f.GetNotifier() != "" {
				notifier = u.name
			}
			if len(c.Anomalies) > 0 && c.Notifier != notifier {
				break
			}
			frames = frames[1:]
			if u.alerts.place.Covers(inputOf(f)) || u.status.StoredAlerts.Covers(inputOf(f)) {
				continue
			}
			c.Input, c.Notifier = f.GetInput(), notifier
			for _, a := range f.GetAnomalies() {
				if !soundAnomaly(edge, a) {
					u.status.Refused++
					continue
				}
				// The notification says when this Headwater learned of it.
				a.Learned = time.Now().UnixNano()
				c.Anomalies = append(c.Anomalies, a)
			}
		}
		if c.Input == nil {
			break
		}
		u.status.StoredAlerts = inputOf(c)
		if len(c.Anomalies) == 0 {
			continue
		}
		if err := u.commitAlerts(ctx, c); err != nil {
			u.loaded = false
			return err
		}
	}
	return u.keep(ctx)
}

func (u *edgeUplink) commitAlerts(ctx context.Context, c *derivedv1.Commit) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the anomalies of edge %s: %w", u.name, err)
	}
	js := u.in.svc.js
	if js.Conn().Status() != nats.CONNECTED {
		return errDisconnected
	}
	ack, err := js.PublishMsg(ctx, behind(&nats.Msg{Subject: streams.DerivedEdgeSubject(u.name), Data: data}, u.alerts.last))
	if err != nil {
		return fmt.Errorf("store the anomalies of edge %s: %w", u.name, err)
	}
	u.alerts = edgeEnd{ack.Sequence, inputOf(c)}
	return nil
}

// soundAnomaly reports whether an anomaly is one that the notifier can take from the edge.
func soundAnomaly(edge edges.Edge, a *derivedv1.Anomaly) bool {
	s, e := a.GetSeries(), a.GetEvidence()
	return streams.ValidToken(s.GetSite()) && streams.ValidToken(s.GetDevice()) && streams.ValidToken(s.GetMetric()) && edge.Speaks(s.GetSite()) &&
		a.GetRule() != "" && len(a.GetRule()) <= 2*uplinkNames && len(a.GetUnit()) <= decode.DefaultLimits().Unit &&
		a.GetPhase() >= derivedv1.Phase_PHASE_OPEN && a.GetPhase() <= derivedv1.Phase_PHASE_CLOSE &&
		len(e.GetSentence()) <= edgeTexts && len(e.GetSamples()) <= edgeSamples
}

// uplinkNames is the longest name of a series, in bytes.
const uplinkNames = 64
