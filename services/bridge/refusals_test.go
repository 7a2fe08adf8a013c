package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"headwater/services/bridge/login"
	"headwater/services/internal/problems"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestAClientThatIsRefusedAgainAndAgainIsReported refuses some for different
// reasons and forgets those that stopped.
func TestAClientThatIsRefusedAgainAndAgainIsReported(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 2)
	js := server.JS(t)
	report := problems.New(js, streams.ServiceBridge, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); report.Run(ctx) }()
	defer func() { cancel(); <-done }()
	kv, err := js.KeyValue(t.Context(), streams.BucketProblems)
	if err != nil {
		t.Fatal(err)
	}
	said := func() string {
		var all strings.Builder
		keys, _ := kv.Keys(t.Context())
		for _, key := range keys {
			if entry, err := kv.Get(t.Context(), key); err == nil {
				all.Write(entry.Value())
			}
		}
		return all.String()
	}
	r := newRefusals(report)
	begin := time.Unix(1_800_000_000, 0)
	door := login.Device{ClientID: "door-1", Host: "192.0.2.1"}
	r.login(login.RefusalPassword, login.Device{ClientID: "once", Host: "192.0.2.2"}, begin)
	for i := range refusalsToReport {
		r.login(login.RefusalPassword, door, begin.Add(time.Duration(i)*time.Minute))
		r.closed("talker", "192.0.2.3", "Parse Error", begin.Add(time.Duration(i)*time.Minute))
	}
	streamtest.Eventually(t, "both are reported", func() bool {
		all := said()
		return strings.Contains(all, `Device \"door-1\"`) && strings.Contains(all, "192.0.2.1: it may not log in") && strings.Contains(all, "Parse Error")
	})
	// One that was refused once is for the page on which somebody waits for it.
	if all := said(); !strings.Contains(all, `{"part":"Device \"once\"","text":"It was refused, from 192.0.2.2: it may not log in`) ||
		strings.Count(all, `"quiet":true`) != 1 || strings.Count(all, `"refused":"log-in"`) != 2 {
		t.Errorf("reported are %s", all)
	}
	r.forget(begin.Add(refusalsKept + time.Minute)) // the last was 2 minutes after the first
	if len(r.clients) != 2 {
		t.Errorf("%d clients are remembered", len(r.clients))
	}
	r.forget(begin.Add(refusalsKept + 2*time.Minute))
	streamtest.Eventually(t, "none is reported any more", func() bool { return said() == "" })
	for i := range 10 * maxRefused {
		r.login(login.RefusalPassword, login.Device{ClientID: fmt.Sprint(i)}, begin)
	}
	if len(r.clients) > maxRefused {
		t.Errorf("%d clients are remembered", len(r.clients))
	}
	streamtest.Eventually(t, "what everybody should see has room", func() bool {
		return strings.Count(said(), `"quiet":true`) == maxQuiet && strings.Contains(said(), `Device \"49\"`)
	})
}
