package machine

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/internal/lane"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	r := newRig(t, doorRules)
	r.machine = New(3, Limits{Series: 1, DeviceSeries: 1, Readings: 1 << 10, Silence: DefaultLimits().Silence}, NewMetrics(reg))
	r.machine.heard.Steady = true
	r.configure(1, doorRules)
	other := thermometer
	other.Metric = "humidity"
	// What is replayed was counted before.
	r.read(thermometer, -60*second, 4)
	r.read(other, -60*second, 4)
	r.tick(0)
	if _, err := r.machine.Take(lane.Position{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 0, 60, 600} {
		r.read(thermometer, at*second, float64(4+at))
	}
	r.read(thermometer, 0, 4) // too late to be compared with the first
	r.read(thermometer, 0, 5)
	r.read(thermometer, 60*second, 4)
	r.read(thermometer, 600*second, 4)
	r.read(thermometer, 600*second, math.Inf(1))
	r.read(other, 0, 1)
	r.tick(3 * hour)
	r.take()

	got := make(map[string]float64)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"headwater_processor_readings_total":               10,
		"headwater_processor_received_readings_total mqtt": 10,
		"headwater_processor_received_rejected_total mqtt": 0,
		"headwater_processor_summaries_total":              5,
		"headwater_processor_not_numeric_total":            1,
		"headwater_processor_series 3":                     1,
		"headwater_processor_anomalies_total open":         2,
		"headwater_processor_anomalies_total update":       2,
		"headwater_processor_anomalies_total close":        2,
		"headwater_processor_dropped_total duplicate":      1,
		"headwater_processor_dropped_total conflict":       2,
		"headwater_processor_dropped_total too_late":       3,
		"headwater_processor_dropped_total series_limit":   1,
		"headwater_processor_dropped_total derived_late":   0,
		"headwater_processor_dropped_total derived_name":   0,
		"headwater_processor_derived_readings_total":       0,
		"headwater_processor_derived_left_out_total":       0,
		"headwater_processor_late_uncompared_total":        2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
