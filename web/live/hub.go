package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a-h/templ"
)

// How the live streams behave.
const (
	// frameEvery bounds a stream to four frames a second, whatever the rate of
	// the devices.
	frameEvery = 250 * time.Millisecond
	// renderEvery is how often a page is rendered when nothing was reported: a
	// device may have become silent.
	renderEvery = time.Second
	// heartbeatEvery is how often each stream sends an event, whatever happens: the
	// page considers a stream dead after 10 s without an event.
	heartbeatEvery = 5 * time.Second
	// writeWithin is how long a browser may take to read a frame.
	writeWithin = 10 * time.Second
	// framesWaiting is how many frames may wait for a browser before its stream
	// is ended. The browser then reconnects and gets the whole state.
	framesWaiting = 16
	// MaxClients bounds the open streams of one hub.
	MaxClients = 1000
)

// Errors of subscribe: errClosing when the hub has ended, errCrowded when it has
// MaxClients streams, errGreedy when one address has its share of them.
var (
	errClosing = errors.New("the server is shutting down")
	errCrowded = errors.New("too many live streams are open")
	errGreedy  = errors.New("too many live streams are open from this address: close some pages, or raise --streams-per-address where many people share an address")
)

// Part is a piece of a page that is replaced on its own when it changes. Its
// body renders an element whose id is ID.
type Part struct {
	ID   string
	Body templ.Component
	// Shape is set for a piece that is sent whole only when its shape changes; in
	// between only its own Parts are sent.
	Shape string
	Parts []Part
}

// Event is a message for the page's script: Data is one line of JSON.
type Event struct {
	Name string
	Data []byte
}

// Content is what the streams of one page address show. Only the hub calls it,
// from one goroutine at a time.
type Content interface {
	Parts() []Part
	// Recent returns what a new client needs besides the parts, Fresh what came
	// since the last call of Fresh.
	Recent() []Event
	Fresh() []Event
	// Close releases what the content holds, after its last client has left.
	Close()
}

// Parts is a content without events.
type Parts func() []Part

// Parts implements Content.
func (f Parts) Parts() []Part { return f() }

// Recent implements Content.
func (f Parts) Recent() []Event { return nil }

// Fresh implements Content.
func (f Parts) Fresh() []Event { return nil }

// Close implements Content.
func (f Parts) Close() {}

// Hub renders each watched page at most four times a second and sends the
// changes to all clients that watch it. A client that joins gets the whole state
// in its first frame and changes from then on. A client that does not keep up is
// dropped; the others do not wait for it.
type Hub struct {
	version func() uint64
	log     *slog.Logger
	clients atomic.Int64
	dropped atomic.Uint64

	// perAddress bounds the streams of one address; 0 is no bound.
	perAddress int

	mu     sync.Mutex // guards what follows and all views
	views  map[string]*liveView
	counts map[netip.Prefix]int // streams by address
	closed bool
}

// liveView is one watched page address.
type liveView struct {
	content  Content
	known    map[string]*knownPart // by part id: what all settled clients have
	clients  map[*client]bool      // the value reports whether it has its first frame
	version  uint64
	rendered time.Time
}

// knownPart is a part as the clients have it: whole, or the shape of one that is
// sent in parts.
type knownPart struct {
	html    string
	outline outline // of html; read when it changes for the first time
	read    bool
}

// client is one open stream. Only the hub sends on and closes frames.
type client struct {
	key    string
	from   netip.Prefix
	frames chan []byte
}

// New returns a hub. Version returns a number that changes whenever something has
// changed that the contents show. PerAddress bounds the streams of one address; 0
// sets no bound but MaxClients.
func New(version func() uint64, perAddress int, log *slog.Logger) *Hub {
	return &Hub{
		version: version, log: log, perAddress: perAddress,
		views: make(map[string]*liveView), counts: make(map[netip.Prefix]int),
	}
}

// origin is whose share of the streams a request counts to: its address, or the
// 64 bits of its network by IPv6, where one machine has any number of addresses.
func origin(r *http.Request) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// Run makes frames until the context ends, and then ends all streams.
func (h *Hub) Run(ctx context.Context) {
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			h.close()
			return
		case now := <-ticker.C:
			h.tick(ctx, now)
		}
	}
}

