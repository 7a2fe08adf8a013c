package gateway_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/gateway"
	"headwater/streams"
	"headwater/streams/natsd"
	"headwater/streams/streamtest"
)

func requireUnavailable(t *testing.T, got reply) {
	t.Helper()
	if got.Status != 503 || got.RetryAfter == "" || got.Error == "" || got.Accepted != 0 {
		t.Errorf("answer is %+v, want 503 with Retry-After", got)
	}
}

func TestFullStream(t *testing.T) {
	f := run(t).ready()
	if got := f.post(item("a", 1)); got.Status != 202 {
		t.Fatalf("answer is %+v", got)
	}
	f.limit(0)
	requireUnavailable(t, f.post(item("a", 2)))
	if err := f.Ready(); err == nil || !strings.Contains(err.Error(), "could not be stored") {
		t.Errorf("Ready says %v", err)
	}
	f.limit(-1)
	if got := f.post(item("a", 3)); got.Status != 202 {
		t.Errorf("answer is %+v when there is room again", got)
	}
	if err := f.Ready(); err != nil {
		t.Errorf("Ready says %v after a commit that was stored", err)
	}
	readings, _ := f.stored()
	if readings["s/a/m=1"] != 1 || readings["s/a/m=2"] != 0 || readings["s/a/m=3"] != 1 {
		t.Errorf("stored %v", readings)
	}
}

func TestMissingStream(t *testing.T) {
	f := run(t).ready()
	if err := f.js.DeleteStream(t.Context(), streams.StreamTelemetry); err != nil {
		t.Fatal(err)
	}
	requireUnavailable(t, f.post(item("a", 1)))
}

func TestNoAnswerFromTheStream(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.PublishTimeout = 100 * time.Millisecond }).ready()
	if err := f.js.DeleteStream(t.Context(), streams.StreamTelemetry); err != nil {
		t.Fatal(err)
	}
	// Somebody listens, and so there is no error, but nobody answers.
	nc := f.server.Conn(t, natsd.UserCore)
	if _, err := nc.Subscribe(streams.TelemetryAll, func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	requireUnavailable(t, f.post(item("a", 1)))
	if err := f.Ready(); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("Ready says %v", err)
	}
}

