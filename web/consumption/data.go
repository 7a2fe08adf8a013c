package consumption

import (
	"context"
	"time"
)

// Source is where the pages get their facts from.
type Source interface {
	// Meters returns the metrics of a device that are declared as counters, in rising order.
	Meters(site, device string) ([]string, error)
	// Consumption returns what a meter has counted. It returns view.ErrNotFound if the metric
	// is no counter of the device. An error that wraps view.ErrUnavailable means that the
	// history or the configuration cannot be read.
	Consumption(ctx context.Context, q Query) (Consumption, error)
}

// Per is the time of one bar.
type Per string

// The times of a bar, and what is shown of them.
const (
	Hour  Per = "hour"  // the hours of a day
	Day   Per = "day"   // the days of a month
	Week  Per = "week"  // the weeks of a year, as ISO 8601 counts them
	Month Per = "month" // the months of a year
)

// Pers are the times of a bar, from the shortest on.
var Pers = []Per{Hour, Day, Week, Month}

// DateForm is the form of dates.
const DateForm = "2006-01-02"

// Query asks what a meter has counted.
type Query struct {
	Site, Device, Metric string
	Per                  Per
	// On is a date, of which only year, month and day count, within the day, month or year that
	// is shown; zero means today at the place.
	On time.Time
	// Now is the time up to which there can be readings.
	Now time.Time
}

// Amount is what was consumed in some time. Both are nil if nothing is known of that time, and
// Cost if there are no prices.
type Amount struct {
	Used *float64 `json:"used"`
	Cost *float64 `json:"cost,omitempty"`
}

// Period is one bar: half-open, at the place of the meter.
type Period struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Amount
	// Before is the amount of its counterpart: the same hour of the day before, the same day of
	// the month before, the same week or month of the year before.
	Before Amount `json:"before"`
}

// Tariff is a part of the consumption by what it cost.
type Tariff struct {
	// Name says when it is in force, such as "daily 22:00 to 06:00"; "otherwise" is the usual
	// price.
	Name  string  `json:"name"`
	Price float64 `json:"price"`
	Amount
}

// Consumption is what a meter has counted in a day, a month or a year.
type Consumption struct {
	Site     string `json:"site"`
	Device   string `json:"device"`
	Metric   string `json:"metric"`
	Unit     string `json:"unit,omitempty"`
	Currency string `json:"currency,omitempty"`
	// Zone is the time zone of the site, by which the periods are made.
	Zone string `json:"zone"`
	Per  Per    `json:"per"`
	// From and To bound what is shown. Earlier and Later are dates of what comes before and
	// after it; Later is empty if that has not begun.
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Earlier string    `json:"earlier"`
	Later   string    `json:"later,omitempty"`
	// Running is set while it is not over.
	Running bool `json:"running"`
	// Total is the amount of all periods, Before that of the day, month or year before, and
	// SoFar the part of that up to the time of day and date that it is now; SoFar is Before if
	// Running is not set.
	Total  Amount `json:"total"`
	Before Amount `json:"before"`
	SoFar  Amount `json:"so_far"`
	// Periods are all of it, also those that have not begun.
	Periods []Period `json:"periods"`
	// Tariffs are the parts by price, in the order of the declaration; empty without a tariff.
	Tariffs []Tariff `json:"tariffs"`
}
