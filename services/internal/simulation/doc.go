// Package simulation runs services in one process, under a fake clock, against
// streams in memory that fail as a network and machines do: a publish is lost,
// or stored while its answer is lost, or stored late; a reader breaks off or is
// set back; a process stalls, is cut off or dies at any call. Only tests import
// it.
//
// A Cluster is what nats-server keeps. A Client is what one process sees of it:
// the part of jetstream.JetStream that lanes, leases and durable readers use.
// Any other call panics. A test of the package compares both, operation by
// operation, with nats-server and nats.go in the versions that go.mod names.
// Some private fields of nats.go are read by reflection, which panics where a
// newer version has renamed one.
//
// Faults are drawn from a seed. Each decision depends on the seed, the process,
// the kind of call and how many such calls it has made, never on which
// goroutine comes first. Every call takes a different time, so that the fake
// clock puts the calls of different goroutines in one order. Two things stay
// random: the pauses between attempts, whose jitter libraries draw, and the
// order of goroutines that wake at the same nanosecond.
package simulation
