package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestGather has two requests come after a commit that took a while.
func TestGather(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		// answered is how many requests the commit before had, took how long it took.
		answered int
		took     time.Duration
		// idle is how long nothing comes after it, apart how long after the first
		// request the second one does.
		idle, apart time.Duration
		// requests is what the next commit has, after how long a wait.
		requests int
		wait     time.Duration
	}{
		"both come again":                     {answered: 2, took: 8 * ms, apart: ms, requests: 2, wait: ms},
		"one does not come in time":           {answered: 2, took: 8 * ms, apart: 5 * ms, requests: 1, wait: 4 * ms},
		"one was expected":                    {answered: 1, took: 8 * ms, apart: ms, requests: 1},
		"the commit is long over":             {answered: 2, took: 8 * ms, idle: 4 * ms, apart: ms, requests: 1},
		"a fast disk is not waited for":       {answered: 2, took: ms / 10, apart: ms, requests: 1, wait: ms / 20},
		"a slow disk is waited for a while":   {answered: 2, took: time.Second, apart: 21 * ms, requests: 1, wait: 20 * ms},
		"the rest of the patience is what is": {answered: 2, took: 8 * ms, idle: 3 * ms, apart: 2 * ms, requests: 1, wait: ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(100)
				q.open()
				committer := &committer{Service: &Service{queue: q}}
				committer.expect(c.answered, c.took)
				time.Sleep(c.idle) //nolint:forbidigo // the clock of the bubble
				put := func() {
					if err := q.put(&request{readings: 1, done: make(chan error, 1)}); err != nil {
						t.Error(err)
					}
				}
				put()
				time.AfterFunc(c.apart, put)
				<-q.wake
				began := time.Now()
				got := len(committer.gather(t.Context()))
				if wait := time.Since(began); got != c.requests || wait != c.wait {
					t.Errorf("%d requests after %s, want %d after %s", got, wait, c.requests, c.wait)
				}
				time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
			})
		})
	}
}

// TestGatherEnds stops the gateway while it gathers.
func TestGatherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		q.open()
		committer := &committer{Service: &Service{queue: q}}
		committer.expect(2, time.Second)
		if err := q.put(&request{readings: 1, done: make(chan error, 1)}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if got := len(committer.gather(ctx)); got != 1 || time.Since(began) != 0 {
			t.Errorf("%d requests after %s, want 1 at once", got, time.Since(began))
		}
	})
}
