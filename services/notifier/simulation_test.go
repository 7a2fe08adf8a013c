package notifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/calendar"
	"headwater/services/internal/config"
	"headwater/services/internal/handling"
	"headwater/services/internal/lane"
	"headwater/services/internal/oncall"
	"headwater/services/internal/silence"
	"headwater/services/internal/simulation"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
	"headwater/streams"
)

const (
	simLanes = 2
	// simSeeds is how many seeds run by default.
	simSeeds = 250
	// drainTime bounds, by the simulation's clock, how long it takes until all is
	// decided and sent when nothing fails any more: a lease that runs out, the
	// longest pause between two attempts, and a message that is claimed by a sender
	// that died.
	drainTime = 12 * time.Minute
	// simTime is when the first anomaly begins, in seconds since the Unix epoch.
	simTime = 1_700_000_000
)

// world is one run of the simulation.
type world struct {
	seed    uint64
	rng     *rand.Rand
	cluster *simulation.Cluster
	admin   *simulation.Client
	crew    *simulation.Crew
	log     *slog.Logger
	// failing is how many of a hundred attempts to send fail.
	failing int
	// recreate has ALERTING recreated while everything runs; recreated is set once it
	// was.
	recreate, recreated bool
	// empty has the bucket of alerts be lost now and then. It can only be made of
	// what ALERTING keeps, so that isn't cleaned up.
	empty bool

	revision uint64
	revised  int
	at       int64
	episode  map[string]int64
	// silences are those in the bucket, silenced is how many there were.
	silences []silence.Silence
	silenced int
	poison   [][]byte
	ends     map[string]*end
	// decoded is what commits returned last.
	decoded []*alertingv1.Commit
}

// end is where the messages of a channel arrive, from any sender.
type end struct {
	mu sync.Mutex
	// taken is every message that arrived, in order; refused are the keys of those
	// that were refused for good.
	taken   []channel.Message
	refused map[string]bool
	// senders is how many there were, unsure how often a message that had arrived was
	// reported as failed.
	senders, unsure int
}

func newWorld(ctx context.Context, seed uint64) (*world, error) {
	rng := rand.New(rand.NewPCG(seed, 3))
	w := &world{
		seed: seed, rng: rng, cluster: simulation.NewCluster(), log: slog.New(slog.DiscardHandler), failing: rng.IntN(30), recreate: rng.IntN(3) == 0, empty: rng.IntN(3) == 0,
		at: simTime, episode: make(map[string]int64), ends: make(map[string]*end),
	}
	if os.Getenv("HEADWATER_SIMULATION_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, name := range []string{"phone", "log"} {
		w.ends[name] = &end{refused: make(map[string]bool)}
	}
	w.crew = w.cluster.NewCrew(seed, simulation.RandomOdds(rng), w.run)
	w.admin = w.cluster.Connect(seed, "admin", nil)
	if _, err := streams.Ensure(ctx, w.admin, streams.Options{Lanes: simLanes}); err != nil {
		return nil, err
	}
	w.cluster.RemoveConsumers(streams.StreamTelemetry, streams.StreamDerived, streams.StreamAlerting)
	return w, w.configure(ctx)
}

