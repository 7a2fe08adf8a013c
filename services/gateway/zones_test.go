package gateway_test

import (
	"fmt"
	"testing"
	"time"

	"headwater/services/internal/configstore"
	"headwater/streams"
	"headwater/streams/streamtest"
)

// TestTimeWithoutAZoneIsInThatOfTheSite sends one wall clock from two
// sites, and again after the zone of one has changed.
func TestTimeWithoutAZoneIsInThatOfTheSite(t *testing.T) {
	f := run(t).ready()
	store, err := configstore.Open(t.Context(), f.js)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if _, _, err := store.PutFile(t.Context(), "sites.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	put("time_zone: Asia/Kolkata\nsites:\n  fjord: {time_zone: Etc/GMT-3}\n")
	wall := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	// eventTime sends the wall clock and returns what was stored last.
	eventTime := func(site string) time.Time {
		t.Helper()
		body := fmt.Sprintf(`{"site":%q,"device":"d","metric":"m","value":1,"ts":%q}`, site, wall.Format("2006-01-02 15:04:05"))
		if got := f.post(body); got.Status != 202 {
			t.Fatalf("answer %+v", got)
		}
		stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := streams.DecodeTelemetry(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for r := range batch.Readings() {
			return time.Unix(0, r.Time)
		}
		t.Fatal("no reading")
		return time.Time{}
	}
	streamtest.Eventually(t, "the zone of the configuration is in force", func() bool {
		return eventTime("hall").Equal(wall.Add(-5*time.Hour - 30*time.Minute))
	})
	if got, want := eventTime("fjord"), wall.Add(-3*time.Hour); !got.Equal(want) {
		t.Errorf("fjord: %v, want %v", got, want)
	}
	put("time_zone: Asia/Kolkata\nsites:\n  fjord: {time_zone: Etc/GMT-1}\n")
	streamtest.Eventually(t, "the new zone is in force", func() bool {
		return eventTime("fjord").Equal(wall.Add(-time.Hour))
	})
}
