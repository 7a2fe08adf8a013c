package notifier

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"headwater/streams/streamtest"
)

func TestHeartbeatIsDue(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(1_800_000_000+seconds, 0) }
	h := &heartbeat{}
	if h.due(at(0), time.Time{}) {
		t.Error("due although nothing has ever come")
	}
	h.heard(at(0).UnixNano())
	for name, test := range map[string]struct {
		now, last time.Time
		want      bool
	}{
		"the first":                   {at(1), time.Time{}, true},
		"too early":                   {at(40), at(1), false},
		"the second":                  {at(59), at(-1), true},
		"input stands still":          {at(60), time.Time{}, false},
		"a clock that was put back":   {at(-30), time.Time{}, true},
		"stands still since an hour":  {at(3600), at(0), false},
		"the last one was in a while": {at(10), at(30), false},
	} {
		if got := h.due(test.now, test.last); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestHeartbeat has an address called because input comes.
func TestHeartbeat(t *testing.T) {
	f := setup(t)
	var calls atomic.Int64
	watcher := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/ping/secret" {
			calls.Add(1)
		}
	}))
	t.Cleanup(watcher.Close)
	f.cfg.Heartbeat = filepath.Join(t.TempDir(), "heartbeat")
	if err := os.WriteFile(f.cfg.Heartbeat, []byte(watcher.URL+"/ping/secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.configure(t)
	svc, stop := f.start(t)
	f.ready(t, svc)
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls before any input", n)
	}
	f.publish(t)
	streamtest.Eventually(t, "the watcher is called", func() bool { return calls.Load() == 1 })
	stop()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls within a minute", n)
	}
}
