package contract

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
)

// of names what an event is about, for all kinds of them.
type of struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Metric string `json:"metric"`
	// Time is that of the event: what a function answers has it too, unless it names another.
	Time string `json:"time"`
	Unit string `json:"unit,omitempty"`
}

func seriesOf(s *derivedv1.Series, at int64, unit string) of {
	return of{s.GetSite(), s.GetDevice(), s.GetMetric(), moment(at), unit}
}

// moment writes a time, and none for 0.
func moment(at int64) string {
	if at == 0 {
		return ""
	}
	return time.Unix(0, at).UTC().Format(time.RFC3339Nano)
}

// number is nil for what JSON cannot write.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// event is a Reading that stands for an event.
func event(o of, at int64, body any) Reading {
	r := Reading{Time: at}
	r.Site, r.Device, r.Metric, r.Unit = o.Site, o.Device, o.Metric, o.Unit
	var err error
	if r.Event, err = json.Marshal(body); err != nil {
		panic(fmt.Sprintf("an event has values that JSON does not have: %v", err))
	}
	return r
}

// Summary is a window summary. One with a higher revision replaces those of the same window,
// start and at before it. With a count of 0 the window no longer exists.
func Summary(s *derivedv1.WindowSummary) Reading {
	at := s.GetStart()
	if s.GetAt() != 0 {
		at = s.GetAt()
	}
	o := seriesOf(s.GetSeries(), at, s.GetUnit())
	return event(o, at, struct {
		of

		Window    string   `json:"window"`
		Start     string   `json:"start"`
		End       string   `json:"end"`
		Revision  uint32   `json:"revision"`
		Count     uint64   `json:"count"`
		Min       *float64 `json:"min,omitempty"`
		Max       *float64 `json:"max,omitempty"`
		Mean      *float64 `json:"mean,omitempty"`
		TimeMean  *float64 `json:"time_mean,omitempty"`
		First     *float64 `json:"first,omitempty"`
		Last      *float64 `json:"last,omitempty"`
		Deviation *float64 `json:"deviation,omitempty"`
		Rate      *float64 `json:"rate,omitempty"`
		P50       *float64 `json:"p50,omitempty"`
		P90       *float64 `json:"p90,omitempty"`
		P95       *float64 `json:"p95,omitempty"`
		P99       *float64 `json:"p99,omitempty"`
	}{
		o, s.GetWindow(), moment(s.GetStart()), moment(s.GetStart() + s.GetWidth()), s.GetRevision(), s.GetCount(),
		number(s.GetMin()), number(s.GetMax()), number(s.GetMean()), number(s.GetTimeMean()), number(s.GetFirst()), number(s.GetLast()),
		number(s.GetDeviation()), number(s.GetRate()), number(s.GetP50()), number(s.GetP90()), number(s.GetP95()), number(s.GetP99()),
	})
}

// evidence is why a detector or a rule said something.
type evidence struct {
	Value    *float64 `json:"value,omitempty"`
	Score    *float64 `json:"score,omitempty"`
	Baseline *float64 `json:"baseline,omitempty"`
	Low      *float64 `json:"low,omitempty"`
	High     *float64 `json:"high,omitempty"`
	Sentence string   `json:"sentence,omitempty"`
}

func evidenceOf(e *derivedv1.Evidence) evidence {
	out := evidence{Value: number(e.GetValue()), Score: number(e.GetScore()), Baseline: number(e.GetBaseline()), Sentence: e.GetSentence()}
	if e != nil && e.Low != nil {
		out.Low = number(e.GetLow())
	}
	if e != nil && e.High != nil {
		out.High = number(e.GetHigh())
	}
	return out
}

// word is the name of a value of an enumeration, as people write it; none for the unspecified.
func word(name, prefix string) string {
	w := strings.ToLower(strings.TrimPrefix(name, prefix))
	if w == "unspecified" {
		return ""
	}
	return w
}

// Anomaly is one transition of an episode. Rule, series and started identify the episode.
func Anomaly(a *derivedv1.Anomaly) Reading {
	o := seriesOf(a.GetSeries(), a.GetTime(), a.GetUnit())
	return event(o, a.GetTime(), struct {
		of
		evidence

		Rule     string `json:"rule"`
		Phase    string `json:"phase"`
		Severity string `json:"severity"`
		Started  string `json:"started"`
		End      string `json:"end,omitempty"`
	}{
		o, evidenceOf(a.GetEvidence()), a.GetRule(), word(a.GetPhase().String(), "PHASE_"), word(a.GetSeverity().String(), "SEVERITY_"),
		moment(a.GetStart()), word(a.GetEnd().String(), "END_"),
	})
}

