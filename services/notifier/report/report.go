// Package report writes the morning report: three sentences about what was unusual in the
// last day, what is silent, and which batteries are low; and says when it is due. It is pure.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/proto/figure"
	"headwater/services/internal/calendar"
)

const (
	// Period is what a report is about.
	Period = 24 * time.Hour
	// Low is the charge below which a battery is low, in per cent.
	Low = 20
	// listed is how many devices a sentence names; it counts the others.
	listed = 5
	// maxSentence bounds the sentence of an alert that is quoted, in bytes.
	maxSentence = 300
)

// Facts are what a report is about. Names and sentences are from devices and people: one
// line without control characters.
type Facts struct {
	// Site is the site that it is about; empty for all.
	Site string
	// Alerts are those that were active within Period.
	Alerts []Alert
	// Devices is how many devices have reported within Period.
	Devices int
	// Silent are the devices that have stopped reporting.
	Silent []Device
	// Batteries are the devices whose charge is known, in per cent.
	Batteries []Battery
}

// Device is a device at a site.
type Device struct{ Site, Name string }

// Alert is an alert that was active.
type Alert struct {
	Device

	// Severity is higher for what matters more. Sentence says why.
	Severity int
	Sentence string
	// Ongoing reports whether it has no end yet.
	Ongoing bool
}

// Battery is the charge of a device.
type Battery struct {
	Device

	Percent float64
}

// Write returns the title and the sentences of a report, one a line.
func Write(f Facts) (title, body string) {
	lines := []string{f.unusual(), f.silence(), f.batteries()}
	title = "All is well"
	if n := f.toDo(); n > 0 {
		title = figure.Plural(n, "thing", "things") + " to look at"
	}
	of := "Morning report: "
	if f.Site != "" {
		of = "Morning report of " + f.Site + ": "
	}
	return of + title, strings.Join(lines, "\n")
}

// toDo counts what is still there.
func (f Facts) toDo() int {
	n := len(f.Silent) + len(f.low())
	for _, a := range f.Alerts {
		if a.Ongoing {
			n++
		}
	}
	return n
}

func (f Facts) unusual() string {
	if len(f.Alerts) == 0 {
		return "Nothing was unusual in the last 24 hours."
	}
	counts, ongoing := map[Device]int{}, 0
	for _, a := range f.Alerts {
		counts[a.Device]++
		if a.Ongoing {
			ongoing++
		}
	}
	worst := slices.MinFunc(f.Alerts, func(a, b Alert) int {
		last := func(a Alert) int {
			if a.Ongoing {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(last(a), last(b)), cmp.Compare(counts[b.Device], counts[a.Device]), a.compare(b.Device))
	})
	s := "Unusual in the last 24 hours: " + figure.Plural(len(f.Alerts), "alert", "alerts")
	if len(counts) > 1 {
		s += " on " + figure.Plural(len(counts), "device", "devices")
	}
	switch {
	case ongoing == len(f.Alerts) && ongoing == 1:
		s += ", which still fires"
	case ongoing == len(f.Alerts):
		s += ", which all still fire"
	case ongoing == 1:
		s += ", 1 of which still fires"
	case ongoing > 0:
		s += fmt.Sprintf(", %s of which still fire", figure.Count(uint64(ongoing)))
	}
	if len(f.Alerts) > 1 {
		s += "; the worst is"
	} else {
		s += ":"
	}
	s += " " + f.name(worst.Device)
	if sentence := strings.TrimRight(figure.Clip(worst.Sentence, maxSentence), ". "); sentence != "" {
		s += ", " + sentence
	}
	return s + "."
}

func (f Facts) silence() string {
	switch n := len(f.Silent); {
	case n == 0 && f.Devices == 0:
		return "No device has reported."
	case n == 0:
		return "No device is silent: " + figure.Plural(f.Devices, "device has reported", "devices have reported") + "."
	default:
		return figure.Plural(n, "device is", "devices are") + " silent: " + f.list(f.Silent) + "."
	}
}

func (f Facts) low() []Battery {
	var out []Battery
	for _, b := range f.Batteries {
		if b.Percent < Low {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b Battery) int { return cmp.Or(cmp.Compare(a.Percent, b.Percent), a.compare(b.Device)) })
	return out
}

func (f Facts) batteries() string {
	low := f.low()
	switch {
	case len(f.Batteries) == 0:
		return "No device reports its battery."
	case len(low) == 0:
		return "No battery is below 20 %."
	}
	charge := map[Device]float64{}
	devices := make([]Device, len(low))
	for i, b := range low {
		devices[i], charge[b.Device] = b.Device, b.Percent
	}
	return figure.Plural(len(low), "device needs", "devices need") + " a battery: " +
		f.inOrder(devices, func(d Device) string { return fmt.Sprintf(" (%.0f %%)", charge[d]) }) + "."
}

// list names devices by site and name.
func (f Facts) list(devices []Device) string {
	return f.inOrder(slices.SortedFunc(slices.Values(devices), Device.compare), func(Device) string { return "" })
}

// inOrder names the first devices and counts the others.
func (f Facts) inOrder(devices []Device, after func(Device) string) string {
	var parts []string
	for _, d := range devices[:min(listed, len(devices))] {
		parts = append(parts, f.name(d)+after(d))
	}
	if more := len(devices) - len(parts); more > 0 {
		parts = append(parts, figure.Count(uint64(more))+" more")
	}
	if last := len(parts) - 1; last > 0 {
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return parts[0]
}

func (d Device) compare(o Device) int {
	return cmp.Or(strings.Compare(d.Site, o.Site), strings.Compare(d.Name, o.Name))
}

// name is the name of a device, with its site if the report is about several.
func (f Facts) name(d Device) string {
	if f.Site != "" {
		return d.Name
	}
	return d.Name + " at " + d.Site
}

// Due returns the last time at or before now at which a report was due, in the time zone of
// the place.
func Due(now time.Time, at calendar.Clock, place *time.Location) time.Time {
	now = now.In(place)
	due := calendar.Moment(now.Year(), now.Month(), now.Day(), at, place)
	if due.After(now) {
		due = calendar.Moment(now.Year(), now.Month(), now.Day()-1, at, place)
	}
	return due
}

// batteryNames are what metrics with the charge of a battery are called.
var batteryNames = []string{"battery", "battery_level", "battery_percent", "battery_percentage", "battery_soc", "soc"}

// IsBattery reports whether a series has the charge of a battery in per cent.
func IsBattery(metric, unit string) bool {
	name := strings.ToLower(metric)
	return (unit == "%" || unit == "") && slices.Contains(batteryNames, name) && (unit == "%" || strings.Contains(name, "percent"))
}
