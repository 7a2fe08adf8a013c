package edge

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/uplink"
)

func TestOpen(t *testing.T) {
	folder := t.TempDir()
	if l, err := Open(folder, ""); l != nil || err != nil {
		t.Fatalf("a folder that is no edge: %+v, %v", l, err)
	}
	invitation := uplink.Invitation{Address: "https://centre.example.org", Name: "e", Secret: "once"}
	first, err := Open(folder, invitation.Line())
	if err != nil || first.Name != "e" || len(first.Token) < 20 {
		t.Fatalf("%+v, %v", first, err)
	}
	info, err := os.Stat(filepath.Join(folder, FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v: %v", info.Mode(), err)
	}
	// Once the secret was used, the same line is no new invitation.
	first.Secret = ""
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "line")
	if err := os.WriteFile(file, []byte(invitation.Line()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, line := range map[string]string{"no line": "", "the same line": invitation.Line(), "its file": "@" + file} {
		if l, err := Open(folder, line); err != nil || l.Token != first.Token || l.Secret != "" {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
	invitation.Secret = "again"
	if l, err := Open(folder, invitation.Line()); err != nil || l.Token == first.Token || l.Secret != "again" {
		t.Errorf("another line: %+v, %v", l, err)
	}
	if _, err := Open(folder, "nonsense"); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("nonsense: %v", err)
	}
}

func TestSpent(t *testing.T) {
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s spent
	for i, c := range []struct {
		at   time.Time
		n    int64
		want bool
	}{
		// An upload larger than the budget must go some day.
		{day, 150, true}, {day, 1, false}, {day.Add(12 * time.Hour), 60, true}, {day.Add(13 * time.Hour), 40, true}, {day.Add(14 * time.Hour), 1, false},
	} {
		if got := s.take(c.at, c.n, 100); got != c.want {
			t.Errorf("%d: %t, want %t: %+v", i, got, c.want, s)
		}
	}
	if today, tomorrow := s.on(day.Add(14*time.Hour)), s.on(day.Add(36*time.Hour)); today != 100 || tomorrow != 0 {
		t.Errorf("%d used today, %d tomorrow", today, tomorrow)
	}
	if !s.take(day.Add(15*time.Hour), 1000, 0) {
		t.Error("there is a bound without a budget")
	}
}

// TestAlign checks where an edge begins to send when the centre answers.
func TestAlign(t *testing.T) {
	place := func(sequence uint64) uplink.Place { return uplink.Place{Incarnation: 1, Sequence: sequence, Stored: 9} }
	for what, c := range map[string]struct {
		own, acked, centre uplink.Place
		want               uint64
	}{
		"a first contact":                 {place(0), uplink.Place{}, uplink.Place{}, 0},
		"as it was left":                  {place(20), place(18), place(18), 20},
		"the note is older":               {place(10), place(10), place(18), 10},
		"the centre was restored":         {place(20), place(18), place(7), 7},
		"the centre has nothing any more": {place(20), place(18), uplink.Place{}, 0},
		"nothing was selected":            {place(20), uplink.Place{}, uplink.Place{}, 20},
	} {
		p := &pipe{log: discard, incarnation: 1}
		p.state.Uplink.Incarnation, p.state.Sequence, p.state.Stored = c.own.Incarnation, c.own.Sequence, c.own.Stored
		p.state.Acked = c.acked
		p.align(c.centre)
		if p.state.Sequence != c.want {
			t.Errorf("%s: begins after %d, want %d", what, p.state.Sequence, c.want)
		}
	}
}

// TestAcknowledged checks that an edge takes as acknowledged what the centre notes: the place of
// the last frame, though later messages were read and have nothing to send.
func TestAcknowledged(t *testing.T) {
	var b telemetryv1.Builder
	b.Value(telemetryv1.Key{Site: "hall", Device: "d", Metric: "t"}, 1, 20)
	readings := b.Take(1)
	clock := &telemetryv1.Batch{Arrival: 2, Clock: &telemetryv1.Clock{CaughtUp: 2}}
	commit := &derivedv1.Commit{Input: &derivedv1.Position{Sequence: 1}, Summaries: []*derivedv1.WindowSummary{
		{Series: &derivedv1.Series{Site: "hall", Device: "d", Metric: "t"}, Window: "1m", Width: int64(time.Minute), Count: 1},
	}}
	policy := uplink.Policy{
		Readings:  []uplink.Selection{{Series: "*/*/*"}},
		Summaries: []uplink.SummarySelection{{Series: "*/*/*", Window: "1m"}},
	}
	for what, c := range map[string]struct {
		packer   packer
		messages []proto.Message
	}{
		"readings":  {&readingsPacker{}, []proto.Message{readings, clock}},
		"summaries": {&summariesPacker{unnamed: prometheus.NewCounter(prometheus.CounterOpts{})}, []proto.Message{commit, &derivedv1.Commit{Input: commit.Input}}},
	} {
		c.packer.begin(policy)
		for i, m := range c.messages {
			data, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			c.packer.add(data, uplink.Place{Incarnation: 1, Sequence: uint64(i + 1), Stored: int64(i + 1)})
		}
		u, err := c.packer.take(t.Context())
		if want := (uplink.Place{Incarnation: 1, Sequence: 1, Stored: 1}); err != nil || len(u.body) == 0 || u.last != want {
			t.Errorf("%s: the last frame is at %+v, %v; want %+v", what, u.last, err, want)
		}
	}
}

var discard = slog.New(slog.DiscardHandler)
