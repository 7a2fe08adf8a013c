package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"headwater/web/overview"
	"headwater/web/pipeline"
	"headwater/web/view"
)

// warehouse is the fleet of the demo at a clock that a test moves on: 20 devices
// with two series each, ten readings a second.
type warehouse struct {
	*fakeSource
	random  *rand.Rand
	devices []view.Device
	rates   []float64
	lanes   []pipeline.Lane
	streams []pipeline.Stream
	readers []pipeline.Consumer
	next    int
	second  int
}

func newWarehouse(now time.Time) *warehouse {
	w := &warehouse{fakeSource: newSource(), random: rand.New(rand.NewPCG(1, 2))}
	for i := range 20 {
		d := view.Device{Site: "demo", Device: fmt.Sprintf("door-%02d", i+1), State: view.StateOK, LastSeen: now, FirstSeen: now}
		for _, name := range []string{"humidity", "temperature"} {
			m := view.Metric{Name: name, Unit: "°C", Kind: view.KindNumber}
			for k := range view.SlotCount {
				at := now.Truncate(view.SlotWidth).Add(time.Duration(k-view.SlotCount) * view.SlotWidth)
				v := w.value(i, at)
				m.Spark = append(m.Spark, view.Slot{Start: at, Min: v - w.random.Float64(), Max: v + w.random.Float64(), Last: v})
			}
			d.Metrics = append(d.Metrics, m)
		}
		w.devices = append(w.devices, d)
	}
	for range 60 {
		w.rates = append(w.rates, float64(8+w.random.IntN(5)))
	}
	for i := range 8 {
		w.lanes = append(w.lanes, pipeline.Lane{Lane: i, Sequence: 1_000_000, Processed: 990_000})
	}
	for _, name := range []string{"$MQTT_msgs", "TELEMETRY", "DERIVED", "ALERTING", "DEADLETTERS"} {
		w.streams = append(w.streams, pipeline.Stream{Name: name, Purpose: "what it holds", Messages: 1_000_000, Bytes: 1 << 30, MaxBytes: 4 << 30, First: now.Add(-time.Hour), Last: now})
	}
	for i := range 12 {
		w.readers = append(w.readers, pipeline.Consumer{Stream: "TELEMETRY", Name: fmt.Sprint("reader", i), Purpose: "reads", Active: now})
	}
	return w
}

func (w *warehouse) value(device int, at time.Time) float64 {
	return math.Round(100*(4+float64(device)/10+math.Sin(float64(at.UnixMilli())/300_000)+0.2*w.random.NormFloat64())) / 100
}

// advance brings what happens in a quarter of a second.
func (w *warehouse) advance(now time.Time, tick int) {
	for range 2 + tick%2 {
		i := w.next % len(w.devices)
		d := &w.devices[i]
		m := &d.Metrics[w.next/len(w.devices)%2]
		w.next++
		v := w.value(i, now)
		d.LastSeen, m.Time, m.Value = now, now, view.Number(v)
		slot := now.Truncate(view.SlotWidth)
		if last := &m.Spark[len(m.Spark)-1]; last.Start.Equal(slot) {
			last.Min, last.Max, last.Last = min(last.Min, v), max(last.Max, v), v
		} else {
			m.Spark = append(slices.Clone(m.Spark[1:]), view.Slot{Start: slot, Min: v, Max: v, Last: v})
		}
		l := &w.lanes[i%8]
		l.Readings, l.Sequence, l.Arrived = l.Readings+1, l.Sequence+1, now
	}
	if tick%4 == 0 {
		w.second++
		w.rates = append(slices.Clone(w.rates[1:]), float64(8+w.random.IntN(5)))
		for i := range w.lanes {
			w.lanes[i].Sequence, w.lanes[i].CaughtUp = w.lanes[i].Sequence+1, now
			if w.second%15 == i {
				w.lanes[i].Processed, w.lanes[i].ProcessedAt = w.lanes[i].Sequence, now
			}
		}
		if w.second%3 == 0 {
			for i := range w.streams {
				w.streams[i].Messages += uint64(w.random.IntN(60))
				w.streams[i].Bytes += uint64(w.random.IntN(60_000))
				w.streams[i].Last = now
			}
			for i := range w.readers {
				w.readers[i].Active = now
			}
		}
	}
	w.version.Add(1)
}

func (w *warehouse) Devices(overview.Query) overview.Devices {
	return overview.Devices{Items: slices.Clone(w.devices), Total: len(w.devices), Matching: len(w.devices)}
}

func (w *warehouse) Rates() (float64, []float64) { return 10.1, w.rates }

func (w *warehouse) Pipeline() pipeline.Pipeline {
	return pipeline.Pipeline{At: time.Unix(1, 0), Rate: 10.1, Rates: w.rates, Lanes: slices.Clone(w.lanes), Streams: slices.Clone(w.streams), Consumers: slices.Clone(w.readers), Influx: pipeline.Influx{URL: "http://127.0.0.1:8086"}}
}

