// Package cost computes what a managed cloud charges for the readings of devices in a month,
// and what remains of it if they are decided on at the site and only what is abnormal and a
// nightly backup go up. It is pure: prices are a file with a date and sources.
package cost

import (
	"errors"
	"fmt"
	"math"
	"time"

	"headwater/proto/figure"
)

// Free is which free tiers count.
type Free string

// The free tiers that may count: all, as in the first year of an account; those that do
// not end; none, for an account that other things have used up.
const (
	FirstYear Free = "first-year"
	Always    Free = "always"
	None      Free = "none"
)

// Assumptions that no price list has. Each figure names those that it rests on.
const (
	// Days are the days of a month.
	Days = 30
	// memory and duration are those of the function that looks at a reading.
	memory   = 128 // MiB
	duration = 50 * time.Millisecond
	// overhead is what the table adds to each item for its index, and key is the size of
	// the key, in bytes.
	overhead = 100
	key      = 40
	// summary is the size of the message about an alert, and perAlert how many messages
	// there are about one: its beginning and its end.
	summary  = 512
	perAlert = 2
	// packed is the size of a reading in the compact backup, in bytes: its value as it is,
	// with all else compressed.
	packed = 8
	// gigabyte is 2^30 bytes, as providers count.
	gigabyte = 1 << 30
)

// Intervals are those that are compared when none is given.
func Intervals() []time.Duration {
	return []time.Duration{5 * time.Minute, time.Minute, 30 * time.Second, time.Second}
}

// Use is what there is to pay for.
type Use struct {
	// Devices is the number of devices, 1 to 10,000,000.
	Devices int `json:"devices"`
	// Every is the time from one reading of a device to the next, 100 ms to 31 days.
	Every time.Duration `json:"-"`
	// Payload is the size of the message with a reading, 1 to 131,072 bytes.
	Payload int `json:"payload_bytes"`
	// Alerts is the number of alerts a month, 0 to 100,000,000.
	Alerts int `json:"alerts"`
	// Keep is for how many months the readings are kept, 1 to 120.
	Keep int `json:"keep_months"`
}

// DefaultUse returns the warehouse with 20 doors.
func DefaultUse() Use { return Use{Devices: 20, Every: time.Minute, Payload: 100, Alerts: 30, Keep: 1} }

// Check returns what is wrong with a use.
func (u Use) Check() error {
	var problems []error
	bounded := func(name string, v, low, high int) {
		if v < low || v > high {
			problems = append(problems, fmt.Errorf("%s must be %d to %s", name, low, figure.Count(uint64(high))))
		}
	}
	bounded("devices", u.Devices, 1, 10_000_000)
	if u.Every < 100*time.Millisecond || u.Every > 31*24*time.Hour {
		problems = append(problems, errors.New("every must be 100 ms to 31 days"))
	}
	bounded("payload", u.Payload, 1, 128<<10)
	bounded("alerts", u.Alerts, 0, 100_000_000)
	bounded("keep", u.Keep, 1, 120)
	return errors.Join(problems...)
}

// Readings returns how many readings there are in a month.
func (u Use) Readings() float64 {
	return math.Round(float64(u.Devices) * (Days * 24 * time.Hour).Seconds() / u.Every.Seconds())
}

// Part is a part of the cloud.
type Part string

// The parts, in the order in which a reading passes them.
const (
	Broker       Part = "broker"
	Function     Part = "function"
	Table        Part = "table"
	Notification Part = "notification"
	Backup       Part = "backup"
)

// Line is what one meter charges.
type Line struct {
	Part Part   `json:"part"`
	Name string `json:"name"`
	// Units are those of the month, free ones too.
	Units  float64 `json:"units"`
	Unit   string  `json:"unit"`
	Amount float64 `json:"amount"`
	// Rests says what the number of units rests on.
	Rests string `json:"rests_on"`
}

// Bill is what a month costs, in the currency of the prices.
type Bill struct {
	Lines []Line  `json:"lines"`
	Total float64 `json:"total"`
}

// Of returns what a part of a bill costs.
func (b Bill) Of(p Part) float64 {
	total := 0.0
	for _, l := range b.Lines {
		if l.Part == p {
			total += l.Amount
		}
	}
	return total
}

// bill adds up.
type bill struct {
	Bill
	free Free
}

func (b *bill) add(p Part, m Meter, units float64, rests string) {
	amount := m.Charge(units, b.free)
	b.Lines = append(b.Lines, Line{Part: p, Name: m.Name, Units: units, Unit: m.Unit, Amount: amount, Rests: rests})
	b.Total += amount
}

// Cloud returns what it costs to send every reading up: each is a message that triggers a
// rule, whose action calls a function that looks at it and writes it to a table; each alert
// is pushed to a phone.
func (p Prices) Cloud(u Use, free Free) Bill {
	b := bill{free: free}
	n := u.Readings()
	readings := "each reading, " + figure.Plural(u.Payload, "byte", "bytes")
	b.connect(p.Meters, u.Devices, "each device stays connected, "+days())
	b.path(p.Meters, n, u.Payload, readings)
	b.add(Table, p.Meters.Table, n*float64(u.Payload+key+overhead)*float64(u.Keep)/gigabyte,
		fmt.Sprintf("payload, %d bytes of key and %d of index a reading, %s kept, at their end", key, overhead, figure.Plural(u.Keep, "month", "months")))
	b.notify(p.Meters, u.Alerts)
	return b.Bill
}