// run is one process.
func (w *world) run(ctx context.Context, js *simulation.Client, name string) error {
	svc, err := New(DefaultConfig(), Deps{JS: js, Log: w.log.With("worker", name), Metrics: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	svc.open = func(ch config.Channel) target {
		e := w.ends[ch.Name]
		e.mu.Lock()
		defer e.mu.Unlock()
		e.senders++
		return &line{client: js, end: e, failing: w.failing, rng: rand.New(rand.NewPCG(w.seed, uint64(e.senders)))}
	}
	return svc.Run(ctx)
}

// line is how one sender speaks to an end. Of a hundred attempts, some fail.
type line struct {
	client  *simulation.Client
	end     *end
	rng     *rand.Rand
	failing int
}

func (l *line) close() {}

// send takes the message, refuses it, or fails, before or after it has taken it.
func (l *line) send(ctx context.Context, m channel.Message) error {
	if l.client.Dead() {
		return &channel.Error{Reason: "dead"}
	}
	travel := time.Duration(1+l.rng.IntN(200)) * time.Millisecond
	if l.rng.IntN(50) == 0 {
		travel = time.Duration(l.rng.IntN(20)) * time.Second
	}
	n := l.rng.IntN(100)
	timer := time.NewTimer(travel)
	defer timer.Stop()
	late := false
	select {
	case <-timer.C:
	case <-ctx.Done():
		late = true
	}
	l.end.mu.Lock()
	defer l.end.mu.Unlock()
	switch {
	case late && n%2 == 0:
		l.end.taken, l.end.unsure = append(l.end.taken, m), l.end.unsure+1
		return &channel.Error{Reason: "timed out"}
	case late:
		return &channel.Error{Reason: "timed out"}
	case n < l.failing/10:
		l.end.refused[m.Key+m.Title] = true
		return &channel.Error{Reason: "no such channel", Permanent: true}
	case n < l.failing/2:
		l.end.taken, l.end.unsure = append(l.end.taken, m), l.end.unsure+1
		return &channel.Error{Reason: "reset"}
	case n < l.failing:
		return &channel.Error{Reason: "unavailable"}
	}
	l.end.taken = append(l.end.taken, m)
	return nil
}

// configure changes rules, and how channels are spoken to. A second channel comes
// at the third time.
func (w *world) configure(ctx context.Context) error {
	bucket, err := w.admin.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return err
	}
	w.revision, err = bucket.PutString(ctx, streams.ConfigKey, w.configuration())
	w.revised++
	return err
}

func (w *world) configuration() string {
	text := fmt.Sprintf("rules:\n  - {name: warm, description: No %d., detector: limit, above: 30}\n  - {name: cold, detector: limit, below: 0, notify: [phone]}\n  - {name: quiet, detector: silence}\n", w.revised)
	text += "devices:\n  - {match: {device: \"door-[12]\"}, tags: {gateway: door-0}}\n"
	text += "grouping: {interval: " + []string{"0s", "5s", "1m"}[w.revised%3] + ", wait: " + []string{"0s", "2s"}[w.revised%2] + "}\n"
	text += fmt.Sprintf("channels:\n  - {name: phone, type: ntfy, url: \"https://ntfy.example.org/topic%d\"}\n", w.revised/2)
	if w.revised >= 2 {
		text += fmt.Sprintf("  - {name: log, type: webhook, url: \"https://example.org/\", resolved: %t}\n", w.revised%2 == 0)
		now := time.Now().UTC()
		clock := func(in time.Duration) string { return now.Add(in).Format("15:04") }
		if w.revised%2 == 0 {
			text += fmt.Sprintf("rotas:\n  - {name: duty, handover: \"daily %s\", time_zone: UTC, people: [phone, log]}\n", clock(time.Minute))
		}
		switch w.revised % 3 {
		case 0:
			text += fmt.Sprintf("quiet_hours:\n  - {from: %q, until: %q, channels: [phone]}\n", clock(0), clock(2*time.Minute))
		case 1:
			text += fmt.Sprintf("quiet_hours:\n  - {from: %q, until: %q, channels: [phone], instead: [log]}\n", clock(0), clock(2*time.Minute))
		}
		text += "escalation:\n  - {severity: warning, after: 1m, notify: [" + []string{"duty", "log"}[w.revised%2] + "]}\n"
	}
	return text
}

// silence changes what people are not notified of: silences of every kind come and
// go, and end by themselves.
func (w *world) silence(ctx context.Context) error {
	bucket, err := w.admin.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return err
	}
	now := time.Now()
	w.silences = slices.DeleteFunc(w.silences, func(silence.Silence) bool { return w.rng.IntN(4) == 0 })
	for range w.rng.IntN(3) {
		w.silenced++
		s := silence.Silence{ID: fmt.Sprintf("s%d", w.silenced), From: now, Author: "jo"}
		s.Rule = []string{"warm", "cold", ""}[w.rng.IntN(3)]
		if w.rng.IntN(4) == 0 {
			s.Severity = rule.Warning
		}
		if s.Rule == "" || w.rng.IntN(2) == 0 {
			s.Device = fmt.Sprintf("door-%d", w.rng.IntN(4))
		}
		if w.rng.IntN(4) == 0 {
			minute := calendar.Clock(60*now.UTC().Hour() + now.UTC().Minute())
			s.Weekly = &calendar.Weekly{Days: calendar.EveryDay, Start: minute, End: (minute + 1) % 1440}
		}
		if w.rng.IntN(3) != 0 {
			s.Until = now.Add(time.Duration(1 + w.rng.Int64N(int64(time.Minute))))
		}
		w.silences = append(w.silences, s)
	}
	body, err := silence.Encode(w.silences)
	if err != nil {
		return err
	}
	_, err = bucket.Put(ctx, streams.SilencesKey, body)
	return err
}

