package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headwater/proto/cost"
	"headwater/streams"
	"headwater/web/access"
	"headwater/web/annotations"
	"headwater/web/app"
	"headwater/web/audit"
	"headwater/web/boards"
	"headwater/web/channels"
	"headwater/web/connect"
	"headwater/web/consumption"
	"headwater/web/deadletters"
	"headwater/web/device"
	"headwater/web/devices"
	"headwater/web/edges"
	"headwater/web/explore"
	"headwater/web/functions"
	"headwater/web/health"
	"headwater/web/ledger"
	"headwater/web/oncall"
	"headwater/web/overview"
	"headwater/web/pipeline"
	"headwater/web/registry"
	"headwater/web/replay"
	"headwater/web/rules"
	"headwater/web/silences"
	"headwater/web/trust"
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

// fakeSource is one device whose value a test sets.
type fakeSource struct {
	mu      sync.Mutex
	value   float64
	points  []device.Point
	version atomic.Uint64
	feeds   atomic.Int32
}

func newSource() *fakeSource { return new(fakeSource) }

func (f *fakeSource) Ledger(context.Context, ledger.Query) (ledger.Ledger, error) {
	return ledger.Ledger{}, nil
}

func (f *fakeSource) Begin(context.Context, replay.Query) (replay.Replay, error) {
	return replay.Replay{}, nil
}

func (f *fakeSource) Replay(_ context.Context, id string) (replay.Replay, error) {
	return replay.Replay{ReplayStatus: streams.ReplayStatus{ID: id, State: streams.ReplayRunning}}, nil
}

func (f *fakeSource) Audit(context.Context, audit.Query) (audit.Entries, error) {
	return audit.Entries{}, nil
}

func (f *fakeSource) Cancel(context.Context, string) error { return nil }

// builtIn are the prices that Headwater brings.
type builtIn struct{}

func (builtIn) Prices() cost.Prices { return cost.Default() }

func (f *fakeSource) sources() Sources {
	return Sources{Shell: f, Access: openAccounts{}, Overview: f, Device: f, Alerts: f, Rules: f, Replay: f, Silences: f, Pipeline: f, Ledger: f, DeadLetters: f, Audit: f, Trust: f, Credentials: f, Connect: f, Channels: noChannels{}, Cost: builtIn{}, Consumption: oneMeter{}, Explore: f, OnCall: nobodyOnCall{}, Edges: f, Functions: noFunctions{}, Registry: noRegistry{}, Health: noFindings{}, Boards: f, Annotations: f}
}

// openAccounts are accounts while nobody has one.
type openAccounts struct{ access.Source }

func (openAccounts) Authenticate(*http.Request) (app.Principal, error) { return view.Anonymous(), nil }

func (openAccounts) Accounts(context.Context) (access.Accounts, error) { return access.Accounts{}, nil }

func (*fakeSource) Rules(string) (rules.List, error) { return rules.List{}, nil }

func (*fakeSource) Rule(name string) (rules.Rule, error) { return rules.Rule{Name: name}, nil }

func (*fakeSource) About(string) (view.RuleAbout, bool) { return view.RuleAbout{}, false }

func (*fakeSource) Form() rules.Form { return rules.Form{} }

func (*fakeSource) Check(d rules.Draft) rules.Check { return rules.Check{Draft: d} }

func (*fakeSource) Save(context.Context, rules.Draft, view.Author) (rules.Rule, error) {
	return rules.Rule{}, nil
}

func (*fakeSource) Delete(context.Context, string, uint64, view.Author) error { return nil }

func (*fakeSource) SetState(context.Context, string, uint64, view.RuleState, view.Author) (rules.Rule, error) {
	return rules.Rule{}, nil
}

func (*fakeSource) Versions(context.Context, string) ([]rules.Version, error) {
	return nil, nil
}

func (f *fakeSource) set(v float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value = v
	f.points = append(f.points, device.Point{Metric: "m", TimeMS: int64(v), Value: v})
	f.version.Add(1)
}

func (*fakeSource) DeadLetter(_ context.Context, sequence uint64) (deadletters.Letter, error) {
	return deadletters.Letter{Sequence: sequence}, nil
}

func (*fakeSource) Try(context.Context, string, []byte) (deadletters.Tried, error) {
	return deadletters.Tried{}, nil
}

func (*fakeSource) Redrive(context.Context, deadletters.Selection) (deadletters.Redrive, error) {
	return deadletters.Redrive{}, nil
}

func (*fakeSource) Purge(context.Context, deadletters.Selection) (uint64, error) { return 0, nil }