// TestLiveBytes bounds what a live page costs a second, as compressed as a
// browser gets it, over a minute of the demo's readings.
func TestLiveBytes(t *testing.T) {
	for _, path := range []string{"/live/overview", "/live/pipeline"} {
		t.Run(path, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { liveBytes(t, path) }) })
	}
}

func liveBytes(t *testing.T, path string) {
	const (
		most    = 2000
		seconds = 60
		frame   = 250 * time.Millisecond // between two frames
	)
	source := newWarehouse(time.Now())
	sources := source.sources()
	sources.Overview, sources.Pipeline = source, source
	s, err := New(Config{}, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &frames{header: make(http.Header)}
	var done sync.WaitGroup
	done.Go(func() { s.Run(ctx) })
	done.Go(func() {
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx))
	})
	defer func() { cancel(); done.Wait() }()
	var plain, zipped, zstded bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	z, err := zstd.NewWriter(&zstded, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	// next waits for the next frame, in the middle between two ticks of the hub.
	next := func() (frames []string) {
		<-time.After(frame)
		synctest.Wait()
		for _, message := range w.take() {
			if strings.HasPrefix(message, ": ") || strings.HasPrefix(message, "event: beat") {
				continue
			}
			frames = append(frames, message)
			plain.WriteString(message)
			for _, w := range []interface {
				io.Writer
				Flush() error
			}{zip, z} {
				if _, err := io.WriteString(w, message); err != nil {
					t.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return frames
	}
	<-time.After(frame / 2)
	if len(next()) != 1 {
		t.Fatal("there is no first frame")
	}
	whole := [3]int{plain.Len(), zipped.Len(), zstded.Len()}
	count, moved := 0, 0
	for tick := range 4 * seconds {
		source.advance(time.Now(), tick)
		for _, message := range next() {
			count++
			if strings.Contains(message, `,"d",`) {
				moved++
			}
		}
	}
	perSecond := func(all, first int) int { return (all - first + count*chunk) / seconds }
	raw, gz, zs := perSecond(plain.Len(), whole[0]), perSecond(zipped.Len(), whole[1]), perSecond(zstded.Len(), whole[2])
	t.Logf("first frame %d B (gzip %d, zstd %d); then %d frames, a second %d B, gzip %d, zstd %d",
		whole[0], whole[1], whole[2], count, raw, gz, zs)
	if gz > most || zs > most {
		t.Errorf("%d B a second by gzip, %d by zstd, at most %d are wanted", gz, zs, most)
	}
	if count < 2*seconds || moved < seconds {
		t.Errorf("%d frames, %d with lines that move", count, moved)
	}
}

// chunk is what HTTP/1.1 adds to a frame.
const chunk = 8

// frames keeps what a stream sends, by write.
type frames struct {
	header http.Header
	mu     sync.Mutex // guards sent
	sent   []string
}

func (f *frames) Header() http.Header { return f.header }
func (f *frames) WriteHeader(int)     {}
func (f *frames) Flush()              {}
func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, string(p))
	return len(p), nil
}

func (f *frames) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.sent
	f.sent = nil
	return out
}

// TestCompression asks for pages, files, the API and a live stream as browsers
// do, and for the stream sees each event as it comes.
func TestCompression(t *testing.T) {
	source := newSource()
	_, url, _ := serve(t, source)
	for _, encoding := range []string{"gzip", "zstd", ""} {
		get := func(path string) *http.Response {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", encoding)
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { res.Body.Close() })
			if got := res.Header.Get("Content-Encoding"); got != encoding {
				t.Errorf("%s: encoding %q, want %q", path, got, encoding)
			}
			return res
		}
		open := func(res *http.Response) io.Reader {
			t.Helper()
			switch encoding {
			case "gzip":
				z, err := gzip.NewReader(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				return z
			case "zstd":
				z, err := zstd.NewReader(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(z.Close)
				return z
			}
			return res.Body
		}
		for path, want := range map[string]string{"/": "Overview", "/api/v1/openapi.json": `"openapi"`} {
			res := get(path)
			body, err := io.ReadAll(open(res))
			if err != nil || !strings.Contains(string(body), want) || !strings.Contains(res.Header.Get("Vary"), "Accept-Encoding") {
				t.Errorf("%q %s: %v, %d bytes, varies by %q", encoding, path, err, len(body), res.Header.Get("Vary"))
			}
		}
		lines := bufio.NewScanner(open(get("/live/devices/s/d?range=1h")))
		lines.Buffer(nil, 1<<20)
		for _, v := range []float64{4242, 4243, 4244} { // each is sent before the next one exists
			source.set(v)
			for lines.Scan() && !strings.Contains(lines.Text(), fmt.Sprint(v)) {
			}
			if err := lines.Err(); err != nil {
				t.Fatalf("%q: %v", encoding, err)
			}
		}
	}
}
