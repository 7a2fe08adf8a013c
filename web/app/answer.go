package app

import (
	"encoding/json"
	"net/http"

	"headwater/web/view"
)

// Problem is an error as RFC 9457 defines it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Problems are the problems of a rule, one by one.
	Problems []view.RuleProblem `json:"problems,omitempty"`
}

// Fail answers a request to the API with an error. The detail is a sentence.
func (s *Shell) Fail(w http.ResponseWriter, status int, detail string) {
	s.FailWith(w, status, Problem{Detail: detail})
}

// FailWith answers with a problem that has more than a detail.
func (s *Shell) FailWith(w http.ResponseWriter, status int, p Problem) {
	p.Type, p.Title, p.Status = "about:blank", http.StatusText(status), status
	body, err := json.Marshal(p)
	if err != nil {
		s.Log.Error("problem was not encoded", "err", err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has left needs no answer
}

// FailParameters answers a request whose parameters do not fit.
func (s *Shell) FailParameters(w http.ResponseWriter, err error) {
	s.Fail(w, http.StatusBadRequest, "The request does not fit: "+err.Error()+".")
}

// Answer answers a request to the API with a value as JSON.
func (s *Shell) Answer(w http.ResponseWriter, r *http.Request, v any) {
	s.AnswerWith(w, r, http.StatusOK, v)
}

// AnswerWith is Answer with a status other than 200.
func (s *Shell) AnswerWith(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.Log.Error("answer was not encoded", "route", r.Pattern, "err", err)
		s.Fail(w, http.StatusInternalServerError, "The answer cannot be written as JSON.")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has left needs no answer
}

// OrEmpty returns a list that JSON writes as [] and not as null.
func OrEmpty[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}
