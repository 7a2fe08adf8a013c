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
// Summaries are written one message of a lane after the other, so that a
// higher revision is never overwritten by a lower one. A request that InfluxDB
// works off after the writer gave up on it is the one thing that could.
package writer
