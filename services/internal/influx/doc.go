// Package influx is the one way in which Headwater talks to InfluxDB, alike
// for 1.8 (embedded), 2.x and 3: it writes line protocol through the official
// client, reads InfluxQL over /query, and makes the buckets.
//
// A bucket is named "database/policy", as in "headwater/raw": in 1.8 that is a
// database and its retention policy, in 2.x a bucket of this name, which
// /query finds by itself. The package keeps no data and never repeats a
// request; what to do about an Error is for the caller to decide.
package influx
