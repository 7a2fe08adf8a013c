package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/html"

	"headwater/web/view"
)

// apply does to a part what the page's script does with a patch.
func apply(t *testing.T, source string, patch []byte) outline {
	t.Helper()
	o := outlineOf(source)
	var changes []any
	if err := json.Unmarshal(patch, &changes); err != nil {
		t.Fatal(err)
	}
	if int(changes[0].(float64)) != o.elements {
		t.Fatalf("%v elements, the part has %d", changes[0], o.elements)
	}
	for _, c := range changes[1:] {
		change := c.([]any)
		element := int(change[0].(float64))
		i := slices.IndexFunc(o.nodes, func(n node) bool {
			child, text := change[1].(float64)
			if text {
				return n.kind == html.TextToken && n.element == element && n.child == int(child)
			}
			return n.kind == html.StartTagToken && n.element == element
		})
		n := &o.nodes[i]
		key, attribute := change[1].(string)
		at := slices.IndexFunc(n.attributes, func(a html.Attribute) bool { return a.Key == key })
		switch {
		case !attribute:
			n.text = change[2].(string)
		case len(change) == 2:
			n.attributes = slices.Delete(n.attributes, at, at+1)
		case len(change) == 3 && at < 0:
			n.attributes = append(n.attributes, html.Attribute{Key: key, Val: change[2].(string)})
		case len(change) == 3:
			n.attributes[at].Val = change[2].(string)
		default:
			was, start, length := n.attributes[at].Val, int(change[2].(float64)), int(change[3].(float64))
			n.attributes[at].Val = was[:start] + change[4].(string) + was[start+length:]
		}
	}
	return o
}

