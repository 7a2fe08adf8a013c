package cost_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"headwater/proto/cost"
)

// near reports whether an amount is another one to the cent.
func near(got, want float64) bool { return math.Abs(got-want) <= 0.0101 }

// TestPublishedExamples compares each formula with an example that the provider publishes,
// or with the published rate where it publishes none.
func TestPublishedExamples(t *testing.T) {
	m := cost.Default().Meters
	const million = 1e6
	for _, c := range []struct {
		name  string
		meter cost.Meter
		units float64
		free  cost.Free
		want  float64
	}{
		// IoT Core: 100,000 devices, connected for 30 days, 325 messages a day, 200 of which
		// trigger a rule with one action.
		{"connection", m.Connection, 100_000 * 60 * 24 * 30, cost.None, 345.60},
		{"messages", m.Message, 100_000 * 325 * 30, cost.None, 975},
		{"rules", m.Rule, 100_000 * 200 * 30, cost.None, 90},
		{"actions", m.Action, 100_000 * 200 * 30, cost.None, 90},
		// IoT Core: the workload of 50 devices that the free tier is for.
		{"free connection", m.Connection, 50 * 60 * 24 * 30, cost.FirstYear, 0},
		{"free messages", m.Message, 50 * 300 * 30, cost.FirstYear, 0},
		{"free rules", m.Rule, 50 * 150 * 30, cost.FirstYear, 0},
		{"free actions", m.Action, 50 * 150 * 30, cost.FirstYear, 0},
		{"free for a year only", m.Message, 50 * 300 * 30, cost.Always, 0.45},
		// IoT Core: a billion messages at 1.00, four at 0.80, then 0.70.
		{"steps of messages", m.Message, 6e9, cost.None, 1000 + 3200 + 700},
		// Lambda: 3 million calls of 1 s with 512 MB, and 30 million of 200 ms with 128 MB.
		{"calls", m.Request, 3 * million, cost.Always, 0.40},
		{"duration", m.Compute, 3 * million * 0.5, cost.Always, 18.34},
		{"more calls", m.Request, 30 * million, cost.Always, 5.80},
		{"shorter duration", m.Compute, 30 * million * 0.125 * 0.2, cost.Always, 5.83},
		{"no free tier", m.Request, 3 * million, cost.None, 0.60},
		// DynamoDB: 650,000 writes on demand; 27 GB, the first 25 of which are free.
		{"writes", m.Write, 650_000, cost.FirstYear, 0.41},
		{"table", m.Table, 27, cost.Always, 0.50},
		{"small table", m.Table, 25, cost.Always, 0},
		// SNS: 0.50 a million after the first; S3: 0.005 for 1,000 uploads, 0.023 a GB.
		{"publishes", m.Publish, 2 * million, cost.Always, 0.50},
		{"push", m.Push, 2 * million, cost.Always, 0.50},
		{"uploads", m.Put, 10_000, cost.Always, 0.05},
		{"archive", m.Archive, 1000, cost.FirstYear, 23},
		{"steps of the archive", m.Archive, 52_200, cost.FirstYear, 51_200*0.023 + 1000*0.022},
		{"nothing", m.Message, 0, cost.None, 0},
	} {
		if got := c.meter.Charge(c.units, c.free); !near(got, c.want) {
			t.Errorf("%s: %v %s cost %.4f, want %.2f", c.name, c.units, c.meter.Unit, got, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	m := cost.Default().Meters
	for _, c := range []struct {
		meter cost.Meter
		bytes int
		want  float64
	}{
		{m.Message, 1, 1},
		{m.Message, 5120, 1},
		{m.Message, 5121, 2},
		{m.Message, 8 << 10, 2},
		{m.Message, 0, 1},
		{m.Write, 1024, 1},
		{m.Write, 1025, 2},
		{m.Write, 3 << 10, 3},
		{m.Request, 100_000, 1},
	} {
		if got := c.meter.Units(c.bytes); got != c.want {
			t.Errorf("%d bytes are %v of %s, want %v", c.bytes, got, c.meter.Unit, c.want)
		}
	}
}

// TestTheTable compares with the table that started this: 20 devices, in whole dollars. What
// it calls free is 11 cents here, all of them for the writes: those on demand have no free
// tier.
func TestTheTable(t *testing.T) {
	p := cost.Default()
	u := cost.DefaultUse()
	got, err := p.Compare(u, cost.FirstYear, cost.Intervals())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{0, 1, 3, 110} {
		plan := got.Plans[i]
		if want == 0 {
			if plan.Cloud.Total >= 0.5 || plan.Cloud.Total != plan.Cloud.Of(cost.Table) {
				t.Errorf("every %s: %.2f, want nothing but writes below half a dollar: %+v", plan.Every, plan.Cloud.Total, plan.Cloud.Lines)
			}
			continue
		}
		if math.Abs(plan.Cloud.Total-want) > 0.15*want {
			t.Errorf("every %s: %.2f, want %.0f within 15 %%: %+v", plan.Every, plan.Cloud.Total, want, plan.Cloud.Lines)
		}
		if plan.Edge.Total > 0.30 {
			t.Errorf("every %s: the edge costs %.2f: %+v", plan.Every, plan.Edge.Total, plan.Edge.Lines)
		}
	}
	fastest := got.Plans[3]
	if fastest.Readings != 51_840_000 || !near(fastest.Saved, fastest.Cloud.Total-fastest.Edge.Total) {
		t.Errorf("%v readings, saved %v", fastest.Readings, fastest.Saved)
	}
	// After the first year the broker's free tiers are gone: 0.5 million messages, 0.25
	// million rules and actions, 864,000 minutes of connection.
	if more := fastest.CloudLater - fastest.Cloud.Total; !near(more, 0.50+2*0.25*0.15+0.864*0.08) {
		t.Errorf("after the first year it costs %.3f more", more)
	}
}

// TestBillsAddUp checks that each part is there and that lines make the total.
func TestBillsAddUp(t *testing.T) {
	p := cost.Default()
	u := cost.Use{Devices: 5000, Every: 10 * time.Second, Payload: 6000, Alerts: 900_000, Keep: 12}
	cloud, edge := p.Cloud(u, cost.None), p.Edge(u, cost.None)
	sum := 0.0
	for _, part := range []cost.Part{cost.Broker, cost.Function, cost.Table, cost.Notification} {
		if cloud.Of(part) <= 0 || edge.Of(part) <= 0 {
			t.Errorf("%s costs %v and %v", part, cloud.Of(part), edge.Of(part))
		}
		sum += cloud.Of(part)
	}
	if !near(sum, cloud.Total) || cloud.Of(cost.Backup) != 0 || edge.Of(cost.Backup) <= 0 {
		t.Errorf("parts are %v of %v; backup %v and %v", sum, cloud.Total, cloud.Of(cost.Backup), edge.Of(cost.Backup))
	}
	for _, l := range append(cloud.Lines, edge.Lines...) {
		if l.Rests == "" || l.Unit == "" || l.Units <= 0 {
			t.Errorf("line %+v", l)
		}
	}
	// A payload above 5 KB is two messages and six writes.
	if n := u.Readings(); cloud.Lines[1].Units != 2*n || cloud.Lines[6].Units != 6*n {
		t.Errorf("%v readings are %v messages and %v writes", n, cloud.Lines[1].Units, cloud.Lines[6].Units)
	}
}

func TestWrongUses(t *testing.T) {
	p := cost.Default()
	minute := []time.Duration{time.Minute}
	for _, c := range []struct {
		name      string
		change    func(*cost.Use)
		free      cost.Free
		intervals []time.Duration
		want      string
	}{
		{"devices", func(u *cost.Use) { u.Devices = 0 }, cost.Always, minute, "devices must be 1 to 10\u202f000\u202f000"},
		{"too often", nil, cost.Always, []time.Duration{time.Millisecond}, "every must be"},
		{"too rarely", nil, cost.Always, []time.Duration{32 * 24 * time.Hour}, "every must be"},
		{"payload", func(u *cost.Use) { u.Payload = 128<<10 + 1 }, cost.Always, minute, "payload must be"},
		{"alerts", func(u *cost.Use) { u.Alerts = -1 }, cost.Always, minute, "alerts must be"},
		{"keep", func(u *cost.Use) { u.Keep = 121 }, cost.Always, minute, "keep must be"},
		{"free", nil, "yes", minute, "free must be"},
		{"no interval", nil, cost.Always, nil, "every must be given"},
		{"too many intervals", nil, cost.Always, make([]time.Duration, 13), "every must be given"},
	} {
		u := cost.DefaultUse()
		if c.change != nil {
			c.change(&u)
		}
		if _, err := p.Compare(u, c.free, c.intervals); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestWrongPrices(t *testing.T) {
	text := string(cost.BuiltIn())
	for _, c := range []struct{ name, from, to, want string }{
		{"date", `"2026-11-28"`, `"yesterday"`, "date:"},
		{"field", `"note"`, `"nota"`, "unknown field"},
		{"price", `"price": 0.625`, `"price": -1`, "write: a price must be"},
		{"per", `"unit": "PUT", "per": 1000`, `"unit": "PUT", "per": 0`, "put: per must be"},
		{"step", `"up_to": 5000000000`, `"up_to": 5`, "message: up_to must rise"},
		{"last step", `{"price": 0.70}`, `{"price": 0.70, "up_to": 6000000000}`, "message: the last step"},
		{"meter", `"push": {`, `"pushed": {`, "unknown field"},
		{"source", `"source": "https://aws.amazon.com/s3/pricing/"`, `"source": ""`, "put: source must"},
		{"provider", `"AWS"`, `""`, "provider, region and currency"},
		{"size", `"note": "`, `"note": "` + strings.Repeat("x", cost.MaxFile), "more than 65536 bytes"},
	} {
		_, err := cost.Parse([]byte(strings.Replace(text, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := cost.Parse([]byte(text + text)); err == nil {
		t.Error("two objects were taken")
	}
}

func TestMoney(t *testing.T) {
	dollars, others := cost.Prices{Currency: "USD"}, cost.Prices{Currency: "CHF"}
	for amount, want := range map[float64]string{0: "$0", 0.004: "under $0.01", 0.108: "$0.11", 109.39: "$109.39", 12345.6: "$12\u202f346", -3: "−$3.00"} {
		if got := dollars.Money(amount); got != want {
			t.Errorf("%v is %q, want %q", amount, got, want)
		}
	}
	if got := others.Money(2.5); got != "CHF\u00a02.50" {
		t.Errorf("got %q", got)
	}
}
