package lease

import "slices"

// owner says who has a lane, as a worker sees it.
type owner int

const (
	// nobody has the lane: it may be taken.
	nobody owner = iota
	// another worker has it, or this one did and its lease has not run out yet.
	another
	// self: this worker has it and works on it.
	self
	// leaving: this worker has it and is about to give it up.
	leaving
)

// lane is one lane of the service and who has it.
type lane struct {
	number int
	owner  owner
}

// decide returns the lanes that the worker gives up and those that it should
// try to take, so that each of the live workers comes to have at most its fair
// share: the number of lanes by the number of workers, rounded up. Workers are
// in one order that all of them see, the worker itself among them.
//
// A lane moves only when its owner has too many. Each worker begins to take at
// another place, so that those who come at the same time seldom want the same.
func decide(worker string, workers []string, lanes []lane) (giveUp, take []int) {
	if len(lanes) == 0 {
		return nil, nil
	}
	rank := max(slices.Index(workers, worker), 0)
	share := (len(lanes) + max(len(workers), 1) - 1) / max(len(workers), 1)
	first := rank * share % len(lanes)
	wanted := slices.Concat(lanes[first:], lanes[:first])
	has := 0
	for _, l := range wanted {
		if l.owner != self {
			continue
		}
		has++
		if has > share {
			giveUp = append(giveUp, l.number)
		}
	}
	for _, l := range wanted {
		if l.owner == nobody && has+len(take) < share {
			take = append(take, l.number)
		}
	}
	return giveUp, take
}
