package edge

import (
	"context"
	"errors"
	"time"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/influx"
	"headwater/services/internal/uplink"
	"headwater/services/internal/uplink/past"
)

const (
	// repairFrame bounds the readings of a frame of a repair, repairFrames the frames of an
	// upload: live readings wait for one at most.
	repairFrame  = 2000
	repairFrames = 5
	// repairSlice is the time of which a repair reads the history at once, at first and at
	// least.
	repairSlice = 10 * time.Minute
	leastSlice  = time.Second
	// repairPause is how long a repair rests when the history cannot be read.
	repairPause = 5 * time.Second
	// repairLook is how long live readings are waited for between two uploads of a repair.
	repairLook = 50 * time.Millisecond
)

// repair sends parts of the history once more, a little at a time. One goroutine only.
type repair struct {
	asked uplink.Repair
	// piece is the number of the piece that is being sent, of which all before at is read.
	piece    int
	at       int64
	slice    time.Duration
	selector *uplink.Selector
	// frames are read and not sent yet.
	frames []*telemetryv1.Batch
	rests  time.Time
}

// begin starts the repair that the centre has asked for, if it is another one.
func (r *reader) begin() {
	asked := r.asked.Swap(nil)
	if asked == nil || asked.ID == r.state.Repair.ID {
		return
	}
	r.repair = &repair{asked: *asked, slice: repairSlice}
	r.setRepaired(uplink.Repaired{ID: asked.ID, Pieces: len(asked.Pieces)})
	r.log.Info("the centre asks for readings once more", "pieces", len(asked.Pieces))
}

func (r *reader) setRepaired(to uplink.Repaired) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Repair = to
}

// mend sends the next part of a repair, if there is one.
func (r *reader) mend(ctx context.Context, c *client) error {
	m := r.repair
	if m == nil || time.Now().Before(m.rests) {
		return nil
	}
	done := r.state.Repair
	if len(m.frames) == 0 && done.Done < done.Pieces {
		if err := r.readPast(ctx, m); err != nil {
			m.rests = time.Now().Add(repairPause)
			r.log.Warn("the history cannot be read for a repair; retrying", "err", err)
			return nil
		}
	}
	if n := min(len(m.frames), repairFrames); n > 0 {
		items := 0
		for _, f := range m.frames[:n] {
			items += len(f.GetSeries())
		}
		u, err := pack(m.frames[:n], items, uplink.Place{})
		if err != nil {
			return err
		}
		body := u.body
		next := r.state
		if !r.deliver(ctx, c, uplink.PathRepair, &next, body) {
			return nil
		}
		next.Sent.Add(uplink.Traffic{Readings: uint64(items), Messages: 1, Bytes: uint64(len(body))})
		next.Repair.Readings += uint64(items)
		r.mu.Lock()
		r.state = next
		r.mu.Unlock()
		r.svc.metrics.readings.Add(float64(items))
		r.svc.metrics.bytes.Add(float64(len(body)))
		m.frames = m.frames[n:]
	}
	if len(m.frames) > 0 {
		return nil
	}
	done = r.state.Repair
	done.Done = m.piece
	r.setRepaired(done)
	if !done.Over() {
		return nil
	}
	r.log.Info("what the centre asked for was sent once more", "readings", done.Readings)
	r.repair = nil
	select {
	case r.svc.recount <- struct{}{}:
	default: // it is about to count anyhow
	}
	return r.keep(ctx)
}

// readPast reads the next slice of the history that a repair sends.
func (r *reader) readPast(ctx context.Context, m *repair) error {
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	leave, err := derivedMetrics(ctx, r.svc.deps.JS)
	if err != nil {
		return err
	}
	for len(m.frames) == 0 && m.piece < len(m.asked.Pieces) {
		p := m.asked.Pieces[m.piece]
		if m.selector == nil {
			m.at, m.selector = p.From, uplink.NewSelector(r.svc.policy())
		}
		of := p
		of.From, of.Until = m.at, min(p.Until, m.at+int64(m.slice/time.Second))
		batches, err := past.Read(ctx, r.svc.deps.Past, of, leave, repairFrame)
		if errors.Is(err, influx.ErrTooLarge) && m.slice > leastSlice {
			m.slice = max(leastSlice, (m.slice / 4).Truncate(time.Second))
			continue
		}
		if err != nil {
			return err
		}
		for _, b := range batches {
			if f := m.selector.Select(b); f != nil {
				m.frames = append(m.frames, f)
			}
		}
		if m.at = of.Until; m.at >= p.Until {
			m.piece, m.selector = m.piece+1, nil
		}
	}
	return nil
}
