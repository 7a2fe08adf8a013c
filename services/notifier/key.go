package notifier

import (
	"fmt"
	"strconv"
	"strings"
)

// key names a message for ever: the commit that it is part of, and its place
// there. It is what a receiver gets to tell a repeat by, so the sequences of an
// ALERTING that was made anew must not give the keys of the one before again.
type key struct {
	// incarnation is when ALERTING was created, in nanoseconds since the Unix epoch;
	// 0 in keys that don't say.
	incarnation int64
	sequence    uint64
	index       int
}

// keyBase is that of the incarnation in a key.
const keyBase = 36

// String returns the form that goes over the wire.
func (k key) String() string {
	s := strconv.FormatUint(k.sequence, 10) + "-" + strconv.Itoa(k.index)
	if k.incarnation == 0 {
		return s
	}
	return s + "-" + strconv.FormatInt(k.incarnation, keyBase)
}

func parseKey(s string) (key, error) {
	first, rest, _ := strings.Cut(s, "-")
	second, third, full := strings.Cut(rest, "-")
	sequence, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return key{}, fmt.Errorf("idempotency key %q: %w", s, err)
	}
	index, err := strconv.ParseUint(second, 10, 31)
	if err != nil {
		return key{}, fmt.Errorf("idempotency key %q: %w", s, err)
	}
	k := key{sequence: sequence, index: int(index)}
	if !full {
		return k, nil
	}
	k.incarnation, err = strconv.ParseInt(third, keyBase, 64)
	if err != nil || k.incarnation <= 0 {
		return key{}, fmt.Errorf("idempotency key %q: no time that a stream was created at", s)
	}
	return k, nil
}

// after reports whether k comes after o in the order of a channel, if both are
// of one ALERTING.
func (k key) after(o key) bool {
	return k.sequence > o.sequence || k.sequence == o.sequence && k.index > o.index
}
