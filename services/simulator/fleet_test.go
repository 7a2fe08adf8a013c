package simulator

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is a time in nanoseconds since the epoch, with odd nanoseconds.
var noon = time.Date(2026, 11, 2, 12, 0, 0, 123456789, time.UTC).UnixNano()

// configured returns the default configuration after a change.
func configured(change func(*Config)) Config {
	cfg := DefaultConfig()
	change(&cfg)
	return cfg
}

func TestFleetIDsAndIntervals(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      Config
		first    string
		interval []time.Duration // of the first devices
	}{
		{
			"warehouse", DefaultConfig(), "sensors/warehouse/door-01/temperature",
			[]time.Duration{time.Second, 30 * time.Second, time.Minute, 5 * time.Minute},
		},
		{"demo", Demo("tcp://localhost:1883", time.Time{}), "sensors/demo/door-01/temperature", []time.Duration{2 * time.Second, 2 * time.Second}},
		{
			"rate", configured(func(c *Config) { c.Rate, c.Devices, c.Warehouse = 1000, 50, false }),
			"sensors/warehouse/device-0001/temperature",
			[]time.Duration{50 * time.Millisecond},
		},
		{"unpaced", configured(func(c *Config) { c.Unpaced = true }), "sensors/warehouse/door-01/temperature", []time.Duration{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			devices, err := fleet(c.cfg, noon)
			if err != nil {
				t.Fatal(err)
			}
			if len(devices) != c.cfg.Devices {
				t.Fatalf("%d devices, want %d", len(devices), c.cfg.Devices)
			}
			if devices[0].topic != c.first {
				t.Errorf("the first device publishes on %s, want %s", devices[0].topic, c.first)
			}
			for i, want := range c.interval {
				if devices[i].interval != want {
					t.Errorf("device %d reports every %v, want %v", i, devices[i].interval, want)
				}
			}
			topics := make(map[string]bool)
			for _, d := range devices {
				topics[d.topic] = true
			}
			if len(topics) != len(devices) {
				t.Errorf("%d devices publish on %d topics", len(devices), len(topics))
			}
		})
	}
}

func TestDevicesReportSoonThenOnTheirTimetable(t *testing.T) {
	devices, err := fleet(DefaultConfig(), noon)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range devices {
		first := d.next(noon)
		if after := time.Duration(first - noon); after < -time.Millisecond || after > firstWithin {
			t.Errorf("device %d reports %v after the start", i, after)
		}
		before := first
		for n := range 5 {
			now := d.next(noon)
			gap := time.Duration(now - before)
			early := n == 0 && d.interval > firstWithin
			if !early && gap != d.interval || gap < 0 || gap > d.interval {
				t.Errorf("device %d, report %d: %v after the previous one, want %v", i, n+2, gap, d.interval)
			}
			before = now
		}
	}
}

func TestRateIsSpreadEvenly(t *testing.T) {
	devices, err := fleet(configured(func(c *Config) { c.Rate, c.Devices, c.Warehouse = 100, 1000, false }), noon)
	if err != nil {
		t.Fatal(err)
	}
	var perSecond [10]int
	for _, d := range devices {
		perSecond[min(9, max(0, int(time.Duration(d.next(noon)-noon)/time.Second)))]++
	}
	for second, n := range perSecond {
		if n < 98 || n > 102 {
			t.Errorf("second %d has %d readings, want 100", second, n)
		}
	}
}

func TestEventTimesNeverRepeat(t *testing.T) {
	d := &device{}
	d.begin(noon, false)
	before := int64(0)
	for range 1000 {
		now := d.next(noon)
		if now <= before || now%int64(time.Microsecond) != 0 {
			t.Fatalf("event time %d follows %d", now, before)
		}
		before = now
	}
}

func TestLateReadingsAreSkipped(t *testing.T) {
	d := &device{interval: time.Second}
	d.begin(noon, true)
	if n := d.skip(noon+int64(9*time.Second), patience); n != 0 {
		t.Errorf("%d readings were skipped within the patience", n)
	}
	late := noon + int64(time.Minute)
	if n := d.skip(late, patience); n != 60 {
		t.Errorf("%d readings were skipped after a minute, want 60", n)
	}
	if next := d.next(late); next > late || late-next >= int64(time.Second) {
		t.Errorf("after a minute the next reading is %v old", time.Duration(late-next))
	}
}

func TestEncode(t *testing.T) {
	milli := noon - noon%int64(time.Millisecond)
	for _, c := range []struct {
		form  string
		value float64
		t     int64
		want  string
	}{
		{PayloadNumber, 20.4, noon, "20.4"},
		{PayloadNumber, -0.0625, noon, "-0.0625"},
		{PayloadObject, 21, milli, `{"value":21,"ts":1793620800123,"unit":"°C"}`},
		{PayloadObject, 21.37, milli + 4000, `{"value":21.37,"ts":1793620800123004,"unit":"°C"}`},
	} {
		got := string(encode(c.form, c.value, c.t))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.form, got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON", got)
		}
	}
}

func TestDemoLeavesADoorOpenSoon(t *testing.T) {
	devices, err := fleet(Demo("tcp://localhost:1883", time.Time{}), noon)
	if err != nil {
		t.Fatal(err)
	}
	const start = 20 * time.Second
	var rises []float64
	for _, d := range devices {
		rises = append(rises, d.value(noon+int64(start+time.Minute))-d.value(noon+int64(start)))
	}
	if most := slices.Max(rises); most < 3 {
		t.Errorf("one minute after the door was left open no sensor has risen by more than %.2f", most)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	if err := Demo("tcp://127.0.0.1:1883", time.Time{}).Validate(); err != nil {
		t.Errorf("the demo: %v", err)
	}
	bad := Config{
		MQTT: []string{"tcp://localhost:1883", "localhost"}, Site: "a b", Devices: 0, Connections: -1, QoS: 2, InFlight: 70_000, Payload: "xml",
		Interval: time.Microsecond, Rate: -1, Unpaced: true, Duration: -1, Count: -1, LeftOpenEvery: time.Second,
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("an impossible fleet is valid")
	}
	for _, flag := range []string{
		"--mqtt", "--site", "--devices", "--connections", "--qos", "--in-flight", "--payload", "--interval", "--rate",
		"--unpaced", "--duration", "--count", "--left-open-every", "--left-open-for",
	} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("nothing is said about %s:\n%v", flag, err)
		}
	}
	if _, err := New(bad, Deps{}); err == nil {
		t.Error("New takes an impossible fleet")
	}
}