// standIn has people stand in for others.
func (w *world) standIn(ctx context.Context) error {
	bucket, err := w.admin.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return err
	}
	var all []oncall.Override
	for i := range w.rng.IntN(3) {
		from := time.Now().Add(time.Duration(w.rng.Int64N(int64(30 * time.Second))))
		all = append(all, oncall.Override{
			ID: fmt.Sprintf("o%d", i), Rota: "duty", Who: []string{"phone", "log", "nobody"}[w.rng.IntN(3)], From: from, Until: from.Add(time.Duration(1 + w.rng.Int64N(int64(time.Minute)))),
		})
	}
	body, err := oncall.Encode(all)
	if err != nil {
		return err
	}
	_, err = bucket.Put(ctx, streams.OverridesKey, body)
	return err
}

// handle has a person do something about an alert, perhaps about an episode that is over
// or that never was.
func (w *world) handle(ctx context.Context) error {
	rule, device := []string{"warm", "cold", "deleted", "quiet"}[w.rng.IntN(4)], fmt.Sprintf("door-%d", w.rng.IntN(4))
	a := &alertingv1.Alert{
		Id:      streams.AlertID(rule, &derivedv1.Series{Site: "hall", Device: device, Metric: "temperature"}),
		Started: w.episode[rule+device],
	}
	bucket, err := w.admin.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return err
	}
	h := handling.Handling{Episode: streams.EpisodeID(a)}
	if entry, err := bucket.Get(ctx, streams.HandlingKey(a.GetId())); err == nil {
		stored, err := handling.Decode(entry.Value())
		if err != nil {
			return err
		}
		if stored.Episode == h.Episode {
			h = stored
		}
	}
	actions := []handling.Action{handling.Acknowledge, handling.Unacknowledge, handling.Comment, handling.Assign, handling.Resolve}
	for range 1 + w.rng.IntN(3) {
		next, err := h.With(actions[w.rng.IntN(len(actions))], handling.Note{Author: "jo", At: time.Now(), Text: fmt.Sprint("n", w.rng.IntN(10))})
		if err != nil {
			continue // like acknowledging twice
		}
		h = next
		body, err := h.Encode()
		if err != nil {
			return err
		}
		if _, err := bucket.Put(ctx, streams.HandlingKey(a.GetId()), body); err != nil {
			return err
		}
	}
	return nil
}

// derive has the processor commit what it found.
func (w *world) derive(ctx context.Context) error {
	subject := streams.DerivedSubject(w.rng.IntN(simLanes))
	if w.rng.IntN(40) == 0 {
		poison := []byte{0xff, byte(w.rng.IntN(256)), byte(w.rng.IntN(256))}
		w.poison = append(w.poison, poison)
		_, err := w.admin.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: poison})
		return err
	}
	c := new(derivedv1.Commit)
	if w.rng.IntN(4) == 0 {
		c.Summaries = append(c.Summaries, &derivedv1.WindowSummary{Series: &derivedv1.Series{Site: "hall", Device: fmt.Sprintf("door-%d", w.rng.IntN(4))}, Count: 1})
	}
	for range w.rng.IntN(5) {
		c.Anomalies = append(c.Anomalies, w.anomaly())
	}
	if w.rng.IntN(10) == 0 {
		// The processor may have a configuration in force before the notifier has.
		if err := w.configure(ctx); err != nil {
			return err
		}
		bucket, err := w.admin.KeyValue(ctx, streams.BucketConfig)
		if err != nil {
			return err
		}
		entry, err := bucket.Get(ctx, streams.ConfigKey)
		if err != nil {
			return err
		}
		c.Config = &derivedv1.ConfigChange{Revision: entry.Revision(), Content: entry.Value()}
	}
	body, err := proto.Marshal(c)
	if err != nil {
		return err
	}
	_, err = w.admin.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: body})
	return err
}

