package main

import (
	"fmt"

	"headwater/web/ui"
)

// diskBudget divides the disk of the data folder, in bytes.
type diskBudget struct {
	path  string
	total uint64
	// streams is what all streams together may take; each stream has a part of it.
	streams int64
	// influx is what InfluxDB should take at most. It is watched, not enforced: only the
	// retention removes history.
	influx uint64
	// reserve must be free, or readings are refused. It is room for logs, indexes and
	// snapshots of the readings that were accepted before.
	reserve uint64
}

const (
	// streamsPart is the streams' part of the budget, in per cent.
	streamsPart = 20
	// Bounds of the streams' part: less is of no use, and more is not needed for a day of
	// readings on one machine.
	minStreamBytes = 64 << 20
	maxStreamBytes = 64 << 30
	// reservePart, in per cent of the disk, stays free, but at most maxReserve.
	reservePart = 5
	maxReserve  = 2 << 30
)

// budget divides a disk of total bytes.
func (c Config) budget(path string, total uint64) diskBudget {
	b := diskBudget{path: path, total: total, reserve: min(total/100*reservePart, maxReserve)}
	all := total / 100 * uint64(c.DiskShare)
	b.streams = min(max(int64(all/100*streamsPart), minStreamBytes), maxStreamBytes)
	b.influx = all - min(uint64(b.streams), all)
	return b
}

// full returns an error that says how little is free, and what to do.
func (b diskBudget) full(free uint64) error {
	return fmt.Errorf("the disk of %s is full: %s of %s are free and %s are needed. Delete other files there or move the data to a larger disk; "+
		"devices keep what is refused, and Headwater resumes by itself when there is space",
		b.path, ui.FormatBytes(free), ui.FormatBytes(b.total), ui.FormatBytes(b.reserve))
}
