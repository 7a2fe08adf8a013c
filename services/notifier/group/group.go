// Package group decides which alerts go to a channel in one message, and when. It is
// pure: the same history gives the same messages, whenever and wherever it runs.
//
// Alerts of a channel that have the same key are a group. The first of a group goes at
// once, or after a wait. What else begins or ends in the group goes after an interval,
// in one message for what began and one for what ended. So a device that flaps brings
// at most one of each in an interval, and a site that fails brings a few messages and
// not thousands. A channel for which very many groups are due gets one message for all
// of them.
package group

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// MaxSingle is how many groups bring a message of their own to a channel in one interval.
const MaxSingle = 10

// Policy says how the alerts of a channel are gathered.
type Policy struct {
	// Wait is how long the first alert of a group waits for others.
	Wait time.Duration
	// Interval is the least time between two messages of a group that are both about
	// alerts that began, or both about alerts that ended.
	Interval time.Duration
}

// Key names a group of alerts for one channel.
type Key struct {
	Channel string `json:"channel"`
	Group   string `json:"group"`
}

// Reason names what becomes of an alert.
type Reason string

const (
	// ReasonFirst means: nothing of the group went lately; it goes at once.
	ReasonFirst Reason = "first"
	// ReasonGathered means: it waits for others of its group.
	ReasonGathered Reason = "gathered"
	// ReasonFlapping means: it takes the place of an earlier episode of the same alert
	// that still waited, and of which the channel will not be notified.
	ReasonFlapping Reason = "flapping"
)

// Reasons lists every reason.
func Reasons() []Reason { return []Reason{ReasonFirst, ReasonGathered, ReasonFlapping} }

// Message is what goes to a channel at once: alerts that began or, with Over, ended.
type Message[V any] struct {
	Channel string
	Over    bool
	Values  []V
}

// Gathering are the alerts that wait, and what went lately. Times are nanoseconds since
// the Unix epoch. The zero value holds nothing.
type Gathering[V any] struct {
	waiting map[slot]*batch[V]
	// sent is when something of a group went lately.
	sent map[slot]int64
	// crowds are what went to each channel lately.
	crowds map[string]*Crowd
	// came counts what came, for its order.
	came uint64
	// next is when something may be due.
	next int64
}

// slot is a group's place for what began, or what ended.
type slot struct {
	Key
	over bool
}

// batch are alerts of a slot.
type batch[V any] struct {
	slot
	// since is when the first of them came, wait how long it waits, and came its place in
	// the order.
	since int64
	wait  time.Duration
	came  uint64
	items map[string]*item[V]
}

// item is an alert that waits.
type item[V any] struct {
	came uint64
	// untold is set for an end if the beginning waits too.
	untold bool
	value  V
}

// Crowd is what went to a channel lately.
type Crowd struct {
	// Single counts the messages about one group since Start.
	Start  int64 `json:"start"`
	Single int   `json:"single,omitempty"`
	// Ended and Begun are when groups were last merged into one message.
	Ended int64 `json:"ended,omitempty"`
	Begun int64 `json:"begun,omitempty"`
}

func (b *batch[V]) item(id string) *item[V] {
	if b == nil {
		return nil
	}
	return b.items[id]
}

// told reports whether some ends are of alerts whose beginning went.
func (b *batch[V]) told() bool {
	for _, i := range b.items {
		if !i.untold {
			return true
		}
	}
	return false
}

// Waits reports whether a beginning or an end of an alert waits in a group.
func (g *Gathering[V]) Waits(k Key, id string) bool {
	return g.waiting[slot{k, false}].item(id) != nil || g.waiting[slot{k, true}].item(id) != nil
}

// Add has an alert wait that began, or that is over.
func (g *Gathering[V]) Add(k Key, over bool, id string, value V, now int64, p Policy) Reason {
	s := slot{k, over}
	reason := ReasonFirst
	if at, ok := g.sent[s]; ok && now-at < int64(p.Interval) || p.Wait > 0 {
		reason = ReasonGathered
	}
	begun := g.waiting[slot{k, false}].item(id)
	if !over && begun != nil {
		reason = ReasonFlapping
		if ended := g.waiting[slot{k, true}]; ended.item(id) != nil && ended.item(id).untold {
			g.remove(ended, id)
		}
	}
	b := g.waiting[s]
	g.came++
	if b == nil {
		b = &batch[V]{slot: s, since: now, wait: p.Wait, came: g.came, items: map[string]*item[V]{}}
		if g.waiting == nil {
			g.waiting = map[slot]*batch[V]{}
		}
		g.waiting[s] = b
	}
	b.items[id] = &item[V]{came: g.came, untold: over && begun != nil, value: value}
	g.next = min(g.next, g.due(b, p))
	return reason
}

// remove removes an item, and a batch that is empty then: the next item begins another
// batch with a wait of its own.
func (g *Gathering[V]) remove(b *batch[V], id string) {
	delete(b.items, id)
	if len(b.items) == 0 {
		delete(g.waiting, b.slot)
	}
}