// anomaly continues an episode or begins one; now and then one is missed or repeated.
func (w *world) anomaly() *derivedv1.Anomaly {
	w.at += int64(w.rng.IntN(20))
	name, device := []string{"warm", "cold", "deleted"}[w.rng.IntN(3)], fmt.Sprintf("door-%d", w.rng.IntN(4))
	at := w.at * int64(time.Second)
	a := &derivedv1.Anomaly{
		Rule: name, RuleVersion: w.revision, Series: &derivedv1.Series{Site: "hall", Device: device, Metric: "temperature"}, Unit: "°C",
		Time: at, Learned: at, Evidence: &derivedv1.Evidence{Value: float64(w.at), Sentence: fmt.Sprintf("at %d", w.at)},
	}
	id := name + device
	start := w.episode[id]
	switch n := w.rng.IntN(10); {
	case start == 0 || n == 0:
		start = at
		a.Phase = []derivedv1.Phase{derivedv1.Phase_PHASE_OPEN, derivedv1.Phase_PHASE_OPEN, derivedv1.Phase_PHASE_UPDATE, derivedv1.Phase_PHASE_CLOSE}[w.rng.IntN(4)]
	case n < 6:
		a.Phase = derivedv1.Phase_PHASE_UPDATE
	case n < 7:
		a.Phase = derivedv1.Phase_PHASE_OPEN
	default:
		a.Phase = derivedv1.Phase_PHASE_CLOSE
	}
	a.Start, w.episode[id] = start, start
	if a.Phase == derivedv1.Phase_PHASE_CLOSE && w.rng.IntN(4) != 0 {
		w.episode[id] = 0
	}
	return a
}

// trouble causes faults that affect more than one call.
func (w *world) trouble(ctx context.Context) error {
	if err := w.crew.Trouble(w.rng, 3); err != nil {
		return err
	}
	switch w.rng.IntN(30) {
	case 0, 1:
		return w.configure(ctx)
	case 4, 5, 6:
		return w.silence(ctx)
	case 7, 8, 9, 10, 11:
		return w.handle(ctx)
	case 12, 13:
		return w.standIn(ctx)
	case 2:
		if w.empty {
			w.cluster.DropBucket(streams.BucketAlerts)
			return nil
		}
		return streams.Janitor{JS: w.admin, Log: w.log}.Clean(ctx, time.Now().Add(10_000*time.Hour))
	case 3:
		if w.recreate {
			w.recreated = true
			w.cluster.Recreate(streams.StreamAlerting)
		}
	}
	return nil
}

// simulate is one run: input, faults, then peace, in which all must be decided
// and sent.
func simulate(ctx context.Context, seed uint64, spoil func(*world)) error {
	w, err := newWorld(ctx, seed)
	if err != nil {
		return err
	}
	spoil(w)
	defer func() { _ = w.crew.RemoveAll(true) }()
	for range 40 + w.rng.IntN(60) {
		for range w.rng.IntN(4) {
			if err := w.derive(ctx); err != nil {
				return err
			}
		}
		pause := time.Duration(w.rng.Int64N(int64(3 * time.Second)))
		if w.rng.IntN(40) == 0 {
			pause = 11 * time.Minute
		}
		time.Sleep(pause) //nolint:forbidigo // the clock of the bubble
		if err := w.trouble(ctx); err != nil {
			return err
		}
	}
	if err := w.drain(ctx); err != nil {
		return err
	}
	if err := w.crew.RemoveAll(false); err != nil {
		return err
	}
	return errors.Join(w.verifyLane(), w.verifyEnds(), w.verifyAlerts(ctx), w.verifyDeadLetters())
}

