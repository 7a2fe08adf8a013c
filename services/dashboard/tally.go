package dashboard

// maxTally bounds the items of a tally. Beyond it, neighbouring items are merged.
const maxTally = 1024

// tally sums what the messages of a stream hold, by sequence, until they are
// processed. It is for one goroutine at a time.
type tally struct {
	items []tallied // in the order of their sequences
}

// tallied is what some messages hold.
type tallied struct {
	// sequence is the sequence of the last of the messages.
	sequence uint64
	n        uint64
	// since is the earliest time of arrival, in nanoseconds since the Unix epoch.
	since int64
}

// add adds a message that follows all messages added before.
func (t *tally) add(m tallied) {
	if m.n == 0 {
		return
	}
	if len(t.items) >= maxTally {
		half := t.items[:0]
		for i := 0; i+1 < len(t.items); i += 2 {
			a, b := t.items[i], t.items[i+1]
			half = append(half, tallied{b.sequence, a.n + b.n, min(a.since, b.since)})
		}
		t.items = half
	}
	t.items = append(t.items, m)
}

// through forgets the messages up to a sequence. Merged messages are forgotten
// together, with the last of them.
func (t *tally) through(sequence uint64) {
	i := 0
	for i < len(t.items) && t.items[i].sequence <= sequence {
		i++
	}
	t.items = append(t.items[:0], t.items[i:]...)
}

// above sums the messages above a sequence; since is 0 if there are none.
func (t *tally) above(sequence uint64) (n uint64, since int64) {
	for _, m := range t.items {
		if m.sequence <= sequence {
			continue
		}
		if n == 0 || m.since < since {
			since = m.since
		}
		n += m.n
	}
	return n, since
}
