// Package writer keeps the history: it stores the readings of TELEMETRY and
// the window summaries of DERIVED in InfluxDB.
//
// A message is acknowledged only after InfluxDB's 2xx for all of its points, or
// after the dead letter of each that InfluxDB refused. Points are keyed by
// series and event time, so a repeat overwrites itself and any number of
// writers may share the work. While InfluxDB is away, busy or refuses the
// writer's token, the writer holds what it has, stops reading, and asks again
// at growing intervals without end; nothing is dropped.
//
// Summaries are written one message of a lane after the other, by the one
// writer that has the lease on the lane, so that a higher revision is never
// overwritten by a lower one. InfluxDB has no compare-and-set, so a writer that
// loses a lane must fall silent by itself: what it has under way ends before
// another writer can have the lane, and it looks at the clock directly before
// any points go out, for a process that was stopped in its tracks may go on
// before its timers do. What remains: points that had left the writer whole, and
// that InfluxDB or a proxy works off only after the next writer's.
package writer
