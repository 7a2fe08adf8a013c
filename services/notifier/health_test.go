package notifier

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/deadletter"
	"headwater/services/notifier/watch"
	"headwater/services/rule"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestHealth has the machine raise and end alerts about Headwater itself: at once, whatever
// the grouping waits for, and once over restarts.
func TestHealth(t *testing.T) {
	const waits = "grouping: {by: [site], wait: 10s, interval: 5m}\n" + storms
	m := machineOf(t, waits)
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	bridge := watch.Problem{Part: "bridge", Critical: true, Text: "No bridge has written into the lanes for 3 min.", Since: noon}
	influx := watch.Problem{Part: "influxdb", Text: "InfluxDB does not answer.", Since: noon.Add(time.Minute)}
	revision := uint64(0)
	take := func(at time.Time, problems ...watch.Problem) *alertingv1.Commit {
		t.Helper()
		body, err := watch.State{At: at, Problems: problems}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		revision++
		if err := m.ConfigureExtra(revision, streams.HealthKey, body); err != nil {
			t.Fatal(err)
		}
		return take(t, m)
	}
	for i, step := range []struct {
		problems []watch.Problem
		titles   []string
	}{
		{nil, nil},
		{[]watch.Problem{bridge}, []string{"Critical: Headwater itself needs attention (bridge)"}},
		{[]watch.Problem{bridge}, nil},
		{[]watch.Problem{bridge, influx}, []string{"Warning: Headwater itself needs attention (influxdb)"}},
		{[]watch.Problem{influx}, []string{"Resolved: Headwater itself needs attention (bridge)"}},
		{nil, []string{"Resolved: Headwater itself needs attention (influxdb)"}},
	} {
		c := take(noon.Add(time.Duration(3+i)*time.Minute), step.problems...)
		var titles []string
		for _, message := range c.GetMessages() {
			titles = append(titles, message.GetTitle())
		}
		if !slices.Equal(titles, step.titles) {
			t.Errorf("step %d: %q, want %q", i, titles, step.titles)
		}
		if i == 1 {
			a := c.GetAlerts()[0]
			if a.GetRule() != rule.HealthName || a.GetStarted() != noon.UnixNano() || a.GetEvidence().GetSentence() != bridge.Text || a.GetSeries().GetSite() != "headwater" {
				t.Errorf("the alert is %v", a)
			}
		}
		if i == 4 {
			if a := c.GetAlerts()[0]; a.GetEnd() != derivedv1.End_END_RECOVERED || a.GetEnded() != noon.Add(7*time.Minute).UnixNano() {
				t.Errorf("the end is %v", a)
			}
		}
		m = restoredWith(t, m, waits)
	}
	for _, bad := range []string{"", `{"problems":[{"part":"a b"}]}`} {
		if err := m.ConfigureExtra(revision+1, streams.HealthKey, []byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

// TestDiskIsSeen looks at the disk, also at one that does not answer.
func TestDiskIsSeen(t *testing.T) {
	f := setup(t)
	room, failure := watch.Disk{Free: 1, Reserve: 2, Total: 100}, error(nil)
	svc, err := New(f.cfg, Deps{JS: f.js, Log: f.log, Metrics: prometheus.NewRegistry(), Disk: func() (watch.Disk, error) { return room, failure }})
	if err != nil {
		t.Fatal(err)
	}
	if got := svc.look(t.Context()).Disk; got != room {
		t.Errorf("saw %+v", got)
	}
	failure = errors.New("the disk is away")
	if got := svc.look(t.Context()).Disk; got != (watch.Disk{}) {
		t.Errorf("saw %+v of a disk that is away", got)
	}
}

// TestDeadLettersRaiseAnAlert has a notifier that runs notice dead letters, and notify people
// once.
func TestDeadLettersRaiseAnAlert(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	svc, err := New(f.cfg, Deps{JS: f.js, Log: f.log, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	svc.healthEvery = 10 * time.Millisecond
	f.run(t, svc)
	f.ready(t, svc)
	letters := deadletter.New(f.js, f.log, prometheus.NewRegistry())
	// The first look has nothing to compare with, so more of them come until it is noticed.
	streamtest.Eventually(t, "somebody is notified of the dead letters", func() bool {
		for range 50 {
			if err := letters.Publish(t.Context(), streams.DeadLetter{Service: streams.ServiceNotifier, Reason: streams.ReasonMalformed, Payload: []byte("x"), Arrived: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		return len(phone.titles()) > 0
	})
	if got := phone.titles(); !slices.Equal(got, []string{"Warning: Headwater itself needs attention (dead-letters)"}) {
		t.Errorf("notified of %q", got)
	}
	bucket, err := f.js.KeyValue(t.Context(), streams.BucketSilences)
	if err != nil {
		t.Fatal(err)
	}
	w, err := continued(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	// Where the next owner continues, nothing is raised again.
	if s, changed := w.See(time.Now(), watch.Facts{}); changed || len(s.Problems) != 1 {
		t.Errorf("the next owner sees %+v, changed: %v", s, changed)
	}
}
