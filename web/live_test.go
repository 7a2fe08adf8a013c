package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a-h/templ"

	"headwater/streams"
	"headwater/web/view"
)

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

func text(id, s string) part {
	return part{id: id, body: templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := fmt.Fprintf(w, "<p id=%q>%s</p>", id, s)
		return err
	})}
}

// board is a page whose parts a test writes.
type board struct {
	mu     sync.Mutex
	now    []part
	events []event
	closed atomic.Int32
}

func (b *board) set(parts ...part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = parts
}

func (b *board) parts() []part {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}
func (b *board) recent() []event { return []event{{name: "recent", data: []byte("1")}} }
func (b *board) fresh() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.events
	b.events = nil
	return out
}
func (b *board) close() { b.closed.Add(1) }

func testHub() (*hub, *atomic.Uint64) {
	var version atomic.Uint64
	return newHub(version.Load, 0, slog.New(slog.DiscardHandler)), &version
}

func subscribe(t *testing.T, h *hub, b *board) *client {
	t.Helper()
	c, err := h.subscribe("page", netip.Prefix{}, func() content { return b })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// frameOf returns the frame that waits for the client, "" when there is none.
func frameOf(c *client) string {
	select {
	case f := <-c.frames:
		return string(f)
	default:
		return ""
	}
}

func TestHubSendsTheStateAndThenChanges(t *testing.T) {
	h, version := testHub()
	b := new(board)
	b.set(text("a", "1"), text("b", "1"))
	c := subscribe(t, h, b)
	now := time.Unix(1000, 0)
	h.tick(t.Context(), now)
	first := frameOf(c)
	for _, want := range []string{`<p id="a">1</p>`, `<p id="b">1</p>`, "event: recent\ndata: 1\n\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first frame lacks %q: %s", want, first)
		}
	}

	version.Add(1)
	b.set(text("a", "2"), text("b", "1"))
	b.events = []event{{name: "points", data: []byte("{}")}}
	h.tick(t.Context(), now.Add(frameEvery))
	second := frameOf(c)
	if !strings.Contains(second, `data: {"a":[1,[0,0,"2"]]}`) || strings.Contains(second, `id="b"`) || !strings.Contains(second, "event: points\ndata: {}\n\n") {
		t.Errorf("the second frame is not the change: %s", second)
	}

	h.tick(t.Context(), now.Add(2*frameEvery))
	if f := frameOf(c); f != "" {
		t.Errorf("a frame without a change: %s", f)
	}

	// Who joins later gets everything, the other one nothing.
	late := subscribe(t, h, b)
	h.tick(t.Context(), now.Add(3*frameEvery))
	if f := frameOf(late); !strings.Contains(f, `<p id="a">2</p>`) || !strings.Contains(f, `<p id="b">1</p>`) {
		t.Errorf("the newcomer got %s", f)
	}
	if f := frameOf(c); f != "" {
		t.Errorf("the other one got %s", f)
	}
}

