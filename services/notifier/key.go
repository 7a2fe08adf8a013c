package notifier

import (
	"fmt"
	"strconv"
	"strings"
)

// key names a message permanently: the commit that it is part of, and its place in
// it. Receivers recognise a repeat by it, so no two messages may ever have the same
// key: not when ALERTING is recreated and its sequences start again, and not when
// it loses its end in a power cut and the lost sequences are given to other commits.
type key struct {
	// incarnation is when ALERTING was created, and stored when it stored the commit,
	// in nanoseconds since the Unix epoch; 0 in keys of earlier versions.
	incarnation, stored int64
	sequence            uint64
	index               int
}

// keyBase is the base of the times in a key.
const keyBase = 36

// String returns the form that goes over the wire: sequence, index, incarnation and
// stored, separated by dashes; the last two only if they are known.
func (k key) String() string {
	parts := []string{strconv.FormatUint(k.sequence, 10), strconv.Itoa(k.index)}
	for _, at := range []int64{k.incarnation, k.stored} {
		if at == 0 {
			break
		}
		parts = append(parts, strconv.FormatInt(at, keyBase))
	}
	return strings.Join(parts, "-")
}

func parseKey(s string) (key, error) {
	var k key
	fail := func(err error) (key, error) { return key{}, fmt.Errorf("idempotency key %q: %w", s, err) }
	parts := strings.Split(s, "-")
	if len(parts) < 2 || len(parts) > 4 {
		return fail(fmt.Errorf("it has %d parts", len(parts)))
	}
	sequence, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return fail(err)
	}
	index, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil {
		return fail(err)
	}
	k.sequence, k.index = sequence, int(index)
	times := []*int64{&k.incarnation, &k.stored}
	for i, part := range parts[2:] {
		at, err := strconv.ParseInt(part, keyBase, 64)
		if err != nil || at <= 0 {
			return fail(fmt.Errorf("%q is not a time", part))
		}
		*times[i] = at
	}
	return k, nil
}

// after reports whether k comes after o in the order of a channel, if both are from
// one ALERTING. A commit that was stored later comes later even if its sequence is
// not higher: then o is from a commit that was lost with the end of the stream.
func (k key) after(o key) bool {
	return k.sequence > o.sequence || k.sequence == o.sequence && k.index > o.index || o.stored != 0 && k.stored > o.stored
}
