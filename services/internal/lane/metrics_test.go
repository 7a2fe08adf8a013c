package lane

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"headwater/streams/streamtest"
)

// TestWaitingMessages checks the metric of how far a lane is behind: before it has a
// configuration, when it has caught up, and when this process no longer has it.
func TestWaitingMessages(t *testing.T) {
	f := newFixture(t)
	for i := range 30 {
		f.publish(t, fmt.Sprint(i+1))
	}
	waits := func(n float64) func() bool {
		return func() bool { return testutil.ToFloat64(f.deps.Metrics.waiting.WithLabelValues("0")) == n }
	}
	stop := f.start(t, never)
	streamtest.Eventually(t, "30 messages wait", waits(30))
	f.configure(t, 1)
	f.await(t, 30)
	streamtest.Eventually(t, "none waits", waits(0))
	stop()
	if n := testutil.CollectAndCount(f.deps.Metrics.waiting); n != 0 {
		t.Errorf("the metric has %d lanes after the end", n)
	}
}