func TestHubRendersAtMostOnceATickAndSeesTimePass(t *testing.T) {
	h, version := testHub()
	rendered := 0
	c, err := h.subscribe("page", netip.Prefix{}, func() content {
		return partsOf(func() []part {
			rendered++
			return []part{text("a", fmt.Sprint(rendered))}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	h.tick(t.Context(), now)
	version.Add(100_000) // readings
	h.tick(t.Context(), now.Add(frameEvery))
	if rendered != 2 || len(c.frames) != 2 {
		t.Errorf("%d renderings, %d frames in two ticks", rendered, len(c.frames))
	}
	// Nothing new, but a second has passed.
	h.tick(t.Context(), now.Add(2*frameEvery))
	h.tick(t.Context(), now.Add(frameEvery+renderEvery))
	if rendered != 3 {
		t.Errorf("%d renderings, want 3", rendered)
	}
}

func TestHubSendsRowsUntilTheListChanges(t *testing.T) {
	h, version := testHub()
	b := new(board)
	list := func(shape string, rows ...part) part {
		p := text("list", "all "+shape)
		p.shape, p.parts = shape, rows
		return p
	}
	b.set(list("1", text("r1", "x"), text("r2", "x")))
	c := subscribe(t, h, b)
	now := time.Unix(1000, 0)
	step := func() string {
		version.Add(1)
		now = now.Add(frameEvery)
		h.tick(t.Context(), now)
		return frameOf(c)
	}
	if f := step(); !strings.Contains(f, "all 1") || strings.Contains(f, "r1") {
		t.Errorf("first: %s", f)
	}
	b.set(list("1", text("r1", "y"), text("r2", "x")))
	if f := step(); !strings.Contains(f, `{"r1":[1,[0,0,"y"]]}`) || strings.Contains(f, "all") || strings.Contains(f, "r2") {
		t.Errorf("a row changed: %s", f)
	}
	b.set(list("2", text("r1", "y"), text("r2", "x"), text("r3", "x")))
	if f := step(); !strings.Contains(f, "all 2") || strings.Contains(f, "r3") {
		t.Errorf("a row came: %s", f)
	}
	b.set(list("2", text("r1", "y"), text("r2", "x"), text("r3", "z")))
	if f := step(); !strings.Contains(f, `{"r3":[1,[0,0,"z"]]}`) || strings.Contains(f, "r2") {
		t.Errorf("the new row changed: %s", f)
	}
}

func TestHubDropsASlowClientOnly(t *testing.T) {
	h, version := testHub()
	b := new(board)
	b.set(text("a", "0"))
	slow, quick := subscribe(t, h, b), subscribe(t, h, b)
	now := time.Unix(1000, 0)
	got := 0
	for i := range framesWaiting + 2 {
		version.Add(1)
		b.set(text("a", fmt.Sprint(i)))
		now = now.Add(frameEvery)
		h.tick(t.Context(), now)
		if frameOf(quick) != "" {
			got++
		}
	}
	if got != framesWaiting+2 {
		t.Errorf("the quick one got %d frames", got)
	}
	frames := 0
	for range slow.frames { // it ends, for the hub has closed it
		frames++
	}
	if frames != framesWaiting || h.dropped.Load() != 1 || h.clients.Load() != 1 {
		t.Errorf("the slow one got %d frames; %d dropped, %d left", frames, h.dropped.Load(), h.clients.Load())
	}
	h.unsubscribe(slow) // its handler does so as well
	h.unsubscribe(quick)
	if h.clients.Load() != 0 || b.closed.Load() != 1 || len(h.views) != 0 {
		t.Errorf("%d clients, closed %d times, %d pages", h.clients.Load(), b.closed.Load(), len(h.views))
	}
}

func TestHubBoundsItsClients(t *testing.T) {
	h, _ := testHub()
	b := new(board)
	for range maxClients {
		subscribe(t, h, b)
	}
	if _, err := h.subscribe("page", netip.Prefix{}, func() content { return b }); !errors.Is(err, errCrowded) {
		t.Errorf("one too many: %v", err)
	}
	h.close()
	if _, err := h.subscribe("page", netip.Prefix{}, func() content { return b }); !errors.Is(err, errClosing) || h.clients.Load() != 0 {
		t.Errorf("after the end: %v, %d clients", err, h.clients.Load())
	}
}

func TestEventsStayInTheirLines(t *testing.T) {
	for in, want := range map[string]string{
		"one":                 "data: one\n\n",
		"one\ndata: fake":     "data: one\ndata: data: fake\n\n",
		"a\r\nb\rc\n":         "data: a\ndata: b\ndata: c\ndata: \n\n",
		"\n\nevent: points\n": "data: \ndata: \ndata: event: points\ndata: \n\n",
	} {
		if got := string(appendEvent(nil, event{data: []byte(in)})); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestPointsAreOneLine(t *testing.T) {
	got := points([]view.Point{{Metric: "a\nb", TimeMS: 1_700_000_000_000, Value: 1.5}, {Metric: "c", TimeMS: 2, Value: -1}})
	if len(got) != 1 || string(got[0].data) != `{"a\nb":[[1700000000000,1.5]],"c":[[2,-1]]}` {
		t.Errorf("%s", got)
	}
}

// fakeSource is one device whose value a test sets.
type fakeSource struct {
	mu      sync.Mutex
	value   float64
	points  []view.Point
	version atomic.Uint64
	feeds   atomic.Int32
}

func newSource() *fakeSource { return new(fakeSource) }

func (f *fakeSource) Ledger(context.Context, view.LedgerQuery) (view.Ledger, error) {
	return view.Ledger{}, nil
}

func (f *fakeSource) Begin(context.Context, view.ReplayQuery) (view.Replay, error) {
	return view.Replay{}, nil
}

func (f *fakeSource) Replay(_ context.Context, id string) (view.Replay, error) {
	return view.Replay{ReplayStatus: streams.ReplayStatus{ID: id, State: streams.ReplayRunning}}, nil
}

func (f *fakeSource) Cancel(context.Context, string) error { return nil }

func (f *fakeSource) sources() Sources {
	return Sources{Devices: f, Alerts: f, History: f, Pipeline: f, DeadLetters: f, Ledger: f, Rules: f, RuleStore: f, Silences: f, Replays: f}
}

func (*fakeSource) Rules(string) (view.Rules, error)      { return view.Rules{}, nil }
func (*fakeSource) Rule(name string) (view.Rule, error)   { return view.Rule{Name: name}, nil }
func (*fakeSource) About(string) (view.RuleAbout, bool)   { return view.RuleAbout{}, false }
func (*fakeSource) Check(d view.RuleDraft) view.RuleCheck { return view.RuleCheck{Draft: d} }

func (*fakeSource) Save(context.Context, view.RuleDraft, view.Author) (view.Rule, error) {
	return view.Rule{}, nil
}

func (*fakeSource) Delete(context.Context, string, uint64, view.Author) error { return nil }

func (*fakeSource) SetState(context.Context, string, uint64, view.RuleState, view.Author) (view.Rule, error) {
	return view.Rule{}, nil
}

func (*fakeSource) Versions(context.Context, string) ([]view.RuleVersion, error) {
	return nil, nil
}

func (f *fakeSource) set(v float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value = v
	f.points = append(f.points, view.Point{Metric: "m", TimeMS: int64(v), Value: v})
	f.version.Add(1)
}

func (*fakeSource) DeadLetter(_ context.Context, sequence uint64) (view.DeadLetter, error) {
	return view.DeadLetter{Sequence: sequence}, nil
}

func (*fakeSource) Redrive(context.Context, view.DeadLetterSelection) (view.Redrive, error) {
	return view.Redrive{}, nil
}

func (*fakeSource) Purge(context.Context, view.DeadLetterSelection) (uint64, error) { return 0, nil }

func (f *fakeSource) Devices(view.DeviceQuery) view.Devices {
	d, _ := f.Device("s", "d")
	return view.Devices{Items: []view.Device{d}, Total: 1, Matching: 1}
}

func (f *fakeSource) Device(site, device string) (view.Device, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return view.Device{Site: site, Device: device, State: view.StateOK, Metrics: []view.Metric{{Name: "m", Kind: view.KindNumber, Value: view.Number(f.value)}}}, device == "d"
}

type fakeFeed struct{ *fakeSource }

func (f *fakeSource) Follow(string, string) Feed {
	f.feeds.Add(1)
	return fakeFeed{f}
}
func (f fakeFeed) Recent() []view.Point { return []view.Point{{Metric: "m", TimeMS: 1, Value: 1}} }
func (f fakeFeed) Take() []view.Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.points
	f.points = nil
	return out
}
func (f fakeFeed) Close() { f.feeds.Add(-1) }

func (f *fakeSource) Alerts(int) view.Alerts                                       { return view.Alerts{} }
func (f *fakeSource) Episodes(string, string, time.Time, time.Time) []view.Episode { return nil }
func (f *fakeSource) Summaries(string, string) []view.Summary                      { return nil }
func (f *fakeSource) Series(context.Context, view.SeriesQuery) (view.Series, error) {
	return view.Series{}, nil
}
func (f *fakeSource) Pipeline() view.Pipeline { return view.Pipeline{} }
func (f *fakeSource) Status() view.Status     { return view.Status{} }
func (f *fakeSource) Version() uint64         { return f.version.Load() }
func (f *fakeSource) DeadLetters(context.Context, view.DeadLetterQuery) (view.DeadLetters, error) {
	return view.DeadLetters{}, nil
}

// reader reads the lines of a live stream.
type reader struct {
	res   *http.Response
	lines chan string
}

func open(t *testing.T, url string) *reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	r := &reader{res: res, lines: make(chan string, 10_000)}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	return r
}

// until returns the first line that holds want.
func (r *reader) until(t *testing.T, want string) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				t.Fatalf("the stream ended before %q", want)
			}
			if strings.Contains(line, want) {
				return line
			}
		case <-deadline:
			t.Fatalf("no line with %q within 10 s", want)
		}
	}
}