func TestSenderGoesAwayWithinItsBody(t *testing.T) {
	f := run(t).ready()
	address := f.http.Listener.Addr()
	for range 20 {
		c, err := net.Dial(address.Network(), address.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n%s", gateway.Path, item("gone", 1)); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.post(item("a", 1)); got.Status != 202 {
		t.Errorf("the next request is answered %+v", got)
	}
	if readings, _ := f.stored(); len(readings) != 1 {
		t.Errorf("stored %v", readings)
	}
}

func TestNoConnection(t *testing.T) {
	f := run(t).ready()
	f.server.Shutdown()
	streamtest.Eventually(t, "the connection is lost", func() bool { return f.js.Conn().Status() != nats.CONNECTED })
	requireUnavailable(t, f.post(item("a", 1)))
}

func TestBeforeThereAreStreams(t *testing.T) {
	s := streamtest.Run(t)
	f := runOn(t, s)
	streamtest.Eventually(t, "Ready says what is missing", func() bool {
		err := f.Ready()
		return err != nil && strings.Contains(err.Error(), "missing")
	})
	requireUnavailable(t, f.post(item("a", 1)))
	s.Ensure(t, lanes)
	f.ready()
	if got := f.post(item("a", 1)); got.Status != 202 {
		t.Errorf("answer is %+v", got)
	}
}

func TestStopBeforeThereAreStreams(t *testing.T) {
	f := runOn(t, streamtest.Run(t))
	f.stop()
	requireUnavailable(t, f.post(item("a", 1)))
}

func TestAfterTheEnd(t *testing.T) {
	f := run(t).ready()
	f.stop()
	if err := f.Ready(); err == nil {
		t.Error("a gateway that has ended is ready")
	}
	requireUnavailable(t, f.post(item("a", 1)))
}

// load posts from many senders until stop is closed or each has sent n
// requests, and returns what became of each reading.
func (f *fixture) load(senders, n int, stop <-chan struct{}) (accepted, refused []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for i := range n {
				select {
				case <-stop:
					return
				default:
				}
				device := fmt.Sprintf("d%d", sender)
				got, err := f.send(strings.NewReader(item(device, i)), "Content-Type", "application/json")
				if err != nil {
					f.t.Error(err)
					return
				}
				name := fmt.Sprintf("s/%s/m=%d", device, i)
				mu.Lock()
				switch got.Status {
				case 202:
					accepted = append(accepted, name)
				case 503:
					refused = append(refused, name)
				default:
					f.t.Errorf("%s: answer is %+v", name, got)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return accepted, refused
}

func TestRequestsShareCommits(t *testing.T) {
	f := run(t).ready()
	const senders, n = 40, 25
	accepted, refused := f.load(senders, n, nil)
	if len(accepted) != senders*n {
		t.Errorf("%d accepted, %d refused", len(accepted), len(refused))
	}
	readings, messages := f.stored()
	for _, name := range accepted {
		if readings[name] != 1 {
			t.Errorf("%s is stored %d times", name, readings[name])
		}
	}
	if messages >= senders*n {
		t.Errorf("%d requests took %d messages", senders*n, messages)
	}
	t.Logf("%d requests took %d messages", senders*n, messages)
}

func TestLargeRequestIsSplit(t *testing.T) {
	f := run(t).ready()
	var body strings.Builder
	const n = 5000
	for i := range n {
		body.WriteString("," + item("d", i))
	}
	if got := f.post("[" + body.String()[1:] + "]"); got.Accepted != n {
		t.Errorf("answer is %+v", got)
	}
	readings, messages := f.stored()
	if len(readings) != n || messages != n/1000 {
		t.Errorf("%d readings in %d messages", len(readings), messages)
	}
}

// TestFullNowAndThen bounds the stream and lifts the bound under load: what was
// accepted is there, and what was refused is not, as a full stream says so.
func TestFullNowAndThen(t *testing.T) {
	f := run(t).ready()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for range 10 {
			f.limit(3)
			streamtest.Eventually(t, "the stream is full", func() bool { return f.Ready() != nil })
			f.limit(-1)
			streamtest.Eventually(t, "the stream takes readings again", func() bool { return f.Ready() == nil })
		}
	})
	accepted, refused := f.load(8, 1<<20, stop)
	wg.Wait()
	if len(accepted) == 0 || len(refused) == 0 {
		t.Fatalf("%d accepted, %d refused: nothing was tried", len(accepted), len(refused))
	}
	readings, _ := f.stored()
	for _, name := range accepted {
		if readings[name] != 1 {
			t.Errorf("%s was accepted and is stored %d times", name, readings[name])
		}
	}
	for _, name := range refused {
		if readings[name] != 0 {
			t.Errorf("%s was refused and is stored %d times", name, readings[name])
		}
	}
	t.Logf("%d accepted, %d refused", len(accepted), len(refused))
}

func TestQueueIsBounded(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.Queue = 10_000 }).ready()
	item := `{"site":"s","device":"d","values":{"a":1`
	for i := range 199 {
		item += fmt.Sprintf(`,"m%d":1`, i)
	}
	body := "[" + strings.Repeat(item+"}},", 49) + item + "}}]" // 10,000 readings
	var mu sync.Mutex
	statuses := make(map[int]int)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			got, err := f.send(strings.NewReader(body), "Content-Type", "application/json")
			if err != nil {
				t.Error(err)
				return
			}
			if got.Status == 503 {
				requireUnavailable(t, got)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[got.Status]++
		})
	}
	wg.Wait()
	if statuses[202] == 0 || statuses[202]+statuses[503] != 30 {
		t.Errorf("answers are %v", statuses)
	}
	t.Logf("answers are %v", statuses)
}

func TestDrain(t *testing.T) {
	f := run(t).ready()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		streamtest.Eventually(t, "readings are stored", func() bool {
			stream, err := f.js.Stream(t.Context(), streams.StreamTelemetry)
			return err == nil && stream.CachedInfo().State.Msgs > 20
		})
		f.stop()
	})
	accepted, refused := f.load(20, 1<<20, stop)
	wg.Wait()
	readings, _ := f.stored()
	if len(readings) != len(accepted) {
		t.Errorf("%d accepted, %d stored, %d refused", len(accepted), len(readings), len(refused))
	}
	for _, name := range accepted {
		if readings[name] != 1 {
			t.Errorf("%s was accepted and is stored %d times", name, readings[name])
		}
	}
}
