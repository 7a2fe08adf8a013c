package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headwater/streams/streamtest"
	"headwater/web/view"
)

// TestLedgerCloses sends readings and what is none, over MQTT and HTTP, before
// and after a restart: the ledger accounts for each, exactly, once it has all
// come through.
func TestLedgerCloses(t *testing.T) {
	cfg := testConfig(t.TempDir())
	at, stop := start(t, cfg)
	send := func(n int) {
		client := device(t, at.MQTT, "door-01")
		for i := range n {
			publish(t, client, "sensors/hall/door-01/temperature", fmt.Sprint(i))
		}
		publish(t, client, "sensors/hall/door-01/temperature", "{")
		publish(t, client, "nowhere", "1")
		resp, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json",
			strings.NewReader(`[{"site":"hall","device":"door-02","metric":"temperature","value":19.5}]`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("POST: %s", resp.Status)
		}
	}
	closed := func(what string, want view.LedgerFigures, rows int) {
		t.Helper()
		var got view.Ledger
		streamtest.Eventually(t, 40*time.Second, what, func() bool {
			got = view.Ledger{}
			getJSON(t, at.HTTP+"/api/v1/ledger?from=-24h", &got)
			return got.Totals.Exact && got.Totals.Received >= want.Received
		})
		if got.Totals.LedgerFigures != want || got.Matching != rows {
			t.Errorf("%s: %+v in %d rows, want %+v in %d", what, got.Totals, got.Matching, want, rows)
		}
	}
	send(40)
	closed("the ledger closes", view.LedgerFigures{Received: 43, Stored: 41, Rejected: 2}, 3)
	send(20)
	stop()
	at, _ = start(t, cfg)
	send(10)
	closed("the ledger closes after a restart", view.LedgerFigures{Received: 79, Stored: 73, Rejected: 6}, 3)
}
