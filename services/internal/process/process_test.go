package process

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newProcess() *Process {
	base := Defaults[Base]()
	base.Grace = time.Second
	return New("test", base, io.Discard)
}

// journal keeps what happened, in order.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) add(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

// part runs until it is asked to stop and then keeps working for a while.
func (j *journal) part(name string) Part {
	return Part{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
		j.add(name)
		return nil
	}}
}

func TestPartsStopFromTheLastToTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := newProcess().Run(ctx, j.part("sink"), j.part("worker"), j.part("intake")); err != nil {
			t.Fatal(err)
		}
		if want := []string{"intake", "worker", "sink"}; !slices.Equal(j.events, want) {
			t.Errorf("stopped in the order %q, want %q", j.events, want)
		}
	})
}

func TestAPartThatFailsStopsTheOthers(t *testing.T) {
	for name, run := range map[string]func(context.Context) error{
		"it broke":           func(context.Context) error { return errors.New("it broke") },
		"ended unexpectedly": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				err := newProcess().Run(t.Context(), j.part("sink"), Part{Name: "broken", Run: run})
				if err == nil || !strings.Contains(err.Error(), "broken: "+name) {
					t.Errorf("error: %v", err)
				}
				if !slices.Equal(j.events, []string{"sink"}) {
					t.Errorf("stopped: %q", j.events)
				}
			})
		})
	}
}

func TestAPartThatDoesNotStopIsLeftBehindAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := newProcess().Run(ctx, Part{Name: "stubborn", Run: func(context.Context) error { <-release; return nil }})
		if err == nil || !strings.Contains(err.Error(), "stubborn did not stop within 1s") || time.Since(begin) != time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		close(release)
	})
}

func TestDefaultsComeFromTagsAlone(t *testing.T) {
	t.Setenv("HEADWATER_GRACE", "1h")
	if got := Defaults[Base](); got.Grace != 20*time.Second || got.LogFormat != "auto" {
		t.Errorf("%+v", got)
	}
}

func TestHealth(t *testing.T) {
	p := newProcess()
	reason := errors.New("the disk is full")
	p.Health.Add("writer", func() error { return reason })
	mux := http.NewServeMux()
	p.Health.Mount(mux, p.Metrics)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "the disk is full") {
		t.Errorf("with a part that is not ready: %d %s", code, body)
	}
	reason = nil
	if code, body := get("/readyz"); code != http.StatusOK {
		t.Errorf("with all parts ready: %d %s", code, body)
	}
	if code, body := get("/livez"); code != http.StatusOK || !strings.Contains(body, "version") {
		t.Errorf("alive: %d %s", code, body)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, "headwater_build_info") {
		t.Errorf("metrics: %d %s", code, body)
	}
	p.Health.Stopping()
	if code, _ := get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("while it stops: %d", code)
	}
}

// TestServeLetsRequestsFinish stops the server in the middle of a request.
func TestServeLetsRequestsFinish(t *testing.T) {
	l, err := newProcess().Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		_, _ = io.WriteString(w, "finished")
	})
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, handler, newProcess().Log, 10*time.Second) }()
	res, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "finished" {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestServeDoesNotWaitForUnusedConnections stops the server while connections are
// open on which no request came.
func TestServeDoesNotWaitForUnusedConnections(t *testing.T) {
	l, err := newProcess().Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	// Shutdown alone would wait 5 s, which is longer than the grace, and fail.
	go func() { done <- Serve(ctx, l, http.NotFoundHandler(), newProcess().Log, 2*time.Second) }()
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// The last connection is answered, so the server has accepted those before it.
	res, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSecret(path); err != nil || got != "s3cret" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(path, make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
	if _, err := ReadSecret(path + "-none"); err == nil {
		t.Error("a file that is not there was read")
	}
}
