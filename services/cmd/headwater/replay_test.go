package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/processor"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/rules"
)

// process runs a processor on the world's streams.
func (w *world) process(t *testing.T) {
	t.Helper()
	bucket, err := w.js.KeyValue(t.Context(), streams.BucketConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), streams.ConfigKey, "rules: []\n"); err != nil {
		t.Fatal(err)
	}
	p, err := processor.New(processor.DefaultConfig(), processor.Deps{JS: w.js, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	streamtest.Eventually(t, "the processor replays", func() bool {
		_, err := w.js.Conn().Request(streams.ReplayStart, nil, within)
		return err == nil
	})
}

// warm stores a device that warms up and cools down, minute by minute until now.
func (w *world) warm(t *testing.T, values ...float64) {
	t.Helper()
	key := telemetryv1.Key{Site: "hall", Device: "door-1", Metric: "temperature", Unit: "°C"}
	start := time.Now().Add(-time.Duration(len(values)) * time.Minute)
	for i, v := range values {
		var b telemetryv1.Builder
		at := start.Add(time.Duration(i) * time.Minute).UnixNano()
		b.Value(key, at, v)
		msg, err := streams.TelemetryMsg(streams.Lane(key.Site, key.Device, 2), streams.SourceMQTT, b.Take(at))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t, false)
	w.process(t)
	w.warm(t, 20, 20, 31, 33, 20, 20)
	rule := filepath.Join(t.TempDir(), "rule.yaml")
	if err := os.WriteFile(rule, []byte("name: too-warm\ndetector: limit\nabove: 30\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: too-warm\ndetector: limit\nabove: hot\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		code  int
		holds []string
	}{
		{[]string{"-f", rule, "--from", "1d", "--warm", "2d"}, exitDone, []string{
			"Rule too-warm, from ", "6 readings in ", "watched: 1", "Alerts it would have raised: 1 (begun in the period: 1); really raised: 0 by this rule, 0 by others",
			"hall/door-1  1 ", "2 min   hall/door-1 temperature  warning   31 °C: above the limit of 30 °C",
		}},
		{[]string{"-f", rule, "--list", "0", "--to=-1s"}, exitDone, []string{"would have raised: 1 "}},
		{[]string{"-f", rule, "--json"}, exitDone, []string{`"state": "done"`, `"total": 1`}},
		{[]string{"-f", bad}, exitFailed, []string{"rule:3: above: must be a number, not text"}},
		{[]string{"-f", rule, "--from", "yesterday"}, exitFailed, []string{"from must be a time of RFC 3339"}},
		{[]string{"-f", filepath.Join(t.TempDir(), "none.yaml")}, exitFailed, []string{"no such file"}},
		{nil, exitUsage, []string{"--file"}},
	} {
		var out, errs bytes.Buffer
		env := environment{out: &out, err: &errs, in: strings.NewReader("")}
		code := run(t.Context(), env, append([]string{"replay", "--server", w.url}, c.args...))
		if code != c.code {
			t.Errorf("%v: code %d, want %d: %s%s", c.args, code, c.code, out.String(), errs.String())
		}
		for _, text := range c.holds {
			if !strings.Contains(out.String()+errs.String(), text) {
				t.Errorf("%v: %q is not in\n%s%s", c.args, text, out.String(), errs.String())
			}
		}
	}
}

// TestAdviceNeedsHistory asks for quieter settings of a rule of which a processor has a few
// minutes of readings only.
func TestAdviceNeedsHistory(t *testing.T) {
	w := newRules(t)
	w.process(t)
	w.warm(t, 20, 20, 31, 33, 20, 20)
	c, err := newClient(w.url, "", "")
	if err != nil {
		t.Fatal(err)
	}
	streamtest.Eventually(t, "the rule is made", func() bool {
		at := c.base.JoinPath("api", "v1", "rules", "too-warm")
		at.RawQuery = "revision=0&author=Ana"
		return c.send(t.Context(), "PUT", at, []byte("name: too-warm\ndetector: limit\nabove: 30\n"), nil) == nil
	})
	at := c.base.JoinPath("api", "v1", "rules", "too-warm", "advice")
	if err := c.send(t.Context(), "POST", at, nil, nil); err != nil {
		t.Fatal(err)
	}
	var a rules.Advice
	streamtest.Eventually(t, "the answer", func() bool { return c.send(t.Context(), "GET", at, nil, &a) == nil && a.State.Over() })
	if a.State != rules.AdviceDone || len(a.Proposals) != 0 || a.Before != 1 || !strings.Contains(a.Why, "and a day is needed") {
		t.Errorf("advice %+v", a)
	}
}
