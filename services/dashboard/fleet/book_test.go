package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/web/device"
	"headwater/web/view"
)

func alert(id, state string, started, learned int) view.Alert {
	a := view.Alert{
		ID: id, Site: "s", Device: "d", Metric: "m", State: state, Severity: view.SeverityWarning, Sentence: state + " because",
		Started: t0.Add(time.Duration(started) * time.Minute), Learned: t0.Add(time.Duration(learned) * time.Minute),
	}
	a.Updated = a.Learned
	if state == view.AlertResolved {
		a.Ended = a.Learned
	}
	return a
}

func ids(alerts []view.Alert) string {
	out := ""
	for _, a := range alerts {
		out += a.ID + "@" + fmt.Sprint(int(a.Started.Sub(t0).Minutes())) + " "
	}
	return out
}

func TestAlertsInAnyOrder(t *testing.T) {
	transitions := []view.Alert{
		alert("a", view.AlertFiring, 0, 1), alert("a", view.AlertResolved, 0, 5),
		alert("a", view.AlertFiring, 10, 11), alert("b", view.AlertPending, 2, 3),
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1, 0, 1, 2, 3}} {
		b := NewBook()
		var firing []view.Alert
		for _, i := range order {
			if f, news := b.PutAlert(transitions[i]); news {
				firing = f
			}
		}
		all := b.Alerts(10)
		if got := ids(all.Active); got != "a@10 b@2 " {
			t.Errorf("%v: active %s", order, got)
		}
		if got := ids(all.Resolved); got != "a@0 " || all.ResolvedTotal != 1 {
			t.Errorf("%v: resolved %s", order, got)
		}
		if got := ids(firing); got != "a@10 " || b.Firing() != 1 { // a pending one does not fire
			t.Errorf("%v: firing %s, %d", order, got, b.Firing())
		}
	}
}

func TestAResolvedAlertKeepsItsReason(t *testing.T) {
	b := NewBook()
	b.PutAlert(alert("a", view.AlertFiring, 0, 1))
	b.PutAlert(alert("a", view.AlertResolved, 0, 5))
	if got := b.Alerts(1).Resolved[0].Sentence; got != "firing because" {
		t.Errorf("it says %q", got)
	}
}

func TestWorstAlertsFirst(t *testing.T) {
	b := NewBook()
	for i, s := range []view.Severity{view.SeverityInfo, view.SeverityCritical, view.SeverityWarning, view.SeverityCritical} {
		a := alert(fmt.Sprint(i), view.AlertFiring, i, i)
		a.Severity = s
		b.PutAlert(a)
	}
	if got := ids(b.Alerts(0).Active); got != "3@3 1@1 2@2 0@0 " {
		t.Errorf("the order is %s", got)
	}
	removed, firing, ok := b.RemoveAlert("3")
	if !ok || removed.ID != "3" || len(firing) != 3 || b.Firing() != 3 {
		t.Errorf("%v %v, %d left", removed, ok, len(firing))
	}
	if _, _, ok := b.RemoveAlert("3"); ok {
		t.Error("an alert was removed twice")
	}
}

func TestResolvedAlertsAreBounded(t *testing.T) {
	b := NewBook()
	for i := range maxResolved + 50 {
		b.PutAlert(alert(fmt.Sprint(i), view.AlertResolved, i, i+1))
	}
	all := b.Alerts(3)
	if all.ResolvedTotal != maxResolved || len(all.Resolved) != 3 || all.Resolved[0].ID != fmt.Sprint(maxResolved+49) {
		t.Errorf("%d remembered, %s", all.ResolvedTotal, ids(all.Resolved))
	}
}

func TestEpisodes(t *testing.T) {
	high, usual, further := 5.0, 3.0, 3.5
	start := t0
	open := view.Episode{Rule: "r", Metric: "m", Start: start, Sentence: "rose", High: &high, Baseline: &usual, Severity: view.SeverityCritical}
	higher := open
	higher.Sentence, higher.Baseline = "rose more", &further
	closed := open
	closed.End, closed.Sentence = start.Add(time.Hour), "came back"
	want := higher
	want.End = closed.End
	for name, order := range map[string][]view.Episode{
		"as it happens":      {open, higher, closed},
		"told twice":         {open, higher, open, higher, closed, higher, closed},
		"the end comes last": {higher, closed, open},
	} {
		b := NewBook()
		for _, e := range order {
			b.PutEpisode("s", "d", e)
		}
		if diff := cmp.Diff([]view.Episode{want}, b.Episodes("s", "d", start, start.Add(time.Minute))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got := b.Episodes("s", "d", start.Add(61*time.Minute), start.Add(2*time.Hour)); len(got) != 0 {
			t.Errorf("%s: after its end %v", name, got)
		}
	}
	b := NewBook()
	for i := range maxEpisodes + 10 {
		e := open
		e.Start = start.Add(time.Duration(i) * time.Minute)
		b.PutEpisode("s", "d", e)
	}
	all := b.Episodes("s", "d", start.Add(-time.Hour), start.Add(1000*time.Hour))
	if len(all) != maxEpisodes || !all[0].Start.Equal(start.Add((maxEpisodes+9)*time.Minute)) {
		t.Errorf("%d episodes from %v", len(all), all[0].Start)
	}
}

func TestSummaries(t *testing.T) {
	b := NewBook()
	put := func(metric string, minute int, revision uint32, mean float64) {
		start := t0.Add(time.Duration(minute) * time.Minute)
		b.PutSummary("s", "d", device.Summary{
			Metric: metric, Window: "1m", At: start, Start: start, Width: time.Minute, Count: 1, Revision: revision, Mean: mean,
		})
	}
	for i := range maxSummaries + 5 {
		put("m", i, 1, float64(i))
	}
	put("m", maxSummaries, 3, 33)
	put("m", maxSummaries, 2, 22) // late
	put("n", maxSummaries, 1, 1)
	got := b.Summaries("s", "d")
	if len(got) != maxSummaries+1 || !got[0].Start.Equal(t0.Add((maxSummaries+4)*time.Minute)) {
		t.Fatalf("%d summaries from %v", len(got), got[0].Start)
	}
	if s := got[4]; s.Metric != "m" || s.Mean != 33 || s.Revision != 3 {
		t.Errorf("the revised window is %+v", s)
	}
	if s := got[5]; s.Metric != "n" {
		t.Errorf("then comes %+v", s)
	}
}
