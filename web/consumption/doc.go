// Package consumption shows what a meter has counted: by hour, day, week and month of the
// place, beside the time before, with what it cost by tariff.
package consumption