// due returns when a batch is due.
func (g *Gathering[V]) due(b *batch[V], p Policy) int64 {
	at := b.since + int64(b.wait)
	if sent, ok := g.sent[b.slot]; ok {
		at = max(at, sent+int64(p.Interval))
	}
	return at
}

// Recheck has the next Due look at everything. It must follow a change of the policies.
func (g *Gathering[V]) Recheck() { g.next = math.MinInt64 }

// Rules are what Due asks about.
type Rules[V any] struct {
	// Policy returns the policy of a channel; false if there is no such channel.
	Policy func(channel string) (Policy, bool)
	// Go returns the value of an alert that is about to go, and false if it need not go
	// any more. It is called once for each.
	Go func(k Key, over bool, id string, value V) (V, bool)
}

// Due returns what goes now, in order. Of one alert an end never goes before its
// beginning, and a beginning never before the end of an earlier episode.
func (g *Gathering[V]) Due(now int64, r Rules[V]) []Message[V] {
	if now < g.next {
		return nil
	}
	maps.DeleteFunc(g.waiting, func(s slot, _ *batch[V]) bool {
		_, known := r.Policy(s.Channel)
		return !known
	})
	ready := map[string][]*batch[V]{}
	var channels []string
	seen := map[Key]bool{}
	for _, b := range g.inOrder() {
		if seen[b.Key] {
			continue
		}
		seen[b.Key] = true
		p, _ := r.Policy(b.Channel)
		batches := g.ready(b.Key, now, p)
		if len(batches) > 0 && ready[b.Channel] == nil {
			channels = append(channels, b.Channel)
		}
		ready[b.Channel] = append(ready[b.Channel], batches...)
	}
	var out []Message[V]
	for _, channel := range channels {
		out = append(out, g.send(now, channel, r, ready[channel])...)
	}
	g.forget(now, r)
	return out
}

func (g *Gathering[V]) inOrder() []*batch[V] {
	return slices.SortedFunc(maps.Values(g.waiting), func(a, b *batch[V]) int { return cmp.Compare(a.came, b.came) })
}

// ready returns the batches of a group that are due, in the order in which they go.
func (g *Gathering[V]) ready(k Key, now int64, p Policy) []*batch[V] {
	begun, ended := g.waiting[slot{k, false}], g.waiting[slot{k, true}]
	endedDue := ended != nil && now >= g.due(ended, p)
	told := endedDue && ended.told()
	var out []*batch[V]
	if told {
		out = append(out, ended)
	}
	if begun != nil && now >= g.due(begun, p) && (told || !behind(begun, ended)) {
		out = append(out, begun)
		if endedDue && !told {
			out = append(out, ended)
		}
	}
	return out
}

// behind reports whether some that began have an earlier episode whose end waits.
func behind[V any](begun, ended *batch[V]) bool {
	for id := range begun.items {
		if i := ended.item(id); i != nil && !i.untold {
			return true
		}
	}
	return false
}

// send returns the messages for a channel of the batches that are due: one for each, or
// one for all that ended and one for all that began.
func (g *Gathering[V]) send(now int64, channel string, r Rules[V], ready []*batch[V]) []Message[V] {
	p, _ := r.Policy(channel)
	c := g.crowds[channel]
	if c == nil {
		c = &Crowd{Start: now}
		if g.crowds == nil {
			g.crowds = map[string]*Crowd{}
		}
		g.crowds[channel] = c
	}
	if now-c.Start >= int64(p.Interval) {
		c.Start, c.Single = now, 0
	}
	var out []Message[V]
	if c.Single+len(ready) <= MaxSingle {
		for _, b := range ready {
			if values := g.take(now, b, r); len(values) > 0 {
				c.Single++
				out = append(out, Message[V]{Channel: channel, Over: b.over, Values: values})
			}
		}
		return out
	}
	for _, over := range []bool{true, false} {
		last := &c.Begun
		if over {
			last = &c.Ended
		}
		if *last != 0 && now-*last < int64(p.Interval) {
			continue
		}
		m := Message[V]{Channel: channel, Over: over}
		for _, b := range ready {
			if b.over == over && (over || !behind(b, g.waiting[slot{b.Key, true}])) {
				m.Values = append(m.Values, g.take(now, b, r)...)
			}
		}
		if len(m.Values) > 0 {
			*last = now
			out = append(out, m)
		}
	}
	return out
}