// drain ends all faults and waits until everything is decided and sent.
func (w *world) drain(ctx context.Context) error {
	if err := w.crew.Peace(); err != nil {
		return err
	}
	for range 3 {
		if err := w.derive(ctx); err != nil {
			return err
		}
	}
	// An episode that is certainly sent comes last, when nothing is muted.
	w.silences = nil
	bucket, err := w.admin.KeyValue(ctx, streams.BucketSilences)
	if err != nil {
		return err
	}
	if _, err := bucket.PutString(ctx, streams.SilencesKey, "[]"); err != nil {
		return err
	}
	w.at++
	last := w.anomaly()
	last.Rule, last.Phase, last.Start = "warm", derivedv1.Phase_PHASE_OPEN, w.at*int64(time.Second)
	body, err := proto.Marshal(&derivedv1.Commit{Anomalies: []*derivedv1.Anomaly{last}})
	if err != nil {
		return err
	}
	ack, err := w.admin.PublishMsg(ctx, &nats.Msg{Subject: streams.DerivedSubject(0), Data: body})
	if err != nil {
		return err
	}
	err = simulation.Await(drainTime, fmt.Sprintf("input %d is committed", ack.Sequence), func() bool { return w.committed() >= ack.Sequence })
	if err != nil {
		return err
	}
	var missing error
	err = simulation.Await(drainTime, "all messages are sent", func() bool {
		missing = errors.Join(w.verifySent(), w.verifyAlerts(ctx))
		return missing == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, missing)
	}
	return nil
}

func (w *world) committed() uint64 {
	m, ok := w.cluster.LastOf(streams.AlertingSubject(lane0))
	if !ok {
		return 0
	}
	pos, _, err := readCommit(m.Data)
	if err != nil {
		panic(err)
	}
	return pos.Sequence
}

// commits returns all that the lane committed.
func (w *world) commits() ([]*alertingv1.Commit, []simulation.Stored) {
	stored := w.cluster.Archive(streams.StreamAlerting, streams.AlertingSubject(lane0))
	for _, m := range stored[len(w.decoded):] {
		c, err := streams.DecodeAlerting(m.Data)
		if err != nil {
			panic(err)
		}
		w.decoded = append(w.decoded, c)
	}
	return w.decoded, stored
}

// verifyLane compares alerts and messages with those of one machine that is given
// the same input, and the configurations where the commits say that they took
// effect. It is also asked for its commits where the lane was: of updates in one
// commit the last is enough, and a channel gets one message instead of very many.
func (w *world) verifyLane() error {
	if w.recreated {
		// What the lane committed since its last snapshot, it committed again.
		return nil
	}
	m := newMachine(func(policy.Decision) {})
	inputs := w.cluster.Archive(streams.StreamDerived, streams.DerivedAll)
	happened := 0
	commits, stored := w.commits()
	for i, got := range commits {
		position := got.GetInput().GetSequence()
		if i > 0 && position < commits[i-1].GetInput().GetSequence() {
			return fmt.Errorf("commit %d goes back to input %d", stored[i].Sequence, position)
		}
		for len(inputs) > 0 && inputs[0].Sequence <= position {
			_, _ = m.Apply(lane.Input{Subject: inputs[0].Subject, Sequence: inputs[0].Sequence, Stored: inputs[0].Time, Data: inputs[0].Data})
			inputs = inputs[1:]
		}
		if change := got.GetConfig(); change != nil {
			if err := m.Configure(change.GetRevision(), change.GetContent()); err != nil {
				return err
			}
		}
		if change := got.GetSilences(); change != nil {
			if err := m.ConfigureExtra(change.GetRevision(), streams.SilencesKey, change.GetContent()); err != nil {
				return err
			}
		}
		if change := got.GetOverrides(); change != nil {
			if err := m.ConfigureExtra(change.GetRevision(), streams.OverridesKey, change.GetContent()); err != nil {
				return err
			}
		}
		if h := got.GetHandling(); h != nil {
			if err := m.ConfigureExtra(h.GetChange().GetRevision(), streams.HandlingKey(h.GetAlert()), h.GetChange().GetContent()); err != nil {
				return err
			}
		}
		body, err := m.Take(lane.Position{}, nil)
		if err != nil {
			return err
		}
		want, err := streams.DecodeAlerting(body)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("commit %d: ", stored[i].Sequence)
		if err := sameList(what+"transition", want.Alerts, got.Alerts); err != nil {
			return err
		}
		if err := sameList(what+"message", want.Messages, got.Messages); err != nil {
			return err
		}
		happened += len(got.Messages) + len(got.Alerts)
	}
	// That nobody is notified is right in a short world in which all channels rest.
	if happened == 0 {
		return errors.New("nothing happened")
	}
	return nil
}

