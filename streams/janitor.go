package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Holding is the part of a lane's manifest with what the lane needs to start from that
// snapshot: its input after InputSequence, and its own commits from OutputSequence on.
type Holding struct {
	InputStream    string `json:"input_stream"`
	InputSequence  uint64 `json:"input_sequence"`
	OutputStream   string `json:"output_stream"`
	OutputSequence uint64 `json:"output_sequence"`
	// Incarnation is when the input stream was created and OutputIncarnation when the output
	// stream was, in nanoseconds since the Unix epoch. The sequences do not apply to a
	// recreated stream. 0 in manifests of earlier versions.
	Incarnation       int64 `json:"incarnation"`
	OutputIncarnation int64 `json:"output_incarnation,omitempty"`
	// InputStored and OutputStored are when the messages at these sequences were stored, in
	// nanoseconds since the Unix epoch; 0 in manifests of earlier versions.
	InputStored  int64 `json:"input_stored,omitempty"`
	OutputStored int64 `json:"output_stored,omitempty"`
}

// Input is the place in the input stream.
func (h *Holding) Input() Place { return Place{h.Incarnation, h.InputSequence, h.InputStored} }

// Output is the place in the output stream.
func (h *Holding) Output() Place { return Place{h.OutputIncarnation, h.OutputSequence, h.OutputStored} }

// AlertsKey is the key in BucketManifests of the notifier's Checkpoint in ALERTING.
const AlertsKey = ServiceNotifier + ".alerts"

// Checkpoint is the value of AlertsKey, as JSON.
type Checkpoint struct {
	// Incarnation is when ALERTING was created, in nanoseconds since the Unix
	// epoch.
	Incarnation int64 `json:"incarnation"`
	// Bucket is when the bucket of alerts was created, in nanoseconds since the Unix epoch; 0
	// in a checkpoint of an earlier version.
	Bucket int64 `json:"bucket,omitempty"`
	// Sequence is the last commit that the bucket of alerts reflects, and Stored when it was
	// stored, in nanoseconds since the Unix epoch; 0 in a checkpoint of an earlier version.
	Sequence uint64 `json:"sequence"`
	Stored   int64  `json:"stored,omitempty"`
	// Channels is the last commit for which every channel that it has messages for has a
	// consumer.
	Channels uint64 `json:"channels"`
}

// Place is the place of the last commit that the bucket of alerts reflects.
func (c *Checkpoint) Place() Place { return Place{c.Incarnation, c.Sequence, c.Stored} }

// Janitor removes from TELEMETRY, DERIVED and ALERTING what is older than the stream's age
// or fills the stream above its mark, but nothing that a lane, a writer, a sender or the
// notifier still needs. Any number of janitors may run; a lease lets one of them work at a
// time.
type Janitor struct {
	JS  jetstream.JetStream
	Log *slog.Logger
	// Every is the pause between two rounds; 0 means one minute. It is a twelfth of that
	// while a stream is above its mark, so that there is room soon after what needed the
	// messages has processed them.
	Every time.Duration
}

const (
	// janitorLease is the key of the janitor's lease.
	janitorLease = "janitor"
	// highMark is the part of a stream's MaxBytes above which it is purged, and lowMark the
	// part down to which.
	highMark, lowMark = 0.80, 0.75
)