// take takes what goes out of a batch: all but the ends whose beginning waits.
func (g *Gathering[V]) take(now int64, b *batch[V], r Rules[V]) []V {
	ids := slices.SortedFunc(maps.Keys(b.items), func(x, y string) int { return cmp.Compare(b.items[x].came, b.items[y].came) })
	var values []V
	for _, id := range ids {
		i := b.items[id]
		if i.untold {
			continue
		}
		g.remove(b, id)
		end := g.waiting[slot{b.Key, true}].item(id)
		value, ok := r.Go(b.Key, b.over, id, i.value)
		if ok {
			values = append(values, value)
		}
		if !b.over && end != nil && end.untold {
			end.untold = false
			if !ok {
				g.remove(g.waiting[slot{b.Key, true}], id)
			}
		}
	}
	if len(values) > 0 {
		if g.sent == nil {
			g.sent = map[slot]int64{}
		}
		g.sent[b.slot] = now
	}
	return values
}

// forget drops what went so long ago that it matters no more, and finds out when
// something is due next.
func (g *Gathering[V]) forget(now int64, r Rules[V]) {
	g.next = math.MaxInt64
	old := func(channel string, times ...int64) bool {
		p, known := r.Policy(channel)
		gone := true
		for _, at := range times {
			if known && now-at < int64(p.Interval) {
				gone = false
				g.next = min(g.next, at+int64(p.Interval))
			}
		}
		return gone
	}
	maps.DeleteFunc(g.sent, func(s slot, at int64) bool { return old(s.Channel, at) })
	maps.DeleteFunc(g.crowds, func(channel string, c *Crowd) bool { return old(channel, c.Start, c.Ended, c.Begun) })
	for _, b := range g.waiting {
		p, _ := r.Policy(b.Channel)
		// What is due and still waits, waits for another batch or its channel.
		g.next = min(g.next, max(now, g.due(b, p)))
	}
}

// Idle reports whether nothing waits and nothing went lately.
func (g *Gathering[V]) Idle() bool {
	return len(g.waiting) == 0 && len(g.sent) == 0 && len(g.crowds) == 0
}

// Stored is a Gathering as a snapshot holds it.
type Stored struct {
	Waiting []StoredBatch    `json:"waiting,omitempty"`
	Sent    []StoredSent     `json:"sent,omitempty"`
	Crowds  map[string]Crowd `json:"crowds,omitempty"`
}

// StoredBatch are alerts of a group that wait, in order.
type StoredBatch struct {
	Key
	Over  bool  `json:"over,omitempty"`
	Since int64 `json:"since"`
	// Wait is how long the first of them waits, in nanoseconds.
	Wait  time.Duration `json:"wait,omitempty"`
	Items []StoredItem  `json:"items"`
}

// StoredItem is an alert that waits.
type StoredItem struct {
	ID     string `json:"id"`
	Untold bool   `json:"untold,omitempty"`
	Value  []byte `json:"value"`
}

// StoredSent is when something of a group went.
type StoredSent struct {
	Key
	Over bool  `json:"over,omitempty"`
	At   int64 `json:"at"`
}

// Store returns all of it.
func (g *Gathering[V]) Store(encode func(V) ([]byte, error)) (Stored, error) {
	var out Stored
	for _, b := range g.inOrder() {
		stored := StoredBatch{Key: b.Key, Over: b.over, Since: b.since, Wait: b.wait}
		ids := slices.SortedFunc(maps.Keys(b.items), func(x, y string) int { return cmp.Compare(b.items[x].came, b.items[y].came) })
		for _, id := range ids {
			value, err := encode(b.items[id].value)
			if err != nil {
				return out, err
			}
			stored.Items = append(stored.Items, StoredItem{ID: id, Untold: b.items[id].untold, Value: value})
		}
		out.Waiting = append(out.Waiting, stored)
	}
	for s, at := range g.sent {
		out.Sent = append(out.Sent, StoredSent{s.Key, s.over, at})
	}
	slices.SortFunc(out.Sent, func(a, b StoredSent) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Group, b.Group), cmp.Compare(a.At, b.At))
	})
	for channel, c := range g.crowds {
		if out.Crowds == nil {
			out.Crowds = map[string]Crowd{}
		}
		out.Crowds[channel] = *c
	}
	return out, nil
}

// Restore returns what Store stored.
func Restore[V any](in Stored, decode func([]byte) (V, error)) (Gathering[V], error) {
	g := Gathering[V]{waiting: map[slot]*batch[V]{}, sent: map[slot]int64{}, crowds: map[string]*Crowd{}, next: math.MinInt64}
	for _, stored := range in.Waiting {
		g.came++
		b := &batch[V]{slot: slot{stored.Key, stored.Over}, since: stored.Since, wait: stored.Wait, came: g.came, items: map[string]*item[V]{}}
		for _, i := range stored.Items {
			value, err := decode(i.Value)
			if err != nil {
				return g, err
			}
			g.came++
			b.items[i.ID] = &item[V]{came: g.came, untold: i.Untold, value: value}
		}
		g.waiting[b.slot] = b
	}
	for _, s := range in.Sent {
		g.sent[slot{s.Key, s.Over}] = s.At
	}
	for channel, c := range in.Crowds {
		g.crowds[channel] = &c
	}
	return g, nil
}
