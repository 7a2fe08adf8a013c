package notifier

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/lane"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
	"headwater/streams"
)

// snapshotFormat is the version of the chunks. It is raised with every change after
// which a stored alert or entry would mean something else.
const snapshotFormat = 1

// alertChunks is the number of chunks that alerts are spread over, so that a snapshot
// writes only the chunks that changed.
const alertChunks = 64

const (
	chunkAhead    = "ahead"
	chunkSilences = "silences"
	chunkGroups   = "groups"
	chunkDuty     = "overrides"
	chunkAlerts   = "alerts-"
)

// storedAlert is an alert in a chunk.
type storedAlert struct {
	// Alert is the encoded alertingv1.Alert.
	Alert   []byte       `json:"alert"`
	State   policy.State `json:"state"`
	Episode int64        `json:"episode"`
	// Notified is that of the entry.
	Notified []string `json:"told,omitempty"`
	Ended    bool     `json:"ended,omitempty"`
	// At is alert.notified.
	At int64 `json:"at,omitempty"`
	// Mute and Acknowledged are those of the entry.
	Mute         policy.Mute `json:"mute,omitzero"`
	Acknowledged bool        `json:"acknowledged,omitempty"`
	// Flap is that of the entry.
	Flap policy.Flap `json:"flap,omitzero"`
}

// storedAhead is machine.ahead in a chunk, or machine.extra and machine.silenced.
type storedAhead struct {
	Revision uint64 `json:"revision"`
	Content  []byte `json:"content"`
}

// storedWait is what waits for the end of quiet hours in a chunk.
type storedWait struct {
	Channel string `json:"channel"`
	ID      string `json:"id"`
	// First, Begun and Ended are encoded alerts, as in waits.
	First []byte `json:"first,omitempty"`
	Begun []byte `json:"begun,omitempty"`
	Ended []byte `json:"ended,omitempty"`
}

// storedGroups are machine.now and machine.groups in a chunk.
type storedGroups struct {
	Now   int64                       `json:"now"`
	Back  map[string]map[string]int64 `json:"back,omitempty"`
	Heard map[string]map[string]int64 `json:"heard,omitempty"`
	Hour  int64                       `json:"hour,omitempty"`
	Quiet []storedWait                `json:"quiet,omitempty"`
	// Reported and Charge are those of machine.morning.
	Reported int64                        `json:"reported,omitempty"`
	Charge   map[string]map[string]charge `json:"charge,omitempty"`
	group.Stored
}

func chunkOf(id string) int {
	n, err := strconv.ParseUint(id[:2], 16, 8)
	if err != nil {
		panic(fmt.Sprintf("%q is not the id of an alert", id))
	}
	return int(n) % alertChunks
}

// Snapshot returns the chunks that changed, or all.
func (m *machine) Snapshot(all bool) ([]lane.Chunk, error) {
	ids := make([][]string, alertChunks)
	for id := range m.alerts {
		ids[chunkOf(id)] = append(ids[chunkOf(id)], id)
	}
	var chunks []lane.Chunk
	for i, here := range ids {
		if !m.changed[i] && (!all || len(here) == 0) {
			continue
		}
		slices.Sort(here)
		stored := make([]storedAlert, len(here))
		for j, id := range here {
			a := m.alerts[id]
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(a.state)
			if err != nil {
				return nil, fmt.Errorf("encode alert %s: %w", id, err)
			}
			stored[j] = storedAlert{Alert: body, State: a.entry.State, Episode: a.entry.Episode, Notified: a.entry.Notified, Ended: a.entry.Ended, At: a.notified, Mute: a.entry.Mute, Acknowledged: a.entry.Acknowledged, Flap: a.entry.Flap}
		}
		chunk, err := encode(chunkAlerts+strconv.Itoa(i), stored)
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
	}
	if m.aheadChanged || all && m.ahead.revision != 0 {
		chunk, err := encode(chunkAhead, storedAhead{m.ahead.revision, m.ahead.content})
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
	}
	if m.extraChanged || all && m.extra != 0 {
		silences := m.silenced
		if silences == nil {
			silences = []byte("[]")
		}
		chunk, err := encode(chunkSilences, storedAhead{m.extra, silences})
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, chunk)
		if m.duty.stored != nil {
			chunk, err := encode(chunkDuty, storedAhead{m.extra, m.duty.stored})
			if err != nil {
				return nil, err
			}
			chunks = append(chunks, chunk)
		}
	}
	quiet, err := m.duty.store()
	if err != nil {
		return nil, err
	}
	waiting, err := m.groups.Store(func(a *alertingv1.Alert) ([]byte, error) { return proto.MarshalOptions{Deterministic: true}.Marshal(a) })
	if err != nil {
		return nil, fmt.Errorf("encode alerts that wait: %w", err)
	}
	chunk, err := encode(chunkGroups, storedGroups{
		Now: m.now, Back: m.silent.storedBack(), Heard: m.silent.heard, Hour: m.silent.hour, Quiet: quiet,
		Reported: m.morning.reported, Charge: m.morning.charge, Stored: waiting,
	})
	if err != nil {
		return nil, err
	}
	chunks = append(chunks, chunk)
	m.changed, m.aheadChanged, m.extraChanged = [alertChunks]bool{}, false, false
	return chunks, nil
}

