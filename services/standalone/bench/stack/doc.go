// Package stack runs Headwater as in production: every program is a process of its own,
// with a nats-server and an InfluxDB, in one folder. The fault tests kill, pause and
// restart them.
//
// No process outlives the one that created the stack, however that ends.
//
// It needs Linux, whose processes can be tied to their parent.
package stack
