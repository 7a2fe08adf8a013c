package live

import (
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
)

func text(id, s string) Part {
	return Part{ID: id, Body: templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := fmt.Fprintf(w, "<p id=%q>%s</p>", id, s)
		return err
	})}
}

// board is a page whose parts a test writes.
type board struct {
	mu     sync.Mutex
	now    []Part
	events []Event
	closed atomic.Int32
}

func (b *board) set(parts ...Part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = parts
}

func (b *board) Parts() []Part {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *board) Recent() []Event { return []Event{{Name: "recent", Data: []byte("1")}} }

func (b *board) Fresh() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.events
	b.events = nil
	return out
}

func (b *board) Close() { b.closed.Add(1) }

func testHub() (*Hub, *atomic.Uint64) {
	var version atomic.Uint64
	return New(version.Load, 0, slog.New(slog.DiscardHandler)), &version
}

func subscribe(t *testing.T, h *Hub, b *board) *client {
	t.Helper()
	c, err := h.subscribe("page", netip.Prefix{}, func() Content { return b })
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
			t.Errorf("the first frame has no %q: %s", want, first)
		}
	}

	version.Add(1)
	b.set(text("a", "2"), text("b", "1"))
	b.events = []Event{{Name: "points", Data: []byte("{}")}}
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
	c, err := h.subscribe("page", netip.Prefix{}, func() Content {
		return Parts(func() []Part {
			rendered++
			return []Part{text("a", fmt.Sprint(rendered))}
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
	list := func(shape string, rows ...Part) Part {
		p := text("list", "all "+shape)
		p.Shape, p.Parts = shape, rows
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
	for range MaxClients {
		subscribe(t, h, b)
	}
	if _, err := h.subscribe("page", netip.Prefix{}, func() Content { return b }); !errors.Is(err, errCrowded) {
		t.Errorf("one too many: %v", err)
	}
	h.close()
	if _, err := h.subscribe("page", netip.Prefix{}, func() Content { return b }); !errors.Is(err, errClosing) || h.clients.Load() != 0 {
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
		if got := string(appendEvent(nil, Event{Data: []byte(in)})); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// TestStreamsBeat waits for the event by which a page knows that its stream
// lives, while nothing changes.
func TestStreamsBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := testHub()
		ctx, cancel := context.WithCancel(t.Context())
		w := &beats{header: make(http.Header)}
		var done sync.WaitGroup
		done.Go(func() {
			h.Stream(w, httptest.NewRequest(http.MethodGet, "/live/x", nil).WithContext(ctx), Opening{Key: "x", Open: func() Content { return new(board) }})
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

func (b *beats) Header() http.Header { return b.header }

func (b *beats) WriteHeader(int) {}

func (b *beats) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *beats) Flush() {}

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
		return h.subscribe("page", from(address), func() Content { return b })
	}
	var last *client
	for _, address := range []string{"[2001:db8::1]:1000", "[2001:db8::2]:1001", "[2001:db8::1]:1002"} {
		var err error
		last, err = open(address)
		if err != nil {
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
