package notifier

import (
	"cmp"
	"sync/atomic"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	derivedv1 "headwater/proto/derived/v1"
	"headwater/services/internal/config"
	"headwater/services/notifier/policy"
	"headwater/services/notifier/report"
	"headwater/streams"
)

const (
	// reportRule stands for a rule in the messages of the morning report, which is about no
	// alert. A rule cannot have the name.
	reportRule = "morning report"
	// aboutTheReport is the description that stands beside it.
	aboutTheReport = "The morning report."
	// maxCharge bounds the devices whose battery is known.
	maxCharge = 50_000
	// chargeFor is how long the charge of a battery counts after it was reported.
	chargeFor = 7 * 24 * time.Hour
	// quietFor is how long a device must not have been heard, in hours, that counts as
	// silent without an alert.
	quietFor = 12
	// previewEvery is how often the report that people may ask for is written.
	previewEvery = time.Minute
)

// charge is that of a battery in per cent, and when it was reported, in nanoseconds since
// the Unix epoch.
type charge struct {
	Percent float64 `json:"p"`
	At      int64   `json:"at"`
}

// morning decides when the morning report is due. It is part of the state of the lane, so
// the report is sent once whatever restarts.
type morning struct {
	report config.Report
	place  *time.Location
	// known is set once there has been a configuration.
	known bool
	// reported is the last time at which a report was due that was sent or that is not to
	// be sent, in nanoseconds since the Unix epoch; 0 before the first input.
	reported int64
	// charge is the charge of batteries, by site and device; count is how many there are.
	charge map[string]map[string]charge
	count  int
	// preview, if not nil, takes the report as it would be now, previewed when.
	preview   *atomic.Pointer[reportText]
	previewed int64
}

// reportText is a report.
type reportText struct{ channel, title, body string }

// configure applies a configuration. A report that is declared or moved is due the next
// time, not for a time that has passed.
func (r *morning) configure(now int64, c *config.Config) {
	before := r.report
	r.report = c.Report
	r.place, _ = time.LoadLocation(c.ReportZone())
	if r.place == nil {
		r.place = time.UTC // cannot be: the configuration was read with it
	}
	if r.known && before != r.report {
		r.reported = max(r.reported, now)
	}
	r.known, r.previewed = true, 0
}

// hear takes in the charge of batteries.
func (r *morning) hear(now int64, all []*derivedv1.WindowSummary) {
	for _, w := range all {
		s := w.GetSeries()
		if w.GetCount() == 0 || !report.IsBattery(s.GetMetric(), w.GetUnit()) {
			continue
		}
		at := w.GetStart() + w.GetWidth()
		before, there := r.charge[s.GetSite()][s.GetDevice()]
		if there && before.At > at || !there && r.count >= maxCharge {
			continue
		}
		if r.charge == nil {
			r.charge = map[string]map[string]charge{}
		}
		if r.charge[s.GetSite()] == nil {
			r.charge[s.GetSite()] = map[string]charge{}
		}
		if !there {
			r.count++
		}
		r.charge[s.GetSite()][s.GetDevice()] = charge{w.GetLast(), min(at, now)}
	}
}

// forget drops charges that were reported too long ago.
func (r *morning) forget(now int64) {
	for site, devices := range r.charge {
		for device, c := range devices {
			if now-c.At > int64(chargeFor) {
				delete(devices, device)
				r.count--
			}
		}
		if len(devices) == 0 {
			delete(r.charge, site)
		}
	}
}

func (r *morning) restore(s storedGroups) {
	r.reported, r.charge, r.count = s.Reported, s.Charge, 0
	for _, devices := range s.Charge {
		r.count += len(devices)
	}
}

// report sends the report if it is due.
func (m *machine) report() {
	r := &m.morning
	if !r.known || r.report.Channel == "" {
		r.reported = m.now
		return
	}
	due := report.Due(time.Unix(0, m.now), r.report.At, r.place).UnixNano()
	if due > r.reported {
		first := r.reported == 0
		r.reported = due
		r.forget(m.now)
		if !first {
			text := m.write()
			m.outMessages = append(m.outMessages, pendingMessage{channel: text.channel, alerts: []*alertingv1.Alert{m.aboutReport(due)}, title: text.title, body: text.body})
		}
	}
	if r.preview != nil && m.now-r.previewed >= int64(previewEvery) {
		r.previewed = m.now
		r.preview.Store(m.write())
	}
}

// write writes the report as it is now.
func (m *machine) write() *reportText {
	r := &m.morning
	f := report.Facts{Site: r.report.Site}
	of := func(site string) bool { return f.Site == "" || f.Site == site }
	from := m.now - int64(report.Period)
	quiet := map[place]bool{}
	for _, a := range m.alerts {
		s := a.state
		ongoing := a.entry.State == policy.Firing
		if !of(s.GetSeries().GetSite()) || !ongoing && s.GetEnded() < from {
			continue
		}
		if m.aboutSilence(s) {
			if ongoing {
				quiet[placeIn(s.GetSeries())] = true
			}
			continue
		}
		f.Alerts = append(f.Alerts, report.Alert{
			Device: report.Device{Site: s.GetSeries().GetSite(), Name: s.GetSeries().GetDevice()}, Severity: int(s.GetSeverity()),
			Sentence: policy.Clean(s.GetEvidence().GetSentence()), Ongoing: ongoing,
		})
	}
	hour := m.now / int64(time.Hour)
	for site, devices := range m.silent.heard {
		for device, at := range devices {
			if !of(site) {
				continue
			}
			f.Devices++
			if hour-at >= quietFor {
				quiet[place{site, device}] = true
			}
		}
	}
	for at := range quiet {
		f.Silent = append(f.Silent, report.Device{Site: at.site, Name: at.device})
	}
	for site, devices := range r.charge {
		for device, c := range devices {
			if of(site) {
				f.Batteries = append(f.Batteries, report.Battery{Device: report.Device{Site: site, Name: device}, Percent: c.Percent})
			}
		}
	}
	title, body := report.Write(f)
	return &reportText{r.report.Channel, title, body}
}

// aboutReport is what stands for an alert in the message of a report.
func (m *machine) aboutReport(due int64) *alertingv1.Alert {
	series := &derivedv1.Series{Site: cmp.Or(m.morning.report.Site, "all"), Device: "headwater", Metric: "report"}
	return &alertingv1.Alert{
		Id: streams.AlertID(reportRule, series), Rule: reportRule, Series: series, Description: aboutTheReport,
		State: alertingv1.State_STATE_FIRING, Severity: derivedv1.Severity_SEVERITY_INFO, Started: due, Updated: m.now, Learned: m.now,
		TimeZone: m.morning.place.String(),
	}
}

// isReport reports whether an alert of a message stands for the morning report.
func isReport(a *alertingv1.Alert) bool { return a.GetRule() == reportRule }
