package machine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/lane"
	"headwater/services/processor/codec"
	"headwater/services/processor/derive"
	"headwater/services/processor/group"
	"headwater/services/rule"
	"headwater/streams"
)

// The devices of a group lie in several lanes, so groups have a lane of their own, which reads
// all of TELEMETRY. Its Machine takes nothing of it but the readings of devices that belong
// to a group, and the clocks: its clock is the earliest of those of all lanes. What is computed
// are readings of the series of the group, which has windows and rules as a device has.

const (
	// chunkGroups is the chunk with the groups, and groupFormat its version.
	chunkGroups = "groups"
	groupFormat = 1
	// maxRoutes bounds the series for which it is remembered to which groups they belong.
	maxRoutes = 200_000
	// groupStep is how many values of a group are computed at a time.
	groupStep = 64
)

// activeGroup is a group in force.
type activeGroup struct {
	declared rule.Group
	spec     *group.Spec
}

// groupSlot is one series of the group of one site.
type groupSlot struct {
	*activeGroup
	deviceKey
	// index is that of the declaration.
	index int
	state *group.State
}

// route is an input of a slot, which is nil if there are too many.
type route struct {
	slot  *groupSlot
	input int
}

// seriesKey names a series of a device.
type seriesKey struct {
	deviceKey
	metric string
}

// groups is what the lane of groups has beside its devices.
type groups struct {
	// clocks are the clocks of all lanes.
	clocks []int64
	active []*activeGroup
	// slots are in the order of site, group and declaration.
	slots   []*groupSlot
	routes  map[seriesKey][]route
	changed bool
	// targets is scratch space: the routes of the entries of a batch.
	targets [][]route
}

// NewGroups returns the machine of the lane of groups, which has that number and reads all of
// the lanes.
func NewGroups(lane, lanes int, limits Limits, metrics *Metrics) *Machine {
	m := New(lane, limits, metrics)
	m.groups = newGroups(lanes)
	return m
}

func newGroups(lanes int) *groups {
	g := &groups{clocks: make([]int64, lanes), routes: make(map[seriesKey][]route)}
	for i := range g.clocks {
		g.clocks[i] = past
	}
	return g
}

// activateGroups returns the groups of a configuration.
func activateGroups(c *config.Config) ([]*activeGroup, error) {
	var all []*activeGroup
	for _, g := range c.Groups {
		spec, err := group.New(g, c.Lateness)
		if err != nil {
			return nil, err
		}
		all = append(all, &activeGroup{declared: g, spec: spec})
	}
	return all, nil
}

// applyGroups takes a message of any lane. One that does not decode is the concern of its own
// lane. It returns how many readings belong to groups.
func (m *Machine) applyGroups(in lane.Input) int {
	g := m.groups
	number, _, err := streams.ParseTelemetry(in.Subject)
	if err != nil || number >= len(g.clocks) || len(g.active) == 0 && len(m.devices) == 0 {
		return 0
	}
	b, err := streams.DecodeTelemetry(in.Data)
	if err != nil {
		return 0
	}
	taken := m.takeMembers(b)
	if b.Clock != nil && inRange(b.Clock.CaughtUp) && b.Clock.CaughtUp > g.clocks[number] {
		g.clocks[number], g.changed = b.Clock.CaughtUp, true
		if now := slices.Min(g.clocks); now > m.clock && inRange(now) {
			m.tickGroups(now)
			m.tick(now)
		}
	}
	return taken
}

// takeMembers passes the readings of a batch to the groups that their devices belong to.
func (m *Machine) takeMembers(b *telemetryv1.Batch) int {
	g := m.groups
	dictionary := b.Dictionary()
	g.targets = g.targets[:0]
	wanted := false
	for i := range dictionary {
		entry := &dictionary[i]
		var to []route
		if entry.Kind != telemetryv1.Kind_KIND_TEXT {
			to = m.routesOf(seriesKey{deviceKey{entry.Site, entry.Device}, entry.Metric})
		}
		wanted = wanted || len(to) > 0
		g.targets = append(g.targets, to)
	}
	if !wanted {
		return 0
	}
	taken, values, flags := 0, 0, 0
	for i, k := range b.Series {
		v, number := 0.0, true
		switch dictionary[k].Kind {
		case telemetryv1.Kind_KIND_VALUE:
			v = b.Value[values]
			values++
		case telemetryv1.Kind_KIND_FLAG:
			if b.Flag[flags] {
				v = 1
			}
			flags++
		default:
			number = false
		}
		if !number || len(g.targets[k]) == 0 || !finite(v) || !inRange(b.Time[i]) {
			continue
		}
		taken++
		g.changed = true
		for _, to := range g.targets[k] {
			if to.slot == nil {
				m.output.counts.overLimit++
				continue
			}
			if !to.slot.state.Add(dictionary[k].Device, to.input, derive.Reading{Time: b.Time[i], Value: v}) {
				m.output.counts.derivedLate++
			}
		}
	}
	return taken
}

