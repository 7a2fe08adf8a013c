package app

import "net/http"

// Offline serves the page that the service worker keeps for when the server cannot be
// reached.
func Offline(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = offline().Render(r.Context(), w) // a browser that went away needs no answer
}