func encode(id string, v any) (lane.Chunk, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return lane.Chunk{}, fmt.Errorf("encode chunk %s: %w", id, err)
	}
	return lane.Chunk{ID: id, Data: data}, nil
}

// Restore loads what Snapshot returned.
func (m *machine) Restore(chunks []lane.Chunk) error {
	for _, c := range chunks {
		var err error
		if strings.HasPrefix(c.ID, chunkAlerts) {
			err = m.restoreAlerts(c.Data)
		} else if c.ID == chunkAhead {
			err = m.restoreAhead(c.Data)
		} else if c.ID == chunkSilences {
			err = m.restoreSilences(c.Data)
		} else if c.ID == chunkDuty {
			err = m.restoreDuty(c.Data)
		} else if c.ID == chunkGroups {
			err = m.restoreGroups(c.Data)
		} else {
			err = fmt.Errorf("unknown chunk")
		}
		if err != nil {
			return fmt.Errorf("chunk %s: %w", c.ID, err)
		}
	}
	return nil
}

func (m *machine) restoreAlerts(data []byte) error {
	var stored []storedAlert
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	for _, s := range stored {
		a := &alertingv1.Alert{}
		if err := proto.Unmarshal(s.Alert, a); err != nil {
			return err
		}
		if len(a.GetId()) != 16 {
			return fmt.Errorf("%q is not the id of an alert", a.GetId())
		}
		restored := &alert{
			state: a, entry: policy.Entry{State: s.State, Episode: s.Episode, Notified: s.Notified, Ended: s.Ended, Mute: s.Mute, Acknowledged: s.Acknowledged, Flap: s.Flap}, notified: s.At,
		}
		m.alerts[a.GetId()] = restored
		m.flaps(a.GetId(), restored.entry)
		switch s.State {
		case policy.Resolved:
			m.resolved++
		case policy.Firing:
			m.firing[a.GetId()] = restored
		}
	}
	return nil
}

func (m *machine) restoreAhead(data []byte) error {
	var stored storedAhead
	if err := json.Unmarshal(data, &stored); err != nil || stored.Revision == 0 {
		return err
	}
	c, err := parse(stored.Revision, stored.Content)
	if err != nil {
		return err
	}
	m.ahead = configuration{revision: stored.Revision, content: stored.Content, rules: byName(c)}
	return nil
}

func (m *machine) restoreGroups(data []byte) error {
	var stored storedGroups
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	m.now = stored.Now
	m.silent.restore(stored)
	if err := m.duty.restore(stored.Quiet); err != nil {
		return err
	}
	m.morning.restore(stored)
	var err error
	m.groups, err = group.Restore(stored.Stored, func(body []byte) (*alertingv1.Alert, error) {
		a := &alertingv1.Alert{}
		return a, proto.Unmarshal(body, a)
	})
	return err
}

func (m *machine) restoreDuty(data []byte) error {
	var stored storedAhead
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	return m.duty.override(stored.Content)
}

func (m *machine) restoreSilences(data []byte) error {
	var stored storedAhead
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	err := m.ConfigureExtra(stored.Revision, streams.SilencesKey, stored.Content)
	m.extraChanged = false
	return err
}
