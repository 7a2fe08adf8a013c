// Package simulation runs services in one process, under a fake clock, against
// streams in memory that fail as a network and machines do: a publish is lost,
// or stored while its answer is lost, or stored late; a reader breaks off or is
// sent back; a process stalls, is cut off or dies at any call. Only tests import
// it.
//
// A Cluster is what nats-server keeps. A Client is what one process sees of it:
// the part of jetstream.JetStream that lanes, leases and durable readers use.
// Whatever else is called panics. That both behave as nats-server and nats.go do is
// what the package's own test compares, operation by operation.
//
// Faults are drawn from a seed: each decision depends on the seed, the process,
// the kind of call and how many of that kind it has made, never on which
// goroutine comes first. Every call takes a time of its own, so that the fake
// clock puts the calls of different goroutines in one order. What stays random
// are the pauses between attempts, whose jitter libraries draw, and the order
// of goroutines that wake at the same nanosecond.
package simulation
