package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health answers whether a process is alive and whether it is ready. It is safe for
// concurrent use.
type Health struct {
	version string

	mu       sync.Mutex
	names    []string
	parts    map[string]func() error
	stopping bool
}

// NewHealth returns the health of a process of the version.
func NewHealth(version string) *Health {
	return &Health{version: version, parts: make(map[string]func() error)}
}

// Add makes the process ready only while the part is. Ready returns nil, or the reason
// why the part is not ready; it must not block.
func (h *Health) Add(name string, ready func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.parts[name]; !known {
		h.names = append(h.names, name)
	}
	h.parts[name] = ready
}

// Stopping makes the process unready permanently.
func (h *Health) Stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
}

var errStopping = errors.New("stopping")

// Status reports whether all parts are ready, and the status of each.
func (h *Health) Status() (ready bool, parts []PartStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ready = !h.stopping
	if h.stopping {
		parts = append(parts, PartStatus{Name: "process", Reason: errStopping.Error()})
	}
	for _, name := range h.names {
		status := PartStatus{Name: name, Ready: true}
		if err := h.parts[name](); err != nil {
			status.Ready, status.Reason, ready = false, err.Error(), false
		}
		parts = append(parts, status)
	}
	return ready, parts
}

// PartStatus is the status of one part; Reason is empty when it is ready.
type PartStatus struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
}

// Mount adds /livez, /readyz and /metrics to the mux.
func (h *Health) Mount(mux *http.ServeMux, metrics *prometheus.Registry) {
	h.MountProbes(mux)
	mux.Handle("GET /metrics", Metrics(metrics))
}

// Metrics serves the metrics of a process.
func Metrics(metrics *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(metrics, promhttp.HandlerOpts{Registry: metrics})
}

// MountProbes adds /livez and /readyz to the mux.
func (h *Health) MountProbes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "alive", "version": h.version, "commit": Commit()})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, parts := h.Status()
		status, code := "ready", http.StatusOK
		if !ready {
			status, code = "not ready", http.StatusServiceUnavailable
		}
		answer(w, code, map[string]any{"status": status, "parts": parts})
	})
}

// MountProfiles adds /debug/pprof to the mux. It belongs on a listener that only this
// machine can reach.
func MountProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// An error here means that the client is gone.
	_ = json.NewEncoder(w).Encode(body)
}

// healthTimeout bounds the request for the readiness of a process.
const healthTimeout = 5 * time.Second

// checkHealth asks the process that runs with the configuration whether it is ready,
// and returns nil or the reason why not. The configuration must have a method
// HealthAddress.
func checkHealth(ctx context.Context, config any) error {
	at, ok := config.(interface{ HealthAddress() string })
	if !ok {
		return errors.New("this program does not answer for its health")
	}
	host, port, err := net.SplitHostPort(at.HealthAddress())
	if err != nil {
		return fmt.Errorf("address of /readyz: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("address of /readyz: %w", err)
	}
	client := &http.Client{Timeout: healthTimeout}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask for /readyz: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, maxHeaderBytes))
	return errors.Join(fmt.Errorf("not ready: %s", strings.TrimSpace(string(reason))), err)
}
