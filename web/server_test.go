package web_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"headwater/web"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestNewNeedsItsSources(t *testing.T) {
	if _, err := web.New(web.Config{}, web.Sources{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a server without sources was made")
	}
}

func TestPages(t *testing.T) {
	for _, c := range []struct {
		state  fixture.State
		path   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "/", 200, "door-04"},
		{fixture.Warehouse, "/?q=door-01&state=ok", 200, "door-01"},
		{fixture.Warehouse, "/?q=nothing", 200, "No device matches"},
		{fixture.Warehouse, "/?state=odd", 400, "state must be"},
		{fixture.Warehouse, "/?page=0", 400, "page must be"},
		{fixture.Warehouse, "/?page=99999", 200, "No device matches"},
		{fixture.Warehouse, "/?q=" + strings.Repeat("x", 81), 400, "at most 80"},
		{fixture.Warehouse, "/?q=%ff", 400, "q must be text"},
		{fixture.Large, "/?page=3", 200, "Page 3 of 100"},
		{fixture.Empty, "/", 200, "mosquitto_pub"},
		{fixture.Away, "/", 200, "InfluxDB is away"},
		{fixture.Empty, "/connect?site=hall&device=door-1", 200, "-t sensors/hall/door-1/temperature -m 21.5"},
		{fixture.Empty, "/connect?with=telegraf", 200, "outputs.influxdb_v2"},
		{fixture.Empty, "/connect?with=fax", 400, "one of the tabs"},
		{fixture.Empty, "/connect?site=a%2Fb", 400, "site must be"},
		{fixture.Empty, "/connect?since=yesterday", 400, "since must be"},
		{fixture.Warehouse, "/connect", 200, "Connected."},
		{fixture.Away, "/connect", 200, "The nearest topic that is read is sensors/home/living_room/temperature."},
		{fixture.Warehouse, "/devices/warehouse/door-04", 200, "door-left-open"},
		{fixture.Warehouse, "/devices/warehouse/door-04?range=7d", 200, "7 days"},
		{fixture.Warehouse, "/devices/warehouse/door-04?range=2y", 400, "range must be"},
		{fixture.Warehouse, "/devices/warehouse/door-04?at=2026-01-02T03:04:05%2B01:00", 200, `data-from="2026-01-02T01:34:05Z" data-to="2026-01-02T02:34:05Z"`},
		{fixture.Warehouse, "/devices/warehouse/door-04?at=2026-01-02T02:04:05Z&range=24h", 200, "/live/devices/warehouse/door-04?range=24h&amp;at=2026-01-02T02%3A04%3A05Z"},
		{fixture.Warehouse, "/devices/warehouse/door-04?at=yesterday", 400, "at must be a time"},
		{fixture.Warehouse, "/devices/warehouse/door-04?at=2999-01-01T00:00:00Z", 400, "at must be a time"},
		{fixture.Warehouse, "/devices/warehouse/door-04?from=2026-01-02T01:00:00Z&to=2026-01-02T03:00:00%2B01:00", 200, `data-from="2026-01-02T01:00:00Z" data-span="3600000" data-to="2026-01-02T02:00:00Z"`},
		{fixture.Warehouse, "/devices/warehouse/door-04?from=2026-01-02T02:00:00Z&to=2026-01-02T01:00:00Z", 400, "from must be before to"},
		{fixture.Warehouse, "/explore", 200, "New chart"},
		{fixture.Warehouse, "/explore?q=door-04+humid", 200, "/explore?c=warehouse.door-04.humidity"},
		{fixture.Warehouse, "/explore?q=nothing", 200, "No series matches"},
		{fixture.Warehouse, "/explore?c=warehouse.door-04.gone&from=-7d", 200, "There is no series warehouse.door-04.gone."},
		{fixture.Warehouse, "/explore?c=warehouse.door-04.mode", 200, "There is no series"},
		{fixture.Warehouse, "/explore?c=nothing", 400, "c must be"},
		{fixture.Empty, "/explore", 200, "No series yet."},
		{fixture.Warehouse, "/rules/new?site=warehouse&device=door-07&metric=hum&above=9.5", 200, `name="above" value="9.5"`},
		{fixture.Warehouse, "/devices/warehouse/door-99", 404, "All devices"},
		{fixture.Warehouse, "/devices/..%2f/x%00", 404, "has reported"},
		{fixture.Warehouse, "/alerts", 200, "Resolved"},
		{fixture.Empty, "/alerts", 200, "No alerts firing"},
		{fixture.Warehouse, "/pipeline", 200, "Everything runs"},
		{fixture.Away, "/pipeline", 200, "does not answer"},
		{fixture.Warehouse, "/deadletters", 200, "sensors/warehouse"},
		{fixture.Warehouse, "/deadletters?service=writer&reason=rejected", 200, "field type conflict"},
		{fixture.Warehouse, "/deadletters?service=%3Cb%3E", 400, "service must be"},
		{fixture.Warehouse, "/deadletters?before=-1", 400, "before must be"},
		{fixture.Warehouse, "/deadletters", 200, "Redrive 40 …"},
		{fixture.Warehouse, "/deadletters?service=writer", 200, "Purge 1 …"},
		{fixture.Warehouse, "/deadletters/confirm?do=redrive", 200, "Redrive 41 dead letters?"},
		{fixture.Warehouse, "/deadletters/confirm?do=redrive&service=bridge&reason=topic", 200, `name="through" value="41"`},
		{fixture.Warehouse, "/deadletters/confirm?do=redrive&service=writer", 200, "None of these can be redriven"},
		{fixture.Warehouse, "/deadletters/confirm?do=purge&sequence=37", 200, "Purge dead letter № 37?"},
		{fixture.Warehouse, "/deadletters/confirm?do=redrive&sequence=36", 200, "It cannot be redriven"},
		{fixture.Warehouse, "/deadletters/confirm?do=purge&sequence=5", 404, "no such dead letter"},
		{fixture.Warehouse, "/deadletters/confirm?do=purge&sequence=x", 400, "sequence must be"},
		{fixture.Empty, "/deadletters/confirm?do=purge", 200, "There are none left"},
		{fixture.Warehouse, "/deadletters/confirm?do=burn", 400, "do must be"},
		{fixture.Away, "/deadletters/confirm?do=purge", 503, "cannot be read"},
		{fixture.Empty, "/deadletters", 200, "No dead letters"},
		{fixture.Away, "/deadletters", 503, "cannot be read"},
		{fixture.Warehouse, "/audit", 200, "changed the state of rule"},
		{fixture.Warehouse, "/audit?who=anna&action=rule.state", 200, `value="rule.state" selected`},
		{fixture.Warehouse, "/audit?action=other.thing", 200, `value="other.thing" selected`},
		{fixture.Warehouse, "/audit?who=nobody", 200, "Show all"},
		{fixture.Warehouse, "/audit?before=5", 200, `<a rel="first" href="/audit"`},
		{fixture.Warehouse, "/audit?before=x&action=%3Cb%3E", 400, "before must be"},
		{fixture.Warehouse, "/audit?action=%3Cb%3E", 400, "action must be"},
		{fixture.Warehouse, "/audit?who=" + strings.Repeat("x", 201), 400, "who must be"},
		{fixture.Empty, "/audit", 200, "Nothing has been changed yet"},
		{fixture.Away, "/audit", 503, "cannot be read"},
		{fixture.Warehouse, "/ledger", 200, "Balanced: nothing missing."},
		{fixture.Warehouse, "/ledger?range=7d&site=warehouse&device=door-04&page=2", 200, "Page 2 of 101"},
		{fixture.Warehouse, "/ledger?page=1000", 200, "There are no more rows."},
		{fixture.Warehouse, "/ledger?range=2h", 400, "range must be"},
		{fixture.Warehouse, "/ledger?device=%3Cb%3E", 400, "device must be"},
		{fixture.Warehouse, "/ledger?page=0", 400, "page must be"},
		{fixture.Empty, "/ledger", 200, "Nothing arrived in the last hour."},
		{fixture.Away, "/ledger", 200, "InfluxDB does not answer"},
		{fixture.Large, "/ledger", 200, "on their way."},
		{fixture.Hostile, "/ledger", 200, "Not balanced:"},
		{fixture.Warehouse, "/rules", 200, "Alerts when temperature of door-* rises by 3 within 5m."},
		{fixture.Warehouse, "/rules?q=humid", 200, "rule-humid"},
		{fixture.Warehouse, "/rules?q=nothing", 200, "No rule matches"},
		{fixture.Warehouse, "/rules?q=" + strings.Repeat("x", 81), 400, "at most 80"},
		{fixture.Empty, "/rules", 200, "Nothing is watched yet"},
		{fixture.Away, "/rules", 503, "NATS does not answer"},
		{fixture.Warehouse, "/rules/new", 200, `name="revision" value="0"`},
		{fixture.Warehouse, "/rules/new?device=door-07&metric=hum&site=%3Cb%3E", 200, `name="match.device" value="door-07"`},
		{fixture.Warehouse, "/rules/new?like=too-warm", 200, `name="rise" value="3"`},
		{fixture.Warehouse, "/rules/new?like=gone", 404, "Rule not found"},
		{fixture.Warehouse, "/rules/door-left-open", 200, `name="revision" value="12"`},
		{fixture.Warehouse, "/rules/door-left-open?as=yaml", 200, "# in the unit of the metric"},
		{fixture.Warehouse, "/rules/door-left-open?saved=1", 200, "Saved."},
		{fixture.Warehouse, "/rules/too-warm", 200, "can only be changed there: Edit rules.yaml"},
		{fixture.Warehouse, "/rules/gone", 404, "Rule not found"},
		{fixture.Warehouse, "/rules/removed", 404, "This rule was deleted."},
		{fixture.Warehouse, "/rules?deleted=removed", 200, "Undo: restore removed"},
		{fixture.Warehouse, "/rules/..%2f", 404, "Rule not found"},
		{fixture.Away, "/rules/door-left-open", 503, "NATS does not answer"},
		{fixture.Warehouse, "/rules/door-left-open/versions", 200, `aria-label="Restore version 9"`},
		{fixture.Warehouse, "/rules/gone/versions", 404, "Rule not found"},
		{fixture.Warehouse, "/rules/door-left-open/delete", 200, "Delete door-left-open?"},
		{fixture.Warehouse, "/rules/too-warm/delete", 403, "edit rules.yaml"},
		{fixture.Warehouse, "/rules/unusual/delete", 400, "it is built in"},
		{fixture.Warehouse, "/trust", 200, "headwater certs show"},
		{fixture.Empty, "/trust", 404, "no authority of its own"},
		{fixture.Warehouse, "/nowhere", 404, "There is no page"},
	} {
		t.Run(string(c.state)+c.path, func(t *testing.T) {
			res, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, c.path)
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("status %d, want %d; does it hold %q? %v", res.StatusCode, c.status, c.holds, strings.Contains(body, c.holds))
			}
			if got := res.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
}

// TestPagesKeepToThemselves holds each page against the policy that it sends:
// no inline script, no inline style, nothing from elsewhere.
func TestPagesKeepToThemselves(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=`)
	foreign := regexp.MustCompile(`(?i)(?:src|href)="(?:(?:https?:)?//|javascript:)[^"]*"`)
	// A runbook is a link that a person has to follow.
	runbook := regexp.MustCompile(`<a class="runbook" href="https://[^"]*" rel="noopener noreferrer"`)
	values := regexp.MustCompile(`="[^"]*"`)
	script := regexp.MustCompile(`(?i)<script[^>]*>`)
	text := regexp.MustCompile(`>[^<]*<`)
	for _, state := range []fixture.State{fixture.Warehouse, fixture.Empty, fixture.Away, fixture.Hostile} {
		s := webtest.Server(t, state)
		device := "/devices/warehouse/door-04"
		for _, path := range []string{
			"/", device, "/alerts", "/pipeline", "/ledger", "/ledger?group=minute", "/audit", "/deadletters", "/deadletters/confirm?do=purge", "/deadletters/confirm?do=redrive&sequence=41",
			"/rules", "/rules/new", "/rules/humid", "/rules/humid?as=yaml", "/rules/too-warm", "/rules/humid/versions", "/rules/humid/delete", "/nowhere",
		} {
			res, body := webtest.Get(t, s, http.MethodGet, path)
			tags := text.ReplaceAllString(body, "><")
			for _, found := range []string{inline.FindString(values.ReplaceAllString(tags, `=""`)), foreign.FindString(runbook.ReplaceAllString(tags, "<a"))} {
				if found != "" {
					t.Errorf("%s %s holds %q", state, path, found)
				}
			}
			for _, tag := range script.FindAllString(body, -1) {
				if !strings.Contains(tag, ` src="/static/`) {
					t.Errorf("%s %s holds %s", state, path, tag)
				}
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
			} {
				if got := res.Header.Get(name); !strings.Contains(got, want) {
					t.Errorf("%s %s: %s is %q", state, path, name, got)
				}
			}
			if csp := res.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") {
				t.Errorf("%s allows %s", path, csp)
			}
		}
	}
}

