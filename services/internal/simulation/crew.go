package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"headwater/streams"
)

// RandomOdds draws the faults of a simulation and their frequency.
func RandomOdds(rng *rand.Rand) Odds {
	return Odds{
		Lost: rng.IntN(20), Unanswered: rng.IntN(30), Late: rng.IntN(20), Refused: rng.IntN(30),
		Stall: rng.IntN(20), Crash: rng.IntN(15),
		Break: rng.IntN(10), Reset: rng.IntN(10), Repeat: rng.IntN(10), Skip: rng.IntN(10),
	}
}

// Crew is the processes of one service. It must not be used by two goroutines
// at a time.
type Crew struct {
	cluster *Cluster
	seed    uint64
	odds    Odds
	run     func(ctx context.Context, js *Client, name string) error
	members []*member
	born    int
}

// member is one process.
type member struct {
	*Client
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// NewCrew returns a crew without processes. Each process that it starts calls
// run until its context ends.
func (c *Cluster) NewCrew(seed uint64, odds Odds, run func(ctx context.Context, js *Client, name string) error) *Crew {
	return &Crew{cluster: c, seed: seed, odds: odds, run: run}
}

// Len returns the number of processes.
func (c *Crew) Len() int { return len(c.members) }

// Start starts a process.
func (c *Crew) Start() {
	c.born++
	name := fmt.Sprintf("worker-%d", c.born)
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{stop: cancel, done: make(chan struct{})}
	m.Client = c.cluster.Connect(c.seed, name, cancel)
	m.SetOdds(c.odds)
	go func() {
		defer close(m.done)
		m.err = c.run(ctx, m.Client, name)
	}()
	c.members = append(c.members, m)
}

// Remove stops or kills the i-th process, and waits until nothing of it is
// left.
func (c *Crew) Remove(i int, kill bool) error {
	m := c.members[i]
	c.members = slices.Delete(c.members, i, i+1)
	if kill {
		m.Kill()
	}
	m.stop()
	<-m.done
	return m.err
}

// RemoveAll stops or kills all processes, one after the other, and waits until all that
// they published has arrived or is lost. After an error of one it still stops the others.
func (c *Crew) RemoveAll(kill bool) (err error) {
	for len(c.members) > 0 {
		err = errors.Join(err, c.Remove(0, kill))
	}
	c.cluster.publishing.Wait()
	return err
}

// Bury removes processes that died by themselves.
func (c *Crew) Bury() error {
	for i := len(c.members) - 1; i >= 0; i-- {
		if c.members[i].Dead() {
			if err := c.Remove(i, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// Calm ends the faults that affect more than one call, and sets the odds of the
// others.
func (c *Crew) Calm(odds Odds) {
	c.odds = odds
	for _, m := range c.members {
		m.SetDeaf(streams.BucketLeases, false)
		m.SetDeaf(streams.BucketWorkers, false)
		m.SetOdds(odds)
	}
}

// Trouble now and then makes something happen to the processes. It ensures that
// there is at least one process and at most the given number.
func (c *Crew) Trouble(rng *rand.Rand, most int) error {
	if err := c.Bury(); err != nil {
		return err
	}
	for len(c.members) == 0 || len(c.members) < most && rng.IntN(8) == 0 {
		c.Start()
	}
	i := rng.IntN(len(c.members))
	switch rng.IntN(20) {
	case 0:
		return c.Remove(i, true)
	case 1, 2:
		return c.Remove(i, false)
	case 3:
		c.members[i].SetDeaf(streams.BucketLeases, true)
		c.members[i].SetDeaf(streams.BucketWorkers, true)
	case 4:
		c.Calm(c.odds)
	case 5:
		c.cluster.DropBucket(streams.BucketLeases)
	}
	return nil
}

// Peace ends all faults for the rest of the simulation and ensures that there
// is at least one process. Calls in progress may have been drawn a crash: they
// get a moment for that.
func (c *Crew) Peace() error {
	c.Calm(Odds{})
	time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
	if err := c.Bury(); err != nil {
		return err
	}
	if len(c.members) == 0 {
		c.Start()
	}
	return nil
}

// Await waits, by the clock of the bubble, until something is true. It returns
// an error that names what is not.
func Await(within time.Duration, what string, done func() bool) error {
	for began := time.Now(); !done(); {
		if time.Since(began) > within {
			return fmt.Errorf("not within %s: %s", within, what)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
	}
	return nil
}