// Run cleans up until ctx ends.
func (j Janitor) Run(ctx context.Context) error {
	every := j.Every
	if every == 0 {
		every = time.Minute
	}
	var alarmed time.Time
	for {
		now, pause := time.Now(), every
		full, err := j.round(ctx, now)
		if err != nil && ctx.Err() == nil {
			j.Log.Warn("streams could not be cleaned up; the next round tries again", "err", err)
		}
		if len(full) > 0 {
			pause = every / 12
		}
		if now.Sub(alarmed) >= every {
			for _, f := range full {
				if f.waits != "" {
					j.Log.Error("stream fills up with messages that are not processed yet; it will refuse new ones when it is full",
						"stream", f.stream, "full", fmt.Sprintf("%.0f%%", f.part*100), "waits_for", f.waits, "from_seq", f.sequence)
					alarmed = now
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// fullStream is a stream above its mark. Waits is what still needs messages that would
// have to be purged, from the sequence on; empty if nothing does.
type fullStream struct {
	stream   string
	part     float64
	waits    string
	sequence uint64
}

// Clean does one round. It does nothing while another janitor works.
func (j Janitor) Clean(ctx context.Context, now time.Time) error {
	_, err := j.round(ctx, now)
	return err
}

// round does one round and returns the streams that were above their mark.
func (j Janitor) round(ctx context.Context, now time.Time) ([]fullStream, error) {
	leases, err := j.JS.KeyValue(ctx, BucketLeases)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketLeases, err)
	}
	if _, err := leases.Create(ctx, janitorLease, nil); IsConflict(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("take the lease of the janitor: %w", err)
	}
	// A lease that is not released expires by itself.
	defer func() { _ = leases.Delete(context.WithoutCancel(ctx), janitorLease) }()
	topology, err := Check(ctx, j.JS)
	if err != nil {
		return nil, err
	}
	needs, err := j.lanesNeed(ctx, topology.Lanes)
	if err != nil {
		return nil, err
	}
	var full []fullStream
	var errs []error
	for name, age := range map[string]time.Duration{
		StreamTelemetry: AgeTelemetry, StreamDerived: AgeDerived, StreamAlerting: AgeAlerting,
	} {
		above, err := j.clean(ctx, name, now.Add(-age), needs[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("clean up stream %s: %w", name, err))
		}
		if above != nil {
			full = append(full, *above)
		}
	}
	return full, errors.Join(errs...)
}

// need is the first sequence that is still needed, and by what.
type need struct {
	sequence uint64
	who      string
}

func (n *need) add(sequence uint64, who string) {
	if n.who == "" || sequence < n.sequence {
		n.sequence, n.who = sequence, who
	}
}

// held is what lanes need from a stream.
type held struct {
	// must is for the snapshots that they have. should is for the case that a lane's only
	// snapshot is damaged; it is ignored when the stream is full.
	must, should need
}

func (h *held) add(sequence uint64, who string) {
	h.must.add(sequence, who)
	h.should.add(sequence, who)
}

// lanesNeed returns what the two snapshots of each lane need from each stream, and what the
// bucket of alerts needs. A lane without a snapshot needs everything, and so does one whose
// stream was recreated after its snapshot. A lane that has read further than the stream
// needs all new messages.
func (j Janitor) lanesNeed(ctx context.Context, lanes int) (map[string]*held, error) {
	bucket, err := j.JS.KeyValue(ctx, BucketManifests)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketManifests, err)
	}
	needs := map[string]*held{StreamTelemetry: {}, StreamDerived: {}, StreamAlerting: {}}
	handles := make(map[string]jetstream.Stream)
	for name := range needs {
		handles[name], err = j.JS.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look up stream %s: %w", name, err)
		}
	}
	add := func(service string, lane int, input, output string) error {
		key := ManifestKey(service, lane)
		who := "lane " + key
		history, err := bucket.History(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			needs[input].add(0, who)
			needs[output].add(0, who)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read manifests of %s: %w", key, err)
		}
		for _, entry := range history {
			var h Holding
			if err := json.Unmarshal(entry.Value(), &h); err != nil || h.InputStream != input || h.OutputStream != output {
				continue
			}
			in, _, err := h.Input().Resume(ctx, handles[input])
			if err != nil {
				return err
			}
			out, _, err := h.Output().Resume(ctx, handles[output])
			if err != nil {
				return err
			}
			needs[input].add(in.Sequence+1, who)
			needs[output].add(out.Sequence, who)
		}
		if len(history) < 2 {
			needs[input].should.add(0, who)
			needs[output].should.add(0, who)
		}
		return nil
	}
	for lane := range GroupLane(lanes) + 1 {
		if err := add(ServiceProcessor, lane, StreamTelemetry, StreamDerived); err != nil {
			return nil, err
		}
	}
	if err := add(ServiceNotifier, 0, StreamDerived, StreamAlerting); err != nil {
		return nil, err
	}
	for _, name := range []string{StreamTelemetry, StreamDerived} {
		sent, known, err := sentUp(ctx, j.JS, handles[name])
		if err != nil {
			return nil, err
		}
		if known {
			needs[name].should.add(sent+1, "the centre")
		}
	}
	reflected, err := reflectedUntil(ctx, bucket, handles[StreamAlerting])
	if err != nil {
		return nil, err
	}
	needs[StreamAlerting].add(reflected, "key "+AlertsKey)
	return needs, nil
}

