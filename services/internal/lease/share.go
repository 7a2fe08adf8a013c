package lease

import "slices"

// owner is who has a lane, as a worker sees it.
type owner int

const (
	// nobody has the lane: it may be taken.
	nobody owner = iota
	// another worker has it, or this one had it and its lease has not expired yet.
	another
	// self: this worker has it and works on it.
	self
	// leaving: this worker has it and is giving it up.
	leaving
)

// lane is one lane of the service and who has it.
type lane struct {
	number int
	owner  owner
}

// decide returns the lanes that a worker should give up and those that it should try to
// take. When all workers have followed it, each has at most its fair share: the number of
// lanes divided by the number of workers, rounded up. Workers are all live workers, itself
// included, in an order that is the same for all.
//
// A lane moves only if its owner has too many. Each worker begins to take at another lane,
// so workers that start at the same time rarely try to take the same one.
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