// TestCommandsKnowTheHost shows that a hostile Host is not put into a command
// that people copy.
func TestCommandsKnowTheHost(t *testing.T) {
	s := webtest.Server(t, fixture.Empty)
	for host, want := range map[string]string{
		"box.local:8080":       "curl http://box.local:8080/api",
		"[::1]:8080":           "curl http://[::1]:8080/api",
		"x;rm -rf ~;":          "curl http://localhost:8080/api",
		"a$(reboot).example":   "curl http://localhost:8080/api",
		"very'quoted'.example": "curl http://localhost:8080/api",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("with the host %q the page does not hold %q", host, want)
		}
	}
}

func TestStatic(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	_, page := webtest.Get(t, s, http.MethodGet, "/")
	files := regexp.MustCompile(`/static/[^"]+`).FindAllString(page, -1)
	if len(files) < 9 {
		t.Fatalf("the page uses %v only", files)
	}
	for _, file := range files {
		res, body := webtest.Get(t, s, http.MethodGet, file)
		if res.StatusCode != http.StatusOK || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") || len(body) == 0 {
			t.Errorf("%s: %d, %q, %d bytes", file, res.StatusCode, res.Header.Get("Cache-Control"), len(body))
		}
	}
	for _, path := range []string{"/static/app.css", "/static/", "/static/../../etc/passwd", "/static/..%2f..%2fetc/passwd", "/static/%00", "/static/static.go"} {
		res, _ := webtest.Get(t, s, http.MethodGet, path)
		if res.StatusCode != http.StatusNotFound && res.StatusCode/100 != 3 {
			t.Errorf("%s is answered with %d", path, res.StatusCode)
		}
		if cached := res.Header.Get("Cache-Control"); strings.Contains(cached, "immutable") {
			t.Errorf("%s may be cached forever", path)
		}
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	s := webtest.Server(t, fixture.Warehouse)
	for _, header := range [][]string{
		{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Origin", "null"},
	} {
		if res, _ := webtest.Get(t, s, http.MethodPost, "/alerts", header...); res.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %d", header, res.StatusCode)
		}
	}
}