func (f *fakeSource) Devices(overview.Query) overview.Devices {
	d, _ := f.Device("s", "d")
	return overview.Devices{Items: []view.Device{d}, Total: 1, Matching: 1}
}

func (f *fakeSource) Device(site, device string) (view.Device, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return view.Device{Site: site, Device: device, State: view.StateOK, Metrics: []view.Metric{{Name: "m", Kind: view.KindNumber, Value: view.Number(f.value)}}}, device == "d"
}

type fakeFeed struct{ *fakeSource }

func (f *fakeSource) Follow(string, string) device.Feed {
	f.feeds.Add(1)
	return fakeFeed{f}
}

func (f fakeFeed) Recent() []device.Point { return []device.Point{{Metric: "m", TimeMS: 1, Value: 1}} }

func (f fakeFeed) Take() []device.Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.points
	f.points = nil
	return out
}

func (f fakeFeed) Close() { f.feeds.Add(-1) }

func (*fakeSource) Find(explore.Query) ([]explore.Found, bool) { return nil, false }

func (f *fakeSource) Alerts(int) view.Alerts { return view.Alerts{} }

func (f *fakeSource) Episodes(string, string, time.Time, time.Time) []view.Episode { return nil }

func (f *fakeSource) Summaries(string, string) []device.Summary { return nil }

func (f *fakeSource) Series(context.Context, device.SeriesQuery) (device.Series, error) {
	return device.Series{}, nil
}

func (*fakeSource) States(context.Context, device.StatesQuery) ([]device.Change, bool, error) {
	return nil, false, nil
}

func (*fakeSource) Annotations(annotations.Query) ([]view.Annotation, bool) { return nil, false }

func (*fakeSource) AnnotationsOf(string, string, time.Time, time.Time) []view.Annotation { return nil }

func (*fakeSource) Annotation(string) (view.Annotation, bool) { return view.Annotation{}, false }

func (*fakeSource) Annotate(_ context.Context, a view.Annotation) (view.Annotation, error) {
	return a, nil
}

func (*fakeSource) RemoveAnnotation(context.Context, string) error { return nil }

func (*fakeSource) Plans() []boards.Plan { return nil }

func (*fakeSource) Plan(id string) (boards.Plan, bool) { return boards.Plan{ID: id}, true }

func (*fakeSource) CreatePlan(_ context.Context, p boards.Plan, _ []byte) (boards.Plan, error) {
	return p, nil
}

func (*fakeSource) ChangePlan(_ context.Context, _, _ string, _ []byte, change func(boards.Plan) (boards.Plan, error)) (boards.Plan, error) {
	return change(boards.Plan{})
}

func (*fakeSource) DeletePlan(context.Context, string) error { return nil }

func (*fakeSource) PlanPicture(context.Context, boards.Plan) ([]byte, error) { return nil, nil }

func (*fakeSource) Boards() []boards.Board { return nil }

func (*fakeSource) Board(id string) (boards.Board, bool) {
	return boards.Board{ID: id, Range: "1h"}, true
}

func (*fakeSource) CreateBoard(_ context.Context, b boards.Board) (boards.Board, error) {
	return b, nil
}

func (f *fakeSource) ChangeBoard(_ context.Context, id, _ string, change func(boards.Board) (boards.Board, error)) (boards.Board, error) {
	b, _ := f.Board(id)
	return change(b)
}

func (*fakeSource) DeleteBoard(context.Context, string) error { return nil }

func (*fakeSource) Matching(string, int) []view.Device { return nil }

func (*fakeSource) Rates() (float64, []float64) { return 0, nil }

func (f *fakeSource) Pipeline() pipeline.Pipeline { return pipeline.Pipeline{} }

func (f *fakeSource) Status() view.Status { return view.Status{} }

func (f *fakeSource) Version() uint64 { return f.version.Load() }

func (f *fakeSource) Authority() trust.Authority { return trust.Authority{} }

