package machine

import (
	"fmt"
	"strconv"
	"strings"

	"headwater/services/internal/hearing"
	"headwater/services/internal/lane"
	"headwater/services/processor/codec"
	"headwater/services/processor/window"
)

// Format is the version of the chunks. It must change whenever Snapshot, a window or a
// detector writes something else.
const Format = 10

// Names of the chunks. Those of devices are a prefix and a number.
const (
	chunkClock   = "clock"
	chunkConfig  = "config"
	chunkLedger  = "ledger"
	chunkDevices = "devices-"
	chunkDerived = "derived-"
)

// Snapshot returns the chunks of the state that have changed since the last Snapshot or
// Restore, or all of them. No outputs may wait.
func (m *Machine) Snapshot(all bool) ([]lane.Chunk, error) {
	var chunks []lane.Chunk
	if all || m.clockChanged {
		data := codec.Uint(codec.Int(codec.Uint(nil, Format), m.clock), uint64(m.nextChunk))
		data = codec.Uint(codec.Int(data, m.heard.Stride), uint64(len(m.heard.Gaps)))
		for _, g := range m.heard.Gaps {
			data = codec.Int(codec.Int(data, g.From), g.To-g.From)
		}
		chunks = append(chunks, lane.Chunk{ID: chunkClock, Data: data})
	}
	if (all || m.configChanged) && m.config.content != nil {
		chunks = append(chunks, lane.Chunk{ID: chunkConfig, Data: m.appendConfig(codec.Uint(nil, Format))})
	}
	if all || m.ledger.changed {
		chunks = append(chunks, lane.Chunk{ID: chunkLedger, Data: m.ledger.append(codec.Uint(nil, Format))})
	}
	if m.groups != nil && (all || m.groups.changed) {
		chunks = append(chunks, lane.Chunk{ID: chunkGroups, Data: m.groups.append(codec.Uint(nil, groupFormat))})
	}
	for i := range m.chunks {
		c := &m.chunks[i]
		// A chunk that has become empty is written once more, to replace the old one.
		if all && len(c.devices) > 0 || !all && c.changed {
			id := chunkDevices + strconv.Itoa(i)
			chunks = append(chunks, lane.Chunk{ID: id, Data: m.appendDevices(codec.Uint(nil, Format), c.devices)})
			if m.derivedStored {
				id := chunkDerived + strconv.Itoa(i)
				chunks = append(chunks, lane.Chunk{ID: id, Data: appendDerived(codec.Uint(nil, derivedFormat), c.devices)})
			}
		}
	}
	m.markSaved()
	return chunks, nil
}

// markSaved records that the state is that of a snapshot.
func (m *Machine) markSaved() {
	m.clockChanged, m.configChanged, m.ledger.changed = false, false, false
	if m.groups != nil {
		m.groups.changed = false
	}
	for i := range m.chunks {
		m.chunks[i].changed = false
	}
}

func (m *Machine) appendConfig(b []byte) []byte {
	b = codec.Uint(b, m.config.revision)
	b = codec.Bytes(b, m.config.content)
	for _, r := range m.config.rules {
		b = codec.Uint(b, r.version)
	}
	return b
}

func (m *Machine) appendDevices(b []byte, devices []*device) []byte {
	b = codec.Uint(b, uint64(len(devices)))
	for _, d := range devices {
		b = codec.String(codec.String(b, d.site), d.name)
		b = codec.Int(b, d.watermark)
		b = codec.Uint(b, uint64(len(d.series)))
		for _, s := range d.series {
			b = m.appendSeries(b, s)
		}
		b = appendHeld(appendExpressions(b, d), d)
	}
	return b
}

func (m *Machine) appendSeries(b []byte, s *series) []byte {
	b = s.other.append(codec.Bool(codec.String(codec.String(b, s.metric), *s.unit), s.apart))
	b = codec.Uint(codec.Int(codec.Int(codec.Int(b, s.last), s.lag), s.step), uint64(max(0, s.lastNonNumeric-s.last)))
	b = s.downsampler.append(b)
	b = s.window.Append(b, s.device.spec, m.progress(s.device))
	b = s.stale.append(b)
	b = codec.Uint(b, uint64(len(s.slots)))
	for _, sl := range s.slots {
		b = codec.Uint(b, uint64(sl.rule.index))
		b = sl.state.Append(b)
	}
	return b
}

