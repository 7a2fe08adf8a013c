// Package lane turns one lane of input into output, exactly once: it loads the
// lane's state, reads the input in order, has a pure Machine make output of it,
// and publishes ONE message that holds the outputs and the input's position,
// with a compare-and-set on the lane's own subject. That compare-and-set is the
// fence: whoever lost the lane cannot commit. A crash anywhere repeats a step,
// never half of one.
//
// The machine is deterministic in its state and its inputs, so what a crash
// took away is had again by replaying the input, with the outputs that were
// committed before suppressed. What people change is an input too: the commit
// carries the configuration at the position where it took effect.
package lane

import (
	"time"

	"github.com/nats-io/nats.go"
)

// Machine is the deterministic core of one lane. It is used by one goroutine
// only and must depend on nothing but its calls: no clock, no randomness, no
// order of maps.
type Machine interface {
	// Configure puts a configuration in force. It is called before the first
	// input and whenever people change it, and may derive output. An error means
	// that the configuration can't be used and has changed nothing; the one before
	// stays in force.
	Configure(revision uint64, content []byte) error
	// Apply takes one input message, in order, and returns how many readings it
	// held. An error means that this message can't be processed: it is
	// dead-lettered and passed over. It may have been counted; it must have left no
	// other trace in the state, and the same one whenever it is applied again.
	Apply(Input) (readings int, err error)
	// Pending says how many outputs wait for the next Take.
	Pending() int
	// Take returns the body of the commit at pos, with all outputs since the
	// last Take, and forgets them. Config is set when the commit must carry it.
	Take(pos Position, config *ConfigChange) (body []byte, err error)
	// Snapshot returns the chunks of the state that changed since the last
	// Snapshot or Restore, or all of them. Outputs are never part of it.
	Snapshot(all bool) ([]Chunk, error)
	// Restore puts the state back that the chunks hold. It is called on a new
	// machine, before all else; Configure follows with the configuration that was
	// in force, which must change nothing then.
	Restore([]Chunk) error
}

// Taker is a Machine that takes in something beside the configuration that people
// change, in the same way: what it takes in is input, and the commit that carries it
// says where.
type Taker interface {
	Machine
	// TakeIn is Configure for it. It may come before any configuration, and its
	// effect must show with inputs only.
	TakeIn(revision uint64, content []byte) error
	// TakenIn is the revision of what was taken in last, which is part of the state;
	// 0 for none.
	TakenIn() uint64
}

// Input is one message of the input stream.
type Input struct {
	Subject  string
	Sequence uint64
	// Stored is when the stream stored it.
	Stored time.Time
	Header nats.Header
	Data   []byte
	// waiting is how many messages of the input lay behind it when it came.
	waiting uint64
}

// Position is a place in the input stream.
type Position struct {
	// Incarnation is when the stream was created: one that was made anew counts
	// from one again.
	Incarnation time.Time
	// Sequence of the last message that is covered; 0 means none.
	Sequence uint64
	// Stored is when the stream stored that message, in nanoseconds since the Unix
	// epoch; 0 when it is not known.
	Stored int64
}

// ConfigChange is a configuration as people wrote it. It takes effect behind
// all input and output of the commit that carries it.
type ConfigChange struct {
	Revision uint64
	Content  []byte
	// Beside says that it is not the configuration but what a Taker takes in.
	Beside bool
}

// Chunk is a part of a machine's state, named by the machine.
type Chunk struct {
	ID   string
	Data []byte
}
