package processor_test

import (
	"strings"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestChangeOfARuleInFlight saves another rule on the page while the processor works. It is
// in force in every lane at once (the log has the time that it took). Open windows, and
// episodes of rules that have not changed, continue.
func TestChangeOfARuleInFlight(t *testing.T) {
	f := newFixture(t)
	store, err := configstore.Open(t.Context(), f.js)
	if err != nil {
		t.Fatal(err)
	}
	const file = `auto: off
windows: [1m]
rules:
  - {name: stays, detector: limit, above: 29, for: 2m}
  - {name: both, expression: temperature > 29, for: 2m}
  - {name: learns, detector: range, silence: 2m}
`
	first, _, err := store.PutFile(t.Context(), "rules.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	_, stop := f.start(t)
	defer stop()
	f.publish(t, -50*second, 20)
	f.publish(t, 10*second, 30) // closes the minute before, so that it is committed
	streamtest.Eventually(t, "the readings before the change", func() bool {
		for n := range lanes {
			if f.committed(t, n) < f.sequences[n][1] {
				return false
			}
		}
		return true
	})

	began := time.Now()
	changed, err := store.SaveRule(t.Context(), "name: new\ndetector: limit\nabove: 29\n", "page:jo", first.Revision)
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the change in every lane", func() bool {
		for n := range lanes {
			if f.configured(t, n) < changed.Revision {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	t.Logf("in force in %d lanes after %v", lanes, took.Round(time.Millisecond))

	f.publish(t, 40*second, 31)
	f.publish(t, 3*minute, 31)
	found := map[string]int{}
	streamtest.Eventually(t, "alerts of all devices", func() bool {
		clear(found)
		for n := range lanes {
			for _, a := range f.outputs(t, n).Anomalies {
				if a.Phase == derivedv1.Phase_PHASE_OPEN {
					found[a.Rule]++
				}
			}
		}
		return found["stays"] == 8 && found["both"] == 8 && found["new"] == 8
	})
	for n := range lanes {
		c := f.outputs(t, n)
		for _, a := range c.Anomalies {
			start, version := epoch+10*second, first.Revision
			if a.Rule == "new" {
				start, version = epoch+40*second, changed.Revision
			}
			if a.Phase == derivedv1.Phase_PHASE_OPEN && (a.Start != start || a.RuleVersion != version) {
				t.Errorf("%s of %s began at %v with version %d, want %v and %d", a.Rule, a.Series.Device,
					time.Duration(a.Start-epoch), a.RuleVersion, time.Duration(start-epoch), version)
			}
			if a.Phase == derivedv1.Phase_PHASE_CLOSE && strings.Contains(a.Evidence.Sentence, "changed") {
				t.Errorf("the change ended an episode: %v", a)
			}
		}
		for _, s := range c.Summaries {
			if s.Start == epoch && s.Width == minute && s.Count != 2 {
				t.Errorf("the window over the change has %d readings of %s, want both", s.Count, s.Series.Device)
			}
		}
	}
}

// committed returns the sequence of the last input of a lane that is committed.
func (f *fixture) committed(t *testing.T, lane int) (sequence uint64) {
	t.Helper()
	for _, c := range f.commits(t, lane) {
		sequence = max(sequence, c.GetInput().GetSequence())
	}
	return sequence
}

// configured returns the revision of the configuration that a lane has committed
// last.
func (f *fixture) configured(t *testing.T, lane int) (revision uint64) {
	t.Helper()
	for _, c := range f.commits(t, lane) {
		revision = max(revision, c.GetConfig().GetRevision())
	}
	return revision
}

// commits returns the commits of a lane.
func (f *fixture) commits(t *testing.T, lane int) []*derivedv1.Commit {
	t.Helper()
	stream, err := f.js.Stream(t.Context(), streams.StreamDerived)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []*derivedv1.Commit
	for sequence := max(info.State.FirstSeq, 1); sequence <= info.State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject != streams.DerivedSubject(lane) {
			continue
		}
		c, err := streams.DecodeDerived(msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}
