package dashboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headwater/services/dashboard/consumption"
	"headwater/services/internal/influx"
	"headwater/web/device"
)

// TestSums adds up the readings, and a roll-up of the time before the first one that is kept.
func TestSums(t *testing.T) {
	t.Parallel()
	hour := func(n int64) int64 {
		return 1_700_000_000_000_000_000/int64(time.Hour)*int64(time.Hour) + n*int64(time.Hour)
	}
	row := func(column string, at int64, v float64, statement int) string {
		return fmt.Sprintf(`{"statement_id":%d,"series":[{"name":"energy_used","columns":["time",%q],"values":[[%d,%v]]}]}`, statement, column, at, v)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.FormValue("q")
		answer := `{"results":[]}`
		switch rp := r.FormValue("rp"); {
		case rp == "raw" && strings.Contains(q, "GROUP BY time(3600000000000ns)"):
			answer = `{"results":[` + row("sum", hour(5), 7, 0) + `,` + row("first", hour(5)+1, 7, 1) + `]}`
		case rp == "1h" && strings.Contains(q, fmt.Sprintf("time < %d", hour(5))):
			answer = `{"results":[` + row("sum", hour(4), 3, 0) + `]}`
		case rp == "1m" && strings.Contains(q, "GROUP BY time(900000000000ns)"):
			answer = `{"results":[` + row("sum", hour(4), 2, 0) + `]}`
		}
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	client, err := influx.New(influx.Config{URL: server.URL, Database: "headwater", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(client)
	q := device.SeriesQuery{Site: "hall", Device: "meter", Metric: "energy_used", Unit: "kWh", From: time.Unix(0, hour(0)), To: time.Unix(0, hour(9))}
	for step, want := range map[time.Duration]consumption.Sums{
		time.Hour:        {hour(4): 3, hour(5): 7},
		15 * time.Minute: {hour(4): 2},
	} {
		got, err := h.sums(t.Context(), q, step)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: %v, %v, want %v", step, got, err, want)
		}
	}
}