// Clients returns how many streams are open.
func (h *Hub) Clients() int { return int(h.clients.Load()) }

// Dropped returns how many streams were ended because the browser did not read as
// fast as the frames came.
func (h *Hub) Dropped() uint64 { return h.dropped.Load() }

func (h *Hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for key, v := range h.views {
		for c := range v.clients {
			close(c.frames)
			h.clients.Add(-1)
		}
		v.content.Close()
		delete(h.views, key)
	}
}

// subscribe opens a stream of the page with that key for an address. Open is
// called when no client watches that page yet.
func (h *Hub) subscribe(key string, from netip.Prefix, open func() Content) (*client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, errClosing
	case h.clients.Load() >= MaxClients:
		return nil, errCrowded
	case h.perAddress > 0 && h.counts[from] >= h.perAddress:
		return nil, errGreedy
	}
	v := h.views[key]
	if v == nil {
		v = &liveView{content: open(), known: make(map[string]*knownPart), clients: make(map[*client]bool)}
		h.views[key] = v
	}
	c := &client{key: key, from: from, frames: make(chan []byte, framesWaiting)}
	v.clients[c] = false
	h.clients.Add(1)
	h.counts[from]++
	return c, nil
}

func (h *Hub) unsubscribe(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(c)
}

// remove forgets a client, and its page when it was the last one. Removing a
// client twice does nothing.
func (h *Hub) remove(c *client) {
	v := h.views[c.key]
	if v == nil {
		return
	}
	if _, ok := v.clients[c]; !ok {
		return
	}
	delete(v.clients, c)
	close(c.frames)
	h.clients.Add(-1)
	h.counts[c.from]--
	if h.counts[c.from] == 0 {
		delete(h.counts, c.from)
	}
	if len(v.clients) == 0 {
		v.content.Close()
		delete(h.views, c.key)
	}
}

// tick renders the pages in which something may have changed.
func (h *Hub) tick(ctx context.Context, now time.Time) {
	version := h.version()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.views {
		fresh := false
		for _, settled := range v.clients {
			fresh = fresh || !settled
		}
		if !fresh && version == v.version && now.Sub(v.rendered) < renderEvery {
			continue
		}
		v.version, v.rendered = version, now
		h.send(ctx, v, fresh)
	}
}

// send sends to the clients of a page what has changed for them.
func (h *Hub) send(ctx context.Context, v *liveView, newcomers bool) {
	var delta, whole frame
	for _, p := range v.content.Parts() {
		if err := v.update(ctx, p, &delta, &whole, newcomers); err != nil {
			h.log.Error("a part of a page was not rendered", "part", p.ID, "err", err)
		}
	}
	changes := delta.message()
	for _, e := range v.content.Fresh() {
		changes = appendEvent(changes, e)
	}
	var all []byte
	if newcomers {
		all = whole.message()
		for _, e := range v.content.Recent() {
			all = appendEvent(all, e)
		}
	}
	for c, settled := range v.clients {
		message := changes
		if !settled {
			message = all
			v.clients[c] = true
		}
		if len(message) == 0 {
			continue
		}
		select {
		case c.frames <- message:
		default:
			h.dropped.Add(1)
			h.remove(c)
		}
	}
}

// update adds a part to the delta if it changed, and to the whole.
func (v *liveView) update(ctx context.Context, p Part, delta, whole *frame, newcomers bool) error {
	if p.Shape == "" {
		html, err := render(ctx, p.Body)
		if err != nil {
			return err
		}
		v.change(p.ID, html, delta)
		if newcomers {
			whole.add(p.ID, html)
		}
		return nil
	}
	k := v.known[p.ID]
	reshaped := k == nil || k.html != p.Shape
	v.known[p.ID] = &knownPart{html: p.Shape}
	if reshaped || newcomers {
		html, err := render(ctx, p.Body)
		if err != nil {
			return err
		}
		if reshaped {
			delta.add(p.ID, html)
		}
		if newcomers {
			whole.add(p.ID, html)
		}
	}
	inner := delta
	if reshaped {
		inner = new(frame) // the whole piece holds its parts
	}
	for _, child := range p.Parts {
		if err := v.update(ctx, child, inner, nil, false); err != nil {
			return err
		}
	}
	return nil
}

