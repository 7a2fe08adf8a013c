package dashboard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/services/internal/audit"
	store "headwater/services/internal/edges"
	"headwater/services/internal/influx"
	"headwater/services/internal/uplink"
	"headwater/services/internal/uplink/past"
	"headwater/streams"
	"headwater/web/edges"
	"headwater/web/trust"
	"headwater/web/view"
)

// edgeSource implements edges.Source.
type edgeSource struct {
	store store.Store
	// past is the history of this centre.
	past *influx.Client
	made recorder
	// address is where edges reach this centre, authority who signed its certificate.
	address   string
	authority trust.Authority
}

// Edges implements edges.Source.
func (s edgeSource) Edges(ctx context.Context) ([]edges.Edge, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	all, err := s.store.All(ctx)
	if err != nil {
		return nil, explainEdge(err)
	}
	now := time.Now()
	out := make([]edges.Edge, len(all))
	for i, e := range all {
		out[i] = shownEdge(e.Edge, e.Status, now)
	}
	return out, nil
}

func shownEdge(e store.Edge, st store.Status, now time.Time) edges.Edge {
	out := edges.Edge{
		Name: e.Name, State: edges.StateOffline, Sites: e.Sites, Policy: shownPolicy(e.Policy), Version: view.Plain(st.Version),
		Joined: e.Joined, Seen: st.Seen, Started: st.Started, Waiting: st.Readings.Waiting() + max(st.Alerts.Waiting(), st.Summaries.Waiting()),
		Skipped: st.Skipped, Refused: st.Refused, Paused: st.Paused, Disk: edges.Disk(st.Disk), Sent: edges.Traffic(st.Sent), Whole: edges.Traffic(st.Whole),
	}
	if y, m, d := now.UTC().Date(); !st.Seen.Before(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)) {
		out.SpentToday = max(st.SpentToday, 0)
	}
	if c := st.Clock; c.Within > 0 {
		out.Clock = &edges.Clock{AheadMS: c.Ahead.Milliseconds(), WithinMS: (c.Within + time.Millisecond - 1).Milliseconds()}
	}
	if e.Invite.Until.After(now) {
		out.InviteEnds = e.Invite.Until
	}
	switch {
	case e.Revoked:
		out.State = edges.StateRevoked
	case e.Joined.IsZero():
		out.State = edges.StateInvited
	case now.Sub(st.Seen) < edges.OfflineAfter:
		out.State = edges.StateOnline
	}
	return out
}

func shownPolicy(p uplink.Policy) edges.Policy {
	out := edges.Policy{Readings: []string{}, Budget: p.Budget, Rate: p.Rate}
	for _, s := range p.Readings {
		out.Readings = append(out.Readings, s.String())
	}
	for _, s := range p.Summaries {
		out.Summaries = append(out.Summaries, s.String())
	}
	return out
}

func policyOf(p edges.Policy) (uplink.Policy, error) {
	out := uplink.Policy{Budget: p.Budget, Rate: p.Rate}
	for _, text := range p.Readings {
		s, err := uplink.ParseSelection(text)
		if err != nil {
			return out, fmt.Errorf("%w: %w", edges.ErrDraft, err)
		}
		out.Readings = append(out.Readings, s)
	}
	for _, text := range p.Summaries {
		s, err := uplink.ParseSummary(text)
		if err != nil {
			return out, fmt.Errorf("%w: %w", edges.ErrDraft, err)
		}
		out.Summaries = append(out.Summaries, s)
	}
	return out, nil
}

// InviteEdge implements edges.Source.
func (s edgeSource) InviteEdge(ctx context.Context, d edges.Draft) (edges.Invited, error) {
	invited, err := s.invite(ctx, d)
	s.made.record(ctx, audit.Entry{Action: audit.EdgeInvite, Object: d.Name, After: goesUp(invited.Edge.Policy)}, err)
	return invited, err
}