func TestAPI(t *testing.T) {
	for _, c := range []struct {
		state  fixture.State
		path   string
		status int
		holds  string
	}{
		{fixture.Warehouse, "/api/v1/devices?size=2", 200, `"matching":20`},
		{fixture.Empty, "/api/v1/devices", 200, `"devices":[]`},
		{fixture.Warehouse, "/api/v1/devices?size=1001", 400, "size must be"},
		{fixture.Warehouse, "/api/v1/devices/warehouse/door-04", 200, `"width_ms":60000`},
		{fixture.Warehouse, "/api/v1/devices/warehouse/nobody", 404, "No such device"},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=door-04&metric=temperature&points=100", 200, `"source":"history"`},
		{fixture.Away, "/api/v1/series?site=warehouse&device=door-04&metric=temperature", 200, `"source":"memory"`},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=door-04&metric=temperature&from=-15m&to=2026-01-01T00:00:00Z", 200, `"to":"2026-01-01T00:00:00Z"`},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=door-04&metric=none", 404, "no such metric"},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=door-04&metric=mode", 400, "is text"},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=none&metric=temperature", 404, "No such device"},
		{fixture.Warehouse, "/api/v1/series", 400, "metric must be"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&points=5001", 400, "points must be"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&points=0", 400, "points must be"},
		{fixture.Warehouse, "/api/v1/series?site=warehouse&device=door-04&metric=temperature&from=-1d12h", 200, `"bucket_ms"`},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&from=yesterday", 400, "from must be a time"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&to=-", 400, "to must be a time"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "from must be before to"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&from=0001-01-01T00:00:00Z&to=0001-01-02T00:00:00Z", 400, "between 1971"},
		{fixture.Warehouse, "/api/v1/series?site=a&device=b&metric=c&from=-999999h", 400, "from must be a time"},
		{fixture.Warehouse, "/api/v1/series?site=a;drop&device=b&metric=c", 400, "site must be"},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=door-04&metric=open&from=-2d&zone=Europe/Vienna", 200, `"value":"on"`},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=door-04&metric=mode", 200, `"kind":"text"`},
		{fixture.Away, "/api/v1/states?site=warehouse&device=door-04&metric=mode", 503, "cannot be read"},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=door-04&metric=temperature", 400, "is a number"},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=door-04&metric=none", 404, "no such metric"},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=none&metric=open", 404, "No such device"},
		{fixture.Warehouse, "/api/v1/states?site=warehouse&device=door-04&metric=open&zone=Nowhere", 400, "zone must be"},
		{fixture.Warehouse, "/api/v1/states?zone=Local", 400, "metric must be"},
		{fixture.Warehouse, "/api/v1/alerts?resolved=3", 200, `"resolved_total":7`},
		{fixture.Empty, "/api/v1/alerts", 200, `"active":[]`},
		{fixture.Warehouse, "/api/v1/alerts?resolved=x", 400, "resolved must be"},
		{fixture.Warehouse, "/api/v1/pipeline", 200, `"name":"TELEMETRY"`},
		{fixture.Warehouse, "/api/v1/deadletters?size=100", 200, `"reason":"topic"`},
		{fixture.Away, "/api/v1/deadletters", 503, "cannot be read"},
		{fixture.Warehouse, "/api/v1/deadletters/37", 200, `"payload":"TmFO"`},
		{fixture.Warehouse, "/api/v1/deadletters/36", 200, `"not_redrivable":"it is a point that InfluxDB`},
		{fixture.Warehouse, "/api/v1/deadletters/5", 404, "no such dead letter"},
		{fixture.Warehouse, "/api/v1/deadletters/0", 400, "sequence must be"},
		{fixture.Warehouse, "/api/v1/deadletters/x", 400, "sequence must be"},
		{fixture.Away, "/api/v1/deadletters/37", 503, "cannot be read"},
		{fixture.Warehouse, "/api/v1/ledger", 200, `"rejected":2`},
		{fixture.Empty, "/api/v1/ledger", 200, `"rows":[]`},
		{fixture.Away, "/api/v1/ledger", 503, "InfluxDB does not answer"},
		{fixture.Warehouse, "/api/v1/ledger?from=-1d", 200, `"totals"`},
		{fixture.Warehouse, "/api/v1/ledger?group=minute&from=-8d", 400, "7 days at most"},
		{fixture.Warehouse, "/api/v1/ledger?from=-8w", 400, "from must be a time"},
		{fixture.Warehouse, "/api/v1/ledger?group=minute&from=-200h", 400, "7 days at most"},
		{fixture.Warehouse, "/api/v1/ledger?group=hour&device=a/b&size=1001", 400, "group must be device or minute"},
		{fixture.Warehouse, "/api/v1/nothing", 404, "openapi.json"},
		{fixture.Warehouse, "/api/v2/devices", 404, "openapi.json"},
	} {
		t.Run(string(c.state)+c.path, func(t *testing.T) {
			res, body := webtest.Get(t, webtest.Server(t, c.state), http.MethodGet, c.path)
			if res.StatusCode != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("status %d, want %d with %q: %.300s", res.StatusCode, c.status, c.holds, body)
			}
			want := "application/json"
			if c.status >= 400 {
				want = "application/problem+json"
			}
			if got := res.Header.Get("Content-Type"); got != want {
				t.Errorf("Content-Type %q, want %q", got, want)
			}
			if !json.Valid([]byte(body)) {
				t.Error("the body is not JSON")
			}
		})
	}
}