// sameList compares byte for byte, and names the first difference.
func sameList[M proto.Message](what string, want, got []M) error {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			return fmt.Errorf("%s %d of %d is missing: %v", what, i, len(want), want[i])
		case i >= len(want):
			return fmt.Errorf("%s %d is one too many: %v", what, i, got[i])
		case !proto.Equal(want[i], got[i]):
			return fmt.Errorf("%s %d of %d is\n%v, want\n%v", what, i, len(want), got[i], want[i])
		}
	}
	return nil
}

// messages returns what a channel was to be sent: the messages of ALERTING as it is,
// and those of any ALERTING, each as its key and its title.
func (w *world) messages(name string) (now []string, ever map[string]bool) {
	ever = make(map[string]bool)
	commits, stored := w.commits()
	for i, c := range commits {
		for j, m := range c.GetMessages() {
			if m.GetChannel() != name {
				continue
			}
			id := key{stored[i].Incarnation.UnixNano(), stored[i].Time.UnixNano(), stored[i].Sequence, j}.String() + m.GetTitle()
			ever[id] = true
			if stored[i].Incarnation.Equal(stored[len(stored)-1].Incarnation) {
				now = append(now, id)
			}
		}
	}
	return now, ever
}

// verifySent checks that every message has been sent, was refused, or was about the end of
// what was refused.
func (w *world) verifySent() error {
	for name, e := range w.ends {
		e.mu.Lock()
		taken := maps.Clone(e.refused)
		for _, m := range e.taken {
			taken[m.Key+m.Title] = true
		}
		lone, _, err := w.lone(name, e)
		e.mu.Unlock()
		if err != nil {
			return err
		}
		maps.Copy(taken, lone)
		now, _ := w.messages(name)
		for _, id := range now {
			if !taken[id] {
				return fmt.Errorf("%s was not told %s", name, id)
			}
		}
	}
	return nil
}

// lone returns the messages about the end of episodes whose beginning an end has refused, and
// those about others too, which are sent with another title. It checks that none of the first
// arrived if the beginning never did. The caller holds the lock of the end.
func (w *world) lone(name string, e *end) (lone, partly map[string]bool, err error) {
	arrived := make(map[string]bool)
	for _, m := range e.taken {
		arrived[m.Key+m.Title] = true
	}
	refused, heard := make(map[string]bool), make(map[string]bool)
	lone, partly = make(map[string]bool), make(map[string]bool)
	commits, stored := w.commits()
	for i, c := range commits {
		for j, m := range c.GetMessages() {
			if m.GetChannel() != name {
				continue
			}
			k := key{stored[i].Incarnation.UnixNano(), stored[i].Time.UnixNano(), stored[i].Sequence, j}.String()
			id, unheard := k+m.GetTitle(), 0
			for _, a := range m.GetAlerts() {
				episode := streams.EpisodeID(a)
				switch {
				case !over(a):
					refused[episode] = refused[episode] || e.refusedAs(k)
					heard[episode] = heard[episode] || arrived[id]
				case refused[episode]:
					unheard++
					if arrived[id] && !heard[episode] && !w.recreated {
						return nil, nil, fmt.Errorf("%s was sent the end of %s, whose beginning it had refused", name, episode)
					}
				}
			}
			switch {
			case unheard == len(m.GetAlerts()):
				lone[id] = true
			case unheard > 0:
				lone[id], partly[k] = true, true
			}
		}
	}
	return lone, partly, nil
}

// refusedAs reports whether the end has refused a message with a key, whatever its title was
// when it was sent. The caller holds the lock.
func (e *end) refusedAs(key string) bool {
	for id := range e.refused {
		if title, ok := strings.CutPrefix(id, key); ok && title != "" && title[0] >= 'A' && title[0] <= 'Z' {
			return true
		}
	}
	return false
}

// verifyEnds checks what arrived: nothing that was not committed, in order, and
// no more repeats than senders that may have been cut off in the middle. With
// ALERTING all that says what was done is lost.
func (w *world) verifyEnds() error {
	for name, e := range w.ends {
		_, ever := w.messages(name)
		_, partly, err := w.lone(name, e)
		if err != nil {
			return err
		}
		seen := make(map[string]bool)
		last := make(map[int64]key)
		for _, m := range e.taken {
			id := m.Key + m.Title
			if !ever[id] && !partly[m.Key] {
				return fmt.Errorf("%s was sent %s, which was not decided", name, id)
			}
			k, err := parseKey(m.Key)
			if err != nil {
				return err
			}
			// What one sender was refused, another one that had it in hand as well may
			// have come through with later.
			if !seen[id] && !e.refused[id] {
				if before := last[k.incarnation]; !k.after(before) {
					return fmt.Errorf("%s was sent %s after %s", name, k, before)
				}
				last[k.incarnation] = k
			}
			seen[id] = true
		}
		if repeats := len(e.taken) - len(seen); repeats > e.senders+e.unsure && !w.recreated {
			return fmt.Errorf("%s was sent %d messages again by %d senders, of which %d attempts failed after they had arrived", name, repeats, e.senders, e.unsure)
		}
	}
	return w.verifySent()
}

