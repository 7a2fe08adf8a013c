package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"

	"headwater/streams"
)

// channel runs one command line about channels.
func (w *world) channel(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), environment{out: &out, err: &errs}, append([]string{"channel", "--server", w.url}, args...))
	return result{code, out.String(), errs.String()}
}

func TestChannelsByCommand(t *testing.T) {
	w := newRules(t)
	w.channel(t, "ls").want(t, exitDone, "CHANNEL", "phone", "ntfy", "ntfy.example.org", "none")
	w.channel(t, "ls", "--json").want(t, exitDone, `"name": "phone"`, `"deliveries": []`)
	w.channel(t, "test").want(t, exitUsage, "channel")
	w.channel(t, "test", "phone").want(t, exitFailed, "No notifier runs")
	answer := streams.ChannelTested{}
	sub, err := w.js.Conn().Subscribe(streams.ChannelTests, func(m *nats.Msg) {
		body, err := json.Marshal(answer)
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := w.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	w.channel(t, "test", "phone").want(t, exitDone, "phone: the other side took the test")
	w.channel(t, "report").want(t, exitFailed, "No morning report is declared")
	answer.Error = "ntfy answered 403 Forbidden"
	w.channel(t, "test", "phone").want(t, exitFailed, "phone: ", "ntfy answered 403 Forbidden")
}
