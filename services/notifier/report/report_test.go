package report_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/calendar"
	"headwater/services/notifier/report"
)

func device(name string) report.Device { return report.Device{Site: "hall", Name: name} }

func devices(n int) []report.Device {
	out := make([]report.Device, n)
	for i := range out {
		out[n-1-i] = device(fmt.Sprintf("door-%02d", i+1))
	}
	return out
}

func TestWrite(t *testing.T) {
	door4 := report.Alert{Device: device("door-04"), Severity: 3, Sentence: "9.6 °C: above the limit of 8 °C."}
	fires := door4
	fires.Ongoing = true
	other := report.Alert{Device: device("door-07"), Severity: 2, Sentence: "it rises fast", Ongoing: true}
	for _, c := range []struct {
		name  string
		facts report.Facts
		title string
		body  string
	}{
		{
			"a quiet night",
			report.Facts{Devices: 20, Batteries: []report.Battery{{Device: device("door-01"), Percent: 20}}},
			": All is well", "Nothing was unusual in the last 24 hours.|No device is silent: 20 devices have reported.|No battery is below 20 %.",
		},
		{
			"nothing at all",
			report.Facts{},
			": All is well", "Nothing was unusual in the last 24 hours.|No device has reported.|No device reports its battery.",
		},
		{
			"one alert that is over",
			report.Facts{Alerts: []report.Alert{door4}, Devices: 1},
			": All is well", "Unusual in the last 24 hours: 1 alert: door-04 at hall, 9.6 °C: above the limit of 8 °C.|No device is silent: 1 device has reported.|No device reports its battery.",
		},
		{
			"one that fires, of one site",
			report.Facts{Site: "hall", Alerts: []report.Alert{fires}, Devices: 2},
			"of hall: 1 thing to look at", "Unusual in the last 24 hours: 1 alert, which still fires: door-04, 9.6 °C: above the limit of 8 °C.|No device is silent: 2 devices have reported.|No device reports its battery.",
		},
		{
			"some of each",
			report.Facts{
				Site: "hall", Alerts: []report.Alert{other, door4, door4}, Devices: 18, Silent: devices(2),
				Batteries: []report.Battery{{Device: device("door-09"), Percent: 12.4}, {Device: device("door-01"), Percent: 88}, {Device: device("door-03"), Percent: 7}},
			},
			"of hall: 5 things to look at", "Unusual in the last 24 hours: 3 alerts on 2 devices, 1 of which still fires; the worst is door-04, 9.6 °C: above the limit of 8 °C.|" +
				"2 devices are silent: door-01 and door-02.|2 devices need a battery: door-03 (7 %) and door-09 (12 %).",
		},
		{
			"all fire",
			report.Facts{Site: "hall", Alerts: []report.Alert{other, fires}, Devices: 2},
			"of hall: 2 things to look at", "Unusual in the last 24 hours: 2 alerts on 2 devices, which all still fire; the worst is door-04, 9.6 °C: above the limit of 8 °C.|" +
				"No device is silent: 2 devices have reported.|No device reports its battery.",
		},
		{
			"many are silent",
			report.Facts{Silent: devices(48), Devices: 2},
			": 48 things to look at", "Nothing was unusual in the last 24 hours.|" +
				"48 devices are silent: door-01 at hall, door-02 at hall, door-03 at hall, door-04 at hall, door-05 at hall and 43 more.|No device reports its battery.",
		},
		{
			"no sentence",
			report.Facts{Site: "hall", Alerts: []report.Alert{{Device: device("door-04")}}, Devices: 1},
			"of hall: All is well", "Unusual in the last 24 hours: 1 alert: door-04.|No device is silent: 1 device has reported.|No device reports its battery.",
		},
	} {
		title, body := report.Write(c.facts)
		if title != strings.Replace("Morning report "+c.title, " :", ":", 1) || strings.ReplaceAll(body, "\n", "|") != c.body {
			t.Errorf("%s: %s\n%s\nwant %s\n%s", c.name, title, body, c.title, strings.ReplaceAll(c.body, "|", "\n"))
		}
	}
}

func TestDue(t *testing.T) {
	for _, c := range []struct{ now, zone, at, want string }{
		{"2026-03-14T08:00:00Z", "UTC", "07:00", "2026-03-14T07:00:00Z"},
		{"2026-03-14T07:00:00Z", "UTC", "07:00", "2026-03-14T07:00:00Z"},
		{"2026-03-14T06:59:59Z", "UTC", "07:00", "2026-03-13T07:00:00Z"},
		{"2026-03-14T02:00:00Z", "Asia/Kolkata", "07:00", "2026-03-14T01:30:00Z"},
		{"2026-03-14T01:00:00Z", "Asia/Kolkata", "07:00", "2026-03-13T01:30:00Z"},
		// The clocks go forward at 2:00 in Berlin.
		{"2026-03-29T12:00:00Z", "Europe/Berlin", "07:00", "2026-03-29T05:00:00Z"},
		{"2026-03-28T12:00:00Z", "Europe/Berlin", "07:00", "2026-03-28T06:00:00Z"},
	} {
		place, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		at, err := calendar.ParseClock(c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := report.Due(now, at, place).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %s at %s: %s, want %s", c.now, c.zone, c.at, got, c.want)
		}
	}
}

func TestIsBattery(t *testing.T) {
	for series, want := range map[[2]string]bool{
		{"battery", "%"}: true, {"Battery", "%"}: true, {"battery_percent", ""}: true, {"battery", ""}: false, {"battery", "V"}: false,
		{"humidity", "%"}: false, {"soc", "%"}: true, {"soc", ""}: false,
	} {
		if got := report.IsBattery(series[0], series[1]); got != want {
			t.Errorf("%v: %v", series, got)
		}
	}
}
