package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/proto/figure"
	"headwater/services/decode"
	"headwater/services/internal/process"
	"headwater/streams"
)

const (
	// defaultWait is how long a decision is waited for, and longestWait the most that a
	// request may ask for.
	defaultWait = 2 * time.Second
	longestWait = 10 * time.Second
	// maxWaiters bounds the requests that wait for a decision.
	maxWaiters = 256
	// maxAsked bounds the devices of a request that asks for a decision.
	maxAsked = 20
	// lingers is how long the commits of the lanes are followed after the last decision.
	lingers = 30 * time.Second
	// keptDecisions bounds the decisions that are kept for requests that do not know yet
	// where their readings are.
	keptDecisions = 4096
)

// place is where readings are: a message of the stream, and its lane.
type place struct {
	lane     int
	sequence uint64
}

// decided is what the rules of one device say after the readings of a request.
type decided struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	// State is firing if a rule is, else learning if all that watch it are, else ok; none if
	// no rule watches the device.
	State string `json:"state"`
	// Rules are the rules that watch the device, metric by metric.
	Rules []ruleState `json:"rules"`
	// Incomplete is set if there are more rules.
	Incomplete bool `json:"incomplete,omitempty"`
	// Held is how many readings of the device have a time that has not come yet: they are
	// judged then.
	Held uint64 `json:"held,omitempty"`
}

type ruleState struct {
	Rule   string `json:"rule"`
	Metric string `json:"metric"`
	// State is ok, learning or firing.
	State    string  `json:"state"`
	Severity string  `json:"severity,omitempty"`
	Score    float64 `json:"score,omitempty"`
	// Sentence says why, if it has begun to fire or has changed with these readings.
	Sentence string `json:"sentence,omitempty"`
	// Judged is the time of the latest reading that the rule has judged; a reading that is
	// older than one before it is stored, but not judged.
	Judged time.Time `json:"judged_until,omitzero"`
}

// decider brings the decisions of the lanes to the requests that wait for them. It follows
// the commits only while somebody waits.
type decider struct {
	js   jetstream.JetStream
	log  *slog.Logger
	room *semaphore.Weighted
	wake chan struct{}

	mu sync.Mutex // guards what follows
	// waiting counts the requests that wait, and last is when one did.
	waiting int
	last    time.Time
	// following is closed once the commits are followed; nil while nobody asked for that.
	following chan struct{}
	// kept are the latest decisions, order their places, the oldest first.
	kept  map[place][]decided
	order []place
	// news is closed, and replaced, when a decision comes.
	news chan struct{}
}

func newDecider(js jetstream.JetStream, log *slog.Logger) *decider {
	return &decider{
		js: js, log: log, room: semaphore.NewWeighted(maxWaiters), wake: make(chan struct{}, 1),
		kept: make(map[place][]decided), news: make(chan struct{}),
	}
}

// run follows the commits while somebody waits, until ctx ends.
func (d *decider) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		next := uint64(0) // what was not read yet; 0 for what is stored from now on
		for ctx.Err() == nil && d.wanted() {
			if err := d.follow(ctx, &next); err != nil && ctx.Err() == nil {
				d.log.Warn("decisions cannot be followed; trying again", "stream", streams.StreamDerived, "err", err)
				process.Sleep(ctx, time.Second)
			}
		}
	}
}

// wanted reports whether somebody waits, or has lately.
func (d *decider) wanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0 || time.Since(d.last) < lingers
}

// follow takes the decisions of the commits from next on, which it moves, until nobody waits
// any more or something fails.
func (d *decider) follow(ctx context.Context, next *uint64) error {
	if *next == 0 {
		stream, err := d.js.Stream(ctx, streams.StreamDerived)
		if err != nil {
			return err
		}
		*next = stream.CachedInfo().State.LastSeq + 1
		d.forget()
	}
	consumer, err := d.js.OrderedConsumer(ctx, streams.StreamDerived, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{streams.DerivedAll}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *next,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	d.mu.Lock()
	if d.following == nil {
		d.following = make(chan struct{})
	}
	close(d.following)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.following = nil
		d.mu.Unlock()
	}()
	for d.wanted() {
		limited, cancel := context.WithTimeout(ctx, lingers)
		msg, err := messages.Next(jetstream.NextContext(limited))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		d.take(msg)
		if meta, err := msg.Metadata(); err == nil {
			*next = meta.Sequence.Stream + 1
		}
	}
	return nil
}

// forget drops the decisions that are kept: the streams may have been recreated since they came.
func (d *decider) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.kept)
	d.order = nil
}

// take keeps the decisions of a commit.
func (d *decider) take(msg jetstream.Msg) {
	lane, err := streams.ParseDerived(msg.Subject())
	if err != nil {
		return
	}
	commit, err := streams.DecodeDerived(msg.Data())
	if err != nil || len(commit.Decisions) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range commit.Decisions {
		at := place{lane, one.Sequence}
		if _, known := d.kept[at]; !known {
			if len(d.order) == keptDecisions {
				delete(d.kept, d.order[0])
				d.order = d.order[1:]
			}
			d.order = append(d.order, at)
		}
		d.kept[at] = append(d.kept[at], shownDecision(one, commit.Anomalies))
	}
	close(d.news)
	d.news = make(chan struct{})
}

