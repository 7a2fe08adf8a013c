package uplink_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/uplink"
)

func TestSummarySelection(t *testing.T) {
	for text, want := range map[string]uplink.SummarySelection{
		"all=1m":             {Series: "*/*/*", Window: "1m"},
		"hall/*/t=1h":        {Series: "hall/*/t", Window: "1h"},
		" hall/d/t = 1d ":    {Series: "hall/d/t", Window: "1d"},
		"all":                {},
		"all=5m":             {},
		"hall/t=1m":          {},
		"hall/d/t.x=1m":      {},
		"hall/d/t=every 10":  {},
		"hall/d/t=1m=1h":     {},
		"hall/d/" + "=1m":    {},
		"hall/*/t=deadband1": {},
	} {
		got, err := uplink.ParseSummary(text)
		if (err != nil) != (want == uplink.SummarySelection{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		if err != nil {
			continue
		}
		if again, err := uplink.ParseSummary(got.String()); err != nil || again != got {
			t.Errorf("%q: written as %q: %v", text, got, err)
		}
	}
	var many uplink.Policy
	for range 65 {
		many.Summaries = append(many.Summaries, uplink.SummarySelection{Series: "*/*/*", Window: "1m"})
	}
	if many.Validate() == nil {
		t.Error("65 selections of summaries are taken")
	}
}

func summary(metric, window string, start int64, count uint64) *derivedv1.WindowSummary {
	return &derivedv1.WindowSummary{
		Series: &derivedv1.Series{Site: "hall", Device: "d", Metric: metric}, Unit: "°C", Window: window,
		Start: start, Width: int64(time.Minute), Count: count, Min: 1, Mean: 2, Max: 4,
	}
}

func summariesOf(t *testing.T, texts ...string) (p uplink.Policy) {
	t.Helper()
	for _, text := range texts {
		s, err := uplink.ParseSummary(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Summaries = append(p.Summaries, s)
	}
	return p
}

// TestSummaries checks which summaries go up, and as what.
func TestSummaries(t *testing.T) {
	minute := int64(time.Minute)
	c := &derivedv1.Commit{Summaries: []*derivedv1.WindowSummary{
		summary("t", "1m", 0, 3), summary("t", "1h", 0, 3), summary("rh", "1m", 0, 3), summary("t", "5m", 0, 3),
		summary("t", "1m", minute, 0), summary(strings.Repeat("x", 60), "1m", 0, 3), summary("t", "1m", 0, 5),
	}}
	at := uplink.Place{Incarnation: 1, Sequence: 7, Stored: 100}
	if frames, unnamed := (uplink.Policy{}).SelectSummaries(c, at); frames != nil || unnamed != 0 {
		t.Errorf("without a selection: %v", frames)
	}
	p := summariesOf(t, "hall/d/t=1m", "*/*/t=1m", "*/d/"+strings.Repeat("x", 60)+"=1m")
	frames, unnamed := p.SelectSummaries(c, at)
	if len(frames) != 1 || unnamed != 1 || frames[0].Check() != nil {
		t.Fatalf("%d frames, %d unnamed", len(frames), unnamed)
	}
	type value struct {
		Metric, Unit string
		Time         int64
		Value        float64
	}
	var got []value
	dictionary := frames[0].Dictionary()
	for r := range frames[0].Readings() {
		d := dictionary[r.Series]
		got = append(got, value{d.Metric, d.Unit, r.Time, r.Value})
	}
	end := minute - 1
	var want []value
	for _, count := range []float64{3, 5} {
		want = append(want, value{"t_1m_min", "°C", end, 1}, value{"t_1m_mean", "°C", end, 2}, value{"t_1m_max", "°C", end, 4}, value{"t_1m_count", "", end, count})
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestSummariesOfLargeCommits checks that the centre may store a part of a commit alone: the
// place of each frame covers those before it and not those behind.
func TestSummariesOfLargeCommits(t *testing.T) {
	c := new(derivedv1.Commit)
	for i := range 1000 {
		c.Summaries = append(c.Summaries, summary("t", "1m", int64(i)*int64(time.Minute), 1))
	}
	frames, _ := summariesOf(t, "all=1m").SelectSummaries(c, uplink.Place{Incarnation: 1, Sequence: 7, Stored: 100})
	readings := 0
	var last uplink.Place
	for i, f := range frames {
		o := f.GetOrigin()
		place := uplink.Place{Incarnation: o.GetIncarnation(), Sequence: o.GetSequence(), Stored: o.GetStored()}
		if len(f.GetSeries()) > 1000 || i > 0 && (last.Covers(place) || !place.Covers(last)) {
			t.Errorf("frame %d of %d readings at %+v, after %+v", i, len(f.GetSeries()), place, last)
		}
		readings, last = readings+len(f.GetSeries()), place
	}
	if want := (uplink.Place{Incarnation: 1, Sequence: 7, Stored: 100}); readings != 4000 || last != want {
		t.Errorf("%d readings, the last at %+v", readings, last)
	}
}

// TestSummariesAreNotCounted checks that summaries at the centre hide no reading that is
// missing there.
func TestSummariesAreNotCounted(t *testing.T) {
	p := summariesOf(t, "hall/*/t=1m")
	p.Readings = []uplink.Selection{{Series: "*/*/*"}}
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tally := uplink.NewTally(p, start, 1)
	for _, metric := range []string{"t", "t_1m_count", "t_1m_mean", "t_1h_mean", "rh_1m_mean"} {
		tally.Add(telemetryv1.Key{Site: "hall", Device: "d", Metric: metric}, start, 10)
	}
	if h := tally.Holdings(); len(h.Devices) != 1 || h.Devices[0].Counts[0] != 30 {
		t.Errorf("%+v", h.Devices)
	}
}
