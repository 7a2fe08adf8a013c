package processor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

// asker asks a processor for replays.
type asker struct {
	t  *testing.T
	nc *nats.Conn
}

// ask puts one question.
func (a asker) ask(subject string, body []byte) streams.ReplayStatus {
	a.t.Helper()
	m, err := a.nc.Request(subject, body, 10*time.Second)
	if err != nil {
		a.t.Fatal(err)
	}
	s, err := streams.DecodeReplayStatus(m.Data)
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// begin asks for a replay.
func (a asker) begin(r streams.ReplayRequest) streams.ReplayStatus {
	a.t.Helper()
	body, err := r.Encode()
	if err != nil {
		a.t.Fatal(err)
	}
	return a.ask(streams.ReplayStart, body)
}

// await asks for a replay until it is over.
func (a asker) await(id string) streams.ReplayStatus {
	a.t.Helper()
	var s streams.ReplayStatus
	streamtest.Eventually(a.t, "the end of the replay", func() bool {
		s = a.ask(streams.ReplaySubject(id), nil)
		return s.State.Over()
	})
	return s
}

// contents returns what all streams and permanent buckets hold.
func contents(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	all := make(map[string]string)
	infos := js.ListStreams(t.Context())
	for info := range infos.Info() {
		if info.Config.Storage == jetstream.MemoryStorage {
			continue // leases are renewed all the time
		}
		state := info.State
		state.Consumers = 0
		text, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		all[info.Config.Name] = string(text)
	}
	if err := infos.Err(); err != nil || len(all) < 6 {
		t.Fatalf("%d streams, %v", len(all), err)
	}
	return all
}

// TestReplayChangesNothing replays a rule over readings that a processor has processed: the
// result has the alerts that the rule would have raised, and nothing that is stored has
// changed.
func TestReplayChangesNothing(t *testing.T) {
	f := newFixture(t)
	f.configure(t)
	// A replay finds readings by when they arrived, which is now.
	start := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	after := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second).UTC() }
	values := []float64{20, 21, 24, 25, 31, 33, 20, 20}
	for i := range 16 {
		f.publish(t, after(20*i).UnixNano()-epoch, values[i%len(values)])
	}
	_, stop := f.start(t)
	defer stop()
	f.verify(t)
	before := contents(t, f.js)

	// The dashboard may do what this takes, and no more.
	a := asker{t, f.server.Conn(t, natsd.UserOf(streams.ServiceDashboard))}
	request := streams.ReplayRequest{
		ID: "one", Rule: "{name: warmer, match: {device: \"door-*\"}, detector: limit, above: 24.5}",
		From: after(60), To: after(280),
	}
	if s := a.begin(request); s.State != streams.ReplayWarming || s.Error != "" {
		t.Fatalf("the replay does not begin: %+v", s)
	}
	s := a.await("one")
	if s.State != streams.ReplayDone || s.Done != 1 || s.Result == nil {
		t.Fatalf("the replay ended: %+v", s)
	}
	result := s.Result
	if result.Rule != "warmer" || result.Matched != 8 || result.Readings != 16*8 || len(result.Devices) != 8 {
		t.Errorf("rule %s watched %d series with %d readings and found something in %d", result.Rule, result.Matched, result.Readings, len(result.Devices))
	}
	var got []string
	for _, alert := range result.Alerts {
		if alert.Device != "door-0" {
			continue
		}
		end := "lasts"
		if !alert.End.IsZero() {
			end = fmt.Sprint(alert.End.Sub(start))
		}
		got = append(got, fmt.Sprintf("%v-%s %s: %s", alert.Start.Sub(start), end, alert.Severity, alert.Sentence))
	}
	if diff := cmp.Diff([]string{"1m0s-2m0s warning: 25 °C: above the limit of 24.5 °C", "3m40s-lasts warning: 25 °C: above the limit of 24.5 °C"}, got); diff != "" {
		t.Errorf("alerts of door-0 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, contents(t, f.js)); diff != "" {
		t.Errorf("the replay has changed what is stored (-before +after):\n%s", diff)
	}
}

func TestReplayRefuses(t *testing.T) {
	f := newFixture(t)
	f.configure(t)
	_, stop := f.start(t)
	defer stop()
	a := asker{t, f.server.Conn(t, natsd.UserOf(streams.ServiceDashboard))}
	streamtest.Eventually(t, "that the processor answers", func() bool {
		_, err := a.nc.Request(streams.ReplayStart, nil, time.Second)
		return err == nil
	})
	now := time.Now()
	good := streams.ReplayRequest{ID: "one", Rule: "{name: warmer, detector: limit, above: 24.5}", From: now.Add(-time.Hour), To: now}
	for name, c := range map[string]struct {
		change func(*streams.ReplayRequest)
		want   string
	}{
		"an id that is no token":       {func(r *streams.ReplayRequest) { r.ID = "a.b" }, "id"},
		"no rule":                      {func(r *streams.ReplayRequest) { r.Rule = "" }, "text of the rule"},
		"a text that is too long":      {func(r *streams.ReplayRequest) { r.Rule = strings.Repeat(" ", streams.MaxReplayRule+1) }, "text of the rule"},
		"an end before the beginning":  {func(r *streams.ReplayRequest) { r.To = r.From }, "period"},
		"a period beyond all reason":   {func(r *streams.ReplayRequest) { r.From = r.From.AddDate(-1, 0, 0) }, "period"},
		"learning beyond all reason":   {func(r *streams.ReplayRequest) { r.Warm = 365 * 24 * time.Hour }, "learn"},
		"a rule that is not valid":     {func(r *streams.ReplayRequest) { r.Rule = "name: warmer\ndetector: limit\nabove: hot" }, "rule:3: above"},
		"a text that is no rule":       {func(r *streams.ReplayRequest) { r.Rule = "[1, 2]" }, "rule:1"},
		"a detector that nobody knows": {func(r *streams.ReplayRequest) { r.Rule = "{name: warmer, detector: magic}" }, "detector"},
	} {
		request := good
		c.change(&request)
		s := a.begin(request)
		if s.State != streams.ReplayFailed || !strings.Contains(s.Error, c.want) {
			t.Errorf("%s: %s, %q, want a failure about %q", name, s.State, s.Error, c.want)
		}
		if strings.HasPrefix(c.want, "rule:3") && (len(s.Problems) != 1 || s.Problems[0].Line != 3 || s.Problems[0].Field != "above") {
			t.Errorf("%s: problems %+v", name, s.Problems)
		}
	}
	if _, err := a.nc.Request(streams.ReplaySubject("unknown"), nil, 10*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a replay that nobody has begun: %v", err)
	}
	if s := a.begin(good); s.State != streams.ReplayWarming {
		t.Fatalf("the replay does not begin: %+v", s)
	}
	if s := a.await("one"); s.State != streams.ReplayDone || s.Result.Total != 0 || !s.Result.Since.IsZero() {
		t.Errorf("over a stream that is empty: %+v", s)
	}
	if s := a.begin(good); s.State != streams.ReplayFailed || !strings.Contains(s.Error, "id") {
		t.Errorf("an id that is used: %+v", s)
	}
}
