package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/handling"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/view"
)

// TestPeopleHandleAlerts acknowledges an alert by the API and on its page, comments and
// assigns: the bucket holds that as the notifier takes it in, pages and badge say so at
// once, what is late does nothing, and all of it is in the audit.
func TestPeopleHandleAlerts(t *testing.T) {
	started := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	r := newRig(t, nil)
	alert := firing(started)
	alert.Version = 1
	episode := streams.EpisodeID(alert)
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{alert}}))
	r.reading("kitchen", "temperature", 31, time.Now())
	r.shows("/api/v1/alerts", `"state":"firing"`)
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	kv, err := r.js.KeyValue(t.Context(), streams.BucketSilences)
	if err != nil {
		t.Fatal(err)
	}
	stored := func() handling.Handling {
		t.Helper()
		entry, err := kv.Get(t.Context(), streams.HandlingKey(alert.GetId()))
		if err != nil {
			t.Fatal(err)
		}
		h, err := handling.Decode(entry.Value())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	const at = "/api/v1/alerts/"
	code, body := ask(http.MethodPost, at+episode+"/acknowledge?by=Ann&text=on+my+way")
	var got view.Alert
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	if h := stored(); h.Episode != episode || h.Acknowledged == nil || h.Acknowledged.Author != "Ann" || h.Acknowledged.Text != "on my way" {
		t.Errorf("the bucket holds %+v", h)
	}
	if got.State != view.AlertAcknowledged || got.Acknowledged == nil || got.Acknowledged.Author != "Ann" {
		t.Errorf("the answer is %s", body)
	}
	if n := r.service.Status().Firing; n != 0 {
		t.Errorf("the badge counts %d of an acknowledged alert", n)
	}
	for _, page := range []string{"/alerts", "/", "/devices/home/kitchen"} {
		if _, body := r.get(page); !strings.Contains(body, "acknowledged</span> by Ann, ") {
			t.Errorf("%s does not say who has acknowledged it: %s", page, body)
		}
	}
	if code, body := ask(http.MethodPost, at+episode+"/acknowledge?by=Bob"); code != http.StatusOK || !strings.Contains(body, `"by":"Ann"`) {
		t.Errorf("twice: %d %s", code, body)
	}
	// The notifier commits it. What it committed before comes again by the bucket of alerts.
	taken := firing(started)
	taken.State, taken.Version = alertingv1.State_STATE_ACKNOWLEDGED, 2
	taken.Acknowledged = &alertingv1.Note{Author: "Ann", Time: time.Now().UnixNano()}
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{taken}}))
	streamtest.Eventually(t, "the commit is taken in", func() bool {
		a, _ := r.service.book.Alert(alert.GetId())
		return a.Version == 2
	})
	before, err := protojson.Marshal(alert)
	if err != nil {
		t.Fatal(err)
	}
	r.service.onAlert(alert.GetId(), before, time.Now())
	if a, _ := r.service.book.Alert(alert.GetId()); a.State != view.AlertAcknowledged {
		t.Errorf("an older state came after a newer one: %+v", a)
	}

	submit := func(form url.Values) (int, string) {
		req := httptest.NewRequest(http.MethodPost, "/alerts/"+episode+"/handle", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
	for _, form := range []url.Values{{"action": {"comment"}, "text": {"the gasket is torn"}}, {"action": {"assign"}, "text": {"Bob"}}, {"action": {"unacknowledge"}}} {
		form.Set("by", "Cleo")
		if code, body := submit(form); code != http.StatusSeeOther {
			t.Errorf("%v: %d %s", form, code, body)
		}
	}
	if h := stored(); h.Acknowledged != nil || h.Assignee != "Bob" || len(h.Comments) != 1 || h.Comments[0].Author != "Cleo" {
		t.Errorf("the bucket holds %+v", h)
	}
	if _, body := r.get("/alerts"); !strings.Contains(body, "assigned to Bob") || !strings.Contains(body, "the gasket is torn") {
		t.Errorf("the page does not say who takes care of it: %s", body)
	}
	if n := r.service.Status().Firing; n != 1 {
		t.Errorf("the badge counts %d, want 1", n)
	}
	old := streams.EpisodeID(firing(started.Add(-time.Hour)))
	for path, want := range map[string]int{
		"a1-x/acknowledge": http.StatusConflict, old + "/acknowledge": http.StatusConflict, "b2-x/acknowledge": http.StatusNotFound, "nonsense/acknowledge": http.StatusNotFound,
		episode + "/comment": http.StatusBadRequest, episode + "/acknowledge?by=%0a": http.StatusBadRequest, episode + "/comment?text=" + strings.Repeat("x", 501): http.StatusBadRequest,
	} {
		if code, body := ask(http.MethodPost, at+path); code != want {
			t.Errorf("%s: %d, want %d: %s", path, code, want, body)
		}
	}
	if code, _ := submit(url.Values{"action": {"dance"}}); code != http.StatusBadRequest {
		t.Errorf("an action that there is not: %d", code)
	}
	if code, body := ask(http.MethodPost, at+episode+"/resolve?by=Ann"); code != http.StatusOK || !strings.Contains(body, `"state":"resolved"`) {
		t.Errorf("resolve: %d %s", code, body)
	}
	if code, body := ask(http.MethodPost, at+episode+"/acknowledge"); code != http.StatusConflict || !strings.Contains(body, "this episode is over") {
		t.Errorf("acknowledge what is over: %d %s", code, body)
	}
	_, body = r.get("/api/v1/audit")
	for _, want := range []string{"alert.acknowledge", "alert.comment", "alert.assign", "alert.unacknowledge", "alert.resolve", "too-warm on home/kitchen temperature", episode} {
		if !strings.Contains(body, want) {
			t.Errorf("the audit has no %s: %s", want, body)
		}
	}

	// What was done about an alert that is gone is removed, and nothing else.
	sweep := func(now time.Time) bool {
		t.Helper()
		if err := r.service.handlings.sweep(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		_, err := kv.Get(t.Context(), streams.HandlingKey(alert.GetId()))
		return errors.Is(err, jetstream.ErrKeyNotFound)
	}
	later := time.Now().Add(2 * sweepAfter)
	if sweep(later) {
		t.Error("removed while the alert is known")
	}
	r.put(streams.BucketAlerts, alert.GetId(), before)
	r.service.book.RemoveAlert(alert.GetId())
	if sweep(later) {
		t.Error("removed while the bucket has the alert")
	}
	bucket, err := r.js.KeyValue(t.Context(), streams.BucketAlerts)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), alert.GetId()); err != nil {
		t.Fatal(err)
	}
	r.service.book.RemoveAlert(alert.GetId())
	if sweep(time.Now()) {
		t.Error("removed too early")
	}
	if !sweep(later) {
		t.Error("still there")
	}
}

