//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/process"
	"headwater/services/standalone/bench/stack"
	"headwater/streams"
	"headwater/streams/natsd"
)

const (
	// minBacklog is large enough for a run of some seconds.
	minBacklog = 100_000
	// message is the number of readings in a message, devices the number of devices that
	// report by turns.
	message, devices = 100, 1000
	// look is the pause between two checks of the progress.
	look = 50 * time.Millisecond
	// The measurement covers the backlog between skipped and counted, as shares of it. It
	// leaves out the start of the processes and the last, smaller batches.
	skipped, counted = 0.1, 0.95
)

// measured is the result of one run.
type measured struct {
	rate  float64 // readings a second
	usage usage
}

// measure runs n replicas of a program on a backlog, in a stack of their own.
func measure(ctx context.Context, r row, n int, bin, dir string, within time.Duration) (m measured, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	nodes := map[string]int{stack.Bridge: 0, stack.Gateway: 0, stack.Notifier: 0, stack.Dashboard: 0, stack.Writer: 0, stack.Processor: 0}
	nodes[r.program] = n
	s, err := stack.New(stack.Config{Bin: bin, Dir: dir, Sync: natsd.SyncSecond, Rules: "windows: [1m]\n", Nodes: nodes})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close(30*time.Second), os.RemoveAll(dir)) }()
	if r.latency > 0 {
		proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()),
			"influx", "127.0.0.1:0", s.InfluxAddress)
		if err := proxy.Start(); err != nil {
			return m, err
		}
		defer proxy.Stop()
		delay := fmt.Sprintf(`{"type":"latency","stream":"downstream","attributes":{"latency":%d}}`, r.latency.Milliseconds())
		if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(delay)); err != nil {
			return m, err
		}
		s.WriterInflux = proxy.Listen
	}
	if err := s.Start(ctx, s.Nodes(r.program)...); err != nil {
		return m, err
	}
	nc, err := s.Connect(natsd.UserCore)
	if err != nil {
		return m, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		return m, err
	}
	if err := publish(ctx, js, r.backlog); err != nil {
		return m, err
	}
	done := processed(s)
	if r.program == stack.Writer {
		done = stored(js, r.backlog)
	}
	for _, node := range s.Nodes(r.program) {
		if err := node.Start(); err != nil {
			return m, err
		}
	}
	return watch(ctx, s, r, done)
}

// publish creates the backlog: readings of many devices, one second apart.
func publish(ctx context.Context, js jetstream.JetStream, readings int) error {
	begin := time.Now().Add(-2 * time.Hour).Truncate(time.Minute).UnixNano()
	var last jetstream.PubAckFuture
	for n := 0; n < readings; n += message {
		var batch telemetryv1.Builder
		for i := n; i < n+message; i++ {
			key := telemetryv1.Key{Site: "bench", Device: fmt.Sprintf("device-%04d", i%devices), Metric: "temperature"}
			batch.Value(key, begin+int64(i/devices)*int64(time.Second), float64(i%50))
		}
		m, err := streams.TelemetryMsg(n/message%streams.DefaultLanes, streams.SourceHTTP, batch.Take(time.Now().UnixNano()))
		if err != nil {
			return err
		}
		last, err = js.PublishMsgAsync(m)
		if err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-last.Err():
		return err
	default:
		return nil
	}
}

// stored returns how many readings the writers have stored.
func stored(js jetstream.JetStream, readings int) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		n, err := streams.Unprocessed(ctx, js, streams.StreamTelemetry, streams.ConsumerWriter)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return readings - message*int(n), nil
	}
}

// processed returns how many readings the processors have committed.
func processed(s *stack.Stack) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		sum := 0.0
		for _, node := range s.Nodes(stack.Processor) {
			// A processor that is still starting has done nothing.
			n, err := metric(ctx, node.Admin(), "headwater_processor_readings_total")
			if err == nil {
				sum += n
			}
		}
		return int(sum), ctx.Err()
	}
}

// metric reads a metric without labels.
func metric(ctx context.Context, admin, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Timeout: 2 * time.Second}).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(response.Body, 1<<20))
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("there is no metric %s", name), lines.Err())
}

// watch measures between two points of the progress.
func watch(ctx context.Context, s *stack.Stack, r row, done func(context.Context) (int, error)) (m measured, err error) {
	var first, last sample
	for last.done < int(counted*float64(r.backlog)) {
		now, err := take(s)
		if err != nil {
			return m, err
		}
		now.done, err = done(ctx)
		if err != nil {
			return m, err
		}
		if now.done < int(skipped*float64(r.backlog)) || first.at.IsZero() {
			first = now
		}
		last = now
		if !process.Sleep(ctx, look) {
			return m, fmt.Errorf("%d of %d readings: %w", now.done, r.backlog, ctx.Err())
		}
	}
	machine := last.machine - first.machine
	m.rate = float64(last.done-first.done) / last.at.Sub(first.at).Seconds()
	for _, program := range []string{r.program, stack.Influx, stack.NATS} {
		m.usage.names = append(m.usage.names, program)
		m.usage.parts = append(m.usage.parts, float64(last.programs[program]-first.programs[program])/float64(machine))
	}
	m.usage.all = float64(machine-(last.idle-first.idle)) / float64(machine)
	return m, nil
}

// sample is a moment of a run. Processor times are in ticks of the kernel.
type sample struct {
	at            time.Time
	done          int
	programs      map[string]int64
	machine, idle int64
}

func take(s *stack.Stack) (sample, error) {
	out := sample{at: time.Now(), programs: make(map[string]int64)}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return out, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	// The fields are: cpu user nice system idle iowait irq softirq steal. Those that
	// follow are already included in user.
	for i, field := range strings.Fields(line)[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return out, fmt.Errorf("/proc/stat: %w", err)
		}
		out.machine += n
		if i == 3 || i == 4 {
			out.idle += n
		}
	}
	for _, node := range s.Nodes("") {
		n, err := used(node.PID())
		if err != nil {
			return out, err
		}
		out.programs[node.Program] += n
	}
	return out, nil
}

// used returns the processor time of a process, or 0 if it is not running.
func used(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if pid == 0 || errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// The name of the program, in parentheses, may contain spaces.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var sum int64
	for _, field := range fields[11:13] { // user, system
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}
