package dashboard

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/internal/config"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/rules"
)

// replayer stands in for the processor: a limit above 30 raises 14 alerts of a few minutes,
// one of 31 raises 2. History is how much of the period it has readings of.
type replayer struct {
	mu      sync.Mutex
	history time.Duration // guarded by mu
	busy    int           // how many requests are refused first; guarded by mu
	tried   []string      // guarded by mu
	results map[string]streams.ReplayStatus
}

func (p *replayer) answer(t *testing.T, m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status streams.ReplayStatus
	if m.Subject == streams.ReplayStart {
		request, err := streams.DecodeReplayRequest(m.Data)
		if err != nil {
			t.Error(err)
			return
		}
		if p.busy > 0 {
			p.busy--
			status = streams.ReplayStatus{ID: request.ID, State: streams.ReplayBusy, Error: "another replay is under way"}
		} else {
			status = streams.ReplayStatus{ID: request.ID, State: streams.ReplayWarming}
			p.results[streams.ReplaySubject(request.ID)] = p.replay(t, request)
		}
	} else {
		status = p.results[m.Subject]
	}
	body, err := status.Encode()
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		t.Error(err)
	}
}

func (p *replayer) replay(t *testing.T, request streams.ReplayRequest) streams.ReplayStatus {
	r, err := config.ParseRule("rule", []byte(request.Rule), nil)
	if err != nil {
		t.Error(err)
	}
	result := &streams.ReplayResult{Rule: r.Name, From: request.From, To: request.To, Since: request.To.Add(-p.history)}
	p.tried = append(p.tried, strconv.FormatFloat(*r.Above, 'f', -1, 64)+" "+r.For.String())
	n := 14
	switch {
	case r.For > 0:
		n = 1
	case *r.Above >= 31:
		n = 2
	}
	for i := range n {
		start := request.To.Add(-time.Duration(i+1) * time.Hour)
		result.Alerts = append(result.Alerts, streams.ReplayAlert{Start: start, End: start.Add(time.Duration(i+1) * time.Minute), Value: 30.5})
	}
	result.Total, result.Began = n, n
	return streams.ReplayStatus{ID: request.ID, State: streams.ReplayDone, Done: 1, Result: result}
}

// TestQuieterSettings has proposals computed for a rule, and an operator take one. Versions
// undo it.
func TestQuieterSettings(t *testing.T) {
	r := newRulesRig(t)
	p := &replayer{history: 8 * 24 * time.Hour, busy: 1, results: make(map[string]streams.ReplayStatus)}
	for _, subject := range []string{streams.ReplayStart, streams.ReplaySubject("*")} {
		sub, err := r.js.Conn().Subscribe(subject, func(m *nats.Msg) { p.answer(t, m) })
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := r.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	var made rules.Rule
	if status, body := r.call(http.MethodPut, "/warm?revision=0&author=Ana", "name: warm\nmatch: {metric: temperature}\ndetector: limit\nabove: 30 # °C\n", &made); status != http.StatusOK {
		t.Fatalf("%d: %s", status, body)
	}
	advice := func() (a rules.Advice) {
		if status, body := r.call(http.MethodGet, "/warm/advice", "", &a); status != http.StatusOK {
			t.Fatalf("%d: %s", status, body)
		}
		return a
	}
	if a := advice(); a.State != "" {
		t.Errorf("nobody asked: %+v", a)
	}
	ask := func() rules.Advice {
		t.Helper()
		if status, _, to := r.submit("/rules/warm/quieter", url.Values{}); status != http.StatusSeeOther || to != "/rules/warm#quieter" {
			t.Fatalf("%d %s", status, to)
		}
		var a rules.Advice
		streamtest.Eventually(t, "proposals", func() bool { a = advice(); return a.State.Over() })
		return a
	}
	a := ask()
	if a.State != rules.AdviceDone || a.Before != 14 || len(a.Proposals) != 2 {
		t.Fatalf("advice %+v", a)
	}
	if got := a.Proposals[0]; got.Words != "above: 31" || got.Was != "above: 30" || got.Alerts != 2 || !strings.Contains(got.YAML, "above: 31 # °C") {
		t.Errorf("proposal %+v", got)
	}
	if got := a.Proposals[1]; !strings.HasPrefix(got.Words, "for: ") || got.Alerts != 1 {
		t.Errorf("proposal %+v", got)
	}
	p.mu.Lock()
	if len(p.tried) != 3 {
		t.Errorf("tried %v, want the rule as it is, one bound and one wait", p.tried)
	}
	p.mu.Unlock()

	// Another revision than the one that was looked at is a conflict; what was proposed can
	// be taken, and its audit names the change.
	form := url.Values{"revision": {strconv.FormatUint(made.Revision, 10)}, "proposal": {"0"}, "by": {"Otto"}}
	if status, _, _ := r.submit("/rules/warm/quieter/take", url.Values{"revision": {"1"}, "proposal": {"0"}}); status != http.StatusConflict {
		t.Errorf("another revision: %d", status)
	}
	if status, body, to := r.submit("/rules/warm/quieter/take", form); status != http.StatusSeeOther || to != "/rules/warm?saved=1" {
		t.Fatalf("%d %s: %s", status, to, body)
	}
	if got := r.in("warm"); !strings.Contains(got.Text, "above: 31 # °C") {
		t.Errorf("in force is %s", got.Text)
	}
	r.shows("/audit", "rule.save")
	if a := advice(); a.State != "" {
		t.Errorf("the rule has changed: %+v", a)
	}
	if status, _, _ := r.submit("/rules/warm/quieter/take", form); status != http.StatusConflict {
		t.Errorf("taken twice: %d", status)
	}
	var now rules.Rule
	r.call(http.MethodGet, "/warm", "", &now)
	undo := url.Values{"revision": {strconv.FormatUint(now.Revision, 10)}, "version": {strconv.FormatUint(made.Revision, 10)}}
	if status, body, _ := r.submit("/rules/warm/restore", undo); status != http.StatusSeeOther || !strings.Contains(r.in("warm").Text, "above: 30 # °C") {
		t.Errorf("not undone: %d %s", status, body)
	}

	// With a few hours of readings nothing is proposed.
	p.mu.Lock()
	p.history = 5 * time.Hour
	p.mu.Unlock()
	if a := ask(); len(a.Proposals) != 0 || a.Why != "there are readings of 5 h only, and a day is needed" {
		t.Errorf("with 5 hours of readings: %+v", a)
	}
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/rules/gone/advice", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a rule that there is not: %d", w.Code)
	}
	w = httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/rules/warm/advice", nil))
	if w.Code != http.StatusAccepted || json.Unmarshal(w.Body.Bytes(), &a) != nil {
		t.Errorf("by the API: %d %s", w.Code, w.Body)
	}
}
