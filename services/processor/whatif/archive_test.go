package whatif

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headwater/services/internal/config"
	"headwater/services/internal/influx"
	"headwater/services/processor/internal/machinetest"
	"headwater/services/processor/machine"
)

// fakeInflux answers queries about three series with a reading every ten seconds
// at whole multiples of that: 35 in the first of two minutes, 20 in the second.
type fakeInflux struct {
	t *testing.T
	// begins is when the first reading was, most how many rows an answer may have.
	begins, most int64
	// count replaces the counts of readings, if it is not 0.
	count int64

	mu      sync.Mutex
	queries []string
}

var (
	queryTimes  = regexp.MustCompile(`time >= (\d+) AND time < (\d+)`)
	fakeDevices = []string{"door-1", "door-2", "gate"}
)

func (f *fakeInflux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.FormValue("q")
	f.mu.Lock()
	f.queries = append(f.queries, q)
	f.mu.Unlock()
	var from, to int64
	if m := queryTimes.FindStringSubmatch(q); m != nil {
		from, _ = strconv.ParseInt(m[1], 10, 64)
		to, _ = strconv.ParseInt(m[2], 10, 64)
	} else {
		f.t.Errorf("no times in %s", q)
	}
	from = max(from, f.begins)
	const every = 10 * second
	first := (from + every - 1) / every * every
	rows := max(0, (to-first+every-1)/every)
	var series []string
	if strings.Contains(q, "count(") {
		if f.count != 0 {
			rows = f.count
		}
		series = []string{fmt.Sprintf(`{"name":"temperature","columns":["time","count"],"values":[[0,%d]]}`, 3*rows)}
	} else {
		for i, device := range fakeDevices {
			var values []string
			for at := first; at < to; at += every {
				v := 20
				if at/minute%2 == 0 {
					v = 35
				}
				values = append(values, fmt.Sprintf("[%d,%d]", at+int64(i), v))
			}
			series = append(series, fmt.Sprintf(`{"name":"temperature","tags":{"site":"hall","device":%q},"columns":["time","value"],"values":[%s],"partial":%v}`,
				device, strings.Join(values, ","), rows > f.most))
		}
	}
	if rows == 0 {
		series = nil
	}
	fmt.Fprintf(w, `{"results":[{"statement_id":0,"series":[%s]}]}`, strings.Join(series, ","))
}

// feedTrial has a trial of a rule, one of four lanes for each device, learn from
// the fake. It returns the trials and the archive.
func feedTrial(t *testing.T, f *fakeInflux, text string, from, to time.Time) ([]*trial, *archive, error) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	client, err := influx.New(influx.Config{URL: server.URL, Database: "headwater", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c, r := machinetest.Rule(t, text)
	trials := make([]*trial, 4)
	for n := range trials {
		trials[n], err = newTrial(n, machine.DefaultLimits(), c, r, from.UnixNano(), to.UnixNano())
		if err != nil {
			t.Fatal(err)
		}
	}
	a := newArchive(client, r, trials, new(atomic.Uint64))
	err = a.feed(t.Context(), from, to)
	for _, tried := range trials {
		tried.finish()
	}
	return trials, a, err
}

func TestArchiveIsJudgedAsTheStream(t *testing.T) {
	t.Parallel()
	to := time.Unix(0, epoch)
	f := &fakeInflux{t: t, begins: epoch - 10*minute, most: 20}
	trials, a, err := feedTrial(t, f, `{name: warm, match: {device: "door-*"}, detector: limit, above: 30}`, to.Add(-time.Hour), to)
	if err != nil {
		t.Fatal(err)
	}
	result := summarise(trials, to.Add(-time.Hour), to, a.earliest)
	// Five warm minutes of two doors; the gate is not watched.
	if result.Total != 10 || result.Matched != 2 || len(result.Devices) != 2 {
		t.Errorf("%d alerts of %d series, want 10 of 2", result.Total, result.Matched)
	}
	for _, alert := range result.Alerts {
		if alert.End.Sub(alert.Start) != time.Minute {
			t.Errorf("an alert lasts from %v to %v, want a minute", alert.Start, alert.End)
		}
	}
	if !a.earliest.Equal(time.Unix(0, f.begins)) || a.counted.Load() != 180 || a.fed != 180 {
		t.Errorf("%d readings since %v, %d counted, want 180 since ten minutes before", a.fed, a.earliest, a.counted.Load())
	}
}

// TestArchiveIsBounded checks that of more readings than are taken the newest
// count, and that nothing is asked for twice.
func TestArchiveIsBounded(t *testing.T) {
	t.Parallel()
	to := time.Unix(0, epoch)
	f := &fakeInflux{t: t, begins: 0, most: 1 << 40, count: 1 << 40}
	_, a, err := feedTrial(t, f, above30, to.Add(-31*24*time.Hour), to)
	if err != nil {
		t.Fatal(err)
	}
	if a.fed > maxArchived {
		t.Errorf("%d readings are taken, at most %d", a.fed, maxArchived)
	}
	var last int64
	for _, q := range f.queries[1:] {
		from, _ := strconv.ParseInt(queryTimes.FindStringSubmatch(q)[1], 10, 64)
		if from <= last {
			t.Errorf("the time from %d is asked for again", from)
		}
		last = from
	}
}

func TestArchiveSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	to := time.Unix(0, epoch)
	f := &fakeInflux{t: t, begins: 0, most: 0}
	if _, _, err := feedTrial(t, f, above30, to.Add(-time.Hour), to); err == nil {
		t.Error("an answer that is never whole is no error")
	}
}

func TestArchiveAsksForWhatMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ match, what, where string }{
		{`{}`, `/.*/`, ``},
		{`{site: hall, device: door-1, metric: temperature}`, `"temperature"`, ` AND "site" = 'hall' AND "device" = 'door-1'`},
		{`{device: "door-?", metric: "temp*"}`, `/^temp.*$/`, ` AND "device" =~ /^door-.$/`},
		{`{device: "door-[12]", metric: "a/b"}`, `"a/b"`, ` AND "device" =~ /^door-.*/`},
	} {
		r, err := config.ParseRule("rule", []byte("name: tried\nmatch: "+c.match+"\ndetector: limit\nabove: 30\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		a := newArchive(nil, r, nil, nil)
		if a.what != c.what || a.where != c.where {
			t.Errorf("%s asks for %s%s, want %s%s", c.match, a.what, a.where, c.what, c.where)
		}
	}
}

func TestLearnedFromSaysWhere(t *testing.T) {
	t.Parallel()
	from := time.Unix(0, epoch).UTC()
	for _, c := range []struct {
		since, archived time.Time
		want            string
	}{
		{from.Add(-time.Hour), time.Time{}, "stored since 2023-11-14T22:00:00Z, 1 h before the period"},
		{from, time.Time{}, "No earlier data to learn from: the oldest stored readings"},
		{time.Time{}, time.Time{}, "No earlier data to learn from"},
		{from.Add(-time.Hour), from.Add(-48 * time.Hour), "2 d before the period, in InfluxDB"},
		{from.Add(time.Hour), from.Add(time.Minute), "the oldest readings in InfluxDB are of"},
	} {
		if got := learnedFrom(c.since, c.archived, from); !strings.Contains(got, c.want) {
			t.Errorf("%q does not say %q", got, c.want)
		}
	}
}
