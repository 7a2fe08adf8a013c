package functions

import (
	"context"
	"slices"
	"time"

	"headwater/services/internal/function"
	"headwater/services/internal/function/contract"
	"headwater/services/internal/process"
)

// compare runs both versions on some messages and keeps how they differ. Both began with the
// state of the live version, and each goes on with its own.
func (r *runner) compare(ctx context.Context, part []input) error {
	for _, in := range part {
		for rest := in.readings; len(rest) > 0; {
			chunk := rest[:min(len(rest), contract.MaxReadings)]
			rest = rest[len(chunk):]
			live, liveFailed, err := r.live.try(ctx, r, chunk)
			if err != nil {
				return err
			}
			shadow, shadowFailed, err := r.shadow.try(ctx, r, chunk)
			if err != nil {
				return err
			}
			one, other := difference(lines(live), lines(shadow))
			if liveFailed != nil {
				one = liveFailed.Error()
			}
			if shadowFailed != nil {
				other = shadowFailed.Error()
				process.Sleep(ctx, min(failurePause*shadowFailed.took, maxPause))
			}
			r.status.compared(one, other)
		}
	}
	return nil
}

// lines are the outputs in an order that does not depend on how the function wrote them.
func lines(outputs []contract.Reading) []string {
	out := make([]string, len(outputs))
	for i := range outputs {
		out[i] = string(outputs[i].Append(nil))
	}
	slices.Sort(out)
	return out
}

// difference returns the first line that only one of them has; empty for none.
func difference(live, shadow []string) (one, other string) {
	i := 0
	for i < len(live) && i < len(shadow) && live[i] == shadow[i] {
		i++
	}
	if i < len(live) {
		one = live[i]
	}
	if i < len(shadow) {
		other = shadow[i]
	}
	return one, other
}

// compared counts a comparison.
func (p *reporter) compared(live, shadow string) {
	if live == shadow {
		p.beside.Same++
		return
	}
	p.beside.Different++
	p.beside.Latest = append(p.beside.Latest, function.Difference{At: time.Now().UTC(), Live: live, Shadow: shadow})
	p.beside.Latest = slices.Delete(slices.Clone(p.beside.Latest), 0, max(0, len(p.beside.Latest)-function.MaxDifferences))
}
