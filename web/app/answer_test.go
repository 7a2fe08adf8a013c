package app_test

import (
	"bytes"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/web/app"
)

// TestNoTokenInTheLog fails to answer a request whose path has a token: the log names the route.
func TestNoTokenInTheLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := &app.Shell{Log: slog.New(slog.NewTextHandler(&log, nil))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /act/{token}", func(w http.ResponseWriter, r *http.Request) { s.Answer(w, r, math.Inf(1)) })
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/act/secret", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(log.String(), `route="GET /act/{token}"`) || strings.Contains(log.String(), "secret") {
		t.Errorf("%d %s", w.Code, log.String())
	}
}