// reflectedUntil returns the first sequence of ALERTING that the bucket of alerts does not
// reflect yet; senders may be far ahead of it. Without a checkpoint everything is needed.
func reflectedUntil(ctx context.Context, manifests jetstream.KeyValue, alerting jetstream.Stream) (uint64, error) {
	entry, err := manifests.Get(ctx, AlertsKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read key %s of bucket %s: %w", AlertsKey, BucketManifests, err)
	}
	var c Checkpoint
	if err := json.Unmarshal(entry.Value(), &c); err != nil {
		return 0, nil //nolint:nilerr // the notifier reads everything again too
	}
	reflected, _, err := c.Place().Resume(ctx, alerting)
	return min(reflected.Sequence, c.Channels) + 1, err
}

// sentUp returns how far an edge has sent a stream to its centre, and whether this is an
// edge. What is not sent yet is kept while there is room: it must not keep an edge without a
// link from taking readings.
func sentUp(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) (uint64, bool, error) {
	bucket, err := js.KeyValue(ctx, BucketEdges)
	if err != nil {
		return 0, false, fmt.Errorf("open bucket %s: %w", BucketEdges, err)
	}
	name, sent, known := stream.CachedInfo().Config.Name, uint64(0), false
	for _, key := range []string{UplinkKey(name), SummaryUplinkKey(name)} {
		entry, err := bucket.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return 0, false, fmt.Errorf("read key %s of bucket %s: %w", key, BucketEdges, err)
		}
		var u Uplink
		if err := json.Unmarshal(entry.Value(), &u); err != nil {
			return 0, true, nil //nolint:nilerr // nothing is known to be sent
		}
		at, _, err := u.Place().Resume(ctx, stream)
		if err != nil {
			return 0, true, err
		}
		if !known || at.Sequence < sent {
			sent, known = at.Sequence, true
		}
	}
	return sent, known, nil
}

// clean purges one stream, and returns it if it was above its mark.
func (j Janitor) clean(ctx context.Context, name string, oldest time.Time, lanes *held) (above *fullStream, err error) {
	stream, err := j.JS.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	state := info.State
	if state.Msgs == 0 {
		return nil, nil
	}
	needed := *lanes
	consumers := stream.ListConsumers(ctx)
	for consumer := range consumers.Info() {
		if consumer.Config.Durable == "" {
			continue
		}
		through, err := ProcessedThrough(ctx, j.JS, consumer, state.LastSeq)
		if err != nil {
			return nil, err
		}
		if _, _, ok := ParseFunctionConsumer(consumer.Name); ok {
			// A function that is slow or broken must not keep readings out.
			needed.should.add(through+1, "consumer "+consumer.Name)
			continue
		}
		needed.add(through+1, "consumer "+consumer.Name)
	}
	if err := consumers.Err(); err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	until, err := firstSince(ctx, stream, state, oldest)
	if err != nil {
		return nil, err
	}
	until = min(until, needed.should.sequence)
	full := float64(state.Bytes) / float64(info.Config.MaxBytes)
	if full > highMark {
		excess := float64(state.Bytes) - lowMark*float64(info.Config.MaxBytes)
		perMessage := float64(state.Bytes) / float64(state.Msgs)
		until = max(until, state.FirstSeq+uint64(math.Ceil(excess/perMessage)))
	}
	if full > highMark {
		above = &fullStream{stream: name, part: full}
		if needed.must.sequence < until {
			above.waits, above.sequence = needed.must.who, needed.must.sequence
		}
	}
	until = min(until, needed.must.sequence)
	if until <= state.FirstSeq {
		return above, nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(until)); err != nil {
		return above, fmt.Errorf("purge up to sequence %d: %w", until, err)
	}
	j.Log.Debug("stream was cleaned up", "stream", name, "seq", until)
	return above, nil
}

// firstSince returns the sequence of the first message stored at t or later, or the one
// after the last message.
func firstSince(ctx context.Context, stream jetstream.Stream, state jetstream.StreamState, t time.Time) (uint64, error) {
	if !state.FirstTime.Before(t) {
		return state.FirstSeq, nil
	}
	low, high := state.FirstSeq, state.LastSeq+1
	for low < high {
		middle := low + (high-low)/2
		msg, err := stream.GetMsg(ctx, middle)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			// Removed meanwhile, so older than the rest.
			low = middle + 1
		case err != nil:
			return 0, fmt.Errorf("read message %d: %w", middle, err)
		case msg.Time.Before(t):
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, nil
}
