package notifier

import (
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
)

const (
	// silentWait is how long alerts about silence wait for others of their site: who is
	// silent together, falls silent within a few seconds.
	silentWait = 15 * time.Second
	// recovery is how long the devices of a gateway that is back have to report again.
	recovery = 5 * time.Minute
	// heardFor is how long ago a device may have reported that counts as one of its site,
	// in hours.
	heardFor = 24
	// maxHeard bounds the devices that are known.
	maxHeard = 200_000
)

// place names a device at a site.
type place struct{ site, device string }

// silent is what is known of who reports.
type silent struct {
	// down are the alerts about silence that fire, by device.
	down map[place]map[string]bool
	// back is until when the devices of a gateway are expected back, in nanoseconds since
	// the Unix epoch.
	back map[place]int64
	// heard is when a device reported, in hours since the Unix epoch, by site.
	heard map[string]map[string]int64
	// count is the number of devices in heard, hour when it was last cleaned up.
	count int
	hour  int64
	// gateways caches the gateway of each device; nil if no device has one. Names are all
	// that there are.
	gateways map[place]string
	names    map[string]bool
}

// aboutSilence reports whether an alert says that something does not report.
func (m *machine) aboutSilence(a *alertingv1.Alert) bool {
	return m.rules[a.GetRule()].Detector == rule.Silence
}

func placeIn(s *derivedv1.Series) place { return place{s.GetSite(), s.GetDevice()} }

// restart finds out who is silent when a configuration came into force.
func (s *silent) restart(m *machine, c *config.Config) {
	s.gateways, s.names = nil, map[string]bool{}
	for _, d := range c.Devices {
		if name := d.Tags[config.ByGateway]; name != "" {
			s.gateways, s.names[name] = map[place]string{}, true
		}
	}
	for _, tags := range c.RegistryTags() {
		if name := tags[config.ByGateway]; name != "" {
			s.gateways, s.names[name] = map[place]string{}, true
		}
	}
	s.down = map[place]map[string]bool{}
	for _, a := range m.firing {
		s.see(m, a.state, true)
	}
}

// see takes in that an alert fires, or not any more.
func (s *silent) see(m *machine, a *alertingv1.Alert, fires bool) {
	at, id := placeIn(a.GetSeries()), a.GetId()
	if fires == s.down[at][id] || fires && !m.aboutSilence(a) {
		return
	}
	if fires {
		if s.down[at] == nil {
			s.down[at] = map[string]bool{}
		}
		s.down[at][id] = true
		delete(s.back, at)
	} else {
		delete(s.down[at], id)
		if len(s.down[at]) == 0 {
			delete(s.down, at)
			if s.names[at.device] {
				if s.back == nil {
					s.back = map[place]int64{}
				}
				s.back[at] = m.now + int64(recovery)
			}
		}
	}
	if s.names[at.device] {
		m.nextMute = 0
	}
}

// gateway returns the gateway of a device, empty for none.
func (s *silent) gateway(m *machine, at place) string {
	if s.gateways == nil {
		return ""
	}
	name, known := s.gateways[at]
	if !known {
		name = m.tags(at.site, at.device)[config.ByGateway]
		s.gateways[at] = name
	}
	return name
}

// inhibits returns the gateway whose silence explains that of an alert.
func (s *silent) inhibits(m *machine, a *alertingv1.Alert) policy.Mute {
	at := placeIn(a.GetSeries())
	name := s.gateway(m, at)
	if name == "" || name == at.device || !m.aboutSilence(a) {
		return policy.Mute{}
	}
	through := place{at.site, name}
	if len(s.down[through]) == 0 && m.now >= s.back[through] {
		return policy.Mute{}
	}
	return policy.Mute{ID: "gateway", Gateway: name}
}

// next forgets the gateways whose devices have had their time, and returns when the next
// have.
func (s *silent) next(now, next int64) int64 {
	for at, until := range s.back {
		if now >= until {
			delete(s.back, at)
		} else {
			next = min(next, until)
		}
	}
	return next
}

// hear takes in who reported.
func (s *silent) hear(now int64, all []*derivedv1.WindowSummary) {
	hour := now / int64(time.Hour)
	if len(all) > 0 && hour != s.hour {
		s.hour, s.count = hour, 0
		for site, devices := range s.heard {
			for device, at := range devices {
				if hour-at > heardFor {
					delete(devices, device)
				}
			}
			if len(devices) == 0 {
				delete(s.heard, site)
			}
			s.count += len(devices)
		}
	}
	for _, w := range all {
		at := placeIn(w.GetSeries())
		devices := s.heard[at.site]
		before, known := devices[at.device]
		if w.GetCount() == 0 || known && before == hour || !known && s.count >= maxHeard {
			continue
		}
		if devices == nil {
			if s.heard == nil {
				s.heard = map[string]map[string]int64{}
			}
			devices = map[string]int64{}
			s.heard[at.site] = devices
		}
		if !known {
			s.count++
		}
		devices[at.device] = hour
	}
}

// title says in one line what alerts mean that are about silence at one site: that the
// whole site is silent, or several of its devices, or that they report again. It is empty
// if the alerts say something else.
func (s *silent) title(m *machine, alerts []*alertingv1.Alert) string {
	site := siteOf(alerts)
	devices := map[string]bool{}
	for _, a := range alerts {
		if site == "" || !m.aboutSilence(a) {
			return ""
		}
		devices[a.GetSeries().GetDevice()] = true
	}
	over := alerts[0].GetState() == alertingv1.State_STATE_RESOLVED
	whole := len(s.heard[site]) > 1
	for device := range s.heard[site] {
		whole = whole && (len(s.down[place{site, device}]) == 0) == over
	}
	count := len(devices)
	if whole && over {
		whole = count == len(s.heard[site])
	} else if whole {
		count = len(s.heard[site])
	}
	if count < 2 {
		return ""
	}
	worst := alerts[0]
	for _, a := range alerts {
		if a.GetSeverity() > worst.GetSeverity() {
			worst = a
		}
	}
	return notice(worst).Silent(count, whole)
}

// behind counts the devices of a gateway whose silence its own explains.
func (s *silent) behind(m *machine, a *alertingv1.Alert) int {
	if s.gateways == nil || !m.aboutSilence(a) {
		return 0
	}
	n := 0
	at := placeIn(a.GetSeries())
	for other := range s.down {
		if other.site == at.site && other != at && s.gateway(m, other) == at.device {
			n++
		}
	}
	return n
}

// storedBack returns back by site and device.
func (s *silent) storedBack() map[string]map[string]int64 {
	out := map[string]map[string]int64{}
	for at, until := range s.back {
		if out[at.site] == nil {
			out[at.site] = map[string]int64{}
		}
		out[at.site][at.device] = until
	}
	return out
}

// restore takes in what a chunk holds.
func (s *silent) restore(stored storedGroups) {
	s.heard, s.hour, s.back, s.count = stored.Heard, stored.Hour, map[place]int64{}, 0
	for _, devices := range s.heard {
		s.count += len(devices)
	}
	for site, devices := range stored.Back {
		for device, until := range devices {
			s.back[place{site, device}] = until
		}
	}
}