func (f *fakeSource) DeadLetters(context.Context, deadletters.Query) (deadletters.Letters, error) {
	return deadletters.Letters{}, nil
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
	server.Config.ReadTimeout = 125 * time.Millisecond // half the time between two frames
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

func (*fakeSource) Silences() ([]view.Silence, error) { return nil, nil }

func (*fakeSource) Mute(_ context.Context, s view.Silence) (view.Silence, error) {
	return s, nil
}

func (*fakeSource) SilencesOf(string, string) []view.Silence { return nil }

func (*fakeSource) Troubles(string, string) []view.Problem { return nil }

func (*fakeSource) SilencesOfRule(string) []view.Silence { return nil }

func (*fakeSource) Preview(view.Silence) (silences.Preview, error) { return silences.Preview{}, nil }

func (*fakeSource) Place(string) *time.Location { return time.UTC }

func (*fakeSource) Unmute(context.Context, string) error { return nil }

func (*fakeSource) Stats(string) []view.RuleStats { return nil }

func (*fakeSource) Advice(string) rules.Advice { return rules.Advice{} }

func (*fakeSource) Advise(string) error { return nil }

func (*fakeSource) Story(string) (view.Story, bool) { return view.Story{}, true }

func (*fakeSource) Handle(context.Context, string, view.AlertAction, view.Note) (view.Alert, error) {
	return view.Alert{}, nil
}

func (*fakeSource) Credentials() (devices.List, error)          { return devices.List{}, nil }
func (*fakeSource) Edges(context.Context) ([]edges.Edge, error) { return nil, nil }
func (*fakeSource) InviteEdge(context.Context, edges.Draft) (edges.Invited, error) {
	return edges.Invited{}, nil
}

func (*fakeSource) SetEdgePolicy(context.Context, string, edges.Policy) (edges.Edge, error) {
	return edges.Edge{}, nil
}

func (*fakeSource) Gaps(context.Context, string) (edges.Gaps, error) { return edges.Gaps{}, nil }

func (*fakeSource) RepairEdge(context.Context, string) (edges.Gaps, error) { return edges.Gaps{}, nil }

func (*fakeSource) RevokeEdge(context.Context, string) (edges.Edge, error) { return edges.Edge{}, nil }
func (*fakeSource) NewDevices(time.Time) []view.Device                     { return nil }
func (*fakeSource) Refused(time.Time) []connect.Refused                    { return nil }
func (*fakeSource) Undecoded(time.Time) []connect.Undecoded                { return nil }

func (*fakeSource) AddCredential(context.Context, devices.Draft) (devices.Issued, error) {
	return devices.Issued{}, nil
}

func (*fakeSource) RotateToken(context.Context, string, time.Duration) (devices.Issued, error) {
	return devices.Issued{}, nil
}

func (*fakeSource) SetRevoked(context.Context, string, bool) (devices.Credential, error) {
	return devices.Credential{}, nil
}

func (*fakeSource) MakeClaim(context.Context, string) (devices.Claim, error) {
	return devices.Claim{}, nil
}

func (*fakeSource) Claimable(string) (devices.Credential, error) { return devices.Credential{}, nil }

func (*fakeSource) TakeClaim(context.Context, string) (devices.Issued, error) {
	return devices.Issued{}, nil
}

func (*fakeSource) Waiting(context.Context) ([]devices.Waiting, error) { return nil, nil }

func (*fakeSource) SetUnknown(context.Context, []devices.UnknownRule) error { return nil }

// oneMeter is a device whose meter has counted nothing.
type oneMeter struct{}

func (oneMeter) Meters(string, string) ([]string, error) { return []string{"m"}, nil }

func (oneMeter) Consumption(_ context.Context, q consumption.Query) (consumption.Consumption, error) {
	return consumption.Consumption{Site: q.Site, Device: q.Device, Metric: q.Metric, Per: q.Per}, nil
}

// Metered implements device.Source.
func (*fakeSource) Metered(string, string) bool { return false }

// noFunctions are no functions at all.
type noFunctions struct{ functions.Source }

func (noFunctions) Functions(context.Context) ([]functions.Function, error) { return nil, nil }

// nobodyOnCall has no rota.
type nobodyOnCall struct{ oncall.Source }

func (nobodyOnCall) OnCall() (oncall.State, error) { return oncall.State{}, nil }

func (nobodyOnCall) StandIn(_ context.Context, o oncall.Override) (oncall.Override, error) {
	return o, nil
}
func (nobodyOnCall) Return(context.Context, string) error { return nil }

func (nobodyOnCall) Declare(context.Context, string, uint64, view.Author) error { return nil }

// noChannels are no channels at all.
type noChannels struct{ channels.Source }

func (noChannels) Channels() (channels.List, error)                    { return channels.List{}, nil }
func (noChannels) Notified(context.Context) ([]channels.Device, error) { return nil, nil }
func (noChannels) Linked(context.Context, string) (channels.Linked, error) {
	return channels.Linked{}, nil
}

func (noChannels) Act(context.Context, string) (channels.Linked, error) {
	return channels.Linked{}, nil
}
func (noChannels) PushKey(context.Context) (string, error) { return "", nil }

// noRegistry is a registry in which nothing is said.
type noRegistry struct{ registry.Source }

func (noRegistry) After(registry.Query) []view.Device { return nil }

// noFindings are devices that can all be believed.
type noFindings struct{}

func (noFindings) Health([]string, view.FindingKind) health.Report { return health.Report{} }
