package gateway

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headwater/services/decode"
)

// answer is the body of an answer to a request that could be read.
type answer struct {
	// Accepted is how many items are stored, Rejected how many were refused.
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"`
	// Readings is how many readings the accepted items hold.
	Readings int `json:"readings"`
	// Errors has the reasons of the first maxErrors refused items.
	Errors []itemError `json:"errors,omitempty"`
	// Omitted is how many refused items Errors leaves out.
	Omitted int `json:"errors_omitted,omitempty"`
}

type itemError struct {
	// Index is the position of the item in the request, from 0.
	Index  int    `json:"index"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// maxErrors bounds the errors in one answer.
const maxErrors = 100

// fault is the answer to a request when nothing of it is accepted.
type fault struct {
	status int
	// retry is how long the sender should wait before it sends again; 0 when that does
	// not help.
	retry time.Duration

	Error  string `json:"error"`
	Reason string `json:"reason,omitempty"`
	// Line and Column, from 1, are where the JSON is not valid.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

const (
	// retryBusy is how long a sender should wait after the gateway was busy.
	retryBusy = time.Second
	// retryRefused is how long it should wait after the stream refused to store.
	retryRefused = 5 * time.Second
)

func unavailable(why string) *fault {
	return &fault{status: http.StatusServiceUnavailable, retry: retryBusy, Error: why + ": send it again later"}
}

// serve answers one request.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	if f := checkType(r.Header); f != nil {
		s.refuse(w, f)
		return
	}
	if err := s.refusal(); err != nil {
		f := unavailable(err.Error())
		f.retry = retryRefused
		s.refuse(w, f)
		return
	}
	if f := s.quotas.fromAddress(r, time.Now()); f != nil {
		s.refuse(w, f)
		return
	}
	from, f := s.sender(r)
	if f != nil {
		s.refuse(w, f)
		return
	}
	items, arrival, f := s.read(w, r)
	if f != nil {
		s.refuse(w, f)
		return
	}
	for i := range items {
		if items[i].Err == nil {
			items[i].Err = s.check(from, items[i].Site, items[i].Device)
		}
	}
	body, good := s.sort(items)
	if body.Accepted == 0 && body.Rejected > 0 {
		s.respond(w, http.StatusBadRequest, body)
		return
	}
	if body.Accepted > 0 {
		if f := s.quotas.fromDevices(good, time.Now()); f != nil {
			s.refuse(w, f)
			return
		}
		err := s.store(&request{items: good, readings: body.Readings, arrival: arrival, done: make(chan error, 1)})
		switch {
		case errors.Is(err, errBusy), errors.Is(err, errClosed):
			s.refuse(w, unavailable(err.Error()))
			return
		case err != nil:
			f := unavailable("the stream did not confirm that the readings are stored")
			f.retry = retryRefused
			s.refuse(w, f)
			return
		}
		s.quotas.charge(r, good, time.Now())
	}
	s.respond(w, http.StatusAccepted, body)
}

// store puts the request in the queue and waits until it is stored or refused, which
// PublishTimeout bounds. It ignores the end of the request's context: that also ends when
// the process is stopped, and then the sender still needs the answer.
func (s *Service) store(q *request) error {
	if err := s.queue.put(q); err != nil {
		return err
	}
	return <-q.done
}

// sort separates good items from bad ones, and counts both.
func (s *Service) sort(items []decode.Item) (answer, []decode.Item) {
	var out answer
	good := items[:0]
	for _, item := range items {
		if item.Err == nil {
			out.Accepted++
			out.Readings += len(item.Readings)
			good = append(good, item)
			continue
		}
		out.Rejected++
		s.metrics.dropped.WithLabelValues(item.Err.Reason).Inc()
		if len(out.Errors) == maxErrors {
			out.Omitted++
			continue
		}
		out.Errors = append(out.Errors, itemError{Index: item.Index, Field: item.Err.Field, Reason: item.Err.Reason, Detail: item.Err.Detail})
	}
	return out, good
}

// identity is the Content-Encoding of a body that is not compressed.
const identity = "identity"

func compressed(h http.Header) bool {
	encoding := h.Get("Content-Encoding")
	return encoding != "" && encoding != identity
}

// checkType refuses everything but JSON, plain or compressed with gzip. The type is
// required so that a web page of another origin cannot send readings through the browser
// of a user who can reach the gateway.
func checkType(h http.Header) *fault {
	kind, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "application/json" || parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return &fault{status: http.StatusUnsupportedMediaType, Error: "the Content-Type must be application/json, in UTF-8"}
	}
	switch h.Get("Content-Encoding") {
	case "", identity, "gzip":
		return nil
	}
	return &fault{status: http.StatusUnsupportedMediaType, Error: "the Content-Encoding must be gzip, or none"}
}

func (s *Service) refuse(w http.ResponseWriter, f *fault) {
	if f.status == http.StatusTooManyRequests {
		s.metrics.limited.WithLabelValues(f.Reason).Inc()
		s.noisy.refused(f.Error, time.Now())
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retry/time.Second)))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="devices"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="devices", charset="UTF-8"`)
	}
	if f.status == http.StatusUnsupportedMediaType {
		w.Header().Set("Accept", "application/json")
		w.Header().Set("Accept-Encoding", "gzip")
	}
	s.respond(w, f.status, f)
}

func (s *Service) respond(w http.ResponseWriter, status int, body any) {
	s.metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the sender has closed the connection.
	_ = json.NewEncoder(w).Encode(body)
}
