package dashboard

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/pipeline"
)

// TestLossIsShownAndKeepsTheLedgerOpen has a service record that TELEMETRY lost its
// end: the pages say so for a day, and the ledger says of no time that may be hit
// that it is complete.
func TestLossIsShownAndKeepsTheLedgerOpen(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 1)
	js := server.JS(t)
	noticed := time.Date(2026, 5, 1, 12, 10, 0, 0, time.UTC)
	loss := &streams.Loss{
		Stream: streams.StreamTelemetry, Kept: 400, Until: 500,
		After: noticed.Add(-5 * time.Minute), Before: noticed.Add(-4 * time.Minute), Noticed: noticed,
	}
	found := &losses{log: slog.New(slog.DiscardHandler)}
	watch := &watcher{js: js, log: found.log, bucket: streams.BucketManifests, keys: streams.LossKeys, handle: found.on}
	done := make(chan struct{})
	go func() { defer close(done); watch.run(t.Context()) }()
	t.Cleanup(func() { <-done })
	bucket, err := js.KeyValue(t.Context(), streams.BucketManifests)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(streams.Holding{InputStream: streams.StreamTelemetry})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Put(t.Context(), streams.ManifestKey(streams.ServiceProcessor, 0), manifest); err != nil {
		t.Fatal(err)
	}
	if err := loss.Record(t.Context(), js, streams.ServiceProcessor); err != nil {
		t.Fatal(err)
	}
	// Another lane had read further.
	further := *loss
	further.Until, further.Noticed = 520, noticed.Add(time.Second)
	if err := further.Record(t.Context(), js, streams.ServiceProcessor); err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the dashboard knows", func() bool { l := found.list(); return len(l) == 1 && l[0].Until == 520 })
	s := survey{started: noticed, losses: found}
	told := func(at time.Time) bool {
		problems := s.problems(at, true)
		for _, p := range problems {
			if p.Part == "Streams" && strings.Contains(p.Text, "messages 401 to 520") && p.Since.Equal(noticed) {
				return true
			}
		}
		return false
	}
	if !told(noticed.Add(time.Hour)) || told(noticed.Add(25*time.Hour)) {
		t.Errorf("told after an hour %v, after a day %v", told(noticed.Add(time.Hour)), told(noticed.Add(25*time.Hour)))
	}
	for _, c := range []struct {
		from, to time.Duration // after it was noticed
		open     bool
	}{
		{-time.Hour, -10 * time.Minute, false},
		{-time.Hour, -5 * time.Minute, true},
		{-time.Hour, time.Hour, true},
		{-time.Minute, time.Hour, true},
		{time.Second, time.Hour, false},
	} {
		if got := found.within(noticed.Add(c.from), noticed.Add(c.to)); len(got) == 1 != c.open {
			t.Errorf("from %v to %v: %q", c.from, c.to, got)
		}
	}
}

func TestAStreamWithAHoleIsAProblem(t *testing.T) {
	s := survey{streams: []pipeline.Stream{{Name: streams.StreamTelemetry, Messages: 7, Gone: 3}}}
	problems := s.problems(time.Now(), true)
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "TELEMETRY is missing 3 messages in its middle") {
		t.Errorf("problems %+v", problems)
	}
}
