package notifier

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/streams/streamtest"
)

// leads reports whether the service holds the lane.
func leads(t *testing.T, reg *prometheus.Registry) bool {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "headwater_notifier_leases" {
			return family.GetMetric()[0].GetGauge().GetValue() == 1
		}
	}
	return false
}

// TestStandby has a second notifier stand by and take over: everything is sent
// once, and nothing by both.
func TestStandby(t *testing.T) {
	f := setup(t)
	phone := newSink(t, nil)
	f.configure(t, webhookAt("phone", phone.URL))
	svc, reg, stop := f.startCounted(t)
	f.ready(t, svc)
	standby, standbyReg, _ := f.startCounted(t)
	f.ready(t, standby)
	if !leads(t, reg) || leads(t, standbyReg) {
		t.Fatal("not the first one leads")
	}
	var devices []string
	for range 3 {
		devices = append(devices, f.fire(t))
	}
	phone.await(t, firing(devices...)...)
	stop()
	stopped := time.Now()
	streamtest.Eventually(t, "the standby leads", func() bool { return leads(t, standbyReg) && standby.Ready() == nil })
	t.Logf("the standby decides on alerts %s after the first has stopped", time.Since(stopped))
	for range 3 {
		devices = append(devices, f.fire(t))
	}
	phone.await(t, firing(devices...)...)
	streamtest.Eventually(t, "the outcomes", func() bool { return len(f.deliveries(t, "phone")) >= len(devices) })
	if n := len(f.deliveries(t, "phone")); n != len(devices) {
		t.Errorf("%d deliveries of %d", n, len(devices))
	}
}
