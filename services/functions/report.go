package functions

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"headwater/services/internal/function"
	"headwater/streams"
)

// reportEvery is how often the status of a function is written while something changes.
const reportEvery = time.Second

// tally counts what a version does.
type tally struct {
	function.Counts

	// took are the durations of the latest calls, next the place of the next one.
	took []time.Duration
	next int
}

// latestCalls is of how many calls the percentiles are.
const latestCalls = 512

func (t *tally) add(took time.Duration, readings, outputs int, failed *failure) {
	t.Calls++
	t.Readings += uint64(readings)
	t.Outputs += uint64(outputs)
	t.Busy += took
	if len(t.took) < latestCalls {
		t.took = append(t.took, took)
	} else {
		t.took[t.next] = took
		t.next = (t.next + 1) % latestCalls
	}
	if failed == nil {
		return
	}
	if t.Failures == nil {
		t.Failures = make(map[string]uint64)
	}
	t.Failures[failed.Reason]++
	t.Last = &function.Failed{At: time.Now().UTC(), Reason: failed.Reason, Detail: failed.Detail}
}

// counts returns the counts with the percentiles.
func (t *tally) counts() function.Counts {
	c := t.Counts
	c.Failures = maps.Clone(t.Failures)
	if n := len(t.took); n > 0 {
		sorted := slices.Sorted(slices.Values(t.took))
		c.P50, c.P99 = sorted[n/2], sorted[min(n*99/100, n-1)]
	}
	return c
}

// reporter writes how a function does. The runner of the live version and that of the shadow
// write a part of the same value each, by compare-and-set. It is for one goroutine.
type reporter struct {
	bucket  jetstream.KeyValue
	name    string
	live    int
	shadow  int
	status  function.Status
	beside  function.Shadowed
	log     []function.Line
	next    time.Time
	last    function.Counts
	written bool
	// skipped are the messages that were removed since it was written.
	skipped uint64
}

// newReporter reads what was written before.
func newReporter(ctx context.Context, bucket jetstream.KeyValue, f function.Function, live, shadow int) (*reporter, error) {
	p := &reporter{bucket: bucket, name: f.Name, live: live, shadow: shadow}
	if _, err := function.Read(ctx, bucket, streams.FunctionStatusKey(f.Name), &p.status); err != nil {
		return nil, err
	}
	if s := p.status.Shadow; s != nil && s.Version == shadow {
		p.beside = *s
	}
	return p, nil
}

// counts returns those with which the version continues: those of before, if it is the same.
func (p *reporter) counts(shadow bool) function.Counts {
	switch {
	case shadow:
		return p.beside.Counts
	case p.status.Version == p.live:
		return p.status.Counts
	}
	return function.Counts{}
}

// line keeps a line of the log.
func (p *reporter) line(text string) {
	p.log = append(p.log, function.Line{At: time.Now().UTC(), Text: text})
	if over := len(p.log) - function.MaxLog; over > 0 {
		p.log = slices.Delete(p.log, 0, over)
	}
}

// report writes the status if it is due and something has changed, or must be. What fails is
// written with the next one.
func (p *reporter) report(ctx context.Context, now bool, backlog func(context.Context) (waiting, skipped uint64), c function.Counts) {
	if !now && (time.Now().Before(p.next) || p.written && c.Calls == p.last.Calls) {
		return
	}
	p.next = time.Now().Add(reportEvery)
	waiting, skipped := backlog(ctx)
	p.skipped += skipped
	p.written = p.write(ctx, func(s *function.Status) {
		if p.shadow != 0 {
			p.beside.Version, p.beside.At, p.beside.Problem, p.beside.Counts = p.shadow, time.Now().UTC(), "", c
			beside := p.beside
			s.Shadow = &beside
			return
		}
		s.Version, s.At, s.Problem, s.Counts, s.Waiting = p.live, time.Now().UTC(), "", c, waiting
		s.Skipped += p.skipped
		s.Log = append(s.Log, p.log...)
		s.Log = slices.Delete(s.Log, 0, max(0, len(s.Log)-function.MaxLog))
	})
	if p.written {
		p.last, p.log, p.skipped = c, nil, 0
	}
}

// problem writes why the function does not run.
func (p *reporter) problem(ctx context.Context, err error) {
	p.write(ctx, func(s *function.Status) {
		if p.shadow != 0 {
			p.beside.Version, p.beside.Problem = p.shadow, err.Error()
			beside := p.beside
			s.Shadow = &beside
			return
		}
		if s.Version != p.live {
			s.Counts = function.Counts{}
		}
		s.Version, s.At, s.Problem = p.live, time.Now().UTC(), err.Error()
	})
	p.written = false
}

// statusAttempts is how often a status is tried while the other runner writes it.
const statusAttempts = 3

func (p *reporter) write(ctx context.Context, change func(*function.Status)) bool {
	key := streams.FunctionStatusKey(p.name)
	for range statusAttempts {
		var s function.Status
		revision, err := function.Read(ctx, p.bucket, key, &s)
		if err != nil {
			return false
		}
		change(&s)
		body, err := json.Marshal(s)
		if err != nil {
			return false
		}
		if revision == 0 {
			_, err = p.bucket.Create(ctx, key, body)
		} else {
			_, err = p.bucket.Update(ctx, key, body, revision)
		}
		if !streams.IsConflict(err) {
			return err == nil
		}
	}
	return false
}

// metrics of the service.
type metrics struct {
	calls    *prometheus.CounterVec
	readings *prometheus.CounterVec
	seconds  *prometheus.CounterVec
	dropped  *prometheus.CounterVec
}

// Reasons why a request is dropped; who sent it gets no reply.
const (
	droppedOverflow = "overflow" // more waited than may
	droppedLate     = "late"     // nobody waits for the reply any more
)

func newMetrics(registry prometheus.Registerer) *metrics {
	factory := promauto.With(registry)
	return &metrics{
		calls: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_functions_calls_total", Help: "Calls of functions, by function and result: done, or the reason why it failed.",
		}, []string{"function", "result"}),
		readings: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_functions_readings_total", Help: "Readings that functions were given (in) and made (out).",
		}, []string{"function", "direction"}),
		seconds: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_functions_seconds_total", Help: "Time in calls of functions.",
		}, []string{"function"}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "headwater_functions_requests_dropped_total", Help: "Requests to functions without a reply, by function and reason: overflow or late.",
		}, []string{"function", "reason"}),
	}
}

func (m *metrics) observe(name string, took time.Duration, in, out int, failed *failure, shadow bool) {
	if shadow {
		return
	}
	result := "done"
	if failed != nil {
		result = failed.Reason
	}
	m.calls.WithLabelValues(name, result).Inc()
	m.readings.WithLabelValues(name, "in").Add(float64(in))
	m.readings.WithLabelValues(name, "out").Add(float64(out))
	m.seconds.WithLabelValues(name).Add(took.Seconds())
}