// Edge returns what it costs if the site decides and keeps everything: one connection, what
// is abnormal on the same path, and each night a compact backup of all readings. The
// computer of the site is not in it.
func (p Prices) Edge(u Use, free Free) Bill {
	b := bill{free: free}
	alerts := float64(u.Alerts * perAlert)
	rests := fmt.Sprintf("each alert, its beginning and its end, %d bytes", summary)
	b.connect(p.Meters, 1, "the site stays connected, "+days())
	b.path(p.Meters, alerts, summary, rests)
	b.add(Table, p.Meters.Table, alerts*(summary+key+overhead)*float64(u.Keep)/gigabyte, "the alerts kept")
	b.notify(p.Meters, u.Alerts)
	b.add(Backup, p.Meters.Put, Days, "one upload a night")
	b.add(Backup, p.Meters.Archive, u.Readings()*packed*float64(u.Keep)/gigabyte,
		fmt.Sprintf("all readings, %d bytes each in the compact backup, %s kept", packed, figure.Plural(u.Keep, "month", "months")))
	return b.Bill
}

func days() string { return fmt.Sprintf("%d days", Days) }

func (b *bill) connect(m Meters, connections int, rests string) {
	b.add(Broker, m.Connection, float64(connections)*Days*24*60, rests)
}

// path is the way of messages through broker, function and table.
func (b *bill) path(m Meters, n float64, size int, rests string) {
	b.add(Broker, m.Message, n*m.Message.Units(size), rests)
	b.add(Broker, m.Rule, n*m.Rule.Units(size), "one rule for each message")
	b.add(Broker, m.Action, n*m.Action.Units(size), "one action for each message: call the function")
	b.add(Function, m.Request, n, "one call for each message")
	b.add(Function, m.Compute, n*memory/1024*duration.Seconds(),
		fmt.Sprintf("%d MB for %d ms a call", memory, duration.Milliseconds()))
	b.add(Table, m.Write, n*m.Write.Units(size+key), "one write on demand for each message")
}

func (b *bill) notify(m Meters, alerts int) {
	const rests = "the beginning and the end of each alert, to one phone"
	b.add(Notification, m.Publish, float64(alerts*perAlert), rests)
	b.add(Notification, m.Push, float64(alerts*perAlert), rests)
}

// Plan compares the two for one interval.
type Plan struct {
	// Every is the interval as people read it.
	Every string `json:"every"`
	// Seconds is the interval.
	Seconds  float64 `json:"every_seconds"`
	Readings float64 `json:"readings"`
	Cloud    Bill    `json:"cloud"`
	Edge     Bill    `json:"edge"`
	Saved    float64 `json:"saved"`
	// CloudLater and EdgeLater are the totals after the first year, when only the free
	// tiers that do not end count; with no free tiers they are those of the bills.
	CloudLater float64 `json:"cloud_later"`
	EdgeLater  float64 `json:"edge_later"`
}

// Comparison is the answer to what a use costs, interval by interval.
type Comparison struct {
	Use    Use    `json:"use"`
	Free   Free   `json:"free_tiers"`
	Prices Prices `json:"prices"`
	Plans  []Plan `json:"plans"`
}

// maxPlans bounds the intervals of one comparison.
const maxPlans = 12

// Compare compares intervals, 1 to 12 of them. It returns what is wrong with the use.
func (p Prices) Compare(u Use, free Free, intervals []time.Duration) (Comparison, error) {
	if len(intervals) == 0 || len(intervals) > maxPlans {
		return Comparison{}, fmt.Errorf("every must be given 1 to %d times", maxPlans)
	}
	switch free {
	case FirstYear, Always, None:
	default:
		return Comparison{}, fmt.Errorf("free must be %s, %s or %s", FirstYear, Always, None)
	}
	out := Comparison{Use: u, Free: free, Prices: p}
	later := Always
	if free == None {
		later = None
	}
	for _, every := range intervals {
		u.Every = every
		if err := u.Check(); err != nil {
			return Comparison{}, err
		}
		plan := Plan{
			Every: figure.Duration(every), Seconds: every.Seconds(), Readings: u.Readings(),
			Cloud: p.Cloud(u, free), Edge: p.Edge(u, free),
			CloudLater: p.Cloud(u, later).Total, EdgeLater: p.Edge(u, later).Total,
		}
		plan.Saved = plan.Cloud.Total - plan.Edge.Total
		out.Plans = append(out.Plans, plan)
	}
	return out, nil
}

// Money writes an amount of the currency of the prices, such as $1.09; a larger one than 0
// never as 0.
func (p Prices) Money(amount float64) string {
	sign := p.Currency + "\u00a0"
	switch p.Currency {
	case "USD":
		sign = "$"
	case "EUR":
		sign = "€"
	case "GBP":
		sign = "£"
	}
	switch {
	case amount < 0:
		return "−" + p.Money(-amount)
	case amount == 0:
		return sign + "0"
	case amount < 0.01:
		return "under " + sign + "0.01"
	case amount >= 10_000:
		return sign + figure.Count(uint64(math.Round(amount)))
	}
	return sign + fmt.Sprintf("%.2f", amount)
}