// routesOf returns the inputs of groups that a series is. The names of the key may be parts of
// a batch.
func (m *Machine) routesOf(key seriesKey) []route {
	g := m.groups
	to, known := g.routes[key]
	if known {
		return to
	}
	if len(g.routes) >= maxRoutes {
		clear(g.routes)
	}
	key = seriesKey{deviceKey{strings.Clone(key.site), strings.Clone(key.name)}, strings.Clone(key.metric)}
	var tags map[string]string
	for i, a := range g.active {
		input := slices.Index(a.spec.Inputs, key.metric)
		if input < 0 {
			continue
		}
		if tags == nil {
			tags = m.config.tags(key.deviceKey)
		}
		if a.declared.Match.MatchesDevice(key.site, key.name, tags) {
			one := route{input: input}
			if len(g.slots) < m.limits.Series || g.has(key.site, i) {
				one.slot = m.groupOf(key.site, i)
			}
			to = append(to, one)
		}
	}
	g.routes[key] = to
	return to
}

// groupOf returns the series of a group of a site, which it makes if there is none.
func (m *Machine) groupOf(site string, index int) *groupSlot {
	g := m.groups
	a := g.active[index]
	sl := &groupSlot{activeGroup: a, deviceKey: deviceKey{site, a.declared.Name}, index: index}
	i, known := slices.BinarySearchFunc(g.slots, sl, compareSlots)
	if known {
		return g.slots[i]
	}
	sl.state = a.spec.Start()
	g.slots = slices.Insert(g.slots, i, sl)
	return sl
}

// has reports whether there is a series of a group of a site.
func (g *groups) has(site string, index int) bool {
	_, known := slices.BinarySearchFunc(g.slots, &groupSlot{deviceKey: deviceKey{site: site}, index: index}, compareSlots)
	return known
}

func compareSlots(a, b *groupSlot) int {
	return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(a.index, b.index))
}

// tickGroups computes what is due. It leaves the rest to the next tick when the output is full.
func (m *Machine) tickGroups(now int64) {
	m.learned = now
	m.outputLimit = m.output.weight() + maxOutputs
	for _, sl := range m.groups.slots {
		for sl.state.Due() <= now && m.output.weight() < m.outputLimit {
			m.groups.changed = true
			m.emitDerived(sl.deviceKey, sl.declared.Metric, sl.declared.Unit, sl.state.Tick(now, groupStep, nil))
		}
	}
	m.groups.makeRoom(m.limits.Series)
}

// makeRoom drops the slots of groups without readings when there are as many as there may be.
func (g *groups) makeRoom(most int) {
	before := len(g.slots)
	if before < most {
		return
	}
	g.slots = slices.DeleteFunc(g.slots, func(sl *groupSlot) bool { return sl.state.Due() == derive.Never })
	if len(g.slots) < before {
		clear(g.routes)
		g.changed = true
	}
}

// replaceGroups puts groups in force. A series that is computed as before keeps what it knows.
func (m *Machine) replaceGroups(active []*activeGroup) {
	g := m.groups
	old := g.slots
	before := g.active
	g.active, g.slots, g.changed = active, nil, true
	clear(g.routes)
	for _, o := range old {
		i := slices.IndexFunc(active, func(a *activeGroup) bool {
			return a.declared.Equal(before[o.index].declared) && a.spec.Lateness() == before[o.index].spec.Lateness()
		})
		if i >= 0 {
			sl := m.groupOf(o.site, i)
			sl.state = sl.spec.Read(codec.NewReader(o.state.Append(nil)))
			sl.state.Keep(func(device string) bool {
				return sl.declared.Match.MatchesDevice(o.site, device, m.config.tags(deviceKey{o.site, device}))
			})
		}
	}
}

// append appends the state of the groups.
func (g *groups) append(b []byte) []byte {
	b = codec.Times(b, len(g.clocks), func(i int) int64 { return g.clocks[i] })
	b = codec.Uint(b, uint64(len(g.slots)))
	for _, sl := range g.slots {
		b = sl.state.Append(codec.Uint(codec.String(b, sl.site), uint64(sl.index)))
	}
	return b
}

// readGroups reads what append wrote.
func (m *Machine) readGroups(r *codec.Reader) error {
	if m.groups == nil {
		return fmt.Errorf("of another kind of lane: %w", codec.ErrCorrupt)
	}
	clocks := r.Times()
	if len(clocks) != len(m.groups.clocks) {
		r.Fail()
		return r.Err()
	}
	m.groups.clocks = clocks
	for range r.Count() {
		site, index := r.String(), r.Uint()
		if r.Err() != nil || index >= uint64(len(m.groups.active)) {
			r.Fail()
			return r.Err()
		}
		sl := m.groupOf(site, int(index))
		sl.state = sl.spec.Read(r)
	}
	return nil
}
