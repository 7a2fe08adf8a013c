package notifier

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/config"
	"headwater/services/internal/oncall"
	"headwater/services/notifier/group"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

// maxWaiting bounds what waits for the end of quiet hours. What is beyond goes at once.
const maxWaiting = 50_000

// duty is who is on call, and what waits for the end of quiet hours.
type duty struct {
	plans  map[string]oncall.Plans
	config *config.Config
	// shifted caches who is on call, by rota.
	shifted map[string]oncall.Shift
	// targets are the channels that are in no rota, and the rotas.
	targets []string
	// members are the channels that are in rotas.
	members []string
	// overrides have people stand in. Stored is the text that they were read from.
	overrides []oncall.Override
	stored    []byte
	// hushed, if not nil, is called with what quiet hours do, also in a replay.
	hushed func(oncall.Hush)

	waiting map[waitKey]*waits
	// order is that in which they came, next when the first may be due.
	order []waitKey
	next  int64
}

type waitKey struct{ channel, id string }

// waits is what a channel is notified of, about one alert, after quiet hours: the end of an
// episode of which it was notified, and the newest other episode with its end. Each may be
// nil.
type waits struct {
	first, begun, ended *alertingv1.Alert
}

// configure takes in a configuration.
func (d *duty) configure(c *config.Config) {
	d.config, d.targets, d.members = c, nil, nil
	for _, r := range c.Rotas {
		d.members = append(d.members, r.Channels()...)
	}
	for _, name := range c.Targets() {
		if !slices.Contains(d.members, name) {
			d.targets = append(d.targets, name)
		}
	}
	d.plan()
	d.recheck()
}

func (d *duty) plan() {
	d.plans, d.shifted = map[string]oncall.Plans{}, map[string]oncall.Shift{}
	if d.config == nil {
		return
	}
	for _, r := range d.config.Rotas {
		d.plans[r.Name] = d.config.Plans(r, d.overrides)
	}
}

// override takes in the overrides as they are stored.
func (d *duty) override(content []byte) error {
	all, err := oncall.Decode(content)
	if err != nil {
		return err
	}
	d.overrides, d.stored = all, content
	d.plan()
	return nil
}

// recheck has due look at everything that waits.
func (d *duty) recheck() { d.next = math.MinInt64 }

// shift returns who is on call in a rota.
func (d *duty) shift(rota string, now int64) (oncall.Shift, bool) {
	p, ok := d.plans[rota]
	if !ok {
		return oncall.Shift{}, false
	}
	at := time.Unix(0, now)
	s, known := d.shifted[rota]
	if !known || at.Before(s.From) || !at.Before(s.Until) {
		s = p.At(at)
		d.shifted[rota] = s
	}
	return s, true
}

// now returns the channels that names stand for at a time: those of the person on call in
// place of a rota. Nil stays nil.
func (d *duty) now(names []string, now int64) []string {
	if names == nil || len(d.plans) == 0 {
		return names
	}
	out := []string{}
	for _, name := range names {
		of := []string{name}
		if s, ok := d.shift(name, now); ok {
			of = s.Notify
		}
		for _, channel := range of {
			if !slices.Contains(out, channel) {
				out = append(out, channel)
			}
		}
	}
	return out
}

// shifts returns the channels of those who are on call in the rotas among names, and the
// channels of all rotas that are of nobody on call.
func (d *duty) shifts(names []string, now int64) (on, off []string) {
	var all []string
	for rota := range d.plans {
		s, _ := d.shift(rota, now)
		all = append(all, s.Notify...)
		if slices.Contains(names, rota) {
			on = append(on, s.Notify...)
		}
	}
	for _, channel := range d.members {
		if !slices.Contains(all, channel) {
			off = append(off, channel)
		}
	}
	return on, off
}

// divert returns an audience with others in the place of the channels that have quiet hours
// which say so.
func (d *duty) divert(to policy.Audience, severity rule.Severity, now int64, site *time.Location) policy.Audience {
	if d.config == nil || len(d.config.QuietHours) == 0 {
		return to
	}
	names := to.Notify
	if names == nil {
		for _, ch := range to.Channels {
			names = append(names, ch.Name)
		}
	}
	notify := []string{}
	add := func(channel string) {
		if !slices.Contains(notify, channel) {
			notify = append(notify, channel)
		}
	}
	for _, channel := range names {
		rest := oncall.Resting(d.config.QuietHours, channel, severity, time.Unix(0, now), site)
		if rest.Hush != oncall.HushInstead {
			add(channel)
			continue
		}
		to.Quiet = append(to.Quiet, channel)
		for _, other := range rest.Instead {
			add(other)
		}
	}
	if to.Quiet == nil {
		return to
	}
	to.Quiet = slices.DeleteFunc(to.Quiet, func(channel string) bool { return slices.Contains(notify, channel) })
	to.Notify = notify
	return to
}

// resting returns what quiet hours do to a message to a channel about an alert.
func (d *duty) resting(m *machine, channel string, a *alertingv1.Alert) oncall.Rest {
	if d.config == nil || len(d.config.QuietHours) == 0 {
		return oncall.Rest{Hush: oncall.HushNone}
	}
	return oncall.Resting(d.config.QuietHours, channel, ruleSeverity(a.GetSeverity()), time.Unix(0, m.now), m.place(a.GetSeries().GetSite()))
}

// rests reports whether a channel has quiet hours for an alert. Where others were notified
// in its place, what follows waits too: they were notified of the beginning only.
func (d *duty) rests(m *machine, channel string, a *alertingv1.Alert) bool {
	hush := d.resting(m, channel, a).Hush
	return hush == oncall.HushWaits || hush == oncall.HushInstead
}

