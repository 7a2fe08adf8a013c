//go:build linux

package main

import (
	"time"

	"headwater/services/standalone/bench/stack"
)

// programs is the order of the programs in the report.
var programs = []string{
	stack.NATS, stack.Bridge, stack.Gateway, stack.Processor, stack.Notifier, stack.Writer, stack.Influx, stack.Provision, stack.Dashboard,
}

// maxShown bounds how many violations are listed.
const maxShown = 40

// report prints what happened and what the result is.
func (r *run) report(wrong []string) {
	issued, acked := r.book.Totals()
	r.mu.Lock()
	again := r.again
	r.mu.Unlock()
	verdict, calls := r.judge.Verdict, len(r.calls.List())
	r.say("\n%-13s %6s %7s %7s   takeover p50, max (n)", "", "killed", "paused", "left")
	for _, p := range programs {
		took := ""
		if p50, longest, n := r.owners.takeovers(p); n > 0 {
			took = p50.Round(time.Millisecond).String() + ", " + longest.Round(time.Millisecond).String()
			r.say("%-13s %6d %7d %7d   %s (%d)", p, r.counted(p, kill), r.counted(p, pause), r.counted(p, leave), took, n)
			continue
		}
		r.say("%-13s %6d %7d %7d", p, r.counted(p, kill), r.counted(p, pause), r.counted(p, leave))
	}
	r.say("%-13s %6d %7d %7d", "all", r.counted("", kill), r.counted("", pause), r.counted("", leave))
	r.say("InfluxDB slow %d, refusing %d, resetting %d times; connections of the bridges cut %d times",
		r.faults["link-influx"][influxSlow], r.faults["link-influx"][influxRefuse], r.faults["link-influx"][influxReset], r.faults["link-nats"][bridgeCut])
	r.say("%d readings issued, %d acknowledged, %d stored: %d lost, %d unknown, %d altered, %d twice",
		issued, acked, verdict.Stored, verdict.Lost, verdict.Unknown, verdict.Altered, verdict.Twice)
	r.say("%d window summaries, %d alerts, %d messages of which %d came again, %d connections of devices",
		r.judge.Windows, len(r.load.Episodes()), calls, again, r.load.Connects())
	for _, n := range r.stack.Nodes("") {
		for _, exit := range n.Exits() {
			r.say("note: %s", exit)
		}
	}
	for i, w := range wrong {
		if i == maxShown {
			r.say("WRONG: and %d more", len(wrong)-maxShown)
			break
		}
		r.say("WRONG: %s", w)
	}
}
