package influxd_test

import (
	"fmt"
	"testing"
	"time"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/standalone/influxd"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestRollUpsAreBackfilled lets the processor report which roll-ups miss readings. Once
// those readings are stored, the writer recomputes the roll-ups from the stored readings,
// with a higher revision.
func TestRollUpsAreBackfilled(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, lanes)
	js := server.JS(t)
	db := start(t, influxd.Config{Dir: t.TempDir()})
	from := time.Now().UTC().Truncate(24 * time.Hour).Add(-48 * time.Hour).UnixNano()
	minute, hour, day := int64(time.Minute), int64(time.Hour), 24*int64(time.Hour)
	var b telemetryv1.Builder
	key := telemetryv1.Key{Site: "w", Device: "door-1", Metric: "temperature"}
	for i, v := range []float64{1, 2, 6} {
		b.Value(key, from+int64(i)*20*int64(time.Second), v)
	}
	b.Value(key, from+90*minute, 10)
	b.Value(telemetryv1.Key{Site: "w", Device: "door-2", Metric: "temperature"}, from, 99)
	m, err := streams.TelemetryMsg(1, streams.SourceMQTT, b.Take(from))
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), streams.StreamTelemetry)
	if err != nil {
		t.Fatal(err)
	}
	series := &derivedv1.Series{Site: "w", Device: "door-1", Metric: "temperature"}
	m, err = streams.DerivedMsg(1, &derivedv1.Commit{
		Input: &derivedv1.Position{Incarnation: stream.CachedInfo().Created.UnixNano(), Sequence: ack.Sequence},
		Summaries: []*derivedv1.WindowSummary{
			{Series: series, Window: "1m", Start: from, Width: minute, Count: 1, Min: 1, Max: 1, Mean: 1, First: 1, Last: 1, Revision: 2},
		},
		Mends: []*derivedv1.Mend{
			{Series: series, Window: "1m", From: from, To: from + 91*minute, Width: minute},
			{Series: series, Window: "1h", From: from, To: from + 2*hour, Width: hour},
			{Series: series, Window: "1d", From: from, To: from + day, Width: day},
			{Series: series, Window: "7x", From: from, To: from + day, Width: day},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	runWriter(t, js, db.URL())

	c := connect(t, db)
	rows := func(policy string) string {
		series, err := c.Query(t.Context(), "headwater", policy,
			`SELECT count, deviation, first, last, max, mean, min, p50, p95, rate, revision, time_mean FROM temperature`, nil)
		if err != nil || len(series) != 1 {
			return fmt.Sprint(series, err)
		}
		out := ""
		for i, at := range series[0].Times {
			out += fmt.Sprintf("%v: %.4v; ", time.Duration(at-from), series[0].Values[i])
		}
		return out
	}
	for policy, want := range map[string]string{
		"1m": "0s: [3 2.16 1 6 6 3 1 2 6 0.125 3 2.75]; 1h30m0s: [1 0 10 10 10 10 10 10 10 0 1 10]; ",
		"1h": "0s: [3 2.16 1 6 6 3 1 2 6 0.125 1 2.75]; 1h0m0s: [1 0 10 10 10 10 10 10 10 0 1 10]; ",
		"1d": "0s: [4 3.562 1 10 10 4.75 1 4 10 0.001667 1 7.961]; ",
	} {
		got := ""
		defer func() {
			if t.Failed() {
				t.Logf("%s: %s", policy, got)
			}
		}()
		streamtest.Eventually(t, policy+" is backfilled", func() bool {
			got = rows(policy)
			return got == want
		})
	}
}
