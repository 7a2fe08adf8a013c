package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headwater/services/decode"
	"headwater/services/internal/credentials"
	"headwater/services/internal/problems"
	"headwater/services/internal/quota"
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
	// Decided reports whether Decisions are there; nil if nobody asked. Undecided says why
	// they are not.
	Decided   *bool     `json:"decided,omitempty"`
	Undecided string    `json:"undecided,omitempty"`
	Decisions []decided `json:"decisions,omitempty"`
}

type itemError struct {
	// Index is the position of the item in the request, from 0.
	Index  int    `json:"index"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// String is the error for people, without a full stop.
func (e itemError) String() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

// maxErrors bounds the errors in one answer.
const maxErrors = 100

// fault is the answer to a request when nothing of it is accepted.
type fault struct {
	status int
	// retry is how long the sender should wait before it sends again; 0 when that does
	// not help.
	retry time.Duration
	// of is the device that sends too much, if one does.
	of quota.Device

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

// serve answers one request on Path.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	format, f := formatOf(r)
	if f != nil {
		s.refuse(w, r, f)
		return
	}
	wait, f := waitOf(r)
	if f != nil {
		s.refuse(w, r, f)
		return
	}
	body, f := s.take(w, r, format, wait)
	switch {
	case f != nil:
		s.refuse(w, r, f)
	case body.Accepted == 0 && body.Rejected > 0:
		s.respond(w, http.StatusBadRequest, body)
	case body.Decided != nil && *body.Decided:
		if r.Header.Get("Prefer") != "" {
			w.Header().Set("Preference-Applied", "wait")
		}
		s.respond(w, http.StatusOK, body)
	default:
		s.respond(w, http.StatusAccepted, body)
	}
}

// take stores the readings of a request, and waits so long for what the rules say then. The
// answer says what of it is stored; a fault that nothing is.
func (s *Service) take(w http.ResponseWriter, r *http.Request, format decodes, wait time.Duration) (answer, *fault) {
	if f := checkEncoding(r.Header); f != nil {
		return answer{}, f
	}
	if err := s.refusal(); err != nil {
		f := unavailable(err.Error())
		f.retry = retryRefused
		return answer{}, f
	}
	if f := s.quotas.fromAddress(r.RemoteAddr, time.Now()); f != nil {
		return answer{}, f
	}
	from, f := s.sender(r)
	if f != nil {
		return answer{}, f
	}
	items, arrival, f := s.read(w, r, from, format)
	if f != nil {
		return answer{}, f
	}
	if wait == 0 {
		return s.admit(r.RemoteAddr, s.judge(from, items), &request{arrival: arrival})
	}
	if f := tooMuch(items); f != nil {
		return answer{}, f
	}
	// The wait begins before the readings are stored: a sender waits no longer in all.
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	done, err := s.decider.begin(ctx)
	if errors.Is(err, errDeciders) {
		return answer{}, unavailable(err.Error())
	}
	if done != nil {
		defer done()
	}
	asked := &request{arrival: arrival, decide: err == nil}
	body, f := s.admit(r.RemoteAddr, s.judge(from, items), asked)
	if f != nil || body.Accepted == 0 {
		return body, f
	}
	if err == nil {
		body.Decisions, err = s.decider.await(ctx, asked.places)
	}
	body.Decided = new(err == nil)
	if err != nil {
		body.Undecided = "the readings are stored; " + err.Error()
	}
	return body, nil
}

// judge refuses what a sender may not send.
func (s *Service) judge(from credentials.Credential, items []decode.Item) []decode.Item {
	for i := range items {
		if items[i].Err == nil {
			items[i].Err = s.check(from, items[i].Site, items[i].Device)
		}
	}
	now := time.Now()
	return s.quotas.begin(items, now, func(of quota.Device) { s.noisy.inventor(of, s.quotas.series.Most(), now) })
}

// admit stores the items of a sender that are good. The answer says which are; a fault that
// none is stored.
func (s *Service) admit(remote string, items []decode.Item, q *request) (answer, *fault) {
	body, good := s.sort(items)
	if body.Rejected > 0 {
		s.noisy.reject(remote, problems.RefusedRequest, body.Errors[0].String(), time.Now())
	}
	if len(good) == 0 {
		return body, nil
	}
	if f := s.quotas.fromDevices(good, time.Now()); f != nil {
		return answer{}, f
	}
	q.items, q.readings, q.done = good, body.Readings, make(chan error, 1)
	err := s.store(q)
	switch {
	case errors.Is(err, errBusy), errors.Is(err, errClosed):
		return answer{}, unavailable(err.Error())
	case err != nil:
		f := unavailable("the stream did not confirm that the readings are stored")
		f.retry = retryRefused
		return answer{}, f
	}
	s.quotas.charge(remote, good, time.Now())
	return body, nil
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

func (s *Service) refuse(w http.ResponseWriter, r *http.Request, f *fault) {
	s.explain(w, r, f)
	s.respond(w, f.status, f)
}

// explain counts and reports a fault, and sets the headers that go with it.
func (s *Service) explain(w http.ResponseWriter, r *http.Request, f *fault) {
	switch f.status {
	case http.StatusTooManyRequests:
		s.metrics.limited.WithLabelValues(f.Reason).Inc()
		s.noisy.refused(f, time.Now())
	case http.StatusServiceUnavailable:
		// The sender has done nothing wrong.
	case http.StatusUnauthorized:
		s.noisy.reject(r.RemoteAddr, problems.RefusedLogIn, f.Error, time.Now())
	default:
		s.noisy.reject(r.RemoteAddr, problems.RefusedRequest, f.Error, time.Now())
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retry/time.Second)))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="devices"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="devices", charset="UTF-8"`)
	}
	if f.status == http.StatusUnsupportedMediaType {
		w.Header().Set("Accept", strings.Join(types, ", "))
		w.Header().Set("Accept-Encoding", "gzip, zstd")
	}
}

func (s *Service) respond(w http.ResponseWriter, status int, body any) {
	s.metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the sender has closed the connection.
	_ = json.NewEncoder(w).Encode(body)
}