// TestStory notifies people of an alert and ends it: its page has whom, when and with
// what outcome, and why it ended, also after another episode has begun.
func TestStory(t *testing.T) {
	started := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	r := newRig(t, nil)
	alert := firing(started)
	episode := streams.EpisodeID(alert)
	r.reading("kitchen", "temperature", 31, time.Now())
	message := func(channel string) *alertingv1.Message {
		return &alertingv1.Message{Channel: channel, Title: "Critical: too-warm (kitchen)", Alerts: []*alertingv1.Alert{alert}}
	}
	msg, err := streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{alert}, Messages: []*alertingv1.Message{message("phone"), message("mail"), message("chat")}})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := r.js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range []*alertingv1.Delivery{
		{Channel: "phone", Outcome: alertingv1.Outcome_OUTCOME_SENT, Attempts: 2},
		{Channel: "mail", Outcome: alertingv1.Outcome_OUTCOME_FAILED, Attempts: 1, Error: "550 no such user"},
	} {
		d.Key, d.Time = fmt.Sprintf("%d-%d-dn5mn57qoq2o", ack.Sequence, i), time.Now().UnixNano()
		r.publish(streams.DeliveryMsg(d))
	}
	over := firing(started)
	over.State, over.Ended, over.Learned, over.End = alertingv1.State_STATE_RESOLVED, time.Now().UnixNano(), time.Now().UnixNano(), derivedv1.End_END_NO_DATA
	over.Ending = &derivedv1.Evidence{Sentence: "no reading for 15 min; the last was 31 °C"}
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{over}}))
	r.publish(streams.AlertingMsg(0, &alertingv1.Commit{Alerts: []*alertingv1.Alert{firing(time.Now())}}))
	r.shows("/api/v1/alerts", `"state":"firing"`)
	var story view.Story
	_, body := r.get("/api/v1/alerts/" + episode)
	if err := json.Unmarshal([]byte(body), &story); err != nil {
		t.Fatal(err, body)
	}
	if story.Sentence != "It is 31 °C, above 30 °C." || story.End != view.AlertNoData || story.EndSentence != over.Ending.GetSentence() {
		t.Errorf("the episode is %s", body)
	}
	outcomes := map[string]view.NoticeOutcome{}
	for _, n := range story.Notices {
		outcomes[n.Channel] = n.Outcome
	}
	if d := cmp.Diff(map[string]view.NoticeOutcome{"phone": view.NoticeSent, "mail": view.NoticeFailed, "chat": view.NoticeWaiting}, outcomes); d != "" {
		t.Error(d)
	}
	_, page := r.get("/alerts/" + episode)
	for _, want := range []string{"Sent to phone, attempt 2", "Not sent to mail", "550 no such user", "Being sent to chat", "Ended: no data", "no reading for 15 min"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q: %s", want, page)
		}
	}
	if got := r.service.rules.Stats("too-warm")[0]; got.Days != 7 || got.Alerts != 2 || got.Ongoing != 1 || got.NoData != 1 || got.NeverActed != 1 {
		t.Errorf("the statistics are %+v", got)
	}
	if code, _ := r.get("/alerts/a1-zz"); code != http.StatusNotFound {
		t.Errorf("an episode that there is not: %d", code)
	}
	if _, body := r.get("/api/v1/alerts?state=resolved"); !strings.Contains(body, `"active":[]`) || !strings.Contains(body, `"resolved_total":1`) {
		t.Errorf("narrowed: %s", body)
	}
}
