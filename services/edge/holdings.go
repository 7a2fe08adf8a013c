package edge

import (
	"context"
	"time"

	"headwater/services/internal/uplink"
	"headwater/services/internal/uplink/past"
)

const (
	// comparedHours are the hours of which an edge reports what it holds.
	comparedHours = 72
	// countWithin bounds one count of the history.
	countWithin = time.Minute
)

// compare reports to the centre what this edge holds, until ctx ends: at once, every so
// often, and after a repair.
func (s *Service) compare(ctx context.Context, c *client) {
	failed := false
	for ctx.Err() == nil {
		err := s.reportHoldings(ctx, c)
		if err != nil && ctx.Err() == nil && !failed {
			s.deps.Log.Warn("what this edge holds could not be reported; retrying", "err", err)
		}
		wait := s.cfg.Compare
		if failed = err != nil; failed {
			wait = min(wait, s.cfg.Every)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.recount:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (s *Service) reportHoldings(ctx context.Context, c *client) error {
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	policy, now := s.policy(), time.Now().UTC()
	// What is stored from now on may be counted and not be sent.
	through := now
	if st, last, _ := s.pipes[0].progress(ctx); st.Sequence < last {
		through = time.Unix(0, st.Stored).UTC()
	}
	derived, err := derivedMetrics(ctx, s.deps.JS)
	if err != nil {
		return err
	}
	to := now.Truncate(time.Hour).Add(time.Hour)
	from := to.Add(-comparedHours * time.Hour)
	t := uplink.NewTally(policy, from, comparedHours)
	if len(policy.Readings) > 0 {
		if err := past.Count(ctx, s.deps.Past, past.Query{From: from, To: to, Leave: derived}, t); err != nil {
			return err
		}
	}
	h := t.Holdings()
	h.Through = through
	body, err := h.Pack()
	if err != nil {
		return err
	}
	if err := c.upload(ctx, uplink.PathHoldings, body); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own.Add(uplink.Traffic{Messages: 1, Bytes: uint64(len(body))})
	return nil
}
