package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	derivedv1 "headwater/proto/derived/v1"
	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/audit"
	"headwater/services/internal/edges"
	"headwater/services/internal/uplink"
	"headwater/streams"
)

// edgeStoreTimeout bounds how long an upload of an edge may take to be stored.
const edgeStoreTimeout = 15 * time.Second

// edgeTurns is how many requests of edges are handled at a time.
const edgeTurns = 4

// edgeIntake takes what edges send up.
type edgeIntake struct {
	svc   *Service
	store edges.Store
	lanes int
	// turns bounds the requests whose bodies are in memory.
	turns *semaphore.Weighted

	mu sync.Mutex
	// uplinks are those of the edges that have been in contact; guarded by mu.
	uplinks map[string]*edgeUplink
}

func newEdgeIntake(s *Service, lanes int) *edgeIntake {
	return &edgeIntake{svc: s, store: edges.Store{JS: s.js}, lanes: lanes, turns: semaphore.NewWeighted(edgeTurns), uplinks: make(map[string]*edgeUplink)}
}

// of returns the uplink of an edge that has shown its token.
func (e *edgeIntake) of(name string) *edgeUplink {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := e.uplinks[name]
	if u == nil {
		u = newEdgeUplink(e, name)
		e.uplinks[name] = u
	}
	return u
}

// routeEdges adds the paths of edges.
func (s *Service) routeEdges(mux *http.ServeMux) {
	mux.HandleFunc("POST "+uplink.PathJoin, s.joinEdge)
	mux.HandleFunc("POST "+uplink.PathContact, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		var c uplink.Contact
		if err := json.Unmarshal(body, &c); err != nil {
			return nil, fmt.Errorf("%w: %w", uplink.ErrUpload, err)
		}
		return u.contact(ctx, edge, c)
	}))
	mux.HandleFunc("POST "+uplink.PathReadings, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		frames, err := uplink.Unpack(body, func() *telemetryv1.Batch { return new(telemetryv1.Batch) })
		if err != nil {
			return nil, err
		}
		return struct{}{}, u.takeReadings(ctx, edge, frames)
	}))
	mux.HandleFunc("POST "+uplink.PathSummaries, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		frames, err := uplink.Unpack(body, func() *telemetryv1.Batch { return new(telemetryv1.Batch) })
		if err != nil {
			return nil, err
		}
		return struct{}{}, u.takeSummaries(ctx, edge, frames)
	}))
	mux.HandleFunc("POST "+uplink.PathRepair, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		frames, err := uplink.Unpack(body, func() *telemetryv1.Batch { return new(telemetryv1.Batch) })
		if err != nil {
			return nil, err
		}
		return struct{}{}, u.takeAgain(ctx, edge, frames)
	}))
	mux.HandleFunc("POST "+uplink.PathHoldings, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		if _, err := uplink.UnpackHoldings(body); err != nil {
			return nil, err
		}
		return struct{}{}, u.in.store.PutHoldings(ctx, edge.Name, body)
	}))
	mux.HandleFunc("POST "+uplink.PathAlerts, s.fromEdge(func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error) {
		frames, err := uplink.Unpack(body, func() *derivedv1.Commit { return new(derivedv1.Commit) })
		if err != nil {
			return nil, err
		}
		return struct{}{}, u.takeAlerts(ctx, edge, frames)
	}))
}

// edgesReady returns what takes requests of edges, or answers that nothing does.
func (s *Service) edgesReady(w http.ResponseWriter) *edgeIntake {
	in, why := s.edges.Load(), s.Ready()
	if why == nil {
		why = s.refusal()
	}
	if in == nil || why != nil {
		edgeFault(w, http.StatusServiceUnavailable, "the centre stores nothing now")
		return nil
	}
	return in
}

// fromEdge answers a request of an edge that shows its token. The error of handle decides
// the status of the answer.
func (s *Service) fromEdge(handle func(ctx context.Context, u *edgeUplink, edge edges.Edge, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in := s.edgesReady(w)
		if in == nil {
			return
		}
		// What was begun is finished though the edge has gone: it sends the same again.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), edgeStoreTimeout)
		defer cancel()
		edge, err := in.store.Authenticate(ctx, r.Header.Get(uplink.HeaderEdge), bearer(r))
		if err != nil {
			s.answerEdge(w, r, nil, err)
			return
		}
		if err := in.turns.Acquire(ctx, 1); err != nil {
			edgeFault(w, http.StatusServiceUnavailable, "too many edges send at once")
			return
		}
		defer in.turns.Release(1)
		body, err := s.edgeBody(w, r, uplink.MaxBody)
		if err != nil {
			edgeFault(w, http.StatusBadRequest, "the body did not arrive as a whole, or is too large")
			return
		}
		answer, err := handle(ctx, in.of(edge.Name), edge, body)
		s.answerEdge(w, r, answer, err)
	}
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func (s *Service) answerEdge(w http.ResponseWriter, r *http.Request, answer any, err error) {
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // an edge that has left sends again
	case errors.Is(err, edges.ErrSecret):
		edgeFault(w, http.StatusUnauthorized, err.Error())
	case errors.Is(err, edges.ErrRevoked):
		edgeFault(w, http.StatusForbidden, err.Error())
	case errors.Is(err, uplink.ErrUpload):
		edgeFault(w, http.StatusBadRequest, err.Error())
	default:
		s.log.Warn("what an edge sent was not stored; it sends it again", "edge", clipEdge(r.Header.Get(uplink.HeaderEdge)), "err", err)
		edgeFault(w, http.StatusServiceUnavailable, "the centre did not store it")
	}
}