func TestSeriesColumnsAreEqual(t *testing.T) {
	_, body := webtest.Get(t, webtest.Server(t, fixture.Warehouse), http.MethodGet, "/api/v1/series?site=warehouse&device=door-04&metric=temperature&points=50&from=-24h")
	var s struct {
		TimeMS         []int64 `json:"time_ms"`
		Min, Max, Mean []float64
		Episodes       []struct{ Sentence string }
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if n := len(s.TimeMS); n == 0 || n > 51 || len(s.Min) != n || len(s.Max) != n || len(s.Mean) != n || len(s.Episodes) != 2 {
		t.Errorf("%d times, %d, %d and %d values, %d anomalies", n, len(s.Min), len(s.Max), len(s.Mean), len(s.Episodes))
	}
}

// TestEveryPageSaysThatThereIsNoLogIn asks for pages where other machines may
// reach them, and where none may.
func TestEveryPageSaysThatThereIsNoLogIn(t *testing.T) {
	for _, exposed := range []string{"", "port 8080 of this machine"} {
		s, err := web.New(web.Config{Exposed: exposed}, fixture.New(fixture.Warehouse, time.Time{}).Sources(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/alerts", "/rules", "/rules/new", "/pipeline", "/ledger", "/deadletters", "/nowhere"} {
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			said := strings.Count(w.Body.String(), "No log-in.")
			if exposed == "" && said != 0 || exposed != "" && (said != 1 || !strings.Contains(w.Body.String(), exposed)) {
				t.Errorf("%s with %q says it %d times", path, exposed, said)
			}
			// What is read out by itself is read again whenever it is replaced.
			if before, _, found := strings.Cut(w.Body.String(), "No log-in."); found && strings.Contains(before, `id="banner"`) {
				t.Errorf("%s: it stands within what is live", path)
			}
		}
	}
}

// TestOneAddressCannotTakeAllStreams opens streams over HTTP.
func TestOneAddressCannotTakeAllStreams(t *testing.T) {
	s, err := web.New(web.Config{StreamsPerAddress: 2}, fixture.New(fixture.Warehouse, time.Time{}).Sources(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	open := func() *http.Response {
		resp, err := http.Get(server.URL + "/live/alerts")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	for range 2 {
		if resp := open(); resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	resp := open()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "--streams-per-address") {
		t.Errorf("%s: %s", resp.Status, text)
	}
}