// errDeciders is returned while too many requests wait for a decision.
var errDeciders = errors.New("too many requests wait for a decision")

// errUndecided is returned if no decision came in time.
var errUndecided = errors.New("the rules have not been evaluated in time")

// begin makes room for a request that will wait, and has the commits followed. The caller
// calls done when it waits no longer.
func (d *decider) begin(ctx context.Context) (done func(), err error) {
	if !d.room.TryAcquire(1) {
		return nil, errDeciders
	}
	d.mu.Lock()
	d.waiting++
	if d.following == nil {
		d.following = make(chan struct{})
	}
	following := d.following
	d.mu.Unlock()
	done = func() {
		d.mu.Lock()
		d.waiting--
		d.last = time.Now()
		d.mu.Unlock()
		d.room.Release(1)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	select {
	case <-following:
		return done, nil
	case <-ctx.Done():
		done()
		return nil, errUndecided
	}
}

// await returns the decisions about the readings at the places, or errUndecided.
func (d *decider) await(ctx context.Context, places []place) ([]decided, error) {
	for {
		d.mu.Lock()
		var all []decided
		missing := slices.ContainsFunc(places, func(p place) bool {
			all = append(all, d.kept[p]...)
			return len(d.kept[p]) == 0
		})
		news := d.news
		d.mu.Unlock()
		if !missing {
			return all, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, errUndecided
		}
	}
}

var (
	judgements = map[derivedv1.Judgement]string{
		derivedv1.Judgement_JUDGEMENT_NORMAL: "ok", derivedv1.Judgement_JUDGEMENT_LEARNING: "learning", derivedv1.Judgement_JUDGEMENT_ABNORMAL: "firing",
	}
	severities = map[derivedv1.Severity]string{
		derivedv1.Severity_SEVERITY_INFO: "info", derivedv1.Severity_SEVERITY_WARNING: "warning", derivedv1.Severity_SEVERITY_CRITICAL: "critical",
	}
)

// shownDecision returns a decision as it is answered, with the reasons that its commit has.
func shownDecision(one *derivedv1.Decision, anomalies []*derivedv1.Anomaly) decided {
	out := decided{Site: one.Site, Device: one.Device, State: "none", Rules: []ruleState{}, Incomplete: one.More, Held: one.Held}
	firing, learning := false, true
	for _, r := range one.Rules {
		s := ruleState{Rule: r.Rule, Metric: r.Metric, State: judgements[r.Judgement], Severity: severities[r.Severity], Score: r.Score}
		if r.Judged != 0 {
			s.Judged = time.Unix(0, r.Judged).UTC()
		}
		for _, a := range anomalies {
			series := a.GetSeries()
			if a.Rule == r.Rule && series.GetMetric() == r.Metric && series.GetDevice() == one.Device && series.GetSite() == one.Site {
				s.Sentence = figure.Clip(a.GetEvidence().GetSentence(), 500)
			}
		}
		firing = firing || s.State == "firing"
		learning = learning && s.State == "learning"
		out.Rules = append(out.Rules, s)
	}
	switch {
	case firing:
		out.State = "firing"
	case len(out.Rules) > 0 && learning:
		out.State = "learning"
	case len(out.Rules) > 0:
		out.State = "ok"
	}
	return out
}

// waitOf returns how long a request waits for a decision; 0 if it asks for none.
func waitOf(r *http.Request) (time.Duration, *fault) {
	wait := time.Duration(0)
	for _, header := range r.Header.Values("Prefer") {
		for part := range strings.SplitSeq(header, ",") {
			name, seconds, given := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
			if name != "wait" {
				continue // what is not understood is ignored, says RFC 7240
			}
			if n, err := strconv.Atoi(seconds); err == nil && n > 0 {
				wait = time.Duration(min(n, int(longestWait/time.Second))) * time.Second
			} else if !given {
				wait = defaultWait
			}
		}
	}
	switch asked := r.URL.Query().Get("decide"); asked {
	case "", "0":
	case "1":
		if wait == 0 {
			wait = defaultWait
		}
	default:
		return 0, &fault{status: http.StatusBadRequest, Error: fmt.Sprintf("decide must be 1, not %q", figure.Clip(asked, 40))}
	}
	return wait, nil
}

// tooMuch returns why no decision can be waited for about the items, or nil.
func tooMuch(items []decode.Item) *fault {
	type device struct{ site, name string }
	devices, readings := make(map[device]bool), 0
	for _, i := range items {
		devices[device{i.Site, i.Device}] = true
		readings += len(i.Readings)
	}
	if len(devices) > maxAsked || readings > maxReadings {
		return &fault{status: http.StatusBadRequest, Error: fmt.Sprintf("a decision is about at most %d devices and %d readings: send them in parts, or without decide", maxAsked, maxReadings)}
	}
	return nil
}
