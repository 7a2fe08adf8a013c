package machine

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/lane"
	"headwater/streams"
)

// both rules watch every series.
const bothRules = `
auto: off
rules:
  - {name: surge, detector: rate, rise: 30, within: 5m}
  - {name: hot, detector: limit, above: 300, hysteresis: 1, for: 2m}
`

// load is a lane under a steady load.
type load struct {
	*rig
	series []telemetryv1.Key
	// every is the time between two readings of a series.
	every int64
	round int64
	next  int
}

// newLoad returns a lane with so many series, ten to a device.
func newLoad(tb testing.TB, series int, every int64, windows string) *load {
	tb.Helper()
	l := &load{rig: newRig(tb, bothRules+"windows: "+windows+"\n"), every: every}
	for i := range series {
		l.series = append(l.series, telemetryv1.Key{
			Site: "hall", Device: fmt.Sprintf("door-%05d", i/10), Metric: fmt.Sprintf("temperature-%d", i%10), Unit: "°C",
		})
	}
	return l
}

// batch returns the next n readings, as they come from devices: a value with two
// decimals, at a whole millisecond.
func (l *load) batch(n int) *telemetryv1.Batch {
	var at int64
	for range n {
		at = epoch + l.round*l.every + int64(l.next)*l.every/int64(len(l.series))/1e6*1e6
		v := math.Round(2000+300*math.Sin(float64(l.round)/50)+float64((l.next*7919+int(l.round)*104729)%40)) / 100
		l.builder.Value(l.series[l.next], at, v)
		l.next++
		if l.next == len(l.series) {
			l.next = 0
			l.round++
		}
	}
	return l.builder.Take(at)
}

// BenchmarkStep measures a batch of 1,000 readings from the decoded batch to the
// encoded commit, with a limit and a rate on every series. The clock ticks with
// each batch. With a reading a second the windows of a minute close every 60
// batches, so it takes some hundred of them for an average.
func BenchmarkStep(b *testing.B) {
	for _, windows := range []string{"[1m]", "[10s, 1m]"} {
		for _, every := range []int64{1, 10} {
			b.Run(fmt.Sprintf("windows=%s/every=%ds", strings.ReplaceAll(windows, " ", ""), every), func(b *testing.B) {
				const perBatch = 1000
				l := newLoad(b, perBatch, every*second, windows)
				var batches []*telemetryv1.Batch
				for range 400 { // past the lateness, so that nothing grows any more
					l.step(l.batch(perBatch))
				}
				for range 100 {
					batch := l.batch(perBatch)
					batch.Clock = &telemetryv1.Clock{CaughtUp: batch.Arrival}
					batches = append(batches, batch)
				}
				span := batches[len(batches)-1].Arrival - batches[0].Arrival + every*second
				l.body()
				b.ReportAllocs()
				bytes, n := 0, 0
				for b.Loop() {
					batch := batches[n%len(batches)]
					n++
					l.sequence++
					l.step(batch)
					bytes += len(l.body())
					// The next round has the same readings at later times. The additions
					// take about a nanosecond a reading.
					for j := range batch.Time {
						batch.Time[j] += span
					}
					batch.Arrival += span
					batch.Clock.CaughtUp += span
				}
				readings := float64(n) * perBatch
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/readings, "ns/reading")
				b.ReportMetric(float64(bytes)/readings, "output-B/reading")
			})
		}
	}
}

func (l *load) step(b *telemetryv1.Batch) {
	dictionary := b.Dictionary()
	l.machine.ledger.add(b, dictionary, streams.SourceMQTT, l.sequence)
	l.machine.step(b, dictionary)
}

// tick takes the next n readings and the clock, and drops the outputs.
func (l *load) tick(n int) {
	b := l.batch(n)
	b.Clock = &telemetryv1.Clock{CaughtUp: b.Arrival}
	l.step(b)
	l.machine.output.reset()
}

// BenchmarkState measures what the state of a series takes in memory and in a
// snapshot, and what it costs to write: after the first hour, when nothing grows
// any more, with the clock that a lane has.
func BenchmarkState(b *testing.B) {
	for _, every := range []int64{1, 10, 60, 300} {
		b.Run(fmt.Sprintf("every=%ds", every), func(b *testing.B) {
			const n = 2000
			var before, after runtime.MemStats
			l := newLoad(b, n, every*second, "[10s, 1m]")
			// What is pooled goes with the second collection.
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&before)
			for l.round*l.every < 70*minute {
				l.tick(n)
			}
			// What belongs to the load and to a single step is no state.
			l.machine.output, l.machine.targets, l.builder = output{}, nil, telemetryv1.Builder{}
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&after)
			var chunks []lane.Chunk
			var err error
			for b.Loop() {
				chunks, err = l.machine.Snapshot(true)
				if err != nil {
					b.Fatal(err)
				}
			}
			size := 0
			for _, c := range chunks {
				size += len(c.Data)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap-B/series")
			b.ReportMetric(float64(size)/n, "snapshot-B/series")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/series")
			runtime.KeepAlive(l)
		})
	}
}

// BenchmarkSnapshot measures what a snapshot of one lane costs to make, and how
// large it is: of the whole state, as after every eighth, and of what changed
// when ten devices have reported since the last one. When all have, as is usual
// between two snapshots, what changed is all.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		l := newLoad(b, n, 30*second, "[10s, 1m]")
		l.machine.limits.Series = n
		for l.round < 14 { // past the lateness
			l.tick(1000)
		}
		for _, all := range []bool{true, false} {
			state := "changed"
			if all {
				state = "all"
			}
			b.Run(fmt.Sprintf("series=%d/%s", n, state), func(b *testing.B) { l.benchmarkSnapshot(b, all) })
		}
	}
}

func (l *load) benchmarkSnapshot(b *testing.B, all bool) {
	if _, err := l.machine.Snapshot(true); err != nil {
		b.Fatal(err)
	}
	snapshots, chunks, size := 0, 0, 0
	for b.Loop() {
		b.StopTimer()
		l.tick(100)
		b.StartTimer()
		written, err := l.machine.Snapshot(all)
		if err != nil {
			b.Fatal(err)
		}
		snapshots++
		chunks += len(written)
		for _, c := range written {
			size += len(c.Data)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(snapshots), "ms/snapshot")
	b.ReportMetric(float64(size)/float64(snapshots), "B/snapshot")
	b.ReportMetric(float64(chunks)/float64(snapshots), "chunks/snapshot")
	b.ReportMetric(float64(size)/float64(snapshots*len(l.series)), "B/series")
}
