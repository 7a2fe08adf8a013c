package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/links"
	"headwater/services/internal/webpush"
	"headwater/streams"
	"headwater/streams/streamtest"
)

const (
	browserKey  = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	browserAuth = "BTBZMqHH6r4Tts7J_aSIgg"
)

// outcome stores what became of the n-th message.
func (r *rig) outcome(n int, channel, title, problem string, o alertingv1.Outcome) {
	r.tb.Helper()
	r.publish(streams.DeliveryMsg(&alertingv1.Delivery{Key: fmt.Sprintf("%d-0", n), Channel: channel, Outcome: o, Attempts: 2, Title: title, Error: problem, Time: time.Now().UnixNano()}))
}

// TestFirstPhone registers a browser while there is no channel for it: one is made. A file
// that takes charge later does not remove it.
func TestFirstPhone(t *testing.T) {
	r := newRulesRig(t)
	good := url.Values{"endpoint": {"https://push.example.org/send/hunter2"}, "p256dh": {browserKey}, "auth": {browserAuth}, "name": {"Chrome on Android"}}
	for name, spoil := range map[string]url.Values{
		"http": {"endpoint": {"http://push.example.org/send/hunter2"}}, "no key": {"p256dh": {"AAAA"}}, "no secret": {"auth": {""}}, "a long name": {"name": {strings.Repeat("x", 500)}},
	} {
		form := url.Values{}
		for _, values := range []url.Values{good, spoil} {
			maps.Copy(form, values)
		}
		// A long name is cut.
		if status, body, _ := r.submit("/devices-notified", form); (status == http.StatusBadRequest) != (name != "a long name") || strings.Contains(body, "hunter2") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	status, body, _ := r.submit("/devices-notified", good)
	if status != http.StatusOK || strings.Contains(body, "hunter2") {
		t.Fatalf("%d %s", status, body)
	}
	r.shows("/channels", "Chrome on Android")
	r.shows("/channels", `id="channel-phones"`)
	r.shows("/audit", "Chrome on Android")
	r.putFile("rules: []\nauto: off\nchannels: []\n")
	r.shows("/channels", `id="channel-phones"`)
	if v, err := r.store().Current(t.Context()); err != nil || len(v.Parts.Channels) != 1 || v.Parts.Channels[0].Text != "name: \"phones\"\ntype: \"webpush\"\n" {
		t.Errorf("%v: %+v", err, v.Parts.Channels)
	}

	var keys [2]string
	for i := range keys {
		store, err := webpush.Open(t.Context(), r.js)
		if err != nil {
			t.Fatal(err)
		}
		k, err := store.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys[i], _ = k.Public()
	}
	if keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("the keys are made once: %q", keys)
	}
	if r.submit("/devices-notified/"+webpush.IDOf(good.Get("endpoint"))+"/remove", nil); t.Failed() {
		t.FailNow()
	}
	if _, body := r.get("/channels"); strings.Contains(body, "Chrome on Android") {
		t.Error("the browser is still there")
	}
}