// Restore sets the state, and the configuration in force, to those of the chunks. After an
// error the machine must not be used.
func (m *Machine) Restore(chunks []lane.Chunk) error {
	fresh := New(m.lane, m.limits, m.metrics)
	if m.groups != nil {
		fresh.groups = newGroups(len(m.groups.clocks))
	}
	*m = *fresh
	// The chunks of devices can't be read without the configuration, so it comes first, and
	// what is derived comes after the devices.
	for _, turn := range []int{0, 1, 2} {
		for _, c := range chunks {
			if turnOf(c.ID) != turn {
				continue
			}
			if err := m.restore(c); err != nil {
				return fmt.Errorf("chunk %s: %w", c.ID, err)
			}
		}
	}
	m.markSaved()
	m.metrics.series(m.lane, m.seriesCount)
	return nil
}

// turnOf returns when a chunk is read.
func turnOf(id string) int {
	switch {
	case id == chunkConfig:
		return 0
	case strings.HasPrefix(id, chunkDerived):
		return 2
	}
	return 1
}

func (m *Machine) restore(c lane.Chunk) error {
	r := codec.NewReader(c.Data)
	want := uint64(Format)
	switch {
	case strings.HasPrefix(c.ID, chunkDerived):
		want = derivedFormat
	case c.ID == chunkGroups:
		want = groupFormat
	}
	if format := r.Uint(); r.Err() == nil && format != want {
		return fmt.Errorf("format %d, not %d", format, want)
	}
	switch {
	case c.ID == chunkClock:
		m.clock = r.Int()
		m.nextChunk = int(r.Uint() % chunkCount)
		m.heard = hearing.Clock{Now: m.clock, Stride: r.Int()}
		for range r.Count() {
			from := r.Int()
			m.heard.Gaps = append(m.heard.Gaps, hearing.Gap{From: from, To: from + r.Int()})
		}
		if len(m.heard.Gaps) > hearing.MaxGaps {
			r.Fail()
		}
	case c.ID == chunkConfig:
		if err := m.readConfig(r); err != nil {
			return err
		}
	case c.ID == chunkLedger:
		m.ledger.read(r)
	case strings.HasPrefix(c.ID, chunkDevices):
		for range r.Count() {
			m.readDevice(r)
		}
	case c.ID == chunkGroups:
		if err := m.readGroups(r); err != nil {
			return err
		}
	case strings.HasPrefix(c.ID, chunkDerived):
		m.derivedStored = true
		m.readDerived(r)
	default:
		return fmt.Errorf("unknown: %w", codec.ErrCorrupt)
	}
	if r.Len() > 0 {
		r.Fail()
	}
	return r.Err()
}

func (m *Machine) readConfig(r *codec.Reader) error {
	m.config.revision = r.Uint()
	m.config.content = append([]byte{}, r.Bytes()...)
	if r.Err() != nil {
		return r.Err()
	}
	parsed, rules, derived, err := parse(m.config.content)
	if err != nil {
		return fmt.Errorf("configuration %d: %w", m.config.revision, err)
	}
	for _, rule := range rules {
		rule.version = r.Uint()
	}
	m.config.parsed, m.config.rules, m.config.judgesNonNumeric = parsed, rules, anyTexts(rules)
	m.config.derived, m.config.derivedNames = derived, namesOf(derived)
	if m.groups != nil {
		if m.groups.active, err = activateGroups(parsed); err != nil {
			return fmt.Errorf("configuration %d: %w", m.config.revision, err)
		}
	}
	m.derivedStored = m.derivedStored || len(derived) > 0
	return nil
}

func (m *Machine) readDevice(r *codec.Reader) {
	key := deviceKey{site: r.String(), name: r.String()}
	if m.devices[key] != nil {
		r.Fail()
	}
	if r.Err() != nil {
		return
	}
	d := m.addDevice(key)
	d.watermark = r.Int()
	for range r.Count() {
		s := m.readSeries(r, d)
		if r.Err() != nil {
			return
		}
		m.insertSeries(d, s, len(d.series))
	}
	m.readExpressions(r, d)
	m.readHeld(r, d)
	m.plan(d)
}

func (m *Machine) readSeries(r *codec.Reader, d *device) *series {
	s := &series{
		metric: *m.names.intern(r.String()), unit: m.units.intern(r.String()), apart: r.Bool(), other: readOtherUnit(r),
		last: r.Int(), lag: r.Int(), step: r.Int(),
	}
	s.lastNonNumeric = s.last + int64(min(r.Uint(), uint64(window.MaxTime)))
	s.downsampler, s.window, s.stale = readDownsampler(r), window.Read(r, d.spec), readStale(r)
	for range r.Count() {
		index := r.Uint()
		if index >= uint64(len(m.config.rules)) {
			r.Fail()
			return s
		}
		rule := m.config.rules[index]
		if rule.expression != nil {
			r.Fail()
			return s
		}
		s.slots = append(s.slots, slot{rule: rule, state: rule.detector(m.config.zone(d.site)).Read(r)})
	}
	return s
}