// keep returns the alerts of which a channel is to be notified now, and keeps the others
// until its quiet hours end. What waits about one of the first goes before it.
func (d *duty) keep(m *machine, channel string, alerts []*alertingv1.Alert) []*alertingv1.Alert {
	if d.config == nil || len(d.config.QuietHours) == 0 && len(d.waiting) == 0 {
		return alerts
	}
	var now []*alertingv1.Alert
	var earlier []waitKey
	for _, a := range alerts {
		k := waitKey{channel, a.GetId()}
		w := d.waiting[k]
		rest := d.resting(m, channel, a)
		if d.hushed != nil {
			d.hushed(rest.Hush)
		}
		waits := rest.Hush == oncall.HushWaits || rest.Hush == oncall.HushInstead
		if waits && (w != nil || len(d.waiting) < maxWaiting) {
			d.hold(k, a)
			d.next = min(d.next, rest.Until.UnixNano())
			continue
		}
		if w != nil {
			earlier = append(earlier, k)
		}
		now = append(now, a)
	}
	d.release(m, earlier)
	return now
}

// hold has an alert wait that began or ended. An episode takes the place of an earlier one
// of which the channel was not notified.
func (d *duty) hold(k waitKey, a *alertingv1.Alert) {
	w := d.waiting[k]
	if w == nil {
		if d.waiting == nil {
			d.waiting = map[waitKey]*waits{}
		}
		w = &waits{}
		d.waiting[k] = w
		d.order = append(d.order, k)
	}
	switch {
	case !over(a):
		w.begun, w.ended = a, nil
	case w.begun != nil:
		w.ended = a
	default:
		w.first = a
	}
}

// due notifies channels of what has waited until their quiet hours ended.
func (d *duty) due(m *machine) {
	if len(d.waiting) == 0 || m.now < d.next {
		return
	}
	d.next = math.MaxInt64
	var ready []waitKey
	for _, k := range d.order {
		w := d.waiting[k]
		newest := w.first
		if w.begun != nil {
			newest = w.begun
		}
		if a := m.alerts[k.id]; a != nil && a.state.GetStarted() == newest.GetStarted() {
			newest = a.state // it may be more severe by now
		}
		rest := d.resting(m, k.channel, newest)
		if rest.Hush == oncall.HushWaits || rest.Hush == oncall.HushInstead {
			d.next = min(d.next, rest.Until.UnixNano())
			continue
		}
		ready = append(ready, k)
	}
	d.release(m, ready)
}

// release makes messages of what waits: for each channel at most one of ends, one of what
// began and one of the ends of that.
func (d *duty) release(m *machine, keys []waitKey) {
	if len(keys) == 0 {
		return
	}
	gone := make(map[waitKey]bool, len(keys))
	var channels []string
	parts := map[string]*[3][]*alertingv1.Alert{}
	for _, k := range keys {
		gone[k] = true
		w := d.waiting[k]
		delete(d.waiting, k)
		if _, known := m.policyOf(k.channel); !known {
			continue
		}
		p := parts[k.channel]
		if p == nil {
			p = &[3][]*alertingv1.Alert{}
			parts[k.channel] = p
			channels = append(channels, k.channel)
		}
		if w.first != nil {
			p[0] = append(p[0], w.first)
		}
		if w.begun == nil {
			continue
		}
		a, goes := m.leaves(group.Key{Channel: k.channel}, false, k.id, w.begun)
		if !goes {
			continue
		}
		p[1] = append(p[1], a)
		if w.ended != nil {
			p[2] = append(p[2], w.ended)
		}
	}
	d.order = slices.DeleteFunc(d.order, func(k waitKey) bool { return gone[k] })
	for _, channel := range channels {
		for _, alerts := range parts[channel] {
			if len(alerts) > 0 {
				m.outMessages = append(m.outMessages, pendingMessage{
					channel: channel, alerts: alerts, title: m.silent.title(m, alerts), behind: m.silent.behind(m, alerts[0]), waited: true,
				})
			}
		}
	}
}

// store returns what waits, for a snapshot.
func (d *duty) store() ([]storedWait, error) {
	var out []storedWait
	for _, k := range d.order {
		w := d.waiting[k]
		s := storedWait{Channel: k.channel, ID: k.id}
		for _, part := range []struct {
			from *alertingv1.Alert
			to   *[]byte
		}{{w.first, &s.First}, {w.begun, &s.Begun}, {w.ended, &s.Ended}} {
			if part.from == nil {
				continue
			}
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(part.from)
			if err != nil {
				return nil, fmt.Errorf("encode alert %s, which waits: %w", k.id, err)
			}
			*part.to = body
		}
		out = append(out, s)
	}
	return out, nil
}

// restore takes in what store returned.
func (d *duty) restore(stored []storedWait) error {
	d.waiting, d.order = map[waitKey]*waits{}, nil
	for _, s := range stored {
		w := &waits{}
		for _, part := range []struct {
			from []byte
			to   **alertingv1.Alert
		}{{s.First, &w.first}, {s.Begun, &w.begun}, {s.Ended, &w.ended}} {
			if part.from == nil {
				continue
			}
			*part.to = new(alertingv1.Alert)
			if err := proto.Unmarshal(part.from, *part.to); err != nil {
				return err
			}
		}
		if w.first == nil && w.begun == nil {
			return fmt.Errorf("nothing waits for channel %q about alert %q", s.Channel, s.ID)
		}
		k := waitKey{s.Channel, s.ID}
		d.waiting[k] = w
		d.order = append(d.order, k)
	}
	d.recheck()
	return nil
}