// TestChannelTest asks a notifier to send a test, and shows the outcomes of real messages.
func TestChannelTest(t *testing.T) {
	r := newRulesRig(t)
	r.putFile("rules: []\nauto: off\nchannels:\n  - {name: office, type: webhook, url: \"https://u:hunter2@example.org/hunter2?x=hunter2\"}\n  - {name: duty, type: shoutrrr, url: \"telegram://1:hunter2@telegram?chats=1\"}\n")
	r.shows("/channels", "shoutrrr")
	for _, path := range []string{"/channels", "/api/v1/channels"} {
		r.shows(path, "example.org")
		if _, body := r.get(path); strings.Contains(body, "hunter2") {
			t.Errorf("%s shows a secret", path)
		}
	}
	if status, body, _ := r.submit("/channels/office/test", nil); status != http.StatusServiceUnavailable || !strings.Contains(body, "No notifier runs that could send it") {
		t.Errorf("without a notifier: %d", status)
	}
	sub, err := r.js.Conn().Subscribe(streams.ChannelTests, func(m *nats.Msg) {
		asked, err := streams.DecodeChannelTest(m.Data)
		if err != nil || asked.Report && asked.Channel != "office" {
			t.Error(asked, err)
		}
		answer, _ := json.Marshal(streams.ChannelTested{Error: map[string]string{"duty": "telegram answered 403 Forbidden"}[asked.Channel]})
		if err := m.Respond(answer); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if status, _, to := r.submit("/channels/office/test", nil); status != http.StatusSeeOther || to != "/channels?done=test" {
		t.Errorf("taken: %d %s", status, to)
	}
	if status, body, _ := r.submit("/channels/duty/test", nil); status != http.StatusBadGateway || !strings.Contains(body, "The test was not delivered: telegram answered 403 Forbidden") {
		t.Errorf("refused: %d", status)
	}
	r.shows("/audit", "channel.test")
	if status, body := r.post("/api/v1/report", nil); status != http.StatusNotFound || !strings.Contains(body, "o morning report is declared") {
		t.Errorf("without a report: %d %s", status, body)
	}
	r.putFile("rules: []\nauto: off\nreport: {at: \"07:00\", channel: office}\nchannels:\n  - {name: office, type: webhook, url: \"https://example.org/\"}\n  - {name: duty, type: shoutrrr, url: \"telegram://1:hunter2@telegram?chats=1\"}\n")
	streamtest.Eventually(t, "the report is declared and sent", func() bool {
		status, _ := r.post("/api/v1/report", nil)
		return status == http.StatusNoContent
	})
	r.shows("/audit", "report.send")
	r.shows("/channels", "Every day at 07:00 (UTC) through office, about all sites.")
	if status, _, to := r.submit("/channels/report", nil); status != http.StatusSeeOther || to != "/channels?done=report" {
		t.Errorf("on the page: %d %s", status, to)
	}

	r.outcome(1, "duty", "Critical: first", "telegram answered 403 Forbidden", alertingv1.Outcome_OUTCOME_FAILED)
	r.outcome(2, "duty", "Resolved: first", "not taken", alertingv1.Outcome_OUTCOME_SKIPPED)
	for i := range deliveriesKept {
		r.outcome(3+i, "office", "Warning: many", "", alertingv1.Outcome_OUTCOME_SENT)
	}
	r.outcome(3+deliveriesKept, "office", "Warning: last", "", alertingv1.Outcome_OUTCOME_SENT)
	var list struct {
		Channels []struct {
			Name       string
			Deliveries []struct{ Title, Outcome, Error string }
		}
	}
	streamtest.Eventually(t, "the outcomes are known", func() bool {
		_, body := r.get("/api/v1/channels")
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		return len(list.Channels) == 2 && len(list.Channels[0].Deliveries) == deliveriesKept && list.Channels[0].Deliveries[0].Title == "Warning: last"
	})
	if d := list.Channels[1].Deliveries; len(d) != 2 || d[0].Outcome != "skipped" || d[1].Outcome != "failed" || d[1].Error != "telegram answered 403 Forbidden" {
		t.Errorf("duty: %+v", d)
	}
}

// TestLinksOfMessages acknowledges and mutes with links, without a log-in although one is
// required. A GET changes nothing, a link works once, and only for its episode.
func TestLinksOfMessages(t *testing.T) {
	r := newRig(t, nil)
	alert := firing(time.Now().Add(-time.Minute))
	alert.Id = "00112233aabbccdd"
	body, err := protojson.Marshal(alert)
	if err != nil {
		t.Fatal(err)
	}
	r.put(streams.BucketAlerts, alert.GetId(), body)
	r.ready()
	r.shows("/alerts", "kitchen")
	store, err := webpush.Open(t.Context(), r.js)
	if err != nil {
		t.Fatal(err)
	}
	key, err := store.LinkKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := links.Link{Action: links.Acknowledge, Episode: streams.EpisodeID(alert), Channel: "phones", Expires: time.Now().Add(time.Hour)}
	token := func(change func(*links.Link)) string {
		one := l
		change(&one)
		return links.Path + links.Sign(key, one)
	}
	ack := token(func(*links.Link) {})
	mute := token(func(l *links.Link) { l.Action = links.Mute })
	if _, _, to := r.submit("/set-up", url.Values{"name": {"anna"}, "password": {"correct horse battery"}, "again": {"correct horse battery"}}); to != "/" {
		t.Fatal("no account was made")
	}
	streamtest.Eventually(t, "a log-in is required", func() bool { status, _ := r.get("/alerts"); return status == http.StatusSeeOther })

	state := func() (acknowledged, silences string) {
		t.Helper()
		read := func(bucket, key string) string {
			kv, err := r.js.KeyValue(t.Context(), bucket)
			if err != nil {
				t.Fatal(err)
			}
			entry, err := kv.Get(t.Context(), key)
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				return ""
			}
			if err != nil {
				t.Fatal(err)
			}
			return string(entry.Value())
		}
		return read(streams.BucketSilences, streams.HandlingKey(alert.GetId())), read(streams.BucketSilences, streams.SilencesKey)
	}
	for path, want := range map[string]string{ack: "Acknowledge?", mute: "Silence for 1 h?"} {
		if status, body := r.get(path); status != http.StatusOK || !strings.Contains(body, want) || !strings.Contains(body, "kitchen at home") {
			t.Errorf("GET: %d %s", status, body)
		}
	}
	if a, m := state(); a+m != "" {
		t.Errorf("a GET changed something: %s %s", a, m)
	}
	for name, bad := range map[string]struct {
		path   string
		status int
	}{
		"tampered":        {strings.Replace(ack, "ack.", "mute.", 1), http.StatusNotFound},
		"expired":         {token(func(l *links.Link) { l.Expires = time.Now().Add(-time.Second) }), http.StatusGone},
		"another episode": {token(func(l *links.Link) { l.Episode = alert.GetId() + "-1" }), http.StatusConflict},
		"no episode":      {token(func(l *links.Link) { l.Episode = "x" }), http.StatusNotFound},
	} {
		if status, _, _ := r.submit(bad.path, nil); status != bad.status {
			t.Errorf("%s: %d, want %d", name, status, bad.status)
		}
	}
	if a, m := state(); a+m != "" {
		t.Errorf("a bad link changed something: %s %s", a, m)
	}

	// The service worker asks for JSON.
	q := httptest.NewRequest(http.MethodPost, ack, nil)
	q.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	r.service.Handler().ServeHTTP(w, q)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"title":"Acknowledged"`) {
		t.Errorf("acknowledge: %d %s", w.Code, w.Body)
	}
	if status, body, _ := r.submit(mute, nil); status != http.StatusOK || !strings.Contains(body, "Silenced for 1 h") {
		t.Errorf("mute: %d %s", status, body)
	}
	a, m := state()
	if !strings.Contains(a, "link of channel phones") || !strings.Contains(m, "link of channel phones") || !strings.Contains(m, `"device":"kitchen"`) {
		t.Errorf("stored %s and %s", a, m)
	}
	for _, path := range []string{ack, mute} {
		if status, body, _ := r.submit(path, nil); status != http.StatusGone || !strings.Contains(body, "This link was used already.") {
			t.Errorf("a second time: %d", status)
		}
	}
	found, err := audit.Read(t.Context(), r.js, audit.Query{Text: "link of channel phones", Size: 10})
	if err != nil || len(found.Entries) != 2 {
		t.Errorf("%v: audited %+v", err, found.Entries)
	}
}

// TestChannelsOnThePage makes, changes and deletes channels on the page and by the API. What
// is secret is stored and shown nowhere, and what a file declares stays there.
func TestChannelsOnThePage(t *testing.T) {
	r := newRulesRig(t)
	const secret = "hunter2hunter2hunter2"
	hook := func() config.Channel {
		t.Helper()
		v, err := r.store().Current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := v.Config()
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range c.Channels {
			if ch.Name == "hook" {
				return ch
			}
		}
		return config.Channel{}
	}
	save := func(change url.Values) (int, string) {
		t.Helper()
		form := url.Values{"name": {"hook"}, "type": {"webhook"}, "resolved": {"1"}}
		maps.Copy(form, change)
		status, body, to := r.submit("/channels", form)
		if strings.Contains(body, "hunter2") {
			t.Errorf("%v: the page shows a secret", change)
		}
		return status, html.UnescapeString(body) + to
	}
	api := func(method, path, body string) (int, string) {
		t.Helper()
		return r.send(method, "/api/v1/channels"+path, "application/json", body)
	}

	first := url.Values{"new": {"1"}, "url": {"https://u:hunter2@example.org/hunter2?x=hunter2"}, "secret": {secret}}
	if status, to := save(first); status != http.StatusSeeOther || to != "/channels?done=saved" {
		t.Fatalf("add: %d %s", status, to)
	}
	made := hook()
	if made.URL.Reveal() != first.Get("url") || made.Secret.Reveal() != secret || made.Format != config.FormatHeadwater || !made.Resolved || !made.FromPage {
		t.Errorf("made %+v", made)
	}
	for _, c := range []struct {
		name   string
		form   url.Values
		status int
		says   string
	}{
		{"twice", first, http.StatusConflict, "Not saved. There is a channel of that name already."},
		{"of the file", url.Values{"name": {"phone"}, "url": {"https://example.org/hunter2"}}, http.StatusConflict, "the channel is declared in a file and is changed there"},
		{"unknown", url.Values{"name": {"nobody"}}, http.StatusNotFound, "There is no such channel."},
		{"a name that is none", url.Values{"new": {"1"}, "name": {"A b"}}, http.StatusBadRequest, "The name must be"},
		{"a scheme that is none", url.Values{"url": {"gopher://example.org/hunter2"}}, http.StatusBadRequest, "must begin with https://"},
		{"a short secret", url.Values{"secret": {"hunter2"}}, http.StatusBadRequest, "16"},
		{"another type without an address", url.Values{"type": {"ntfy"}}, http.StatusBadRequest, "Url is missing"},
	} {
		if status, body := save(c.form); status != c.status || !strings.Contains(strings.ToLower(body), strings.ToLower(c.says)) {
			t.Errorf("%s: %d, want %d and %q", c.name, status, c.status, c.says)
		}
	}
	if now := hook(); now != made {
		t.Errorf("what was refused changed it to %+v", now)
	}

	if status, _ := save(url.Values{"format": {"alertmanager"}, "resolved": nil}); status != http.StatusSeeOther {
		t.Errorf("change: %d", status)
	}
	want := made
	want.Format, want.Resolved = config.FormatAlertmanager, false
	if now := hook(); now != want {
		t.Errorf("changed to %+v", now)
	}
	if status, body := api(http.MethodPut, "/hook", `{"type": "webhook", "url": "http://127.0.0.1:9/hunter2", "unsigned": true}`); status != http.StatusNoContent {
		t.Errorf("change by the API: %d %s", status, body)
	}
	if now := hook(); now.URL != "http://127.0.0.1:9/hunter2" || now.Secret != "" || now.Format != config.FormatHeadwater || !now.Resolved {
		t.Errorf("changed by the API to %+v", now)
	}

	if _, err := r.store().SaveRule(t.Context(), "name: mine\ndetector: limit\nabove: 5\nnotify: [hook]\n", "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := r.submit("/channels/hook/delete", nil); status != http.StatusConflict || !strings.Contains(body, "It is still named in rule mine") {
		t.Errorf("delete while a rule names it: %d %s", status, body)
	}
	if _, err := r.store().DeleteRule(t.Context(), "mine", "page:jo", 0); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/phone": http.StatusConflict, "/nobody": http.StatusNotFound} {
		if status, body := api(http.MethodDelete, path, ""); status != want {
			t.Errorf("delete %s: %d %s", path, status, body)
		}
	}
	if status, _, to := r.submit("/channels/hook/delete", nil); status != http.StatusSeeOther || to != "/channels?done=removed" || hook().Name != "" {
		t.Errorf("delete: %d %s", status, to)
	}
	if status, body := api(http.MethodPost, "", `{"name": "hook", "type": "webpush"}`); status != http.StatusNoContent || hook().Type != config.WebPush {
		t.Errorf("add by the API: %d %s", status, body)
	}
	for _, path := range []string{"/channels", "/api/v1/channels", "/audit", "/rules"} {
		if _, body := r.get(path); strings.Contains(body, "hunter2") {
			t.Errorf("%s shows a secret", path)
		}
	}
	r.shows("/channels", "from the file")
	r.shows("/audit", "channel.delete")
	r.shows("/audit", "type webhook, to example.org, signed")
}
