// Package writer keeps the history: it stores the readings of TELEMETRY and the window
// summaries of DERIVED in InfluxDB.
//
// A message is acknowledged only after InfluxDB's 2xx for all of its points, or after
// the dead letter of each point that InfluxDB refused. Points are keyed by series and
// event time, so a repeat overwrites itself and any number of writers may share the
// work. While InfluxDB is unavailable, busy or refuses the writer's token, the writer
// holds what it has read, stops reading, and retries at growing intervals without end.
// Nothing is dropped.
//
// Summaries are written one message of a lane after the other, by the one writer that
// holds the lease on the lane, so a lower revision never overwrites a higher one.
// InfluxDB has no compare-and-set, so a writer that loses a lane must stop writing by
// itself:
//
//  1. Its requests in flight end before another writer can get the lane.
//  2. It looks at the clock directly before it sends points, because a process that was
//     paused may continue before its timers fire.
//
// One case remains: a request that left the writer whole, and that InfluxDB or a proxy
// applies only after a request of the next writer, overwrites a higher revision.
package writer
