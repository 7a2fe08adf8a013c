// Package lane turns one lane of input into output, exactly once.
//
// Run owns a lane as long as this process holds its lease:
//
//  1. It loads the newest snapshot of the state, and the position and configurations of
//     the commits after it.
//  2. It replays the input between the snapshot and the newest commit. The outputs are
//     dropped, because they are stored already.
//  3. It applies new input, in order, to a deterministic Machine.
//  4. It publishes ONE message, the commit, with all outputs of some input and the
//     position of that input. The publish is a compare-and-set on a subject that only
//     this lane writes to.
//  5. It stores a snapshot now and then, so that step 2 stays short.
//
// The guarantee rests on three facts:
//
//   - A commit is stored whole or not at all, so a crash never leaves half a step. A
//     crash before the commit repeats the step; a crash after it repeats nothing.
//   - The compare-and-set is the fence: a process that has lost the lane without knowing
//     it can't commit any more.
//   - The Machine depends only on its state and its input. Replaying the input after a
//     crash therefore restores the state that was lost, byte for byte.
//
// A configuration is input too: the commit carries it, at the position where it took
// effect, so a replay applies it at the same place.
//
//	lane.go      Run, and the loop over new input
//	load.go      steps 1 and 2: snapshot, commits, replay
//	read.go      the input in order, and whether it is still the same stream
//	commit.go    commits, and when to store a snapshot
//	snapshot.go  snapshots in the object store
//	machine.go   what a Machine has to do
//	group.go     Group: the lanes of a service that this process holds
package lane

import (
	"time"

	"github.com/nats-io/nats.go"
)

// Machine is the deterministic core of one lane. It is used by one goroutine only and
// must depend on nothing but its calls: no clock, no randomness, no order of maps.
type Machine interface {
	// Configure puts a configuration in force. It is called before the first input
	// and whenever people change the configuration, and may make output. After an
	// error nothing has changed: the previous configuration stays in force.
	Configure(revision uint64, content []byte) error
	// Apply takes one input message, in order, and returns how many readings it
	// held. An error means that this message can't be processed: it is dead-lettered
	// and skipped. The message may be counted, but must leave no other trace in the
	// state, and the same trace whenever it is applied again.
	Apply(Input) (readings int, err error)
	// Pending returns how many outputs wait for the next Take.
	Pending() int
	// Take returns the body of the commit at pos, with all outputs since the last
	// Take, and forgets them. Config is set if the commit must carry it.
	Take(pos Position, config *ConfigChange) (body []byte, err error)
	// Snapshot returns the chunks of the state that changed since the last Snapshot
	// or Restore, or all of them. Outputs are never part of it.
	Snapshot(all bool) ([]Chunk, error)
	// Restore sets the state to that of the chunks. It is the first call on a new
	// machine. Configure follows, with the configuration that was in force, and must
	// change nothing then.
	Restore([]Chunk) error
}

// ExtraConfigurer is a Machine with a second configuration, which people change
// independently of the first, and which is kept in several keys. A commit carries each
// change of a key.
type ExtraConfigurer interface {
	Machine
	// ConfigureExtra puts the content of one key in force, and may make output. It may
	// be called before Configure. Of changes that follow one another quickly only the
	// last may be seen.
	ConfigureExtra(revision uint64, key string, content []byte) error
	// ExtraRevision returns the newest revision of any key in force, which is part of
	// the state; 0 for none.
	ExtraRevision() uint64
}

// Input is one message of the input stream.
type Input struct {
	Subject  string
	Sequence uint64
	// Stored is when the stream stored it.
	Stored time.Time
	Header nats.Header
	Data   []byte
	// waiting is how many messages of the input were behind it when it arrived.
	waiting uint64
}

// Position is a position in the input stream.
type Position struct {
	// Incarnation is when the stream was created: a stream that is recreated counts
	// from one again.
	Incarnation time.Time
	// Sequence of the last message that is covered; 0 means none.
	Sequence uint64
	// Stored is when the stream stored that message, in nanoseconds since the Unix
	// epoch; 0 if that is not known.
	Stored int64
}

// ConfigChange is a configuration as people wrote it. It takes effect after all input
// and output of the commit that carries it.
type ConfigChange struct {
	Revision uint64
	Content  []byte
	// Extra is the key of a part of the configuration of an ExtraConfigurer; empty
	// for the configuration of the Machine.
	Extra string
}

// Chunk is a part of a machine's state, named by the machine.
type Chunk struct {
	ID   string
	Data []byte
}
