package streams_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/streams"
)

func TestAsk(t *testing.T) {
	refused := errors.New("refused")
	silent := time.Hour
	for name, c := range map[string]struct {
		answers []time.Duration // how long each question takes; the last holds for all that follow
		err     error
		want    int // the question whose answer counts, from 0
		after   time.Duration
	}{
		"at once":                        {answers: []time.Duration{0}, want: 0},
		"an error":                       {answers: []time.Duration{0}, err: refused, want: 0},
		"nobody led the stream":          {answers: []time.Duration{silent, silent, 10 * time.Millisecond}, want: 2, after: 2010 * time.Millisecond},
		"a slow server":                  {answers: []time.Duration{2500 * time.Millisecond}, want: 0, after: 2500 * time.Millisecond},
		"nobody answers within the time": {answers: []time.Duration{silent}, err: context.DeadlineExceeded, want: 0, after: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				var asked atomic.Int64
				got, err := streams.Ask(ctx, func(ctx context.Context) (int, error) {
					n := int(asked.Add(1)) - 1
					select {
					case <-time.After(c.answers[min(n, len(c.answers)-1)]):
						return n, c.err
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				})
				if got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("got the answer to question %d, %v; want %d, %v", got, err, c.want, c.err)
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("it took %s, want %s", took, c.after)
				}
			})
		})
	}
}