// change adds to the delta how a part has changed: as a patch if that is shorter,
// else as the whole part.
func (v *liveView) change(id, html string, delta *frame) {
	k := v.known[id]
	if k == nil {
		v.known[id] = &knownPart{html: html}
		delta.add(id, html)
		return
	}
	if k.html == html {
		return
	}
	if !k.read {
		k.outline, k.read = outlineOf(k.html), true
	}
	now := outlineOf(html)
	patch := k.outline.patch(now)
	k.html, k.outline = html, now
	if patch == nil || len(patch) > len(html) {
		delta.add(id, html)
		return
	}
	delta.patch(id, patch)
}

func render(ctx context.Context, c templ.Component) (string, error) {
	var b strings.Builder
	err := c.Render(ctx, &b)
	return b.String(), err
}

// frame collects parts, and patches of parts, for one message each.
type frame struct{ html, patches bytes.Buffer }

func (f *frame) patch(id string, patch []byte) {
	if f.patches.Len() > 0 {
		f.patches.WriteByte(',')
	}
	key, _ := json.Marshal(id) // a text always has a form
	f.patches.Write(key)
	f.patches.WriteByte(':')
	f.patches.Write(patch)
}

func (f *frame) add(id, html string) {
	f.html.WriteString(`<hx-partial id="`)
	f.html.WriteString(templ.EscapeString(id))
	f.html.WriteString(`" hx-swap="outerMorph">`)
	f.html.WriteString(html)
	f.html.WriteString("</hx-partial>\n")
}

// message returns the parts and the patches as messages of the stream, nil when
// there are none.
func (f *frame) message() (b []byte) {
	if f.html.Len() > 0 {
		b = appendEvent(b, Event{Data: bytes.TrimSuffix(f.html.Bytes(), []byte("\n"))})
	}
	if f.patches.Len() > 0 {
		b = appendEvent(b, Event{Name: "patch", Data: slices.Concat([]byte("{"), f.patches.Bytes(), []byte("}"))})
	}
	return b
}

// appendEvent writes one message of the stream. Each line of the data, however
// it ends, stands behind its own "data:", so that no content can begin a field.
func appendEvent(b []byte, e Event) []byte {
	if e.Name != "" {
		b = append(append(append(b, "event: "...), e.Name...), '\n')
	}
	data := e.Data
	for {
		end := bytes.IndexAny(data, "\r\n")
		line := data
		if end >= 0 {
			line = data[:end]
		}
		b = append(append(append(b, "data: "...), line...), '\n')
		if end < 0 {
			return append(b, '\n')
		}
		if data[end] == '\r' && end+1 < len(data) && data[end+1] == '\n' {
			end++
		}
		data = data[end+1:]
	}
}

// Opening is what a stream shows, and to whom.
type Opening struct {
	// Key names the content. Streams with the same key share it.
	Key string
	// Open is called when no client watches that content yet.
	Open func() Content
	// Still reports whether the reader may still see the content; nil means always. It
	// is called every heartbeat, 5 s, and must answer at once.
	Still func() bool
}

// Stream serves one live stream until the browser leaves or falls behind, its reader
// may not see it any longer, or the hub ends. A reader who may not see it any longer gets
// the event "expired" first.
func (h *Hub) Stream(w http.ResponseWriter, r *http.Request, o Opening) {
	c, err := h.subscribe(o.Key, origin(r), o.Open)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer h.unsubscribe(c)
	control := http.NewResponseController(w)
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // a proxy would hold frames back
	w.WriteHeader(http.StatusOK)
	if !write(w, control, []byte(": headwater\n\n")) {
		return
	}
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for {
		message := []byte("event: beat\ndata: 1\n\n")
		select {
		case <-r.Context().Done():
			return
		case <-heartbeat.C:
			if o.Still != nil && !o.Still() {
				write(w, control, []byte("event: expired\ndata: 1\n\n"))
				return
			}
		case frame, ok := <-c.frames:
			if !ok {
				return
			}
			message = frame
		}
		if !write(w, control, message) {
			return
		}
	}
}

// write sends a message and reports whether the browser took it in time.
func write(w http.ResponseWriter, control *http.ResponseController, message []byte) bool {
	// A writer without deadlines is bounded by its client alone.
	if err := control.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	if _, err := w.Write(message); err != nil {
		return false
	}
	return control.Flush() == nil
}