func (s edgeSource) invite(ctx context.Context, d edges.Draft) (edges.Invited, error) {
	to := uplink.Invitation{Address: strings.TrimSuffix(cmp.Or(d.Address, s.address), "/"), Name: d.Name}
	if block, _ := pem.Decode(s.authority.PEM); block != nil && strings.HasPrefix(to.Address, "https://") {
		sum := sha256.Sum256(block.Bytes)
		to.Authority = hex.EncodeToString(sum[:])
	}
	if err := to.Validate(); err != nil {
		return edges.Invited{}, fmt.Errorf("%w: %w", edges.ErrDraft, err)
	}
	var policy *uplink.Policy
	if d.Policy != nil {
		p, err := policyOf(*d.Policy)
		if err != nil {
			return edges.Invited{}, err
		}
		policy = &p
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	all, err := s.store.All(ctx)
	if err != nil {
		return edges.Invited{}, explainEdge(err)
	}
	if len(all) >= streams.MaxEdges {
		return edges.Invited{}, fmt.Errorf("%w: there are %d edges already, which is the most", edges.ErrDraft, len(all))
	}
	now := time.Now().UTC()
	e, secret, err := s.store.Invite(ctx, d.Name, now, func(e *store.Edge) {
		if d.Sites != nil {
			e.Sites = d.Sites
		}
		if policy != nil {
			e.Policy = *policy
		}
	})
	if err != nil {
		return edges.Invited{}, explainEdge(err)
	}
	to.Secret = secret
	return edges.Invited{Edge: shownEdge(e, store.Status{}, now), Line: to.Line(), Until: e.Invite.Until}, nil
}

// SetEdgePolicy implements edges.Source.
func (s edgeSource) SetEdgePolicy(ctx context.Context, name string, p edges.Policy) (edges.Edge, error) {
	policy, err := policyOf(p)
	if err != nil {
		return edges.Edge{}, err
	}
	return s.change(ctx, audit.EdgePolicy, name, goesUp(p), func(ctx context.Context, now time.Time) (store.Edge, error) {
		return s.store.SetPolicy(ctx, name, now, policy)
	})
}

// goesUp is what an edge is to send, as the audit has it.
func goesUp(p edges.Policy) string {
	lines := slices.Clone(p.Readings)
	for _, s := range p.Summaries {
		lines = append(lines, "summaries "+s)
	}
	return strings.Join(lines, "\n")
}

// RevokeEdge implements edges.Source.
func (s edgeSource) RevokeEdge(ctx context.Context, name string) (edges.Edge, error) {
	return s.change(ctx, audit.EdgeRevoke, name, "", func(ctx context.Context, now time.Time) (store.Edge, error) {
		return s.store.Revoke(ctx, name, now)
	})
}

func (s edgeSource) change(ctx context.Context, action audit.Action, name, after string, change func(context.Context, time.Time) (store.Edge, error)) (edges.Edge, error) {
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	now := time.Now().UTC()
	e, err := change(within, now)
	s.made.record(ctx, audit.Entry{Action: action, Object: name, After: after}, err)
	if err != nil {
		return edges.Edge{}, explainEdge(err)
	}
	st, err := s.store.Status(within, name)
	if err != nil {
		return edges.Edge{}, explainEdge(err)
	}
	return shownEdge(e, st, now), nil
}

// Gaps implements edges.Source.
func (s edgeSource) Gaps(ctx context.Context, name string) (edges.Gaps, error) {
	g, _, err := s.compare(ctx, name)
	return g, err
}

// compare compares what an edge holds with the history of this centre, and returns the
// pieces that are missing.
func (s edgeSource) compare(ctx context.Context, name string) (edges.Gaps, []uplink.Piece, error) {
	out := edges.Gaps{Hours: []edges.Hour{}}
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	e, err := s.store.Edge(ctx, name)
	if err != nil {
		return out, nil, explainEdge(err)
	}
	if e.Repair != nil {
		out.Repair = &edges.Repair{Asked: e.RepairAsked, Pieces: len(e.Repair.Pieces)}
		if got := e.Status.Repair; got.ID == e.Repair.ID {
			out.Repair.Done, out.Repair.Readings = min(max(got.Done, 0), out.Repair.Pieces), got.Readings
		}
	}
	held, at, err := s.store.Holdings(ctx, name)
	if err != nil {
		return out, nil, explainEdge(err)
	}
	out.Counted, out.Uncounted, out.Devices = at, held.Uncounted, len(held.Devices)
	if at.IsZero() || held.Uncounted > 0 {
		return out, nil, nil
	}
	// What it may not send is not missing.
	held.Devices = slices.DeleteFunc(held.Devices, func(h uplink.Held) bool { return !e.Speaks(h.Site) })
	var sites []string
	for _, d := range held.Devices {
		if !slices.Contains(sites, d.Site) {
			sites = append(sites, d.Site)
		}
	}
	if len(sites) > maxComparedSites {
		sites = nil // all
	}
	here := uplink.NewTally(held.Policy, held.From, held.Hours)
	if len(held.Devices) > 0 {
		q := past.Query{From: held.From, To: held.From.Add(time.Duration(held.Hours) * time.Hour), Sites: sites}
		if err := past.Count(ctx, s.past, q, here); err != nil {
			return out, nil, unavailable(err)
		}
	}
	hours, missing := uplink.Compare(held, here.Holdings())
	for _, h := range hours {
		of := edges.Held{Edge: h.Edge, Here: h.Centre, Coming: h.Coming, Missing: h.Missing}
		out.Hours = append(out.Hours, edges.Hour{Start: h.Start, Held: of})
		out.Totals.Edge += of.Edge
		out.Totals.Here += of.Here
		out.Totals.Coming += of.Coming
		out.Totals.Missing += of.Missing
	}
	return out, missing, nil
}

// maxComparedSites bounds the sites that one query names.
const maxComparedSites = 20

// RepairEdge implements edges.Source.
func (s edgeSource) RepairEdge(ctx context.Context, name string) (edges.Gaps, error) {
	g, missing, err := s.compare(ctx, name)
	if err != nil {
		return g, err
	}
	if len(missing) == 0 {
		return g, nil
	}
	within, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	pieces := missing[:min(len(missing), uplink.MaxPieces)]
	e, err := s.store.AskRepair(within, name, time.Now().UTC(), pieces)
	s.made.record(ctx, audit.Entry{Action: audit.EdgeRepair, Object: name, After: fmt.Sprintf("%d pieces", len(pieces))}, err)
	if err != nil {
		return g, explainEdge(err)
	}
	g.Repair = &edges.Repair{Asked: e.RepairAsked, Pieces: len(pieces)}
	return g, nil
}

// explainEdge says in the words of the pages what failed.
func explainEdge(err error) error {
	switch {
	case errors.Is(err, store.ErrNone):
		return fmt.Errorf("%w: %w", view.ErrNotFound, err)
	case errors.Is(err, store.ErrRevoked):
		return fmt.Errorf("%w: %w", edges.ErrDraft, err)
	case errors.Is(err, store.ErrDraft):
		return fmt.Errorf("%w: %s", edges.ErrDraft, strings.TrimPrefix(err.Error(), store.ErrDraft.Error()+": "))
	}
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}
