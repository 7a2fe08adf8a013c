package functions

import (
	"errors"
	"fmt"
	"maps"
)

// Bounds of the state of a function. It is written whole with each commit that follows a
// change.
const (
	maxStateKeys  = 1000
	maxStateKey   = 256
	maxStateBytes = 256 << 10
)

// state is what a function keeps, by key.
type state struct {
	values map[string][]byte
	// bytes are those of all keys and values.
	bytes int
	// changed is set since the last commit.
	changed bool
}

func newState(values map[string][]byte) *state {
	s := &state{values: make(map[string][]byte, len(values))}
	for k, v := range values {
		s.values[k] = v
		s.bytes += len(k) + len(v)
	}
	return s
}

func (s *state) clone() *state { return newState(maps.Clone(s.values)) }

// overlay is what one call does to the state, until it is known that the call is good.
type overlay struct {
	below *state
	// set holds what was set, and nil for what was deleted.
	set map[string][]byte
	// bytes and keys are by how much the state grows.
	bytes, keys int
}

// Get implements sandbox.State.
func (o *overlay) Get(key []byte) ([]byte, bool) {
	if v, ok := o.set[string(key)]; ok {
		return v, v != nil
	}
	v, ok := o.below.values[string(key)]
	return v, ok
}

// Set implements sandbox.State.
func (o *overlay) Set(key, value []byte) error {
	if len(key) == 0 || len(key) > maxStateKey {
		return fmt.Errorf("a key of its state has %d bytes, must be 1 to %d", len(key), maxStateKey)
	}
	old, had := o.Get(key)
	if had {
		o.bytes -= len(key) + len(old)
		o.keys--
	}
	if o.set == nil {
		o.set = make(map[string][]byte)
	}
	if len(value) == 0 {
		o.set[string(key)] = nil
		return nil
	}
	o.bytes += len(key) + len(value)
	o.keys++
	if o.below.bytes+o.bytes > maxStateBytes || len(o.below.values)+o.keys > maxStateKeys {
		return errors.New(stateFull)
	}
	o.set[string(key)] = append([]byte(nil), value...)
	return nil
}

// stateFull says why a call that keeps too much is stopped.
var stateFull = fmt.Sprintf("its state has more than %d keys or %d bytes", maxStateKeys, maxStateBytes)

// apply makes the changes of the call part of the state.
func (o *overlay) apply() {
	for k, v := range o.set {
		if v == nil {
			delete(o.below.values, k)
			continue
		}
		o.below.values[k] = v
	}
	o.below.bytes += o.bytes
	o.below.changed = o.below.changed || len(o.set) > 0
}
