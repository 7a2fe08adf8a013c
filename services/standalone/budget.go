package main

import (
	"fmt"

	"headwater/web/ui"
)

// diskBudget is how the disk of the data folder is shared out, in bytes.
type diskBudget struct {
	path  string
	total uint64
	// streams is what nats-server's streams may take; each is bounded by a part
	// of it.
	streams int64
	// influx is what InfluxDB should take at most. It is watched, not enforced:
	// history goes by its retention alone.
	influx uint64
	// reserve is what must be free, or readings are refused: room for the logs,
	// indexes and snapshots of what has been taken.
	reserve uint64
}

const (
	// streamsPart is the part of the budget that the streams get, in per cent.
	streamsPart = 20
	// Bounds of what the streams may take: less than that makes no sense, more is
	// not needed for a day of readings on one machine.
	minStreamBytes = 64 << 20
	maxStreamBytes = 64 << 30
	// reservePart, in per cent of the disk, stays free, and no more than
	// maxReserve.
	reservePart = 5
	maxReserve  = 2 << 30
)

// budget shares out a disk of that size.
func (c Config) budget(path string, total uint64) diskBudget {
	b := diskBudget{path: path, total: total, reserve: min(total/100*reservePart, maxReserve)}
	all := total / 100 * uint64(c.DiskShare)
	b.streams = min(max(int64(all/100*streamsPart), minStreamBytes), maxStreamBytes)
	b.influx = all - min(uint64(b.streams), all)
	return b
}

// full says in words that too little is free, and what to do.
func (b diskBudget) full(free uint64) error {
	return fmt.Errorf("the disk of %s is full: %s of %s are free and %s are needed. Delete other files there or move the data to a larger disk; "+
		"devices keep what is refused, and Headwater goes on by itself when there is space",
		b.path, ui.FormatBytes(free), ui.FormatBytes(b.total), ui.FormatBytes(b.reserve))
}
