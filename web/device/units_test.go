package device

import (
	"strings"
	"testing"
	"time"

	"headwater/web/view"
)

// TestBoundsOfARate: what bounds a change is shown as a change within a time, in the
// unit of the anomaly, and a level as a level.
func TestBoundsOfARate(t *testing.T) {
	t.Parallel()
	f := Facts{Device: view.Device{Metrics: []view.Metric{{Name: "temperature", Unit: "°C"}}}}
	within := (5 * time.Minute).Milliseconds()
	for _, test := range []struct {
		episode view.Episode
		want    string
	}{
		{view.Episode{High: new(23.0), Baseline: new(20.0), WithinMS: within}, "rise of at most 3 °C within 5 min, from 20 °C"},
		{view.Episode{Low: new(18.5), Baseline: new(20.0), WithinMS: within}, "fall of at most 1.5 °C within 5 min, from 20 °C"},
		{view.Episode{Low: new(18.5), High: new(23.0), Baseline: new(20.0), WithinMS: within}, "rise of at most 3 °C or fall of at most 1.5 °C within 5 min, from 20 °C"},
		{view.Episode{High: new(23.0), Baseline: new(20.0)}, "expected 20 °C, at most 23 °C"},
		{view.Episode{High: new(23.0), Unit: "K"}, "at most 23 K"},
		{view.Episode{}, ""},
	} {
		test.episode.Metric = "temperature"
		if got := strings.ReplaceAll(f.boundWords(test.episode), "\u00a0", " "); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestOneChartAUnit: a metric that came in two units has a chart for each, with ids
// that stay when another unit is the latest.
func TestOneChartAUnit(t *testing.T) {
	t.Parallel()
	for _, latest := range []string{"hPa", "Pa"} {
		var b strings.Builder
		f := Facts{Device: view.Device{Site: "hall", Device: "baro-1", Metrics: []view.Metric{
			{Name: "pressure", Unit: latest, Units: []string{"hPa", "Pa"}, Kind: view.KindNumber, Value: view.Number(1)},
		}}}
		if err := Charts(f).Render(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		first, second := strings.Index(b.String(), `id="chart-pressure"`), strings.Index(b.String(), `id="chart-pressure-in-2"`)
		hecto, pascal := strings.Index(b.String(), `data-of="hPa"`), strings.Index(b.String(), `data-of="Pa"`)
		if first < 0 || hecto < first || second < hecto || pascal < second {
			t.Errorf("with the latest in %s: %s", latest, b.String())
		}
	}
}