// Alert is one transition of an alert; id and started identify it.
func Alert(a *alertingv1.Alert) Reading {
	o := seriesOf(a.GetSeries(), a.GetUpdated(), a.GetUnit())
	return event(o, a.GetUpdated(), struct {
		of
		evidence

		ID          string            `json:"id"`
		Rule        string            `json:"rule"`
		State       string            `json:"state"`
		Severity    string            `json:"severity"`
		Started     string            `json:"started"`
		Ended       string            `json:"ended,omitempty"`
		Description string            `json:"description,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
		Assignee    string            `json:"assignee,omitempty"`
	}{
		o, evidenceOf(a.GetEvidence()), a.GetId(), a.GetRule(), word(a.GetState().String(), "STATE_"), word(a.GetSeverity().String(), "SEVERITY_"),
		moment(a.GetStarted()), moment(a.GetEnded()), a.GetDescription(), a.GetLabels(), a.GetAssignee(),
	})
}

// Tick is a time of a schedule, written as the clock at its place shows it.
func Tick(site string, at time.Time) Reading {
	return event(of{Site: site}, at.UnixNano(), struct {
		Site string `json:"site,omitempty"`
		Time string `json:"time"`
	}{site, at.Format(time.RFC3339)})
}

// Bounds of a request and its reply, in bytes.
const (
	MaxRequest = 64 << 10
	MaxReply   = 64 << 10
	maxQuery   = 4 << 10
)

// Call is an HTTP request to a function, as the dashboard sends it on.
type Call struct {
	Query string `json:"query,omitempty"`
	Type  string `json:"type,omitempty"`
	Body  []byte `json:"body,omitempty"`
	// Key is what the sender names a request by that it may repeat; empty for none.
	Key string `json:"key,omitempty"`
	// By is who sends it.
	By string `json:"by,omitempty"`
	// Until is when nobody waits for the reply any more.
	Until time.Time `json:"until"`
}

// Request is what a function is given of a call. Its time is that of its arrival. Bytes that
// are no text come as base64.
func Request(c Call, at time.Time) Reading {
	body := struct {
		Time   string `json:"time"`
		Query  string `json:"query,omitempty"`
		Type   string `json:"type,omitempty"`
		Body   string `json:"body,omitempty"`
		Base64 []byte `json:"base64,omitempty"`
		By     string `json:"by,omitempty"`
	}{Time: moment(at.UnixNano()), Query: c.Query[:min(len(c.Query), maxQuery)], Type: c.Type, By: c.By}
	if utf8.Valid(c.Body) {
		body.Body = string(c.Body)
	} else {
		body.Base64 = c.Body
	}
	return event(of{}, at.UnixNano(), body)
}

// Reply is what a function answers to a request, and what is sent back to the dashboard.
type Reply struct {
	// Status is 200 to 599.
	Status int `json:"status"`
	// Type is application/json, text/plain or text/csv.
	Type string `json:"type,omitempty"`
	Body string `json:"body,omitempty"`
}

// ParseReply reads the reply of an answer. An answer without one is a 204.
func ParseReply(data []byte) (Reply, error) {
	var a struct {
		Reply *Reply `json:"reply"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &a); err != nil {
			return Reply{}, fmt.Errorf("%w: it is not the JSON of the contract: %w", ErrOutput, err)
		}
	}
	if a.Reply == nil {
		return Reply{Status: 204}, nil
	}
	r := *a.Reply
	if r.Status == 0 {
		r.Status = 200
	}
	if r.Type == "" {
		r.Type = "text/plain"
		if r.Body != "" && json.Valid([]byte(r.Body)) {
			r.Type = "application/json"
		}
	}
	switch {
	case r.Status < 200 || r.Status > 599:
		return r, fmt.Errorf("%w: the status of its reply is not 200 to 599", ErrOutput)
	case r.Type != "application/json" && r.Type != "text/plain" && r.Type != "text/csv":
		return r, fmt.Errorf("%w: the type of its reply is not application/json, text/plain or text/csv", ErrOutput)
	case len(r.Body) > MaxReply:
		return r, fmt.Errorf("%w: its reply has more than %d bytes", ErrOutput, MaxReply)
	}
	return r, nil
}