// verifyAlerts checks that the bucket of alerts has each as it was last committed,
// unless that was lost with ALERTING.
func (w *world) verifyAlerts(ctx context.Context) error {
	bucket, err := w.admin.KeyValue(ctx, streams.BucketAlerts)
	if err != nil {
		return err
	}
	last := make(map[string]*alertingv1.Alert)
	commits, stored := w.commits()
	for i, c := range commits {
		for _, a := range c.GetAlerts() {
			a = proto.CloneOf(a)
			a.Committed = &derivedv1.Position{Incarnation: stored[i].Incarnation.UnixNano(), Sequence: stored[i].Sequence, Stored: stored[i].Time.UnixNano()}
			last[a.GetId()] = a
			if !stored[i].Incarnation.Equal(stored[len(stored)-1].Incarnation) {
				delete(last, a.GetId())
			}
		}
	}
	for id, want := range last {
		entry, err := bucket.Get(ctx, id)
		if err != nil {
			return fmt.Errorf("alert %s: %w", id, err)
		}
		got := new(alertingv1.Alert)
		if err := protojson.Unmarshal(entry.Value(), got); err != nil {
			return err
		}
		if !proto.Equal(want, got) {
			return fmt.Errorf("the bucket has alert\n%v, want\n%v", got, want)
		}
	}
	return nil
}

// verifyDeadLetters checks that what is no commit is kept, and so are messages that
// were refused.
func (w *world) verifyDeadLetters() error {
	letters := w.cluster.Archive(streams.StreamDeadLetters, streams.DeadLettersAll)
	for _, p := range w.poison {
		if !slices.ContainsFunc(letters, func(m simulation.Stored) bool { return bytes.Equal(m.Data, p) }) {
			return fmt.Errorf("input %x is no commit, and is no dead letter either", p)
		}
	}
	failed := 0
	for _, m := range w.cluster.Archive(streams.StreamAlerting, streams.DeliveriesAll) {
		d, err := streams.DecodeDelivery(m.Data)
		if err != nil {
			return err
		}
		if d.GetOutcome() == alertingv1.Outcome_OUTCOME_FAILED {
			failed++
		}
	}
	undeliverable := 0
	for _, m := range letters {
		if m.Subject == streams.DeadLetterSubject(streams.ServiceNotifier, streams.ReasonUndeliverable) {
			undeliverable++
		}
	}
	if undeliverable < failed {
		return fmt.Errorf("%d dead letters for %d messages that were refused", undeliverable, failed)
	}
	return nil
}

// TestSimulation runs notifiers while everything fails that can: alerts and
// messages are those of one machine that was never disturbed, every message is
// sent, and repeated no more than senders were cut off.
func TestSimulation(t *testing.T) {
	simulation.Seeds(t, simSeeds, func(t *testing.T, seed uint64) error {
		return simulate(t.Context(), seed, func(*world) {})
	})
}

// TestSimulationFindsWhatIsMissing takes away what the guarantee rests on: the
// simulation must notice within a few seeds.
func TestSimulationFindsWhatIsMissing(t *testing.T) {
	simulation.Finds(t, map[string]func(*simulation.Cluster){
		"no compare-and-set":   func(c *simulation.Cluster) { c.IgnoreExpected = true },
		"no input for a while": func(c *simulation.Cluster) { c.SkipEvery = 40 },
		"commits vanish":       func(c *simulation.Cluster) { c.ForgetEvery = 20 },
	}, func(t *testing.T, seed uint64, spoil func(*simulation.Cluster)) error {
		return simulate(t.Context(), seed, func(w *world) { spoil(w.cluster) })
	})
}
