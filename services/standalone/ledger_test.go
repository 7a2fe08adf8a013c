package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/streams/streamtest"
	"headwater/web/deadletters"
	"headwater/web/ledger"
)

// TestLedgerCloses sends readings and malformed messages, over MQTT and HTTP, before and
// after a restart. When everything is processed, the ledger accounts for each exactly.
func TestLedgerCloses(t *testing.T) {
	t.Parallel() // it mostly waits
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
	send(40)
	closed(t, at, "the ledger closes", ledger.Figures{Received: 43, Stored: 41, Rejected: 2}, 3)
	send(20)
	stop()
	at, _ = start(t, cfg)
	send(10)
	closed(t, at, "the ledger closes after a restart", ledger.Figures{Received: 79, Stored: 73, Rejected: 6}, 3)
}

// closed waits until the ledger is exact, and compares it with want.
func closed(t *testing.T, at Addresses, what string, want ledger.Figures, rows int) {
	t.Helper()
	var got ledger.Ledger
	streamtest.Eventually(t, what, func() bool {
		got = ledger.Ledger{}
		getJSON(t, at.HTTP+"/api/v1/ledger?from=-24h", &got)
		return got.Totals.Exact && got.Totals.Received >= want.Received
	})
	if got.Totals.Figures != want || got.Matching != rows {
		t.Errorf("%s: %+v in %d rows, want %+v in %d", what, got.Totals, got.Matching, want, rows)
	}
}

// TestLedgerOfRefusedAndRedriven checks how the ledger counts a reading that InfluxDB
// refuses, and a dead letter that is redriven after the fix.
func TestLedgerOfRefusedAndRedriven(t *testing.T) {
	t.Parallel() // it mostly waits
	cfg := testConfig(t.TempDir())
	at, stop := start(t, cfg)
	client := device(t, at.MQTT, "door-01")
	publish(t, client, "sensors/hall/door-01/temperature", "19.5")
	publish(t, client, "plant/hall/door-01/temperature", "20.5")
	// InfluxDB refuses a number for a field that is a text.
	now := time.Now()
	write(t, at.Influx, "raw", fmt.Sprintf(`level,site=hall,device=other value="high" %d`, now.UnixNano()))
	publish(t, client, "sensors/hall/door-01/level", fmt.Sprintf(`{"value":5,"ts":%d}`, now.UnixMilli()))
	want := ledger.Figures{Received: 3, Stored: 1, Rejected: 1, Refused: 1}
	closed(t, at, "the ledger closes over what was refused", want, 2)
	var letters deadletters.Letters
	getJSON(t, at.HTTP+"/api/v1/deadletters?service=writer", &letters)
	if len(letters.Items) != 1 || letters.Items[0].Device != "door-01" {
		t.Errorf("dead letters of the writer: %+v", letters.Items)
	}

	stop()
	cfg.Bridge.Topics = append(slices.Clone(cfg.Bridge.Topics), "plant/{site}/{device}/{metric}")
	at, _ = start(t, cfg)
	resp, err := http.Post(fmt.Sprintf("%s/api/v1/deadletters/redrive?service=bridge&reason=topic&through=%d", at.HTTP, letters.Last), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("redrive: %s", resp.Status)
	}
	want.Received, want.Stored = want.Received+1, want.Stored+1
	closed(t, at, "the ledger closes over what was redriven", want, 2)
}