func TestPatchMakesOnePartOfAnother(t *testing.T) {
	path := strings.Repeat("L1.0 2.0", 30)
	for name, c := range map[string]struct{ from, to, want string }{
		"a text":               {`<p id="a">1 <b>x</b> 2</p>`, `<p id="a">1 <b>y</b> 3</p>`, `[2,[1,0,"y"],[0,2," 3"]]`},
		"a text that is HTML":  {`<p id="a">1</p>`, `<p id="a">&lt;img src=x onerror=alert(1)&gt;</p>`, `[1,[0,0,"<img src=x onerror=alert(1)>"]]`},
		"attributes":           {`<p id="a" class="x" title="t">1</p>`, `<p id="a" class="y" hidden>1</p>`, `[1,[0,"title"],[0,"class","y"],[0,"hidden",""]]`},
		"a piece of a path":    {`<svg id="a"><path d="M` + path + `Z"></path><path d="x"></path></svg>`, `<svg id="a"><path d="M` + path + `L9Z"></path><path d="x"></path></svg>`, `[3,[1,"d",241,0,"L9"]]`},
		"no ASCII, no piece":   {`<p id="a" title="` + path + `ä1"></p>`, `<p id="a" title="` + path + `ä2"></p>`, `[1,[0,"title","` + path + `ä2"]]`},
		"a moment is one":      {`<p id="a"><time datetime="1" title="1" data-as="ago">one</time></p>`, `<p id="a"><time datetime="2" title="2" data-as="ago">two</time></p>`, `[2,[1,"datetime","2"]]`},
		"an element that came": {`<p id="a">1</p>`, `<p id="a"><b>1</b></p>`, ""},
		"a text that came":     {`<p id="a"><b></b></p>`, `<p id="a"><b>1</b></p>`, ""},
		"another element":      {`<p id="a"><b>1</b></p>`, `<p id="a"><i>1</i></p>`, ""},
		"what a person typed":  {`<p id="a"><input value="1"></p>`, `<p id="a"><input value="2"></p>`, ""},
		"what needs no script": {`<p id="a"><noscript>1</noscript></p>`, `<p id="a"><noscript>2</noscript></p>`, ""},
		"a tbody to be added":  {`<table id="a"><tr><td>1</td></tr></table>`, `<table id="a"><tr><td>2</td></tr></table>`, ""},
		"two roots":            {`<p id="a">1</p><p>1</p>`, `<p id="a">2</p><p>1</p>`, ""},
		"not closed":           {`<p id="a">1`, `<p id="a">2`, ""},
	} {
		patch := outlineOf(c.from).patch(outlineOf(c.to))
		if string(patch) != c.want {
			t.Errorf("%s: %s, want %s", name, patch, c.want)
		}
		if patch == nil || strings.Contains(c.to, "<time") {
			continue
		}
		got := apply(t, c.from, patch)
		if diff := cmp.Diff(outlineOf(c.to), got, cmp.AllowUnexported(outline{}, node{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// warehouse is the fleet of the demo at a clock that a test moves on: 20 devices
// with two series each, ten readings a second.
type warehouse struct {
	*fakeSource
	random  *rand.Rand
	devices []view.Device
	rates   []float64
	lanes   []view.Lane
	streams []view.Stream
	readers []view.Consumer
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
		w.lanes = append(w.lanes, view.Lane{Lane: i, Sequence: 1_000_000, Processed: 990_000})
	}
	for _, name := range []string{"$MQTT_msgs", "TELEMETRY", "DERIVED", "ALERTING", "DEADLETTERS"} {
		w.streams = append(w.streams, view.Stream{Name: name, Purpose: "what it holds", Messages: 1_000_000, Bytes: 1 << 30, MaxBytes: 4 << 30, First: now.Add(-time.Hour), Last: now})
	}
	for i := range 12 {
		w.readers = append(w.readers, view.Consumer{Stream: "TELEMETRY", Name: fmt.Sprint("reader", i), Purpose: "reads", Active: now})
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

func (w *warehouse) Devices(view.DeviceQuery) view.Devices {
	return view.Devices{Items: slices.Clone(w.devices), Total: len(w.devices), Matching: len(w.devices)}
}

func (w *warehouse) Pipeline() view.Pipeline {
	return view.Pipeline{At: time.Unix(1, 0), Rate: 10.1, Rates: w.rates, Lanes: slices.Clone(w.lanes), Streams: slices.Clone(w.streams), Consumers: slices.Clone(w.readers), Influx: view.Influx{URL: "http://127.0.0.1:8086"}}
}

// TestLiveBytes bounds what a live page costs a second, as compressed as a
// browser gets it, over a minute of the demo's readings.
func TestLiveBytes(t *testing.T) {
	const most = 2000
	for _, path := range []string{"/live/overview", "/live/pipeline"} {
		now := time.Unix(1_700_000_000, 0)
		source := newWarehouse(now)
		sources := source.sources()
		sources.Devices, sources.Pipeline = source, source
		s, err := New(Config{}, sources, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		c := watch(t, s, path)
		var plain, zipped, zstded bytes.Buffer
		zip := gzip.NewWriter(&zipped)
		z, err := zstd.NewWriter(&zstded, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10))
		if err != nil {
			t.Fatal(err)
		}
		send := func(frame string) {
			plain.WriteString(frame)
			for _, w := range []interface {
				io.Writer
				Flush() error
			}{zip, z} {
				if _, err := io.WriteString(w, frame); err != nil {
					t.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.hub.tick(t.Context(), now)
		send(frameOf(c))
		whole := [3]int{plain.Len(), zipped.Len(), zstded.Len()}
		const seconds = 60
		frames, moved := 0, 0
		for tick := range 4 * seconds {
			now = now.Add(frameEvery)
			source.advance(now, tick)
			s.hub.tick(t.Context(), now)
			frame := frameOf(c)
			if frame == "" {
				continue
			}
			frames++
			if strings.Contains(frame, `,"d",`) {
				moved++
			}
			send(frame)
		}
		perSecond := func(all, first int) int { return (all - first + frames*chunk) / seconds }
		raw, gz, zs := perSecond(plain.Len(), whole[0]), perSecond(zipped.Len(), whole[1]), perSecond(zstded.Len(), whole[2])
		t.Logf("%s: first frame %d B (gzip %d, zstd %d); then %d frames, a second %d B, gzip %d, zstd %d",
			path, whole[0], whole[1], whole[2], frames, raw, gz, zs)
		if gz > most || zs > most {
			t.Errorf("%s: %d B a second by gzip, %d by zstd, at most %d are wanted", path, gz, zs, most)
		}
		if frames < 2*seconds || moved < seconds {
			t.Errorf("%s: %d frames, %d with lines that move", path, frames, moved)
		}
	}
}

// chunk is what HTTP/1.1 adds to a frame.
const chunk = 8

// watch subscribes to a live page as its handler does.
func watch(t *testing.T, s *Server, path string) *client {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	w := httptest.NewRecorder()
	done.Go(func() { s.Handler().ServeHTTP(w, r.WithContext(ctx)) })
	t.Cleanup(func() { cancel(); done.Wait() })
	eventually(t, "the stream is open", func() bool { return s.Clients() == 1 })
	s.hub.mu.Lock()
	key := ""
	for key = range s.hub.views {
	}
	s.hub.mu.Unlock()
	c, err := s.hub.subscribe(key, netip.Prefix{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
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
		for _, v := range []float64{4242, 4243, 4244} { // each is told before the next one is there
			source.set(v)
			for lines.Scan() && !strings.Contains(lines.Text(), fmt.Sprint(v)) {
			}
			if err := lines.Err(); err != nil {
				t.Fatalf("%q: %v", encoding, err)
			}
		}
	}
}