// serve runs a server with its hub; stop ends the hub.
func serve(t *testing.T, source *fakeSource) (s *Server, url string, stop func()) {
	t.Helper()
	s, err := New(Config{}, source.sources(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return s, server.URL, stop
}

func TestLiveDevice(t *testing.T) {
	source := newSource()
	s, url, _ := serve(t, source)
	r := open(t, url+"/live/devices/s/d?range=1h")
	if got := r.res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	r.until(t, `{"m":[[1,1]]}`)
	source.set(4242)
	for range 3 { // the value, the point and where they stand may come in any order of frames
		if line := r.until(t, "4242"); strings.HasPrefix(line, "data: {") {
			break
		}
	}

	again := open(t, url+"/live/devices/s/d?range=1h")
	again.until(t, "4242") // the whole state, though nothing has changed
	eventually(t, "two streams of one page", func() bool { return s.Clients() == 2 && source.feeds.Load() == 1 })
	r.res.Body.Close()
	again.res.Body.Close()
	eventually(t, "all streams are forgotten", func() bool { return s.Clients() == 0 && source.feeds.Load() == 0 })
}

// TestLiveOutlivesReadTimeout shows that a server's time limit for reading a
// request does not end its streams.
func TestLiveOutlivesReadTimeout(t *testing.T) {
	source := newSource()
	s, _, _ := serve(t, source)
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.ReadTimeout = frameEvery / 2
	server.Start()
	t.Cleanup(server.Close)
	r := open(t, server.URL+"/live/devices/s/d")
	for v := range 4 { // one frame each
		source.set(float64(4240 + v))
		r.until(t, fmt.Sprint(4240+v))
	}
}

func TestLiveOverviewSendsRows(t *testing.T) {
	source := newSource()
	_, url, _ := serve(t, source)
	r := open(t, url+"/live/overview")
	r.until(t, `id="devices"`)
	source.set(77)
	r.until(t, `data: {"d-s.d":[`)
}

func TestLiveRefusesWhatIsNotThere(t *testing.T) {
	_, url, _ := serve(t, newSource())
	for path, want := range map[string]int{
		"/live/devices/s/nobody":      404,
		"/live/devices/s/d?range=2y":  400,
		"/live/overview?state=broken": 400,
	} {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

// TestWithoutScriptsNothingWaits holds that a page promises nothing which only a
// script brings.
func TestWithoutScriptsNothingWaits(t *testing.T) {
	_, url, _ := serve(t, newSource())
	for _, path := range []string{"/", "/devices/s/d", "/alerts", "/pipeline"} {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		page := string(body)
		if !strings.Contains(page, `data-state="wait" hidden`) || !strings.Contains(page, `<noscript><span class="link">not live</span></noscript>`) || strings.Contains(page, "Loading") {
			t.Errorf("%s promises what does not come", path)
		}
	}
}

// TestStreamsBeat waits for the event by which a page knows that its stream
// lives, while nothing changes.
func TestStreamsBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{}, newSource().sources(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		w := &beats{header: make(http.Header)}
		var done sync.WaitGroup
		done.Go(func() {
			s.stream(w, httptest.NewRequest(http.MethodGet, "/live/x", nil).WithContext(ctx), "x", func() content { return new(board) })
		})
		<-time.After(31 * time.Second)
		cancel()
		done.Wait()
		if n := strings.Count(w.body.String(), "event: beat\ndata: 1\n\n"); n != 6 {
			t.Errorf("%d beats in 31 s: %q", n, w.body.String())
		}
	})
}

// beats keeps what a stream sends.
type beats struct {
	header http.Header
	body   strings.Builder
}

func (b *beats) Header() http.Header         { return b.header }
func (b *beats) WriteHeader(int)             {}
func (b *beats) Write(p []byte) (int, error) { return b.body.Write(p) }
func (b *beats) Flush()                      {}

// TestShutdownEndsOpenStreams is what lets a server shut down in time: it waits
// for its handlers.
func TestShutdownEndsOpenStreams(t *testing.T) {
	source := newSource()
	s, url, stop := serve(t, source)
	var streams []*reader
	for range 5 {
		r := open(t, url+"/live/devices/s/d")
		r.until(t, "data:")
		streams = append(streams, r)
	}
	stop()
	for _, r := range streams {
		deadline := time.After(10 * time.Second)
		for open := true; open; {
			select {
			case _, open = <-r.lines:
			case <-deadline:
				t.Fatal("a stream is still open")
			}
		}
	}
	if s.Clients() != 0 || source.feeds.Load() != 0 {
		t.Errorf("%d clients, %d feeds", s.Clients(), source.feeds.Load())
	}
	res, err := http.Get(url + "/live/overview")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a stream after the end: %d", res.StatusCode)
	}
}

// TestStreamsOfOneAddress opens as many streams as one address may have: the next
// is refused, another address is served, and a stream that ends makes room.
func TestStreamsOfOneAddress(t *testing.T) {
	h, _ := testHub()
	h.perAddress = 3
	b := new(board)
	from := func(address string) netip.Prefix {
		r := httptest.NewRequest("GET", "/live/overview", nil)
		r.RemoteAddr = address
		return origin(r)
	}
	open := func(address string) (*client, error) {
		return h.subscribe("page", from(address), func() content { return b })
	}
	var last *client
	for _, address := range []string{"[2001:db8::1]:1000", "[2001:db8::2]:1001", "[2001:db8::1]:1002"} {
		var err error
		if last, err = open(address); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open("[2001:db8::3]:1003"); !errors.Is(err, errGreedy) {
		t.Errorf("a fourth stream of one network: %v", err)
	}
	for _, address := range []string{"[2001:db8:0:1::1]:1000", "192.0.2.1:1000", "192.0.2.2:1000", "192.0.2.2:1001", "192.0.2.2:1002"} {
		if _, err := open(address); err != nil {
			t.Errorf("a stream of %s: %v", address, err)
		}
	}
	if _, err := open("[::ffff:192.0.2.2]:1003"); !errors.Is(err, errGreedy) {
		t.Errorf("a fourth stream of one address: %v", err)
	}
	h.unsubscribe(last)
	h.unsubscribe(last) // its handler does so as well
	if _, err := open("[2001:db8::3]:1003"); err != nil {
		t.Errorf("a stream after another one ended: %v", err)
	}
	if _, err := open("[2001:db8::3]:1004"); !errors.Is(err, errGreedy) {
		t.Errorf("one stream too many after another one ended: %v", err)
	}
	if len(h.counts) != 4 {
		t.Errorf("%d addresses are counted, want 4", len(h.counts))
	}
}

func (*fakeSource) Silences() ([]view.Silence, error) { return nil, nil }
func (*fakeSource) Mute(_ context.Context, s view.Silence) (view.Silence, error) {
	return s, nil
}
func (*fakeSource) Unmute(context.Context, string) error { return nil }
