package fleet

import (
	"fmt"
	"testing"
	"time"

	"headwater/web/overview"
	"headwater/web/view"
)

// TestDevicesAreCalledAsPeopleCallThem says something about a device before and after it
// reports: it is shown and found by that.
func TestDevicesAreCalledAsPeopleCallThem(t *testing.T) {
	f := New("")
	said := map[string]view.DeviceAbout{"d": {Name: "Front Door", Room: "Hall", Tags: map[string]string{"kind": "door"}, Metrics: map[string]view.MetricAbout{"m": {Name: "Air"}}}}
	f.Say(func(_, device string) view.DeviceAbout { return said[device] })
	say(f, "d", "m", t0, view.Number(1))
	if d := only(t, f, "d", t0); d.Label() != "Front Door" || d.Metrics[0].Label() != "Air" {
		t.Errorf("%+v", d)
	}
	for _, text := range []string{"front d", "HALL", "kind=door", "s/d"} {
		if n := f.Devices(overview.Query{Text: text, Page: 1, Size: 9}, t0).Matching; n != 1 {
			t.Errorf("%q finds %d devices", text, n)
		}
	}
	before := f.Version()
	said["d"] = view.DeviceAbout{Name: "Back door"}
	f.Describe("s", "d")
	if called, room := f.Label("s", "d"); called != "Back door" || room != "" || f.Version() == before {
		t.Errorf("called %q in %q, version %d", called, room, f.Version())
	}
	said["d"] = view.DeviceAbout{Room: "Cellar"}
	f.DescribeAll()
	if called, room := f.Label("s", "d"); called != "" || room != "Cellar" {
		t.Errorf("called %q in %q", called, room)
	}
	f.Describe("s", "nobody")
	if called, _ := f.Label("s", "nobody"); called != "" {
		t.Error("a device that has not reported is known")
	}
}

// TestAfterWalksAllDevices reads the devices page by page while one comes and one goes.
func TestAfterWalksAllDevices(t *testing.T) {
	f := New("")
	for i := range 25 {
		say(f, fmt.Sprintf("d%d", i), "m", t0, view.Number(1))
	}
	var got []string
	site, device := "", ""
	for range 10 {
		page := f.After("", nil, site, device, 4, t0)
		for _, d := range page {
			got = append(got, d.Device)
			site, device = d.Site, d.Device
		}
		if len(got) == 4 {
			f.Forget("s", "d3", t0.Add(time.Second)) // the last one of the page
			say(f, "d2x", "m", t0, view.Number(1))   // before it
		}
		if len(page) < 4 {
			break
		}
	}
	if len(got) != 25 || got[4] != "d4" || got[24] != "d24" {
		t.Errorf("%d devices: %q", len(got), got)
	}
	if n := len(f.After("d1", []string{"elsewhere"}, "", "", 99, t0)); n != 0 {
		t.Errorf("%d devices of another site", n)
	}
	if n := len(f.After("d1", []string{"s"}, "", "", 99, t0)); n != 11 {
		t.Errorf("%d devices match d1, want 11", n)
	}
}

func TestChangedIsWhenTheValueChanged(t *testing.T) {
	f := New("")
	for i, v := range []float64{1, 1, 2, 2} {
		say(f, "d", "m", t0.Add(time.Duration(i)*time.Second), view.Number(v))
	}
	if d := only(t, f, "d", t0); !d.Changed().Equal(t0.Add(2 * time.Second)) {
		t.Errorf("changed at %v", d.Changed())
	}
	say(f, "e", "m", t0, view.Number(1))
	if d := only(t, f, "e", t0); !d.Changed().IsZero() {
		t.Errorf("the first value is a change: %v", d.Changed())
	}
}

// TestExpectedInterval has a device that has reported once: how often it is expected decides
// when it is silent.
func TestExpectedInterval(t *testing.T) {
	for interval, want := range map[time.Duration]view.State{0: view.StateOK, 10 * time.Second: view.StateSilent, time.Hour: view.StateOK} {
		f := New("")
		f.Say(func(string, string) view.DeviceAbout { return view.DeviceAbout{Interval: view.Span(interval)} })
		f.Begin(t0.UnixNano())
		f.Clock(t0.UnixNano())
		say(f, "d", "m", t0, view.Number(1))
		for s := range 180 {
			f.Clock(t0.Add(time.Duration(s) * time.Second).UnixNano())
		}
		if d := only(t, f, "d", t0); d.State != want {
			t.Errorf("expected every %v: %s, want %s", interval, d.State, want)
		}
	}
}
