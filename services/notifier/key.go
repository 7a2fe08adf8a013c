package notifier

import (
	"fmt"
	"strconv"
	"strings"
)

// key names a message for ever: the sequence of the commit that it is part of,
// and its place there. It is what a receiver gets to tell a repeat by.
type key struct {
	sequence uint64
	index    int
}

// String returns the form that goes over the wire.
func (k key) String() string {
	return strconv.FormatUint(k.sequence, 10) + "-" + strconv.Itoa(k.index)
}

func parseKey(s string) (key, error) {
	first, second, _ := strings.Cut(s, "-")
	sequence, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return key{}, fmt.Errorf("idempotency key %q: %w", s, err)
	}
	index, err := strconv.ParseUint(second, 10, 31)
	if err != nil {
		return key{}, fmt.Errorf("idempotency key %q: %w", s, err)
	}
	return key{sequence, int(index)}, nil
}

// after reports whether k comes after o in the order of a channel.
func (k key) after(o key) bool {
	return k.sequence > o.sequence || k.sequence == o.sequence && k.index > o.index
}
