package device_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/web"
	"headwater/web/device"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

// hostile is a device with a name and a unit that a spreadsheet would take for formulas.
type hostile struct{ device.Source }

func (h hostile) Device(site, name string) (view.Device, bool) {
	if site != "-site" {
		return h.Source.Device(site, name)
	}
	return view.Device{Site: site, Device: name, Metrics: []view.Metric{
		{Name: "m", Unit: "=cmd|' /C calc'!A0", Kind: view.KindNumber}, {Name: "note", Kind: view.KindText},
	}}, true
}

func (h hostile) Series(ctx context.Context, q device.SeriesQuery) (device.Series, error) {
	if q.Site != "-site" {
		return h.Source.Series(ctx, q)
	}
	values := []float64{-1.5, 1e-7}
	return device.Series{TimeMS: []int64{q.From.UnixMilli() + 1, q.From.UnixMilli() + 900_001}, Min: values, Max: values, Mean: values, Last: values, Count: []float64{1, 2}}, nil
}

func exportServer(t *testing.T, state fixture.State) *web.Server {
	t.Helper()
	sources := fixture.New(state, webtest.Now).Sources()
	sources.Device = hostile{sources.Device}
	return webtest.ServerOf(t, sources)
}

// TestExportReadsBack exports two series and a hostile one and reads the CSV back: the same
// figures as in the answers of the API, with times in the zone.
func TestExportReadsBack(t *testing.T) {
	t.Parallel()
	s := exportServer(t, fixture.Warehouse)
	const period = "&from=2026-03-14T08:00:00Z&to=2026-03-14T09:00:00Z&points=60"
	res, body := webtest.Get(t, s, "GET", "/api/v1/series.csv?series=warehouse.door-04.temperature&series=warehouse.door-04.open&series=-site.d.m&zone=Asia/Kolkata"+period)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/csv; charset=utf-8" || res.Header.Get("Content-Disposition") != `attachment; filename="headwater.csv"` {
		t.Fatalf("%d %v %s", res.StatusCode, res.Header, body)
	}
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"time",
		"warehouse/door-04 temperature mean (°C)", "warehouse/door-04 temperature min (°C)", "warehouse/door-04 temperature max (°C)",
		"warehouse/door-04 temperature last (°C)", "warehouse/door-04 temperature count", "warehouse/door-04 open",
		"'-site/d m mean (=cmd|' /C calc'!A0)", "'-site/d m min (=cmd|' /C calc'!A0)", "'-site/d m max (=cmd|' /C calc'!A0)",
		"'-site/d m last (=cmd|' /C calc'!A0)", "'-site/d m count",
	}
	if got := strings.Join(rows[0], "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the header is\n%s", got)
	}
	_, answer := webtest.Get(t, s, "GET", "/api/v1/series?site=warehouse&device=door-04&metric=temperature&with=last,count"+period)
	var of device.Series
	if err := json.Unmarshal([]byte(answer), &of); err != nil || len(of.TimeMS) < 40 || len(of.Last) != len(of.TimeMS) || len(of.Count) != len(of.TimeMS) {
		t.Fatalf("%v: %s", err, answer)
	}
	byTime := map[int64][]string{}
	before := time.Time{}
	for _, row := range rows[1:] {
		at, err := time.Parse(time.RFC3339Nano, row[0])
		if err != nil || !strings.HasSuffix(row[0], "+05:30") || !at.After(before) {
			t.Fatalf("a row of %s after %s: %v", row[0], before, err)
		}
		before = at
		byTime[at.UnixMilli()] = row
	}
	if len(byTime) != len(of.TimeMS)+2 {
		t.Errorf("%d rows for %d points and 2 others", len(byTime), len(of.TimeMS))
	}
	for i, at := range of.TimeMS {
		for c, column := range [][]float64{of.Mean, of.Min, of.Max, of.Last, of.Count} {
			if got, err := strconv.ParseFloat(byTime[at][1+c], 64); err != nil || got != column[i] {
				t.Fatalf("column %d at %d is %v, want %v (%v)", c, at, got, column[i], err)
			}
		}
		if flag := byTime[at][6]; flag != "true" && flag != "false" {
			t.Fatalf("the flag at %d is %q", at, flag)
		}
	}
	if row := byTime[1773475200001]; row == nil || row[1] != "" || row[6] != "" || row[7] != "-1.5" || row[11] != "1" {
		t.Errorf("the row of the hostile series alone is %q", row)
	}
	if res, _ := webtest.Get(t, s, "GET", "/api/v1/series.csv?series=warehouse.door-04.temperature"); res.Header.Get("Content-Disposition") != `attachment; filename="warehouse-door-04-temperature.csv"` {
		t.Errorf("the file of one series: %v", res.Header)
	}
}

// TestExportRefuses asks for what cannot be exported.
func TestExportRefuses(t *testing.T) {
	t.Parallel()
	const one = "series=warehouse.door-04.temperature"
	for query, want := range map[string]int{
		"": 400,
		one + strings.Repeat("&"+one, device.MaxExport): 400,
		"series=warehouse.door-04":                      400,
		"series=" + url.QueryEscape("a/b.c.d"):          400,
		one + "." + strings.Repeat("x", 65):             400,
		one + "&zone=Local":                             400,
		one + "&zone=../../etc/passwd":                  400,
		one + "&zone=" + strings.Repeat("x", 65):        400,
		one + "&points=5001":                            400,
		one + "&from=yesterday":                         400,
		"series=warehouse.door-99.temperature":          404,
		"series=warehouse.door-04.nothing":              404,
		"series=-site.d.note":                           400,
	} {
		res, body := webtest.Get(t, exportServer(t, fixture.Warehouse), "GET", "/api/v1/series.csv?"+query)
		if res.StatusCode != want || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60s: %d %s, want %d", query, res.StatusCode, body, want)
		}
	}
	if res, body := webtest.Get(t, exportServer(t, fixture.Warehouse), "GET", "/api/v1/series?site=warehouse&device=door-04&metric=temperature&with=median"); res.StatusCode != 400 {
		t.Errorf("a column that there is not: %d %s", res.StatusCode, body)
	}
	if res, body := webtest.Get(t, exportServer(t, fixture.Away), "GET", "/api/v1/series.csv?"+one); res.StatusCode != 503 {
		t.Errorf("without InfluxDB: %d %s", res.StatusCode, body)
	}
}
