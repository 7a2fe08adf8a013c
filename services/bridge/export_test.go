package bridge

import (
	"context"

	"headwater/streams"
)

// RedriveUntilStored redrives letters and is cut off when the results are
// stored and the letters are still there, as by a crash.
func (s *Service) RedriveUntilStored(ctx context.Context, lanes int, sequences ...uint64) ([]streams.Redriven, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newRedriver(s, lanes)
	r.afterStore = cancel
	return r.redrive(ctx, sequences)
}
