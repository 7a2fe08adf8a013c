//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

// TestSchedule checks what a run relies on: a seed repeats it, nothing has two faults at
// a time, all faults are over in time, and 40 minutes have 100 kills.
func TestSchedule(t *testing.T) {
	targets := []target{{"nats-server", 3, false}, {"bridge-0", 3, false}, {"bridge-1", 3, false}, {"writer-0", 2, true}, {"writer-1", 2, true}}
	const length = 40 * time.Minute
	faults := schedule(5, length, targets, kinds())
	if !slices.Equal(faults, schedule(5, length, targets, kinds())) || slices.Equal(faults, schedule(6, length, targets, kinds())) {
		t.Error("the seed does not decide")
	}
	kills, busy := 0, make(map[string]time.Duration)
	for _, f := range faults {
		if f.kind == kill {
			kills++
		}
		if f.at < busy[f.node] || f.at+f.length > length {
			t.Errorf("%s is within another or too late", f)
		}
		busy[f.node] = f.at + f.length
	}
	if kills < 100 {
		t.Errorf("%d kills", kills)
	}
}