// edgeBody reads a body within ReadTimeout.
func (s *Service) edgeBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	// An error means that the connection has no deadlines, as in tests.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	_ = control.SetReadDeadline(time.Time{})
	return body, err
}

// maxJoin bounds the body of a join, in bytes.
const maxJoin = 4 << 10

// joinEdge lets an edge in with the secret of its invitation.
func (s *Service) joinEdge(w http.ResponseWriter, r *http.Request) {
	in := s.edgesReady(w)
	if in == nil {
		return
	}
	var j uplink.Join
	body, err := s.edgeBody(w, r, maxJoin)
	if err == nil {
		err = json.Unmarshal(body, &j)
	}
	if err != nil {
		edgeFault(w, http.StatusBadRequest, "the body is not that of an edge that joins")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), edgeStoreTimeout)
	defer cancel()
	edge, err := in.store.Join(ctx, r.Header.Get(uplink.HeaderEdge), bearer(r), j.Token, time.Now().UTC())
	if edge.Name != "" {
		s.audit.Write(ctx, audit.Entry{Who: "edge " + edge.Name, Action: audit.EdgeJoin, Object: edge.Name, Result: audit.Done})
		s.log.Info("an edge has joined", "edge", edge.Name)
	}
	s.answerEdge(w, r, struct{}{}, err)
}

func edgeFault(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(uplink.Fault{Error: text}) // an edge that has left sends again
}

// contact notes what an edge reports and answers what it is to send, and from where on.
func (u *edgeUplink) contact(ctx context.Context, edge edges.Edge, c uplink.Contact) (uplink.Answer, error) {
	if err := u.lock(ctx); err != nil {
		return uplink.Answer{}, err
	}
	defer u.unlock()
	if err := u.load(ctx); err != nil {
		return uplink.Answer{}, err
	}
	u.status.Contact = c
	if err := u.keep(ctx); err != nil {
		return uplink.Answer{}, err
	}
	answer := uplink.Answer{Policy: edge.Policy, Readings: u.status.StoredReadings, Alerts: u.status.StoredAlerts, Summaries: u.status.StoredSummaries, Now: time.Now().UTC()}
	if edge.Repair != nil && edge.Repair.ID != c.Repair.ID {
		answer.Repair = edge.Repair
	}
	return answer, nil
}

// keep stores the status.
func (u *edgeUplink) keep(ctx context.Context) error {
	u.status.Seen = time.Now().UTC()
	u.status.Version, u.status.Repair.ID = clipEdge(u.status.Version), clipEdge(u.status.Repair.ID)
	return u.in.store.PutStatus(ctx, u.name, u.status)
}

// clipEdge bounds a text that an edge reports about itself.
func clipEdge(s string) string {
	const most = 100
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// lock waits until no other request of the edge is being handled.
func (u *edgeUplink) lock(ctx context.Context) error {
	select {
	case u.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the previous upload of the edge: %w", ctx.Err())
	}
}

func (u *edgeUplink) unlock() { <-u.busy }

// load reads what is known of the edge, and the ends of its subjects unless they are known.
func (u *edgeUplink) load(ctx context.Context) error {
	// Another gateway may have changed it.
	var err error
	if u.status, err = u.in.store.Status(ctx, u.name); err != nil || u.loaded {
		return err
	}
	telemetry, err := streams.LookUp(ctx, u.in.svc.js, streams.StreamTelemetry)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamTelemetry, err)
	}
	for _, f := range []*edgeFlow{u.readings, u.summaries} {
		for lane := range f.lanes {
			if err := f.lanes[lane].load(ctx, telemetry, streams.TelemetrySubject(lane, f.source), placeOfBatch); err != nil {
				return err
			}
		}
	}
	derived, err := streams.LookUp(ctx, u.in.svc.js, streams.StreamDerived)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", streams.StreamDerived, err)
	}
	if err := u.alerts.load(ctx, derived, streams.DerivedEdgeSubject(u.name), placeOfCommit); err != nil {
		return err
	}
	u.loaded = true
	return nil
}
