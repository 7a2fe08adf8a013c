package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestAlerts lists and handles alerts of a dashboard that writes down what it is asked.
func TestAlerts(t *testing.T) {
	t.Parallel()
	const alert = `{"id":"a1-x","alert_id":"a1","rule":"warm","site":"hall","device":"door-1","metric":"t","state":"acknowledged","severity":"critical",` +
		`"started":"2026-03-14T09:26:53Z","sentence":"31 °C \u001b[31mis above 30 °C.","assignee":"Bob","comments":[{"by":"Bob","at":"2026-03-14T09:26:53Z","text":"x"}]}`
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.RequestURI()
		switch {
		case r.Method == http.MethodGet:
			fmt.Fprintf(w, `{"active":[%s],"resolved":[%s],"resolved_total":1}`, alert, alert)
		case r.URL.Path == "/api/v1/alerts/old/acknowledge":
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"detail":"Nothing was changed: this episode is over."}`)
		default:
			fmt.Fprint(w, alert)
		}
	}))
	t.Cleanup(server.Close)
	for _, tc := range []struct {
		args  []string
		code  int
		asked string
		want  []string
	}{
		{[]string{"ls"}, exitDone, "GET /api/v1/alerts?resolved=1", []string{"ID", "a1-x  acknowledged  critical  warm  hall/door-1 t  2026-03-14 09:26:53  Bob  31"}},
		{[]string{"ls", "--json", "--resolved", "5"}, exitDone, "GET /api/v1/alerts?resolved=5", []string{`"id": "a1-x"`}},
		{[]string{"ls", "--state", "firing", "--site", "hall", "--assignee", "Bob"}, exitDone, "GET /api/v1/alerts?assignee=Bob&resolved=1&site=hall&state=firing", nil},
		{[]string{"ls", "--resolved", "1001"}, exitUsage, "", nil},
		{[]string{"ack", "a1-x", "--by", "ann", "--comment", "on my way"}, exitDone, "POST /api/v1/alerts/a1-x/acknowledge?by=ann&text=on+my+way", []string{"a1-x: warm on hall/door-1 is acknowledged"}},
		{[]string{"ack", "a1-x", "--by", "ann", "--undo"}, exitDone, "DELETE /api/v1/alerts/a1-x/acknowledge?by=ann", []string{"no longer"}},
		{[]string{"ack", "old", "--by", "ann"}, exitFailed, "POST /api/v1/alerts/old/acknowledge?by=ann", []string{"old: Nothing was changed: this episode is over"}},
		{[]string{"comment", "a1-x", "the", "gasket", "--by", "ann"}, exitDone, "POST /api/v1/alerts/a1-x/comment?by=ann&text=the+gasket", []string{"1 comment"}},
		{[]string{"assign", "a1-x", "bob", "--by", "ann"}, exitDone, "POST /api/v1/alerts/a1-x/assign?by=ann&text=bob", []string{"assigned to bob"}},
		{[]string{"assign", "a1-x", "--by", "ann"}, exitDone, "POST /api/v1/alerts/a1-x/assign?by=ann", []string{"nobody"}},
		{[]string{"resolve", "a1-x", "--by", "ann"}, exitDone, "POST /api/v1/alerts/a1-x/resolve?by=ann", []string{"resolved"}},
	} {
		asked = ""
		var out, errs bytes.Buffer
		code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"alerts", "--server", server.URL}, tc.args...))
		result{code, out.String(), errs.String()}.want(t, tc.code, tc.want...)
		if asked != tc.asked {
			t.Errorf("%v asked %q, want %q", tc.args, asked, tc.asked)
		}
	}
}
