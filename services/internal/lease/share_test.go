package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	const n, a, s, l = nobody, another, self, leaving
	for _, test := range []struct {
		name    string
		workers []string
		owners  []owner
		giveUp  []int
		take    []int
	}{
		{"alone takes all", []string{"w"}, []owner{n, n, n, n}, nil, []int{0, 1, 2, 3}},
		{"alone leaves what has not run out", []string{"w"}, []owner{a, n, a, n}, nil, []int{1, 3}},
		{"takes no more than its share", []string{"w", "x"}, []owner{n, n, n, n}, nil, []int{0, 1}},
		{"begins at its own place", []string{"v", "w"}, []owner{n, n, n, n}, nil, []int{2, 3}},
		{"goes round", []string{"v", "w"}, []owner{n, n, a, a}, nil, []int{0, 1}},
		{"fills up", []string{"v", "w"}, []owner{n, n, s, a}, nil, []int{0}},
		{"gives up what is over the share", []string{"v", "w"}, []owner{s, s, s, s}, []int{0, 1}, nil},
		{"gives up little by little only what is over", []string{"v", "w", "x"}, []owner{s, s, s, s}, []int{0, 1}, nil},
		{"rounds up", []string{"v", "w"}, []owner{s, s, s}, []int{1}, nil},
		{"has given up enough", []string{"v", "w"}, []owner{l, l, s, s}, nil, nil},
		{"does not take what it leaves", []string{"v", "w"}, []owner{l, n, l, s}, nil, []int{1}},
		{"stands by", []string{"v", "w"}, []owner{a}, nil, nil},
		{"takes over", []string{"v", "w"}, []owner{n}, nil, []int{0}},
		{"more workers than lanes", []string{"u", "v", "w"}, []owner{a, n}, nil, []int{1}},
		{"one lane is never over the share", []string{"v", "w", "x"}, []owner{s}, nil, nil},
		{"no lanes", []string{"w"}, nil, nil, nil},
		{"not seen among the workers", nil, []owner{n}, nil, []int{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lanes := make([]lane, len(test.owners))
			for i, o := range test.owners {
				lanes[i] = lane{i, o}
			}
			giveUp, take := decide("w", test.workers, lanes)
			slices.Sort(giveUp)
			slices.Sort(take)
			if !slices.Equal(giveUp, test.giveUp) || !slices.Equal(take, test.take) {
				t.Errorf("gives up %v and takes %v, want %v and %v", giveUp, take, test.giveUp, test.take)
			}
		})
	}
}

// TestDecideSettles has workers start and stop at random and act in any order, one lane at
// a time: in the end every lane must have an owner and no worker more than its share.
func TestDecideSettles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		owners := make([]string, 1+rng.IntN(32))
		var workers []string
		for round := range 10 {
			if len(workers) == 0 || rng.IntN(2) == 0 {
				workers = append(workers, fmt.Sprintf("%x-%d", rng.Uint32(), round))
			} else {
				gone := rng.IntN(len(workers))
				for i := range owners {
					if owners[i] == workers[gone] {
						owners[i] = ""
					}
				}
				workers = slices.Delete(workers, gone, gone+1)
			}
			slices.Sort(workers)
			settle(t, rng, owners, workers)
		}
	}
}

func settle(t *testing.T, rng *rand.Rand, owners, workers []string) {
	t.Helper()
	if len(workers) == 0 {
		return
	}
	moves := 0
	for idle := 0; idle < len(workers); {
		idle = 0
		for _, i := range rng.Perm(len(workers)) {
			lanes := make([]lane, len(owners))
			for n, o := range owners {
				lanes[n] = lane{n, another}
				switch o {
				case "":
					lanes[n].owner = nobody
				case workers[i]:
					lanes[n].owner = self
				}
			}
			giveUp, take := decide(workers[i], workers, lanes)
			for _, n := range giveUp {
				owners[n] = ""
			}
			for _, n := range take {
				owners[n] = workers[i]
			}
			moves += len(giveUp) + len(take)
			if len(giveUp)+len(take) == 0 {
				idle++
			}
		}
		if moves > 4*len(owners)+4 {
			t.Fatalf("%d lanes and %d workers do not come to rest", len(owners), len(workers))
		}
	}
	count := map[string]int{}
	for n, o := range owners {
		count[o]++
		if o == "" {
			t.Fatalf("lane %d of %d has no owner among %d workers", n, len(owners), len(workers))
		}
	}
	for worker, has := range count {
		if share := (len(owners) + len(workers) - 1) / len(workers); has > share {
			t.Fatalf("worker %s has %d lanes, its share is %d", worker, has, share)
		}
	}
}

func TestViewForgets(t *testing.T) {
	start := time.Unix(1000, 0)
	after := func(d time.Duration) time.Time { return start.Add(d) }
	v := newView(4 * time.Second)
	v.seeLease(1, 7, start)
	v.seeWorker("w", 1, after(time.Second))
	if !v.leased(1, after(3*time.Second)) || v.leased(1, after(4*time.Second)) || v.leased(2, start) {
		t.Error("a lease is not believed to last for its time")
	}
	if end := v.nextEnd(start, after(time.Minute)); !end.Equal(after(4 * time.Second)) {
		t.Errorf("the first to run out does so at %s", end)
	}
	v.seeLease(1, 7, after(4*time.Second))
	if v.leased(1, after(4*time.Second)) {
		t.Error("a lease that is heard again counts as renewed")
	}
	v.seeLease(1, 8, after(5*time.Second))
	if !v.leased(1, after(8*time.Second)) {
		t.Error("a renewal does not count")
	}
	if got := v.alive(after(4 * time.Second)); !slices.Equal(got, []string{"w"}) {
		t.Errorf("alive: %q", got)
	}
	if got := v.alive(after(5 * time.Second)); len(got) != 0 {
		t.Errorf("alive after its time: %q", got)
	}
}
