// Package influx is how Headwater talks to InfluxDB 1.8 (embedded), 2.x and 3.
// It writes line protocol through the official client, reads InfluxQL over
// /query, and creates the buckets.
//
// A bucket is named "database/policy", as in "headwater/raw". In 1.8 that is a
// database and its retention policy, in 2.x a bucket with this name, which
// /query finds by itself. The package keeps no data and never repeats a
// request; the caller decides what to do about an Error.
package influx
