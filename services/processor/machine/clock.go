package machine

import "headwater/services/processor/window"

// now returns how far time has come: the arrival of the current message or the clock,
// whichever is later. A reading with a later event time is ahead of its time.
func (m *Machine) now() int64 { return max(m.clock, m.learned) }

// ahead reports whether an event time has not come yet.
func (m *Machine) ahead(at int64) bool { return at > m.now() }

// progress returns how far time has come for the device.
func (m *Machine) progress(d *device) window.Progress {
	return window.Progress{Watermark: d.watermark, Lane: m.clock}
}

// advance moves the watermark of the device and closes the windows that end before it. A
// reading ahead of its time does not move it beyond now.
func (m *Machine) advance(d *device, at int64) {
	at = min(at, m.now())
	if at <= d.watermark {
		return
	}
	d.watermark = at
	p := m.progress(d)
	if p.Now() < d.closes || m.output.weight() >= m.outputLimit {
		return
	}
	d.closes = window.Never
	for _, s := range d.series {
		m.summaries = s.window.Advance(d.spec, p, m.summaries[:0])
		m.emitSummaries(s)
		d.closes = min(d.closes, s.window.Due())
	}
}

// tick moves the clock of the lane. It ignores a clock that goes back.
func (m *Machine) tick(now int64) {
	if now <= m.clock || !inRange(now) {
		return
	}
	before := m.clock
	m.heard.Tick(now)
	m.clock, m.learned, m.clockChanged = now, now, true
	if every := int64(evictEvery); before/every != now/every {
		m.evict()
	}
	m.output.ledger = m.ledger.takeDue(now, maxOutputs, m.output.ledger)
	m.outputLimit = m.output.weight() + maxOutputs
	for n := range chunkCount {
		i := (m.nextChunk + n) % chunkCount
		for _, d := range m.chunks[i].devices {
			if now < d.closes && now < d.wakes {
				continue
			}
			if m.output.weight() >= m.outputLimit {
				m.nextChunk = i
				return
			}
			m.wake(d)
		}
	}
	m.nextChunk = 0
}

// wake does what is due by the clock for the series of a device.
func (m *Machine) wake(d *device) {
	d.chunk.changed = true
	m.release(d, m.clock)
	m.tickDerived(d)
	p := m.progress(d)
	for _, s := range d.series {
		m.summaries = s.window.Advance(d.spec, p, m.summaries[:0])
		m.summaries = s.window.Revise(d.spec, p, m.summaries)
		m.emitSummaries(s)
		m.backfill(s)
		// A device whose clock is ahead has readings after the lane's clock.
		now := max(s.last, m.clock-s.lag)
		since, gap := m.silentSince(s)
		m.settle(s, now, since)
		for i := range s.slots {
			if gap {
				s.slots[i].state.Listen(since)
			}
			m.verdicts = s.slots[i].state.Tick(s.silentUntil(s.slots[i].rule, now), *s.unit, m.verdicts[:0])
			m.emitVerdicts(s, s.slots[i].rule)
		}
	}
	m.tickExpressions(d)
	m.plan(d)
}

// silentSince returns since when a series without a further reading counts as silent, in
// the time of the series. Gap reports whether the detectors must be given that time:
// Headwater did not listen for a while since the last reading.
func (m *Machine) silentSince(s *series) (since int64, gap bool) {
	if s.last == past || !m.heard.Missed(s.last+s.lag) {
		return s.last, false
	}
	return m.heard.Since(s.last+s.lag, m.clock) - s.lag, true
}

// unheardSince returns since when a series counts as silent between its last reading and
// a reading at the time. Gap reports whether the detectors must be given that time. A
// series that continues at its pace was not silent, even if Headwater did not listen: the device
// has kept its readings and sent them later.
func (m *Machine) unheardSince(s *series, at int64) (since int64, gap bool) {
	if s.last == past {
		return past, false
	}
	gap = m.heard.Missed(s.last + s.lag)
	if m.atItsPace(s, at) {
		return s.last, gap
	}
	since = m.since(s, at)
	return since, gap || since > s.last
}

// atItsPace reports whether a series continues at its pace with a reading at the time.
func (m *Machine) atItsPace(s *series, at int64) bool {
	return at-max(s.last, s.lastNonNumeric) <= paceFactor*s.step
}

// since returns since when a series counts as silent between its last reading and the
// time.
func (m *Machine) since(s *series, at int64) int64 {
	return max(m.heard.Since(s.last, at), min(at, m.heard.Since(s.last+s.lag, m.now())-s.lag))
}
